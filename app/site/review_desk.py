"""Segmenting cases with a model, and scoring where there are references. One run at a time.

A run is on disk before it begins. Stopped, failed or cut off by a crash it stays there as
unfinished; the same wish goes on with what is missing, because the worker finds what it made.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from app.control.messages import (
    BaselineView,
    Changed,
    JobView,
    ModelInspection,
    ModelView,
    ReviewView,
    RunState,
    RunView,
    SegmentCases,
)
from app.domain.dataset import Case
from app.domain.errors import ErrorCode, FednnunetError, SetupProblem
from app.domain.segmentation import CaseSource, SegmentationResult
from app.jobs.events import (
    AnyEvent,
    CaseSegmented,
    CasesFound,
    Exported,
    ModelInspected,
    Scored,
    Segmented,
)
from app.jobs.spec import InspectModelJob, ScoreJob, SegmentJob
from app.site.context import JoinedStudy, SiteContext
from app.site.segmenting import (
    RoundAverage,
    averages,
    cases_of,
    dataset_here,
    export_job,
    first_pass_weights,
    models_here,
    validation_cases,
)
from app.site.state import Folder, Models, Plan, Runs
from app.site.working import run_for
from app.system.atomic import make_folder

logger = logging.getLogger(__name__)

_OUR_FAULT = "it failed by a mistake of this program; the log says more"
_STOPPED = "stopped; what is finished is kept"


class ReviewDesk:
    """Owns the runs of this site, and the last look at a model file from elsewhere."""

    def __init__(self, site: SiteContext, *, changed: Callable[[], None]) -> None:
        self._site, self._changed = site, changed
        self._job: JobView | None = None
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._inspected: ModelInspection | None = None
        self._run: RunView | None = None
        self._found: tuple[Case, ...] = ()
        self._interrupted()

    @property
    def busy(self) -> bool:
        """True while a run is under way."""
        return self._task is not None and not self._task.done()

    # --- wishes --------------------------------------------------------------------------------

    def segment(self, command: SegmentCases) -> None:
        """Begin to segment, or go on with the same wish.

        Raises:
            SetupProblem: no such model, or a run is under way.
            DataProblem: there are no cases to segment.
        """
        if self.busy:
            raise SetupProblem("a segmentation is under way", code=ErrorCode.STUDY_STATE)
        model = self._model(command.model)
        cases = cases_of(self._site, command)
        source = CaseSource.FOLDER if command.folder is not None else command.source
        run = self._begun(model, source, command)
        self._put(run)
        self._found = cases
        self._task = asyncio.create_task(self._keep(run, cases), name="segmentation")

    def inspect(self, path: Path) -> None:
        """Look at a model file in a worker; `inspected` of the view tells what was found.

        Raises:
            SetupProblem: there is no such file.
        """
        if not path.is_absolute() or not path.is_file():
            raise SetupProblem("there is no such model file", code=ErrorCode.MODEL_FILE)
        if self._looking is not None:
            self._looking.cancel()
        self._inspected = None
        self._looking = asyncio.create_task(self._look(path), name="look at a model")

    def forget(self, serial: int) -> None:
        """Remove a run with its files.

        Raises:
            SetupProblem: it is under way.
        """
        runs = self._runs()
        run = next((one for one in runs.runs if one.serial == serial), None)
        if run is None:
            return
        if run.state is RunState.RUNNING:
            raise SetupProblem("this run is under way; stop it first", code=ErrorCode.STUDY_STATE)
        others = tuple(one for one in runs.runs if one.serial != serial)
        self._site.store.put(msgspec.structs.replace(runs, runs=others))
        shutil.rmtree(run.output, ignore_errors=True)
        self._changed()

    async def stop(self) -> None:
        """Stop the run; what is segmented stays on disk."""
        for task in (self._task, self._looking):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    # --- a run ---------------------------------------------------------------------------------

    def _model(self, path: str) -> ModelView:
        known = next((one for one in models_here(self._site) if one.path == path), None)
        if known is not None:
            return known
        if not Path(path).is_absolute() or not Path(path).is_file():
            raise SetupProblem("there is no such model", code=ErrorCode.MODEL_FILE)
        return ModelView(name=Path(path).name, path=path, digest="", round=0)

    def _begun(self, model: ModelView, source: CaseSource, command: SegmentCases) -> RunView:
        """Return the run of this wish: a new one, or the earlier one that it goes on with."""
        runs = self._runs()
        wish = (model.path, source, command.folder, command.mirroring)
        for run in runs.runs:
            if (run.model.path, run.source, run.folder, run.mirroring) == wish:
                serial, output = run.serial, run.output
                break
        else:
            serial = runs.serial + 1
            output = str(self._site.home.segmentations / f"{serial:04d}")
        return RunView(
            serial=serial,
            model=model,
            source=source,
            folder=command.folder,
            mirroring=command.mirroring,
            device=command.device or self._site.settings.device,
            begun_at=self._site.clock.now(),
            state=RunState.RUNNING,
            output=output,
        )

    async def _keep(self, run: RunView, cases: tuple[Case, ...]) -> None:
        """Run to the end and say how it ended, whatever happens."""
        outcome, failed = "", True
        try:
            outcome = await self._segment_and_score(run, cases)
            failed = False
        except FednnunetError as exc:
            logger.warning("the segmentation failed: %s", exc.code.value)
            outcome = str(exc)
        except asyncio.CancelledError:
            outcome, failed = _STOPPED, False
            raise
        except Exception:
            logger.exception("the segmentation failed")
            outcome = _OUR_FAULT
        finally:
            done, self._run = self._run, None
            if done is not None:
                state = done.state if done.state is RunState.DONE else RunState.UNFINISHED
                self._put(msgspec.structs.replace(done, state=state, outcome=outcome))
            kind = "segment" if self._job is None else self._job.kind
            self._show_job(JobView(kind=kind, running=False, outcome=outcome, failed=failed))

    async def _segment_and_score(self, run: RunView, cases: tuple[Case, ...]) -> str:
        site = self._site
        self._run = run
        model = await self._ready_model(run.model)
        folder = site.store.get(Folder)
        dataset = dataset_here(site)
        output = await asyncio.to_thread(make_folder, Path(run.output))
        segmented = await run_for(
            site,
            SegmentJob(
                model=model.path,
                cases=cases,
                output=str(output),
                folder=run.folder,
                workspace=None if run.folder is None else str(output),
                confirmed=None if run.folder or folder is None else folder.confirmed,
                labels=None if run.folder or dataset is None else dataset.description.labels,
                device=run.device,
                mirroring=run.mirroring,
                threads=site.settings.worker_threads,
            ),
            Segmented,
            kind="segment",
            show=self._show_job,
            heard=self._heard,
            done=lambda made: f"{len(made.results)} cases segmented",
        )
        results = _with_references(segmented.results, self._found)
        labels = self._run.labels
        if not labels and dataset is not None:
            labels = dataset.description.labels
        if results and not model.digest:
            model = msgspec.structs.replace(model, digest=results[0].model_digest)
        self._run = msgspec.structs.replace(
            self._run,
            model=model,
            results=results,
            labels=labels,
            cases=tuple(one.case for one in results),
        )
        self._put(self._run)
        scored = await self._score(results, labels, output)
        self._run = msgspec.structs.replace(
            self._run, scores=scored.scores, volumes=scored.volumes, state=RunState.DONE
        )
        with_reference = len(scored.scores)
        return (
            f"{with_reference} cases scored"
            if with_reference
            else f"{len(results)} cases segmented"
        )

    async def _ready_model(self, model: ModelView) -> ModelView:
        """Return the model with its zip on disk; that of a round's average is made now."""
        average = next((a for a in averages(self._site) if a.view.path == model.path), None)
        if average is None or Path(model.path).is_file():
            return model
        site, joined, plan = self._site, self._site.joined, self._site.store.get(Plan)
        if joined is None or plan is None:
            raise SetupProblem("there is no study any more", code=ErrorCode.STUDY_STATE)
        output = Path(model.path)
        await asyncio.to_thread(make_folder, output.parent)
        done = await run_for(
            site,
            export_job(
                site,
                joined,
                plan=plan,
                weights=self._with_first_pass(joined, average),
                output=output,
            ),
            Exported,
            kind="segment",
            show=self._show_job,
            done=lambda _: "the model is exported",
        )
        made = msgspec.structs.replace(model, digest=done.sha256)
        known = site.store.get(Models) or Models(models=())
        # Before the others: the final model stays last, it is offered first.
        site.store.put(Models(models=(made, *(m for m in known.models if m.path != made.path))))
        return made

    def _with_first_pass(self, joined: JoinedStudy, average: RoundAverage) -> dict[int, Path]:
        """Return an average by its position in the study, with what it reads in a second pass."""
        place = joined.terms.place_of(average.view.round)
        first = first_pass_weights(self._site, joined) if place.stage > 1 else {}
        return {**first, place.index: average.weights}

    async def _score(
        self,
        results: tuple[SegmentationResult, ...],
        labels: dict[str, int | tuple[int, ...]],
        output: Path,
    ) -> Scored:
        return await run_for(
            self._site,
            ScoreJob(
                pairs=tuple(
                    (one.case, one.reference, one.prediction)
                    for one in results
                    if one.reference is not None
                ),
                alone=tuple((one.case, one.prediction) for one in results if one.reference is None),
                labels=labels,
                output=str(output / "scores.json"),
                cache=str(self._site.home.scores),
                threads=self._site.settings.worker_threads,
            ),
            Scored,
            kind="score",
            show=self._show_job,
            done=lambda made: f"{len(made.scores)} cases scored",
        )

    def _heard(self, event: AnyEvent) -> None:
        run = self._run
        if run is None:
            return
        match event:
            case CasesFound(cases=cases, labels=labels, origins=origins):
                self._found = cases
                self._run = msgspec.structs.replace(
                    run, cases=tuple(one.name for one in cases), labels=labels, origins=origins
                )
            case CaseSegmented(result=result):
                self._run = msgspec.structs.replace(run, results=(*run.results, result))
            case _:
                return
        self._changed()

    async def _look(self, path: Path) -> None:
        try:
            found = await run_for(
                self._site,
                InspectModelJob(model=str(path), threads=self._site.settings.worker_threads),
                ModelInspected,
                kind="inspect",
                show=lambda job: None if self.busy else self._show_job(job),
                done=lambda _: "the model can be used",
            )
        except FednnunetError as exc:
            self._inspected = ModelInspection(path=str(path), problem=str(exc), remedy=exc.remedy)
        else:
            self._inspected = ModelInspection(
                path=str(path),
                digest=found.digest,
                channels=found.channels,
                labels=found.labels,
                configuration=found.configuration,
                folds=found.folds,
                trainer=found.trainer,
            )
        self._changed()

    # --- what is kept and shown ----------------------------------------------------------------

    def _runs(self) -> Runs:
        return self._site.store.get(Runs) or Runs(serial=0, runs=())

    def _put(self, run: RunView) -> None:
        """Keep a run as the newest, in the place of an earlier state of it."""
        runs = self._runs()
        others = tuple(one for one in runs.runs if one.serial != run.serial)
        self._site.store.put(
            Runs(serial=max(runs.serial, run.serial), runs=(*others, run)),
        )
        self._changed()

    def _interrupted(self) -> None:
        """Mark what a crash cut off; nothing is under way when the service starts."""
        runs = self._runs()
        if any(one.state is RunState.RUNNING for one in runs.runs):
            self._site.store.put(
                msgspec.structs.replace(
                    runs,
                    runs=tuple(
                        msgspec.structs.replace(
                            one,
                            state=RunState.UNFINISHED,
                            outcome="cut off when the program ended; what was finished is kept",
                        )
                        if one.state is RunState.RUNNING
                        else one
                        for one in runs.runs
                    ),
                )
            )

    def _show_job(self, job: JobView) -> None:
        self._job = job
        self._changed()

    def show(self, baseline: BaselineView) -> None:
        """Put the Review section on the board as it is now, with what the baseline desk shows."""
        site = self._site
        kept = self._runs().runs
        if self._run is not None:
            kept = tuple(one for one in kept if one.serial != self._run.serial)
            kept = (*kept, self._run)
        newest = next((one for one in reversed(kept) if one.results), None)
        dataset = dataset_here(site)
        site.board.change(
            Changed(
                review=ReviewView(
                    job=self._job,
                    models=models_here(site),
                    results=() if newest is None else newest.results,
                    scores=() if newest is None else newest.scores,
                    labels={} if newest is None else newest.labels,
                    output=None if newest is None else newest.output,
                    runs=kept,
                    held_out=0 if dataset is None else len(dataset.held_out),
                    validation=len(validation_cases(site)),
                    inspected=self._inspected,
                    baseline=baseline,
                )
            )
        )


def _with_references(
    results: tuple[SegmentationResult, ...], cases: tuple[Case, ...]
) -> tuple[SegmentationResult, ...]:
    """Return the results with each case's own label as reference where it has one."""
    references = {case.name: case.label for case in cases}
    return tuple(
        replace(result, reference=result.reference or references.get(result.case))
        for result in results
    )
