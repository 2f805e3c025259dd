"""The watch over training: keeps what the stall rules look at, and asks them once a second."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from app.control.messages import Alarm, DeviceSample, LinkState
from app.site.context import SiteContext
from app.site.rounds import RoundState
from app.site.stall import LateSite, StallFacts, alarms
from app.site.study_desk import StudyDesk
from app.wire.messages import SiteSummary

_KEPT_READINGS: Final = 120
_LOOKED_AT_STEPS: Final = 20
_ASK_EVERY_S: Final = 5.0
_ANSWER_WITHIN_S: Final = 10.0
_AWAY: Final = frozenset({LinkState.CONNECTING, LinkState.OFFLINE})
_THERE: Final = frozenset({LinkState.CONNECTED, LinkState.PENDING})


class WatchDesk:
    """Owns the alarms. `sampled` asks for them; `listen` asks the coordinator for signs of life.

    `trains` tells whether a round is trained right now.
    """

    def __init__(
        self,
        site: SiteContext,
        *,
        study: StudyDesk,
        trains: Callable[[], bool],
        changed: Callable[[], None],
        ask_every_s: float = _ASK_EVERY_S,
        answer_within_s: float = _ANSWER_WITHIN_S,
    ) -> None:
        self._site, self._study, self._trains, self._changed = site, study, trains, changed
        self._ask_every_s, self._answer_within_s = ask_every_s, answer_within_s
        self._readings: deque[DeviceSample] = deque(maxlen=_KEPT_READINGS)
        self._link = LinkState.NONE
        self._away_at: float | None = None
        self._answered_at: float | None = None
        self._silent = False
        self.alarms: tuple[Alarm, ...] = ()

    def link_changed(self, state: LinkState) -> None:
        """Take note of the link's state."""
        now = self._site.clock.monotonic()
        self._link = state
        if state not in _AWAY:
            self._away_at = None
        elif self._away_at is None:
            self._away_at = now
        self._answered_at, self._silent = now, False

    def sampled(self, sample: DeviceSample) -> None:
        """Take note of a reading and look at everything anew."""
        self._readings.append(sample)
        found = alarms(self.facts(), self.alarms)
        if found != self.alarms:
            self.alarms = found
            self._changed()

    async def listen(self) -> None:
        """Ask the coordinator again and again whether it is there, until cancelled."""
        while True:
            await asyncio.sleep(self._ask_every_s)
            link = self._study.link
            if link is None or self._link not in _THERE:
                continue
            if await link.answers(self._answer_within_s):
                self._answered_at, self._silent = self._site.clock.monotonic(), False
            else:
                self._silent = True

    def facts(self) -> StallFacts:
        """Return what the stall rules look at, as it is now."""
        study, clock = self._study, self._site.clock
        now, step, task = clock.monotonic(), study.step, study.task
        spoilt = task is not None and task.state in (RoundState.SPOILT, RoundState.TOLD)
        done_at = study.delivered_at
        return StallFacts(
            now=clock.now(),
            training=self._trains() and study.session is not None and study.session.stands,
            device=study.device,
            sign_s=now - study.sign_at,
            # Before a round's first step its base may be scored, for as long as that takes.
            step_s=0.0 if step is None else study.pace.step_s,
            overhead_s=study.pace.overhead_s,
            epoch_ends=step is not None and step.step == step.steps_per_epoch,
            steps=self._site.board.snapshot.training.steps[-_LOOKED_AT_STEPS:],
            readings=tuple(self._readings),
            lost_s=None if study.lost_at is None else now - study.lost_at,
            round=0 if task is None else task.round,
            spoilt=task.code if task is not None and spoilt else "",
            link=self._link,
            away_s=None if self._away_at is None else now - self._away_at,
            silent_s=now - self._answered_at
            if self._silent and self._answered_at is not None and self._link in _THERE
            else None,
            waiting_s=None if done_at is None else now - done_at,
            late=self._late(),
        )

    def _late(self) -> tuple[LateSite, ...]:
        directive, joined = self._study.directive, self._site.joined
        if directive is None or joined is None:
            return ()
        return tuple(
            LateSite(name=site.name, silent_s=None if site.connected else float(site.silent_s))
            for site in directive.sites
            if site.name != joined.membership.site and _is_waited_for(site)
        )


def _is_waited_for(site: SiteSummary) -> bool:
    return site.state in ("working", "absent")
