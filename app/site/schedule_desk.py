"""Keeps training to its schedule: asked once a second with the newest reading."""

from __future__ import annotations

from collections.abc import Callable

from app.control.messages import DeviceSample, ScheduleView
from app.site import schedule as rules
from app.site.context import SiteContext
from app.site.schedule import CardSharing, Rest, Verdict
from app.site.state import Schedule
from app.site.study_desk import StudyDesk


class ScheduleDesk:
    """Owns the schedule and tells the study desk when to rest.

    `trains` tells whether a round is trained right now: only then is there a checkpoint to wait for.
    """

    def __init__(
        self,
        site: SiteContext,
        *,
        study: StudyDesk,
        trains: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self._site, self._study, self._trains, self._changed = site, study, trains, changed
        self._sharing = CardSharing()
        self._others: tuple[str, ...] = ()
        self._said = Verdict(rest=Rest.NONE)

    @property
    def schedule(self) -> Schedule:
        """What the operator chose; at any time when nothing was chosen."""
        return self._site.store.get(Schedule) or Schedule()

    def start(self) -> None:
        """Follow the schedule before anything is begun; the card's other users come later."""
        self._follow()

    def choose(self, schedule: Schedule) -> None:
        """Keep an operator's choice and follow it; raises SetupProblem when it makes no sense."""
        self._site.store.put(rules.checked(schedule))
        self._follow()
        self._changed()

    def sampled(self, sample: DeviceSample) -> None:
        """Take note of who uses the cards, and of the time."""
        others: tuple[str, ...] = ()
        if self._site.settings.device != "cpu":
            others = tuple(sorted({name for card in sample.cards for name in card.others}))
        self._others = self._sharing.seen(others, now=self._site.clock.monotonic())
        self._follow()

    def view(self) -> ScheduleView:
        """Return the schedule as windows show it."""
        return rules.view(
            self.schedule,
            self._said,
            resting=self._study.rest is Rest.NOW,
            now=self._site.clock.now(),
        )

    def _follow(self) -> None:
        said = rules.verdict(self.schedule, now=self._site.clock.now(), others=self._others)
        rest = said.rest
        if rest is Rest.AT_CHECKPOINT and (self._study.rest is Rest.NOW or not self._trains()):
            rest = Rest.NOW
        if said != self._said or rest is not self._study.rest:
            self._said, self._study.rest = said, rest
            self._changed()
