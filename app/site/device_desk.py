"""What this site computes with, how fast that is, and what a study therefore costs here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from app.control.messages import (
    CalibrationView,
    DevicesView,
    JobView,
    SetDevices,
)
from app.domain.errors import ErrorCode, FednnunetError, SetupProblem
from app.domain.study import StudyTerms
from app.federation.study_file import terms_from_json
from app.federation.traffic import duration
from app.jobs.events import Calibrated
from app.jobs.spec import CalibrateJob
from app.site.context import SiteContext
from app.site.estimates import seconds, span
from app.site.joining import read_invitation
from app.site.state import MeasuredPace, MemoryFailure, Plan
from app.site.working import run_for
from app.system.atomic import make_folder
from app.system.settings import load_settings, save_settings

logger = logging.getLogger(__name__)

MOST_GPUS: Final = 64
LARGEST_BATCH: Final = 4096


class DeviceDesk:
    """Owns the choice of devices and the calibration; one measurement at a time."""

    def __init__(
        self,
        site: SiteContext,
        *,
        computes: Callable[[], bool],
        rounds_left: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        self._site, self._changed = site, changed
        self._computes, self._rounds_left = computes, rounds_left
        self._task: asyncio.Task[None] | None = None
        self.job: JobView | None = None
        self.gpus_here = 0
        """Graphics cards of the last reading of the machine."""

    async def choose(self, command: SetDevices) -> None:
        """Keep the choice; it holds from the next round on.

        Raises:
            SetupProblem: there is no such choice, or it cannot be kept.
        """
        kept = await asyncio.to_thread(choose_devices, self._site.home.root, command)
        self._site.settings = msgspec.structs.replace(
            self._site.settings, device=kept.device, gpus=kept.gpus, batch_size=kept.batch_size
        )
        # Whoever chooses has seen the offer.
        self._site.store.drop(MemoryFailure)
        self._changed()

    async def calibrate(self, path: Path | None) -> None:
        """Begin to measure: the joined study, or that of an invitation file.

        Raises:
            SetupProblem: training or a measurement is under way, or there is no study.
            DataProblem, PeerMistake: the invitation cannot be used.
        """
        if self._task is not None and not self._task.done():
            raise SetupProblem("a measurement is under way", code=ErrorCode.STUDY_STATE)
        if self._computes():
            raise SetupProblem(
                "training is under way; its own pace is shown on the Training page",
                code=ErrorCode.STUDY_STATE,
            )
        joined = self._site.joined
        if path is not None:
            terms = terms_from_json((await asyncio.to_thread(read_invitation, path)).terms)
        elif joined is not None:
            terms = joined.terms
        else:
            raise SetupProblem("no study is joined; name an invitation", code=ErrorCode.STUDY_STATE)
        own = joined is not None and terms == joined.terms
        plan = self._site.store.get(Plan) if own else None
        self._task = asyncio.create_task(self._measure(terms, plan), name="calibration")

    async def stop(self) -> None:
        """Stop a measurement."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _measure(self, terms: StudyTerms, plan: Plan | None) -> None:
        site = self._site
        settings = site.settings
        usable = plan is not None and not plan.refused_code
        try:
            workspace = site.home.workspace if usable else site.home.root / "calibration"
            await asyncio.to_thread(make_folder, workspace)
            measured = await run_for(
                site,
                CalibrateJob(
                    terms=terms,
                    workspace=str(workspace),
                    plan=str(site.home.plan(plan.sha256)) if usable and plan is not None else None,
                    device=settings.device,
                    loader_processes=settings.loader_processes,
                    batch_size=settings.batch_size,
                    threads=settings.worker_threads,
                ),
                Calibrated,
                kind="calibrate",
                show=self._show_job,
                done=lambda made: f"{made.step_s:.2g} s per step on {made.device}",
            )
        except FednnunetError as exc:
            logger.warning("the measurement failed: %s", exc)
        except Exception:
            logger.exception("the measurement failed")
            self._show_job(
                JobView(
                    kind="calibrate",
                    running=False,
                    outcome="it failed by a mistake of this program; the log says more",
                    failed=True,
                )
            )
        else:
            site.store.put(
                MeasuredPace(
                    at=site.clock.now(),
                    device=measured.device,
                    step_s=measured.step_s,
                    validation_step_s=measured.validation_step_s,
                    configuration=terms.configuration,
                    planner=terms.planner,
                    scaled=measured.scaled,
                    planned=usable,
                    plan=plan.sha256 if usable and plan is not None else "",
                )
            )
        self._changed()

    def _show_job(self, job: JobView) -> None:
        self.job = job
        self._changed()

    # --- views ---------------------------------------------------------------------------------

    def devices(self, plan_batch_size: int) -> DevicesView:
        """Return what is chosen and offered; `plan_batch_size` 0 where there is no plan."""
        settings, failure = self._site.settings, self._site.store.get(MemoryFailure)
        offered: int | None = None
        sentence = ""
        if failure is not None:
            used = failure.batch_size or plan_batch_size
            if used > 1:
                offered = used // 2
                sentence = (
                    f"Round {failure.round} did not fit into memory and is not counted at this "
                    f"site. Steps of {offered} instead of {used} patches need less memory and learn "
                    "a little less evenly."
                )
            else:
                sentence = (
                    f"Round {failure.round} did not fit into memory and is not counted at this "
                    "site. Close other programs, or train on another device."
                )
        return DevicesView(
            device=settings.device,
            gpus=settings.gpus,
            gpus_here=self.gpus_here,
            batch_size=settings.batch_size,
            plan_batch_size=plan_batch_size,
            offered_batch_size=offered,
            sentence=sentence,
        )

    def calibration(self) -> CalibrationView | None:
        """Return what the last measurement says about the joined study."""
        joined, pace = self._site.joined, self._site.store.get(MeasuredPace)
        if joined is None or pace is None or not pace.fits(joined.terms):
            return None
        pace = pace.for_plan(self._site.store.get(Plan))
        left = self._rounds_left()
        lasts = duration(
            joined.terms,
            step_s=pace.step_s,
            validation_step_s=pace.validation_step_s,
            rounds_left=left,
        )
        about = "about " if pace.rough else ""
        # A measurement takes one card; training spreads a step over all that may be used.
        faster = " Several graphics cards make it faster." if self._may_share(pace) else ""
        return CalibrationView(
            at=pace.at,
            device=pace.device,
            seconds_per_step=pace.step_s,
            seconds_per_round=lasts.round_s,
            seconds_of_study=lasts.study_s,
            finish_at=self._site.clock.now() + lasts.study_s,
            sentence=(
                f"A step takes {about}{seconds(pace.step_s)} on {pace.device}: a round "
                f"{about}{span(lasts.round_s)}, the {left} rounds left {about}"
                f"{span(lasts.study_s)}, without waiting for other sites.{faster}"
            ),
            seconds_per_epoch=lasts.round_s / joined.terms.epochs_per_round,
            trained=pace.trained,
            rough=pace.rough,
        )

    def _may_share(self, pace: MeasuredPace) -> bool:
        return not pace.trained and self.gpus_here > 1 and pace.device.startswith("cuda")


def choose_devices(home: Path, command: SetDevices) -> SetDevices:
    """Keep a choice in a home's settings and return it.

    Raises:
        SetupProblem: there is no such choice, or it cannot be kept.
    """
    for what, number, most in (
        ("graphics cards", command.gpus, MOST_GPUS),
        ("patches in a step", command.batch_size, LARGEST_BATCH),
    ):
        if number is not None and not 1 <= number <= most:
            raise SetupProblem(
                f"the number of {what} is 1 to {most}, not {number}", code=ErrorCode.SETTING
            )
    device = command.device
    if device not in ("auto", "cpu", "cuda", "mps") and not (
        device.startswith("cuda:") and device[5:].isdigit()
    ):
        raise SetupProblem(
            f"the device is auto, cpu, cuda, cuda:N or mps, not {device[:40]!r}",
            code=ErrorCode.SETTING,
        )
    settings = msgspec.structs.replace(
        load_settings(home), device=device, gpus=command.gpus, batch_size=command.batch_size
    )
    save_settings(home, settings)
    return command
