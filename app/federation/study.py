"""A study as its coordinator knows it: told events, it decides what is to be done.

The study is level-triggered. What a site should do now is a pure function of the state
(`Study.instruction_for`), so a lost message is made good by the next instruction, and a message
that comes twice, late or out of order changes nothing it should not.

Use: `effects = study.handle(event, now)`; when `study.serial` grew, store `study.save()`; then
perform the effects. After a restart `Study.load(document)`, then perform `study.outstanding()`.
`now` is a monotonic time in seconds. Times are not saved: after a restart every deadline starts
anew, because no site could show progress to a coordinator that was away.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from app.domain.ids import SiteName, StudyId
from app.domain.study import StudyTerms
from app.federation import study_record, study_views
from app.federation.round_machine import RoundState
from app.federation.study_events import Effect, Event, TellSites
from app.federation.study_machine import StudyState
from app.federation.study_record import Presence, StudyRecord
from app.federation.study_turn import Turn, align_sites, average_round, merge_and_plan
from app.federation.study_views import Instruction, StudyStatus


class Study:
    """One study: its terms, its record and the presence of its sites."""

    def __init__(self, terms: StudyTerms, record: StudyRecord) -> None:
        self.terms: Final = terms
        self._record = record
        self._presence: dict[SiteName, Presence] = {}

    @classmethod
    def new(cls, terms: StudyTerms, study: StudyId) -> Study:
        """Open a study for enrolment."""
        return cls(terms, StudyRecord(study=study))

    @classmethod
    def load(cls, document: bytes) -> Study:
        """Go on with a saved study; no site is connected.

        Raises:
            OurMistake: the document is damaged or of another version.
        """
        return cls(*study_record.read(document))

    def save(self) -> bytes:
        """Everything that must survive a restart, as canonical JSON."""
        return study_record.write(self.terms, self._record)

    @property
    def record(self) -> StudyRecord:
        """The present state, frozen."""
        return self._record

    @property
    def serial(self) -> int:
        """Grows with every change that must be saved."""
        return self._record.serial

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        """Take an event; return what is to be done, in order.

        What a site sent never raises: what does not count becomes a `Refused`.

        Raises:
            UnexpectedStudyEvent: our own service told something that cannot have happened; the
                study is as it was before.
        """
        turn = Turn(self.terms, self._record, self._presence, now)
        turn.take(event)
        turn.settle()
        record = turn.finish()
        if record != self._record:
            record = replace(record, serial=self._record.serial + 1)
            turn.effects.append(TellSites())
            self._record = record
        self._presence = turn.presence
        return tuple(turn.effects)

    def outstanding(self) -> tuple[Effect, ...]:
        """Work of our own service that is under way: to be started again after a restart."""
        record = self._record
        if record.state is StudyState.PLANNING:
            return (merge_and_plan(record),)
        work: list[Effect] = []
        if record.state in (StudyState.PREPARING, StudyState.TRAINING):
            late = align_sites(record, self.terms)
            work += [] if late is None else [late]
        if (
            record.state is StudyState.TRAINING
            and record.round is not None
            and record.round.state is RoundState.AVERAGING
        ):
            work.append(average_round(record, self.terms))
        return tuple(work)

    def members(self) -> tuple[SiteName, ...]:
        """Every site that takes part, in order of admission."""
        return tuple(site.name for site in self._record.members)

    def instruction_for(self, site: SiteName, now: float) -> Instruction:
        """What this site should do now; STOP for one that is no member."""
        return study_views.instruction(self.terms, self._record, self._presence, site, now)

    def view(self, now: float) -> StudyStatus:
        """Everything the coordinator's people may see."""
        return study_views.status(self.terms, self._record, self._presence, now)
