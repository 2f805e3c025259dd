"""Keeps this computer's own history of step times, one entry per epoch, and compares with it."""

from __future__ import annotations

import logging
import re
from typing import Final

from app.control.messages import SpeedView
from app.domain.errors import SetupProblem
from app.site.context import SiteContext
from app.site.speed import SpeedFacts, speed_view, with_epoch
from app.site.state import PaceEntry, PaceHistory, Plan
from app.site.study_desk import StudyDesk

logger = logging.getLogger(__name__)

_CARD: Final = re.compile(r"cuda \((.*)\)")


class SpeedDesk:
    """Looks once a second whether an epoch has ended, and what the steps since then took."""

    def __init__(self, site: SiteContext, *, study: StudyDesk) -> None:
        self._site, self._study = site, study
        self._session: object = None
        self._began_at = 0.0
        self._epoch: int | None = None

    def sampled(self) -> None:
        """Take note of an epoch that has ended since the last time."""
        study = self._study
        if study.session is None:
            return
        if study.session is not self._session:
            self._session, self._began_at = study.session, self._site.clock.now()
            self._epoch = self._last_epoch()
        last = self._last_epoch()
        if last == self._epoch or not study.pace.step_s:
            return
        self._epoch = last
        key = self._key()
        if key:
            history = self._site.store.get(PaceHistory) or PaceHistory(items=())
            entry = PaceEntry(key=key, step_s=study.pace.step_s, at=self._site.clock.now())
            try:
                self._site.store.put(with_epoch(history, entry))
            except SetupProblem as exc:
                # The alarm about the disk says it; a history may lack an epoch.
                logger.info("the step time is not kept: %s", exc)

    def view(self) -> SpeedView:
        """Return how the present speed compares; nothing while nothing is trained."""
        study, joined = self._study, self._site.joined
        if joined is None or study.session is None or not study.session.stands:
            return SpeedView()
        card = _CARD.fullmatch(study.device)
        return speed_view(
            SpeedFacts(
                key=self._key(),
                step_s=study.pace.step_s,
                steps=study.pace.steps,
                began_at=self._began_at,
                card="" if card is None else card.group(1),
                planner=joined.terms.planner,
                configuration=joined.terms.configuration,
            ),
            self._site.store.get(PaceHistory) or PaceHistory(items=()),
        )

    def _key(self) -> str:
        """Name what a step's time depends on: another plan, device or number of threads is new."""
        plan = self._site.store.get(Plan)
        if plan is None:
            return ""
        settings = self._site.settings
        return f"{plan.sha256} {self._study.device} {settings.worker_threads}"

    def _last_epoch(self) -> int | None:
        epochs = self._site.board.snapshot.training.epochs
        return epochs[-1].epoch if epochs else None
