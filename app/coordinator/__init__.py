"""The coordinator service: enrolment, the study's state on disk, planning, averaging, publishing."""
