"""Keeps this computer's own history of step times, one entry per epoch, and compares with it.

What an epoch shows is kept as this computer's pace too: so the estimate of how long the study takes
and the judgement of its speed come from one measure.
"""

from __future__ import annotations

import logging
import re
from typing import Final

from app.control.messages import SpeedView
from app.domain.errors import SetupProblem
from app.domain.study import StudyTerms
from app.site.context import SiteContext
from app.site.speed import FEWEST_STEPS, SpeedFacts, speed_view, with_epoch
from app.site.state import MeasuredPace, PaceEntry, PaceHistory, Plan
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
        key, joined = self._key(study.device), self._site.joined
        if key and joined is not None:
            terms, now = joined.terms, self._site.clock.now()
            plan = self._site.store.get(Plan)
            history = self._site.store.get(PaceHistory) or PaceHistory(items=())
            entry = PaceEntry(key=key, step_s=study.pace.step_s, at=now)
            pace = MeasuredPace(
                at=now,
                device=study.device,
                step_s=study.pace.step_s,
                # What is no training step: validation, and the checkpoint.
                validation_step_s=study.pace.overhead_s / max(1, terms.validation_iterations),
                configuration=terms.configuration,
                planner=terms.planner,
                scaled=False,
                planned=True,
                trained=True,
                plan="" if plan is None else plan.sha256,
            )
            try:
                self._site.store.put(with_epoch(history, entry), pace)
            except SetupProblem as exc:
                # The alarm about the disk says it; a history may lack an epoch.
                logger.info("the step time is not kept: %s", exc)

    def view(self) -> SpeedView:
        """Return how the present speed compares, or what was measured before training.

        Nothing while neither is known of this very plan.
        """
        study, joined = self._study, self._site.joined
        if joined is None:
            return SpeedView()
        if study.session is not None and study.session.stands:
            return self._judged(
                joined.terms,
                device=study.device,
                step_s=study.pace.step_s,
                steps=study.pace.steps,
                began_at=self._began_at,
            )
        pace = self._site.store.get(MeasuredPace)
        if pace is None or not pace.fits(joined.terms):
            return SpeedView()
        pace = pace.for_plan(self._site.store.get(Plan))
        if pace.trained or pace.rough:
            return SpeedView()
        return self._judged(
            joined.terms,
            device=pace.device,
            step_s=pace.step_s,
            steps=FEWEST_STEPS,
            began_at=pace.at,
        )

    def _judged(
        self, terms: StudyTerms, *, device: str, step_s: float, steps: int, began_at: float
    ) -> SpeedView:
        card = _CARD.fullmatch(device)
        return speed_view(
            SpeedFacts(
                key=self._key(device),
                step_s=step_s,
                steps=steps,
                began_at=began_at,
                card="" if card is None else card.group(1),
                planner=terms.planner,
                configuration=terms.configuration,
            ),
            self._site.store.get(PaceHistory) or PaceHistory(items=()),
        )

    def _key(self, device: str) -> str:
        """Name what a step's time depends on: another plan, device or number of threads is new.

        So is another batch, and another number of graphics cards, where they were chosen.
        """
        plan = self._site.store.get(Plan)
        if plan is None:
            return ""
        settings = self._site.settings
        key = f"{plan.sha256} {device} {settings.worker_threads}"
        if settings.batch_size is not None:
            key += f" {settings.batch_size} patches"
        return key if settings.gpus is None else f"{key} {settings.gpus} cards"

    def _last_epoch(self) -> int | None:
        epochs = self._site.board.snapshot.training.epochs
        return epochs[-1].epoch if epochs else None
