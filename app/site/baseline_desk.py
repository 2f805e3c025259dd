"""Training this site alone, so that benefit or harm of the federation can be seen here.

Offered when the study does not need the computer: after its end, or while the operator has paused
it. What is wanted and what is done are on disk; a baseline that was cut off goes on from its
checkpoint as soon as it may. Nothing of it leaves the site.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from app.control.messages import BaselineView, JobView, ModelView
from app.domain.errors import ErrorCode, FednnunetError, SetupProblem
from app.domain.segmentation import ModelKind
from app.jobs.events import AnyEvent, EpochEnded, Exported, ModelDrawn, Preprocessed, Stepped
from app.site import baseline_jobs
from app.site.context import JoinedStudy, SiteContext
from app.site.schedule import Rest
from app.site.segmenting import export_job
from app.site.session import TrainingSession
from app.site.state import (
    Baseline,
    FinalModel,
    Folder,
    LocalFingerprint,
    Models,
    OperatorPause,
    Plan,
)
from app.site.working import run_for
from app.system.atomic import make_folder
from app.wire.messages import Directive, Step

logger = logging.getLogger(__name__)

KIND: Final = "baseline"
_OUR_FAULT: Final = "it failed by a mistake of this program; the log says more"


class Study(Protocol):
    """What this desk asks of the study desk."""

    @property
    def directive(self) -> Directive | None: ...
    @property
    def session(self) -> TrainingSession | None: ...
    @property
    def rest(self) -> Rest: ...


class BaselineDesk:
    """Owns one training session of its own; never while the study's session lives."""

    def __init__(self, site: SiteContext, *, study: Study, changed: Callable[[], None]) -> None:
        self._site, self._study, self._changed = site, study, changed
        self._task: asyncio.Task[None] | None = None
        self._session: TrainingSession | None = None
        self._job: JobView | None = None
        self._held = False

    @property
    def busy(self) -> bool:
        """True while it prepares or trains."""
        return self._task is not None and not self._task.done()

    # --- wishes --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Train the baseline, or go on with it.

        Raises:
            SetupProblem: it may not be trained now, with the reason.
        """
        why_not = self._why_not()
        if why_not:
            raise SetupProblem(why_not, code=ErrorCode.STUDY_STATE)
        plan = self._site.store.get(Plan)
        if plan is None or self.busy:
            return
        kept = self._site.store.get(Baseline)
        if kept is None or kept.sha256 != plan.sha256:
            # What was trained by another plan is no baseline of this study.
            shutil.rmtree(self._site.home.baseline, ignore_errors=True)
            kept = Baseline(sha256=plan.sha256, asked_at=self._site.clock.now())
        self._site.store.put(msgspec.structs.replace(kept, stopped=False))
        self.consider()

    def consider(self) -> None:
        """Go on with a wanted baseline if it may now be trained, make way if not.

        Cheap: called for every change.
        """
        if self._task is not None and self.busy and self._forbidden():
            self._task.cancel()  # it stops its worker itself
            return
        kept = self._site.store.get(Baseline)
        wanted = kept is not None and not kept.stopped and not kept.exported
        if wanted and not self._held and not self.busy and not self._why_not():
            self._task = asyncio.create_task(self._keep(), name="local baseline")

    async def halt(self) -> None:
        """Stop for now, because the study needs the computer; it goes on when it may again."""
        self._held = True
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait({self._task})
        finally:
            self._held = False

    async def close(self) -> None:
        """Stop because the service ends; the next one goes on."""
        await self.halt()
        self._held = True

    async def stop(self) -> None:
        """Stop until a person wants it again; the checkpoint stays."""
        kept = self._site.store.get(Baseline)
        if kept is not None:
            self._site.store.put(msgspec.structs.replace(kept, stopped=True))
        await self.halt()

    def view(self) -> BaselineView:
        """Return what a window shows."""
        kept, joined = self._site.store.get(Baseline), self._site.joined
        why_not = self._why_not()
        return BaselineView(
            offered=not why_not,
            why_not=why_not,
            job=self._job,
            epoch=0 if kept is None or not kept.epochs else kept.epochs[-1].epoch,
            total_epochs=0 if joined is None else joined.terms.fold_epochs,
            epochs=() if kept is None else kept.epochs,
            done=kept is not None and kept.exported,
        )

    # --- work ----------------------------------------------------------------------------------

    def _why_not(self) -> str:
        plan, kept = self._site.store.get(Plan), self._site.store.get(Baseline)
        if self._site.joined is None:
            return "this site takes part in no study, so there is no plan to train by"
        if len(self._site.joined.terms.passes) > 1:
            return (
                "a study of two passes trains ten networks in turn; this site alone would need as long "
                "again"
            )
        if plan is None or not plan.prepared:
            return "the study's plan has not arrived yet"
        if kept is not None and kept.exported and kept.sha256 == plan.sha256:
            return "this site's baseline is trained"
        session = self._study.session
        if session is not None and session.alive and not self._forbidden():
            return "the study's training is just stopping; try again in a minute"
        return self._forbidden()

    def _forbidden(self) -> str:
        """Say why nothing may train beside the study now; empty when it may."""
        store, directive = self._site.store, self._study.directive
        over = store.get(FinalModel) is not None or (
            directive is not None and directive.step in (Step.FINISH, Step.STOP)
        )
        if not over and store.get(OperatorPause) is None:
            return "the study needs this computer; pause it, or wait until it is over"
        if self._study.rest is Rest.NOW:
            return "the schedule of the Training page lets nothing train at this time"
        return ""

    async def _keep(self) -> None:
        """Work to the end and say how it ended, whatever happens."""
        outcome, failed = "the local baseline is trained", False
        try:
            await self._work()
        except asyncio.CancelledError:
            outcome = "stopped at its last checkpoint"
            raise
        except FednnunetError as exc:
            logger.warning("the local baseline failed: %s", exc.code.value)
            outcome, failed = str(exc), True
        except Exception:
            logger.exception("the local baseline failed")
            outcome, failed = _OUR_FAULT, True
        finally:
            session, self._session = self._session, None
            if session is not None:
                await session.stop()
            kept = self._site.store.get(Baseline)
            if failed and kept is not None:
                # Tried again only when a person wishes: it would fail in the same way.
                self._site.store.put(msgspec.structs.replace(kept, stopped=True))
            self._show(JobView(kind=KIND, running=False, outcome=outcome, failed=failed))

    async def _work(self) -> None:
        site, joined, plan = self._site, self._site.joined, self._site.store.get(Plan)
        if joined is None or plan is None:
            raise SetupProblem("there is no study any more", code=ErrorCode.STUDY_STATE)
        folder = await asyncio.to_thread(make_folder, site.home.baseline)
        weights = folder / "weights.safetensors"
        kept = self._kept()
        if not kept.trained or not weights.is_file():
            await self._train(joined, plan, folder, weights)
            self._site.store.put(msgspec.structs.replace(self._kept(), trained=True))
        await self._export(joined, plan, weights)

    async def _train(self, joined: JoinedStudy, plan: Plan, folder: Path, weights: Path) -> None:
        site, terms = self._site, joined.terms
        chosen, local = site.store.get(Folder), site.store.get(LocalFingerprint)
        if chosen is None:
            raise SetupProblem("no folder is chosen", code=ErrorCode.FOLDER_MISSING)
        plan_file, threads = site.home.plan(plan.sha256), site.settings.worker_threads
        await run_for(
            site,
            baseline_jobs.preparation(
                terms,
                plan=plan_file,
                folder=chosen.used,
                workspace=site.home.workspace,
                leave_out=() if local is None else local.leave_out,
                threads=threads,
            ),
            Preprocessed,
            kind=KIND,
            show=self._show,
        )
        first = folder / "first.safetensors"
        if not first.is_file():
            await run_for(
                site,
                baseline_jobs.first_model(terms, plan=plan_file, output=first, threads=threads),
                ModelDrawn,
                kind=KIND,
                show=self._show,
            )
        self._show(JobView(kind=KIND, running=True, what="starting the training worker"))
        session = self._session = TrainingSession(self._heard)
        await session.start(
            site.runner,
            baseline_jobs.session(
                terms,
                plan=plan_file,
                workspace=site.home.workspace,
                checkpoint=folder / "checkpoint.pth",
                device=site.settings.device,
                loader_processes=site.settings.loader_processes,
                threads=threads,
            ),
            ended=self._changed,
        )
        await session.ready()
        await session.train(baseline_jobs.whole_study(terms, base=first, update=weights))
        await session.finish()
        self._session = None

    async def _export(self, joined: JoinedStudy, plan: Plan, weights: Path) -> None:
        site = self._site
        await asyncio.to_thread(make_folder, site.home.models)
        output = site.home.models / f"baseline-{plan.sha256[:12]}.zip"
        done = await run_for(
            site,
            export_job(site, joined, plan=plan, weights={0: weights}, output=output),
            Exported,
            kind=KIND,
            show=self._show,
        )
        model = ModelView(
            name=f"{joined.terms.name}, trained at {joined.membership.site} alone",
            path=str(output),
            digest=done.sha256,
            round=0,
            kind=ModelKind.BASELINE,
        )
        models = site.store.get(Models) or Models(models=())
        others = tuple(other for other in models.models if other.path != model.path)
        site.store.put(
            Models(models=(model, *others)), msgspec.structs.replace(self._kept(), exported=True)
        )
        await asyncio.to_thread(shutil.rmtree, site.home.baseline, ignore_errors=True)

    def _heard(self, event: AnyEvent) -> None:
        joined = self._site.joined
        match event:
            case EpochEnded(record=record):
                kept = self._kept()
                before = tuple(one for one in kept.epochs if one.epoch < record.epoch)
                self._site.store.put(msgspec.structs.replace(kept, epochs=(*before, record)))
                self._changed()
            case Stepped(record=record) if joined is not None:
                steps = record.steps_per_epoch
                self._show(
                    JobView(
                        kind=KIND,
                        running=True,
                        done=(record.epoch - 1) * steps + record.step,
                        total=joined.terms.fold_epochs * steps,
                        what="training without the other sites",
                    )
                )
            case _:
                pass

    def _kept(self) -> Baseline:
        kept = self._site.store.get(Baseline)
        if kept is None:
            raise SetupProblem("the study was left", code=ErrorCode.STUDY_STATE)
        return kept

    def _show(self, job: JobView) -> None:
        self._job = job
        self._changed()
