"""Segmenting held-out cases or a folder with a model, and scoring where there are references."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from app.control.messages import Changed, JobView, ReviewView, SegmentCases
from app.datasets.scan import scan
from app.domain.dataset import Case, DatasetFolder
from app.domain.errors import DataProblem, ErrorCode, FednnunetError, SetupProblem
from app.domain.segmentation import CaseScore, SegmentationResult
from app.jobs.events import AnyEvent, CaseSegmented, Scored, Segmented
from app.jobs.spec import ScoreJob, SegmentJob
from app.site.context import SiteContext
from app.site.state import CheckedFolder, Models, Segmentations
from app.site.working import run_for
from app.system.atomic import make_folder

logger = logging.getLogger(__name__)


class ReviewDesk:
    """Owns the segmentations of this site; one run at a time."""

    def __init__(self, site: SiteContext, *, changed: Callable[[], None]) -> None:
        self._site, self._changed = site, changed
        self._job: JobView | None = None
        self._task: asyncio.Task[None] | None = None
        self._coming: tuple[SegmentationResult, ...] = ()

    @property
    def busy(self) -> bool:
        """True while a run is under way."""
        return self._task is not None and not self._task.done()

    def segment(self, command: SegmentCases) -> None:
        """Begin to segment.

        Raises:
            SetupProblem: no such model, or a run is under way.
            DataProblem: there are no cases to segment.
        """
        if self.busy:
            raise SetupProblem("a segmentation is under way", code=ErrorCode.STUDY_STATE)
        models = self._site.store.get(Models) or Models(models=())
        model = next((one for one in models.models if one.path == command.model), None)
        path = Path(command.model)
        if model is None and not path.is_file():
            raise SetupProblem("there is no such model", code=ErrorCode.MODEL_FILE)
        if command.folder is not None and not Path(command.folder).is_absolute():
            raise DataProblem(
                f"{command.folder} is not an absolute path", code=ErrorCode.FOLDER_MISSING
            )
        checked = self._site.store.get(CheckedFolder)
        dataset = None if checked is None else checked.dataset
        if command.folder is None and (dataset is None or not dataset.held_out):
            raise DataProblem("this folder has no held-out cases", code=ErrorCode.FOLDER_EMPTY)
        self._task = asyncio.create_task(self._run(command, dataset), name="segmentation")

    async def stop(self) -> None:
        """Stop the run; what is segmented stays on disk."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self, command: SegmentCases, dataset: DatasetFolder | None) -> None:
        try:
            await self._segment_and_score(command, dataset)
        except FednnunetError as exc:
            logger.warning("the segmentation failed: %s", exc)
            self._show_job(JobView(kind="segment", running=False, outcome=str(exc), failed=True))
        except Exception:
            logger.exception("the segmentation failed")
            self._show_job(
                JobView(
                    kind="segment",
                    running=False,
                    outcome="it failed by a mistake of this program; the log says more",
                    failed=True,
                )
            )
        finally:
            self._coming = ()
            self._changed()

    async def _segment_and_score(
        self, command: SegmentCases, dataset: DatasetFolder | None
    ) -> None:
        site = self._site
        if command.folder is not None:
            dataset = await asyncio.to_thread(scan, Path(command.folder))
            cases = (*dataset.training, *dataset.held_out)
        else:
            cases = () if dataset is None else dataset.held_out
        if dataset is None or not cases:
            raise DataProblem("there is nothing to segment", code=ErrorCode.FOLDER_EMPTY)
        output = await asyncio.to_thread(_new_folder, site.home.segmentations)
        segmented = await run_for(
            site,
            SegmentJob(
                model=command.model,
                cases=tuple(cases),
                output=str(output),
                device=site.settings.device,
                mirroring=command.mirroring,
                threads=site.settings.worker_threads,
            ),
            Segmented,
            kind="segment",
            show=self._show_job,
            heard=self._heard,
            done=lambda made: f"{len(made.results)} cases segmented",
        )
        results = _with_references(segmented.results, cases)
        labels = dataset.description.labels
        site.store.put(Segmentations(output=str(output), results=results, scores=(), labels=labels))
        self._changed()
        scores = await self._score(results, labels, output)
        site.store.put(
            Segmentations(output=str(output), results=results, scores=scores, labels=labels)
        )

    async def _score(
        self,
        results: tuple[SegmentationResult, ...],
        labels: dict[str, int | tuple[int, ...]],
        output: Path,
    ) -> tuple[CaseScore, ...]:
        pairs = tuple(
            (result.case, result.reference, result.prediction)
            for result in results
            if result.reference is not None
        )
        if not pairs:
            return ()
        scored = await run_for(
            self._site,
            ScoreJob(
                pairs=pairs,
                labels=labels,
                output=str(output / "scores.json"),
                threads=self._site.settings.worker_threads,
            ),
            Scored,
            kind="score",
            show=self._show_job,
            done=lambda made: f"{len(made.scores)} cases scored",
        )
        return scored.scores

    def _heard(self, event: AnyEvent) -> None:
        if isinstance(event, CaseSegmented):
            self._coming = (*self._coming, event.result)
            self._changed()

    def _show_job(self, job: JobView) -> None:
        self._job = job
        self._changed()

    def show(self) -> None:
        """Put the Review section on the board as it is now."""
        store = self._site.store
        last, models = store.get(Segmentations), store.get(Models)
        coming = self._coming
        self._site.board.change(
            Changed(
                review=ReviewView(
                    job=self._job,
                    models=() if models is None else models.models,
                    results=coming or (() if last is None else last.results),
                    scores=() if coming or last is None else last.scores,
                    labels={} if last is None else last.labels,
                    output=None if last is None else last.output,
                )
            )
        )


def _with_references(
    results: tuple[SegmentationResult, ...], cases: tuple[Case, ...]
) -> tuple[SegmentationResult, ...]:
    """Return the results with each case's own label as reference where it has one."""
    references = {case.name: case.label for case in cases}
    return tuple(
        SegmentationResult(
            case=result.case,
            channels=result.channels,
            prediction=result.prediction,
            reference=result.reference or references.get(result.case),
            model_digest=result.model_digest,
            warnings=result.warnings,
        )
        for result in results
    )


def _new_folder(parent: Path) -> Path:
    """Make the next numbered folder; earlier segmentations stay where they are."""
    make_folder(parent)
    numbers = [int(entry.name) for entry in parent.iterdir() if entry.name.isdigit()]
    return make_folder(parent / f"{max(numbers, default=0) + 1:04d}")
