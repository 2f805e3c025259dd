"""The machine: clock, paths, atomic files, settings, secrets, certificates, logs, hardware.

Everybody above comes in for what belongs to the computer rather than to the study.
"""
