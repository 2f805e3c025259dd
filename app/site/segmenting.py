"""What a run over cases is made of: which cases, which model file, which earlier run it goes on."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.control.messages import ModelView, SegmentCases
from app.domain.dataset import Case, DatasetFolder
from app.domain.errors import DataProblem, ErrorCode, SetupProblem
from app.domain.folds import SINGLE_FOLDS
from app.domain.segmentation import CaseSource, ModelKind
from app.domain.training import HeldOutScore
from app.jobs.spec import ExportJob
from app.jobs.workspace import Workspace
from app.site.context import JoinedStudy, SiteContext
from app.site.rounds import RoundTask
from app.site.state import (
    BestAverage,
    CheckedFolder,
    FinalModel,
    FirstPass,
    LocalFingerprint,
    Models,
    Plan,
    Task,
)
from app.system.atomic import disk_errors, make_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundAverage:
    """The average that the present round began with, as it lies here."""

    view: ModelView
    weights: Path


def round_average(site: SiteContext) -> RoundAverage | None:
    """Return the newest average that this site has, None before the first and after the last."""
    task, joined = site.store.get(Task), site.joined
    if task is None or joined is None or joined.terms.place_of(task.task.round).begins:
        return None  # what a fold begins from is a first model, which nobody has trained
    if site.store.get(FinalModel) is not None:
        return None  # the study has its model
    base, home = task.task.base, site.home
    # Where only a part is shared, the model is the average with this site's own rest.
    weights = home.own_base(task.task.round, base) if site.asymmetric else home.weights(base)
    if not weights.is_file():
        return None
    number = task.task.round - 1
    return RoundAverage(
        view=ModelView(
            name=f"{joined.terms.name}, average after {joined.terms.place_of(number)}",
            path=str(site.home.models / f"round-{number:04d}-{task.task.base[:12]}.zip"),
            digest="",
            round=number,
            kind=ModelKind.ROUND,
        ),
        weights=weights,
    )


def keep_if_best(
    site: SiteContext, task: RoundTask, base: Path, score: HeldOutScore | None
) -> None:
    """Keep the average that a round began with, if no earlier one did better here.

    `score` is on this site's own validation cases; None where the study does not ask for it. They
    are others in every fold, so averages of different folds are not compared: the newest fold's best
    is kept. A full disk costs this model and nothing else: the round's own work goes on.
    """
    dice, joined = None if score is None else score.mean, site.joined
    best = site.store.get(BestAverage)
    if dice is None or joined is None:
        return
    place = joined.terms.place_of(task.round)
    same_fold = best is not None and joined.terms.place_of(best.round).index == place.index
    if place.begins or (best is not None and same_fold and best.dice >= dice):
        return
    kept = site.home.models / f"best-{task.round - 1:04d}-{task.base[:12]}.safetensors"
    try:
        _keep_file(base, kept)
    except SetupProblem as exc:
        logger.info("the best average is not kept: %s", exc.code.value)
        return
    site.store.put(BestAverage(round=task.round - 1, file=kept.name, dice=dice))
    if best is not None and best.file != kept.name:
        (site.home.models / best.file).unlink(missing_ok=True)


def _keep_file(source: Path, target: Path) -> None:
    """Give a file that will be removed, and never changed, a second name: that takes no time."""
    make_folder(target.parent)
    with disk_errors(target):
        if target.exists():
            return
        try:
            target.hardlink_to(source)
        except OSError:  # no hard links on this disk
            scratch = target.with_suffix(".part")
            shutil.copyfile(source, scratch)
            scratch.replace(target)


def best_average(site: SiteContext) -> RoundAverage | None:
    """Return the average that did best on this site's validation cases, None while none is kept."""
    best, joined = site.store.get(BestAverage), site.joined
    if best is None or joined is None:
        return None
    weights = site.home.models / best.file
    zipped = weights.with_suffix(".zip")
    if not weights.is_file() and not zipped.is_file():
        return None
    return RoundAverage(
        view=ModelView(
            name=f"{joined.terms.name}, best average here, after "
            f"{joined.terms.place_of(best.round)} (Dice {best.dice:.2f})",
            path=str(zipped),
            digest="",
            round=best.round,
            kind=ModelKind.BEST,
        ),
        weights=weights,
    )


def averages(site: SiteContext) -> tuple[RoundAverage, ...]:
    """Return the averages whose zip is made when it is first used."""
    found = (round_average(site), best_average(site))
    return tuple(one for one in found if one is not None)


def models_here(site: SiteContext) -> tuple[ModelView, ...]:
    """Return every model of the study that can segment here; the final one is last."""
    kept = site.store.get(Models)
    models = () if kept is None else kept.models
    known = {one.path for one in models}
    lazy = tuple(one.view for one in averages(site) if one.view.path not in known)
    return (*lazy, *models)


def export_job(
    site: SiteContext, joined: JoinedStudy, *, plan: Plan, weights: Mapping[int, Path], output: Path
) -> ExportJob:
    """Return the job that makes a model zip by the study's plan.

    `weights` are of one or several trainings, by their position in the study. Those of a cascade's
    first pass alone make a model of their own; beside the second pass they are what that one reads.
    """
    trainings = joined.terms.trainings
    last = max(trainings[index].stage for index in weights)
    found = [(trainings[index], str(path)) for index, path in sorted(weights.items())]
    return ExportJob(
        plan=str(site.home.plan(plan.sha256)),
        folds={one.fold: path for one, path in found if one.stage == last},
        first_pass={one.fold: path for one, path in found if one.stage < last},
        configuration=joined.terms.passes[last],
        model_name=joined.terms.name,
        output=str(output),
        threads=site.settings.worker_threads,
    )


def first_pass_weights(site: SiteContext, joined: JoinedStudy) -> dict[int, Path]:
    """Return the models that segmented the training cases for the second pass, by their position.

    Empty before they did, and where the study is no cascade.
    """
    done = site.store.get(FirstPass)
    if done is None:
        return {}
    files = site.home.own_model if site.asymmetric else site.home.weights
    return {joined.terms.folds.index(fold): files(sha256) for fold, sha256 in done.models}


def dataset_here(site: SiteContext) -> DatasetFolder | None:
    """Return the checked folder of this site."""
    checked = site.store.get(CheckedFolder)
    return None if checked is None else checked.dataset


def validation_cases(site: SiteContext) -> tuple[Case, ...]:
    """Return the cases that the study's fold keeps out of training here, by nnU-Net's own split.

    None with fold "all", which trains on every case, with several folds, which do so together, and
    before the images are prepared.
    """
    joined, dataset = site.joined, dataset_here(site)
    if joined is None or dataset is None or joined.terms.fold not in SINGLE_FOLDS:
        return ()
    splits = Workspace(root=site.home.workspace).preprocessed_dataset / "splits_final.json"
    try:
        fold = json.loads(splits.read_bytes())[int(joined.terms.fold)]
        names, trained_on = set(fold["val"]), set(fold["train"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        logger.info("the split of the study cannot be read")
        return ()
    local = site.store.get(LocalFingerprint)
    left_out = set() if local is None else set(local.leave_out)
    return tuple(case for case in dataset.training if case.name in names - trained_on - left_out)


def cases_of(site: SiteContext, command: SegmentCases) -> tuple[Case, ...]:
    """Return the cases that a wish is about; none for a folder, which the worker looks at.

    Raises:
        DataProblem: there are none, with the reason.
    """
    if command.folder is not None:
        if not Path(command.folder).is_absolute():
            raise DataProblem(
                f"{command.folder} is not an absolute path", code=ErrorCode.FOLDER_MISSING
            )
        return ()
    if command.source is CaseSource.VALIDATION:
        cases = validation_cases(site)
        if not cases:
            raise DataProblem(
                "the study keeps no case of this site out of training; "
                "choose the held-out cases or a folder",
                code=ErrorCode.FOLDER_EMPTY,
            )
        return cases
    dataset = dataset_here(site)
    if dataset is None or not dataset.held_out:
        raise DataProblem("this folder has no held-out cases", code=ErrorCode.FOLDER_EMPTY)
    return dataset.held_out
