"""Preparing a site's images by the shared plan, with nnU-Net's own preprocessor.

nnU-Net's `run` deletes all it finds and starts over; here its per-case method is driven, so that
cases that are done for the same plan and the same files are kept. Source files are only read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch.multiprocessing
from nnunetv2.utilities.crossval_split import generate_crossval_split
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from app.domain.dataset import Case, DatasetFolder
from app.domain.errors import DataProblem, ErrorCode, JobFailed, PeerMistake
from app.domain.folds import ALL_FOLDS, folds_of, passes_of
from app.nnunet.convert import Json, PlanDocument
from app.nnunet.environment import enter
from app.system.atomic import disk_errors, disk_problem, make_folder, write_atomic

_log = logging.getLogger(__name__)

FOLDS: Final = 5
# Beside the folder of the cases, in which nnU-Net tolerates no other kind of file.
_DONE_SUFFIX: Final = ".done.json"
# Less than one of blosc2's chunks.
_FULL_DISK_BYTES: Final = 6 << 20
_FILES_OF_CASE: Final = (".b2nd", "_seg.b2nd", ".pkl")

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which cases of a site train and which validate; with fold "all" every case does both.

    Where several folds are trained they are those of the first one, and `fold_cases` says how many
    train in each.
    """

    training: tuple[str, ...]
    validation: tuple[str, ...]
    fold_cases: tuple[int, ...] = ()


def preprocess(
    plan: PlanDocument,
    dataset: DatasetFolder,
    *,
    workspace: Path,
    configuration: str,
    fold: str,
    leave_out: frozenset[str] = frozenset(),
    seed: int = 12345,
    processes: int = 1,
    progress: Progress = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Split:
    """Prepare all labelled training cases but those in `leave_out`, and write what nnU-Net reads.

    That is dataset.json, plans, fingerprint and splits in nnU-Net's folders of `workspace`, and
    the preprocessed cases. Cases that no longer belong are removed from there. `fold` is as in a
    study file; what is prepared is the same for all. For a cascade they are prepared for each pass.

    Raises:
        DataProblem: no case is left, a single one for a cascade, or one cannot be prepared (the
            sentence names it).
        PeerMistake: the plans lack the configuration.
        SetupProblem: the workspace cannot be written.
        JobFailed: with JOB_STOPPED when `stopped` said so; finished cases are kept.
    """
    folders = enter(workspace)
    local = plan.local_dataset(dataset, leave_out)
    cases = [case for case in dataset.training if case.name in local["dataset"]]
    if not cases:
        raise DataProblem("no labelled case is left to train on", code=ErrorCode.TOO_FEW_CASES)
    passes = passes_of(configuration)
    if len(passes) > 1 and len(cases) == 1:
        raise DataProblem(
            "a study of two passes needs a second labelled case: no model that was not trained on the "
            "only one could segment it for the second pass",
            code=ErrorCode.TOO_FEW_CASES,
        )
    splits = splits_of([case.name for case in cases], seed=seed)
    names, folds = [case.name for case in cases], folds_of(fold)
    split = chosen_split(splits, names, folds[0])
    if len(folds) > 1:
        chosen = tuple(len(chosen_split(splits, names, one).training) for one in folds)
        split = replace(split, fold_cases=chosen)
    plans = plan.plans_for()
    base = folders.preprocessed_dataset
    _write_json(folders.raw_dataset / "dataset.json", local)
    _write_json(base / "dataset.json", local)
    _write_json(base / f"{plans['plans_name']}.json", plans)
    _write_json(base / "dataset_fingerprint.json", plan.fingerprint)
    _write_json(base / "splits_final.json", splits)
    for number, one in enumerate(passes):
        output = make_folder(prepared_folder(plan, one, base))
        stamps = {case.name: stamp(case, plan, one) for case in cases}
        done = keep_what_is_done(output, stamps, endings=_FILES_OF_CASE)
        waiting = [case for case in cases if case.name not in done]
        before, total = number * len(cases), len(passes) * len(cases)
        progress(before + len(done), total, "preparing images")
        task = CaseTask(plans=plans, dataset=local, configuration=one, output=str(output))
        for name in _prepare(task, waiting, processes=processes, stopped=stopped):
            done[name] = stamps[name]
            record_done(output, done)
            progress(before + len(done), total, "preparing images")
    return split


def prepared_folder(plan: PlanDocument, configuration: str, base: Path) -> Path:
    """Return where below `base` nnU-Net looks for the cases that are prepared for a configuration.

    Raises:
        PeerMistake: the plans lack the configuration (PLANS_REFUSED).
    """
    try:
        return base / str(plan.configuration(configuration)["data_identifier"])
    except KeyError as exc:
        raise PeerMistake(
            f"the plans have no configuration {configuration}", code=ErrorCode.PLANS_REFUSED
        ) from exc


def recorded_stamps(output: Path) -> dict[str, str]:
    """Return the cases that are done in a folder, each with what it was made of."""
    try:
        found = json.loads(_done_file(output).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()}


def keep_what_is_done(
    output: Path, stamps: Mapping[str, str], *, endings: Sequence[str]
) -> dict[str, str]:
    """Remove cases that are stale or no longer belong; return the stamps of those that stay.

    `stamps` are of the cases that are wanted; each has a file with every one of `endings`. nnU-Net
    takes every case that lies in the folder, so what does not belong must go.
    """
    recorded = recorded_stamps(output)
    done = {
        name: wanted
        for name, wanted in stamps.items()
        if recorded.get(name) == wanted
        and all((output / f"{name}{end}").is_file() for end in endings)
    }
    record_done(output, done)
    kept = {f"{name}{end}" for name in done for end in endings}
    with disk_errors(output):
        for entry in output.iterdir():
            if entry.name not in kept:
                entry.unlink()
    return done


def record_done(output: Path, done: Mapping[str, str]) -> None:
    """Note which cases are done in a folder, and what each was made of, beside it."""
    _write_json(_done_file(output), done)


def splits_of(names: list[str], *, seed: int) -> list[dict[str, list[str]]]:
    """Return five folds as splits_final.json has them.

    From five cases on they are nnU-Net's own (its seed is 12345). With fewer, fold f leaves out
    case f modulo the number of cases; a single case both trains and validates.
    """
    ordered = sorted(names)
    if len(ordered) >= FOLDS:
        own = generate_crossval_split(ordered, seed=seed, n_splits=FOLDS)
        return [
            {key: [str(name) for name in fold[key]] for key in ("train", "val")} for fold in own
        ]
    if len(ordered) == 1:
        return [{"train": ordered, "val": ordered} for _ in range(FOLDS)]
    left_out = [ordered[fold % len(ordered)] for fold in range(FOLDS)]
    return [{"train": [name for name in ordered if name != out], "val": [out]} for out in left_out]


def chosen_split(splits: list[dict[str, list[str]]], names: list[str], fold: str) -> Split:
    """Return the cases of a fold; "all" trains and validates on every case, as in nnU-Net."""
    if fold == ALL_FOLDS:
        everything = tuple(sorted(names))
        return Split(training=everything, validation=everything)
    chosen = splits[int(fold)]
    return Split(training=tuple(chosen["train"]), validation=tuple(chosen["val"]))


def stamp(case: Case, plan: PlanDocument, configuration: str) -> str:
    """Return what a prepared case depends on, as one digest: plan, files, sizes, times."""
    parts = [plan.digest, configuration]
    for path in (*case.channels, case.label or ""):
        try:
            status = Path(path).stat()
        except OSError as exc:
            raise DataProblem(
                f"case {case.name}: {Path(path).name} is no longer there",
                code=ErrorCode.CASE_UNREADABLE,
            ) from exc
        parts += [path, str(status.st_size), str(status.st_mtime_ns)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseTask:
    """What is the same for all cases; travels to the pool's processes."""

    plans: Json
    dataset: Json
    configuration: str
    output: str


def prepare_case(task: CaseTask, name: str) -> None:
    """Prepare one case with the plan's own preprocessor and write it where nnU-Net looks for it.

    Raises:
        DataProblem: nnU-Net could not read or prepare it.
        SetupProblem: the disk is full.
    """
    manager: Any = PlansManager(task.plans)
    configuration = manager.get_configuration(task.configuration)
    preprocessor = configuration.preprocessor_class(verbose=False)
    target = Path(task.output) / name
    files = task.dataset["dataset"][name]
    _remove_case(target)
    try:
        preprocessor.run_case_save(
            str(target), files["images"], files["label"], manager, configuration, task.dataset
        )
    except (OSError, MemoryError):
        raise
    # nnU-Net and SimpleITK raise bare RuntimeError, AssertionError and IndexError for bad images.
    except Exception as exc:
        # blosc2 says of a full disk only that an array could not be created.
        full = shutil.disk_usage(target.parent).free < _FULL_DISK_BYTES
        _remove_case(target)
        if full:
            raise disk_problem(OSError(errno.ENOSPC, "full"), target) from exc
        _log.exception("a case could not be prepared")
        raise DataProblem(
            f"case {name} could not be prepared: {type(exc).__name__}",
            code=ErrorCode.CASE_UNREADABLE,
        ) from exc


def _prepare(
    task: CaseTask, cases: list[Case], *, processes: int, stopped: Callable[[], bool]
) -> Iterator[str]:
    """Yield names of cases as they are done."""
    if processes <= 1 or len(cases) <= 1:
        for case in cases:
            _go_on_unless(stopped)
            prepare_case(task, case.name)
            yield case.name
        return
    # Spawned, never forked: torch and SimpleITK have threads in this process by now.
    context = torch.multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max_workers=min(processes, len(cases)), mp_context=context)
    try:
        running: dict[Future[None], str] = {
            pool.submit(prepare_case, task, case.name): case.name for case in cases
        }
        while running:
            _go_on_unless(stopped)
            for future in wait(running, timeout=1.0, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                future.result()
                yield name
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _go_on_unless(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise JobFailed("preparing the images was stopped", code=ErrorCode.JOB_STOPPED)


def _done_file(output: Path) -> Path:
    return output.with_name(output.name + _DONE_SUFFIX)


def _remove_case(target: Path) -> None:
    """Remove what a killed run may have left: blosc2 does not write over a half-written file."""
    for end in _FILES_OF_CASE:
        target.with_name(target.name + end).unlink(missing_ok=True)


def _write_json(path: Path, content: object) -> None:
    write_atomic(path, json.dumps(content, indent=1).encode())
