"""Finding what can be segmented in a folder: a data set, loose images, or DICOM series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from app.datasets.confirmation import read_confirmation
from app.datasets.description import DESCRIPTION_NAME
from app.datasets.dicom_cases import DICOM, GridGroup, grid_groups, propose_dicom
from app.datasets.dicom_images import read_series, write_image
from app.datasets.dicom_index import DicomTree, Series, index
from app.datasets.scan import scan, unlabelled_cases
from app.domain.dataset import Case
from app.domain.errors import DataProblem, ErrorCode, JobFailed
from app.system.atomic import make_folder

Progress = Callable[[int, int, str], None]
Labels = dict[str, int | tuple[int, ...]]

_ENDING = ".nii.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCases:
    """Cases that can be segmented.

    `labels` is what their references mean, None where there are none or nobody says. For cases
    that came as DICOM `slices` has the files of their first channel in the order of the slices,
    and `origins` the place of that series in the folder.
    """

    cases: tuple[Case, ...]
    labels: Labels | None = None
    slices: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)


def cases_to_segment(
    folder: Path,
    workspace: Path,
    *,
    channel_names: Sequence[str],
    progress: Progress = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> FoundCases:
    """Find every case in `folder` that a model with these channels could take.

    DICOM series are converted below `workspace`; the folder itself is only read.

    Raises:
        DataProblem: there is nothing to segment, with the reason.
        JobFailed: JOB_STOPPED when `stopped` said so.
    """
    if (folder / DESCRIPTION_NAME).is_file():
        dataset = scan(folder)
        return FoundCases(
            cases=(*dataset.training, *dataset.held_out), labels=dataset.description.labels
        )
    try:
        return FoundCases(cases=unlabelled_cases(folder))
    except DataProblem as problem:
        if problem.code is not ErrorCode.NO_CASES:
            raise
        nothing = problem
    tree = index(folder, progress=progress, stopped=stopped)
    if not tree.series:
        raise nothing
    return _from_series(
        folder,
        tree,
        workspace,
        channel_names=channel_names,
        progress=progress,
        stopped=stopped,
    )


def slices_of_confirmed(
    workspace: Path,
    *,
    progress: Progress = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, tuple[Path, ...]]:
    """Return the DICOM files from which the cases of a confirmed data set were made, by case.

    Empty for a data set that was not made from DICOM. Cases whose series are no longer where they
    were are left out.

    Raises:
        DataProblem: the record of the confirmation is damaged.
        JobFailed: JOB_STOPPED when `stopped` said so.
    """
    confirmation = read_confirmation(workspace)
    if confirmation is None or confirmation.layout != DICOM:
        return {}
    source = Path(confirmation.source)
    tree = index(source, progress=progress, stopped=stopped)
    proposal = propose_dicom(source, tree)
    if proposal is None:
        return {}
    series = {one.path: one for one in tree.series}
    found = {}
    known = {one.name: one.found for one in confirmation.cases}
    for case in proposal.cases:
        first = next((one for one in case.channels if one is not None), None)
        # The proposal names cases by their order: the place must be the same as well.
        if first is not None and first.path in series and known.get(case.name) == case.found:
            found[case.name] = _files(source, series[first.path])
    return found


def _from_series(
    folder: Path,
    tree: DicomTree,
    workspace: Path,
    *,
    channel_names: Sequence[str],
    progress: Progress,
    stopped: Callable[[], bool],
) -> FoundCases:
    chosen: list[tuple[Series, ...]] = []
    for group in grid_groups(tree.series):
        chosen += _channels_of(group, channel_names)
    if not chosen:
        faults = sorted({one.fault for one in tree.series if one.fault})
        why = f"; {faults[0]}" if faults else ""
        raise DataProblem(
            f"no DICOM series of this folder fits a model of {len(channel_names)} channel(s) "
            f"({', '.join(channel_names)}){why}",
            code=ErrorCode.NO_CASES,
        )
    images = make_folder(workspace / "images")
    cases: list[Case] = []
    slices: dict[str, tuple[Path, ...]] = {}
    origins: dict[str, str] = {}
    for number, series in enumerate(chosen, start=1):
        if stopped():
            raise JobFailed("reading the series was stopped", code=ErrorCode.JOB_STOPPED)
        progress(number - 1, len(chosen), "converting DICOM series")
        name = f"case-{number:04d}"
        cases.append(_converted(folder, name, series, images, stopped))
        slices[name] = _files(folder, series[0])
        origins[name] = str(PurePosixPath(series[0].path).parent)
    progress(len(chosen), len(chosen), "converting DICOM series")
    return FoundCases(cases=tuple(cases), slices=slices, origins=origins)


def _channels_of(group: GridGroup, channel_names: Sequence[str]) -> list[tuple[Series, ...]]:
    """Return the cases of one voxel grid: with one channel every series is a case."""
    if len(channel_names) == 1:
        return [(one,) for one in sorted(group.series, key=lambda one: one.path)]
    found = {kind.casefold(): one for kind, one in group.by_channel().items()}
    wanted = [found.get(name.casefold()) for name in channel_names]
    complete = tuple(one for one in wanted if one is not None)
    return [complete] if len(complete) == len(wanted) else []


def _converted(
    folder: Path,
    name: str,
    series: tuple[Series, ...],
    images: Path,
    stopped: Callable[[], bool],
) -> Case:
    geometry = series[0].geometry
    if geometry is None:
        raise DataProblem(series[0].fault, code=ErrorCode.CASE_UNREADABLE)
    paths = []
    for channel, one in enumerate(series):
        path = images / f"{name}_{channel:04d}{_ENDING}"
        sources = _files(folder, one)
        # Converted before, as after a stop: the segmentation is then found as well.
        if not _is_newer(path, sources):
            scratch = path.with_name(f".{path.name}")
            write_image(read_series(folder, one, stopped=stopped), geometry, scratch)
            scratch.replace(path)
        paths.append(str(path))
    return Case(name=name, channels=tuple(paths), label=None)


def _is_newer(path: Path, sources: Sequence[Path]) -> bool:
    try:
        made = path.stat().st_mtime_ns
        return all(one.stat().st_mtime_ns < made for one in sources)
    except OSError:
        return False


def _files(folder: Path, series: Series) -> tuple[Path, ...]:
    return tuple(folder / one.path for one in series.slices)
