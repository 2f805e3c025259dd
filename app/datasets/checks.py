"""The checks: every fault of a folder as one row with case, sentence and remedy.

A check is a small function that looks at facts and yields findings. Case checks see one case,
folder checks see all of them. Checking reads each file once, repairs nothing and decides nothing:
what blocks training follows from the severities.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from app.datasets.confirmation import confirmation_findings
from app.datasets.description import Labels
from app.datasets.digest import content_digest
from app.datasets.facts import CaseFacts, ImageFacts, examine
from app.datasets.geometry import Difference, differences, is_orthonormal, orientation_code
from app.datasets.identifiers import suspicion
from app.datasets.images import Fault
from app.datasets.scan import StrayKind, Survey, survey
from app.domain.dataset import DatasetDescription, DatasetFolder
from app.domain.errors import DataProblem
from app.domain.findings import Finding, Severity, ValidationReport

# nnU-Net splits the cases into five parts, each of which must get one.
FOLDS: Final = 5
# Spacings outside are not of a patient in millimetres; they are metres, microns or a slip.
_SMALLEST_SPACING_MM: Final = 0.05
_LARGEST_SPACING_MM: Final = 15.0
# What CT scanners write: padding down to -3024 (GE), metal up to 30,710 on the extended scale.
_LOWEST_HU: Final = -3100
_HIGHEST_HU: Final = 31_000
# A label value that at least this share of the cases has is missed where it is absent.
_COMMON_SHARE: Final = 0.5
# Arrays that nnU-Net holds at once while it resamples one case: the image as read and as
# resampled, the spline's float64 copy of a channel, and the label's.
_ARRAYS_WHILE_RESAMPLING: Final = 4
_MOST_VALUES_NAMED: Final = 8
# Groups and elements of DICOM that name a patient, an institution or a physician.
_TELLING_TAGS: Final = ("0010|", "0008|0080", "0008|0081", "0008|0090", "0008|1050", "0008|1070")

# Faults after which the number of cases in dataset.json cannot be right.
_EXPLAIN_THE_COUNT: Final = frozenset(
    {"duplicate-case", "too-few-cases", "extra-label", "extra-channel", "file-name"}
)

StudyFolder = tuple[tuple[str, ...], Labels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the computer has left for preprocessing, in bytes."""

    free_disk: int
    free_memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFacts:
    """All that the folder checks look at."""

    survey: Survey
    training: tuple[CaseFacts, ...]
    held_out: tuple[CaseFacts, ...]
    study: StudyFolder | None
    minimum_cases: int
    processes: int
    room: Room

    @property
    def description(self) -> DatasetDescription:
        """The dataset's description."""
        return self.survey.dataset.description


CaseCheck = Callable[[CaseFacts, DatasetDescription], Iterator[Finding]]
FolderCheck = Callable[[FolderFacts], Iterator[Finding]]


def check(
    folder: Path,
    *,
    study: StudyFolder | None = None,
    minimum_cases: int = 5,
    processes: int = 1,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
    workspace: Path | None = None,
    room: Room | None = None,
) -> tuple[ValidationReport, DatasetFolder | None]:
    """Check a folder and return all findings, and the dataset if its layout was recognised.

    `study` is (channel names, labels) to compare with. `progress(done, total, what)` is called
    from this thread. `workspace` is where preprocessed cases will lie; `room` replaces what the
    computer says of its disk and memory.

    Raises:
        ExaminationStopped: `stopped` said so; nothing is returned then.
    """
    wanted = (
        None
        if study is None
        else DatasetDescription(channel_names=study[0], labels=study[1], file_ending="")
    )
    progress(0, 0, "looking for cases")
    try:
        surveyed = survey(folder, description=wanted)
    except DataProblem as problem:
        return _unrecognised(folder, problem), None
    dataset = surveyed.dataset
    digest = content_digest(dataset)
    cases = (*dataset.training, *dataset.held_out)
    facts: dict[int, CaseFacts] = {}
    # SimpleITK, zlib, hashlib and numpy let go of the interpreter while they work on a file.
    with ThreadPoolExecutor(max_workers=max(1, processes)) as pool:
        waiting: dict[Future[CaseFacts], int] = {
            pool.submit(examine, case, stopped=stopped): number for number, case in enumerate(cases)
        }
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                facts[waiting[future]] = future.result()
                progress(done, len(cases), "checking cases")
        except BaseException:  # stopped, interrupted, or a mistake of ours: begin no more cases
            pool.shutdown(cancel_futures=True)
            raise
    ordered = tuple(facts[number] for number in range(len(cases)))
    findings = judge(
        FolderFacts(
            survey=surveyed,
            training=ordered[: len(dataset.training)],
            held_out=ordered[len(dataset.training) :],
            study=study,
            minimum_cases=minimum_cases,
            processes=processes,
            room=room or _room(workspace or Path.home()),
        )
    )
    return (
        ValidationReport(
            folder=dataset.root,
            cases=len(dataset.training),
            content_digest=digest,
            findings=findings,
        ),
        dataset,
    )


def judge(facts: FolderFacts) -> tuple[Finding, ...]:
    """Run every check over the facts; worst findings first, then by case."""
    found: list[Finding] = []
    for case in facts.training:
        for case_check in CASE_CHECKS:
            found += case_check(case, facts.description)
    for case in facts.held_out:
        for case_check in CASE_CHECKS:
            # A held-out case is not trained on: what is wrong with it blocks nothing.
            found += (_without_blocking(row) for row in case_check(case, facts.description))
    for folder_check in FOLDER_CHECKS:
        found += folder_check(facts)
    found += _counted(facts, frozenset(row.check for row in found))
    root = facts.survey.dataset.root
    order = list(Severity)
    return tuple(
        sorted(
            (
                replace(row, path=os.path.relpath(row.path, root))
                if row.path and Path(row.path).is_absolute()
                else row
                for row in found
            ),
            key=lambda row: (order.index(row.severity), row.case or "", row.check, row.path or ""),
        )
    )


def _unrecognised(folder: Path, problem: DataProblem) -> ValidationReport:
    return ValidationReport(
        folder=str(folder),
        cases=0,
        content_digest="",
        findings=(
            Finding(
                check=problem.code.value,
                severity=Severity.BLOCKS,
                sentence=str(problem),
                remedy=problem.remedy,
            ),
        ),
    )


def _room(workspace: Path) -> Room:
    import psutil

    while not workspace.exists():
        workspace = workspace.parent
    return Room(
        free_disk=shutil.disk_usage(workspace).free, free_memory=psutil.virtual_memory().available
    )


def _without_blocking(row: Finding) -> Finding:
    return replace(row, severity=Severity.MAY_HARM) if row.severity is Severity.BLOCKS else row


def _size(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"


def _listing(values: Sequence[str]) -> str:
    named = ", ".join(values[:_MOST_VALUES_NAMED])
    more = len(values) - _MOST_VALUES_NAMED
    return f"{named} and {more} more" if more > 0 else named


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _lengths(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


# Checks of one case.


def _files_usable(case: CaseFacts, description: DatasetDescription) -> Iterator[Finding]:
    """Missing, unreadable, empty, cut-off, 4-D and colour files."""
    for number, channel in enumerate(case.channels[: len(description.channel_names)]):
        if channel.problem is not None:
            name = description.channel_names[number]
            yield _unusable(case, channel, f"channel {number} ({name})", "missing-channel")
    for extra in case.channels[len(description.channel_names) :]:
        yield Finding(
            check="extra-channel",
            severity=Severity.BLOCKS,
            case=case.case.name,
            path=extra.path,
            sentence=f"has {len(case.channels)} channels; dataset.json names "
            f"{len(description.channel_names)}",
            remedy="Take the extra file out of the case, or name its channel in dataset.json.",
        )
    for number in range(len(case.channels), len(description.channel_names)):
        yield Finding(
            check="missing-channel",
            severity=Severity.BLOCKS,
            case=case.case.name,
            sentence=f"channel {number} ({description.channel_names[number]}) is not listed",
            remedy="List a file for every channel in dataset.json, or leave the case out.",
        )
    if case.label is not None and case.label.problem is not None:
        yield _unusable(case, case.label, "the label", "missing-label")


_FAULT_CHECKS: Final = {
    Fault.NO_PERMISSION: "unreadable-file",
    Fault.EMPTY: "empty-file",
    Fault.CUT_OFF: "cut-off-file",
    Fault.FORMAT: "unreadable-file",
    Fault.DIMENSIONS: "not-3d",
    Fault.COLOUR: "colour-image",
    Fault.NOT_ORTHONORMAL: "not-orthonormal",
    Fault.SEVERAL_SERIES: "several-series",
    Fault.MEMORY: "memory",
}


def _unusable(case: CaseFacts, facts: ImageFacts, what: str, when_missing: str) -> Finding:
    problem = facts.problem
    if problem is None:
        raise AssertionError(facts.path)
    if problem.fault is Fault.MISSING:
        return Finding(
            check=when_missing,
            severity=Severity.BLOCKS,
            case=case.case.name,
            path=facts.path,
            sentence=f"{what} is missing: there is no {Path(facts.path).name}",
            remedy="Add the file, correct its name, or leave the case out.",
        )
    return Finding(
        check=_FAULT_CHECKS[problem.fault],
        severity=Severity.BLOCKS,
        case=case.case.name,
        path=facts.path,
        sentence=f"{what} cannot be used: {problem.reason}",
        remedy=problem.remedy,
    )


_DIFFERENCE_CHECKS: Final = {
    # nnU-Net stops at the first two and only warns of the others.
    Difference.SHAPE: ("shape-differs", Severity.BLOCKS),
    Difference.SPACING: ("spacing-differs", Severity.BLOCKS),
    Difference.ORIGIN: ("origin-differs", Severity.MAY_HARM),
    Difference.DIRECTION: ("direction-differs", Severity.MAY_HARM),
}


def _same_grid(case: CaseFacts, _: DatasetDescription) -> Iterator[Finding]:
    """Channels and label on one voxel grid."""
    grids = [(facts, facts.geometry) for facts in case.readable_channels if facts.geometry]
    if not grids:
        return
    first_facts, first = grids[0]
    if case.label is not None and case.label.problem is None and case.label.geometry:
        grids.append((case.label, case.label.geometry))
    for facts, grid in grids[1:]:
        for difference in differences(first, grid):
            name, severity = _DIFFERENCE_CHECKS[difference]
            here, there = {
                Difference.SHAPE: (_lengths(grid.shape[::-1]), _lengths(first.shape[::-1])),
                Difference.SPACING: (
                    _lengths(grid.spacing_mm[::-1]) + " mm",
                    _lengths(first.spacing_mm[::-1]) + " mm",
                ),
                Difference.ORIGIN: (
                    "(" + ", ".join(f"{place:.2f}" for place in grid.origin_mm) + ")",
                    "(" + ", ".join(f"{place:.2f}" for place in first.origin_mm) + ")",
                ),
                Difference.DIRECTION: (
                    orientation_code(grid) or "unknown",
                    orientation_code(first) or "unknown",
                ),
            }[difference]
            yield Finding(
                check=name,
                severity=severity,
                case=case.case.name,
                path=facts.path,
                sentence=f"{difference.value} of {Path(facts.path).name} ({here}) differs from "
                f"that of {Path(first_facts.path).name} ({there})",
                remedy="Resample or export again so that all files of the case lie on one grid.",
            )


def _right_angles(case: CaseFacts, _: DatasetDescription) -> Iterator[Finding]:
    """Axes at right angles, in formats whose reader does not insist on it."""
    for facts in _readable(case):
        if facts.geometry is not None and not is_orthonormal(facts.geometry.direction):
            yield Finding(
                check="not-orthonormal",
                severity=Severity.BLOCKS,
                case=case.case.name,
                path=facts.path,
                sentence=f"the voxel axes of {Path(facts.path).name} are not at right angles",
                remedy="Resample the image to a grid with right angles (tilted gantries need it).",
            )


def _sane_spacing(case: CaseFacts, _: DatasetDescription) -> Iterator[Finding]:
    """Voxels of a size that images of patients have. The first file speaks for the case."""
    for facts in case.readable_channels[:1]:
        grid = facts.geometry
        if grid is None:
            continue
        spacing = grid.spacing_mm[1:] if grid.planar else grid.spacing_mm
        if not all(_SMALLEST_SPACING_MM <= length <= _LARGEST_SPACING_MM for length in spacing):
            yield Finding(
                check="absurd-spacing",
                severity=Severity.MAY_HARM,
                case=case.case.name,
                path=facts.path,
                sentence=f"voxels of {_lengths(spacing[::-1])} mm are hardly those of a patient",
                remedy="Correct the voxel size; metres or micrometres may stand for millimetres.",
            )


def _numbers(case: CaseFacts, _: DatasetDescription) -> Iterator[Finding]:
    """No NaN and no infinity."""
    for facts in _readable(case):
        if facts.not_finite:
            zeroed = "; they are taken as 0" if facts.read_as_zero else ""
            yield Finding(
                check="not-finite",
                severity=Severity.MAY_HARM if facts.read_as_zero else Severity.BLOCKS,
                case=case.case.name,
                path=facts.path,
                voxel=facts.first_not_finite,
                sentence=f"{Path(facts.path).name} has {facts.not_finite:,} voxels that are not "
                f"numbers (NaN or infinite){zeroed}",
                remedy="Export the image again, or replace these voxels by the background value.",
            )


def _not_constant(case: CaseFacts, _: DatasetDescription) -> Iterator[Finding]:
    """An image with something in it."""
    for facts in case.readable_channels:
        if facts.minimum == facts.maximum and facts.not_finite < facts.voxels:
            yield Finding(
                check="constant-image",
                severity=Severity.MAY_HARM,
                case=case.case.name,
                path=facts.path,
                sentence=f"all voxels of {Path(facts.path).name} are {_number(facts.minimum)}",
                remedy="Export the image again, or leave the case out.",
            )


def _hounsfield(case: CaseFacts, description: DatasetDescription) -> Iterator[Finding]:
    """CT in Hounsfield units."""
    for facts, name in zip(case.channels, description.channel_names, strict=False):
        if facts.problem is not None or name.casefold() != "ct" or facts.minimum == facts.maximum:
            continue
        if facts.minimum < _LOWEST_HU or facts.maximum > _HIGHEST_HU:
            why = "which no scanner writes"
        elif facts.minimum >= 0:
            why = "so nothing in it is fat or air"
        else:
            continue
        yield Finding(
            check="hounsfield",
            severity=Severity.MAY_HARM,
            case=case.case.name,
            path=facts.path,
            sentence=f"values of {Path(facts.path).name} go from {_number(facts.minimum)} to "
            f"{_number(facts.maximum)}, {why}: they are hardly Hounsfield units",
            remedy="Export the CT in Hounsfield units (with rescale slope and intercept applied).",
        )


def _label_values(case: CaseFacts, description: DatasetDescription) -> Iterator[Finding]:
    """Whole label values that dataset.json names."""
    label = case.label
    if label is None or label.problem is not None:
        return
    for whole in (False, True):
        odd = [
            (value, count, voxel)
            for value, count, voxel in label.values
            if (value == int(value)) is whole and value not in description.values
        ]
        if not odd:
            continue
        named = _listing([f"{_number(value)} ({count:,} voxels)" for value, count, _ in odd])
        if whole:
            yield Finding(
                check="unexpected-label",
                severity=Severity.BLOCKS,
                case=case.case.name,
                path=label.path,
                voxel=odd[0][2],
                sentence=f"the label holds values that dataset.json does not name: {named}",
                remedy="Relabel these voxels in a copy, or name the value in dataset.json.",
            )
        else:
            yield Finding(
                check="fractional-label",
                severity=Severity.BLOCKS,
                case=case.case.name,
                path=label.path,
                voxel=odd[0][2],
                sentence=f"the label holds values that are not whole numbers: {named}",
                remedy="Resample labels with nearest neighbour, never with interpolation.",
            )


def _label_not_empty(case: CaseFacts, description: DatasetDescription) -> Iterator[Finding]:
    """Something is labelled."""
    if _well_labelled(case, description) and case.label and not _structures(case, description):
        yield Finding(
            check="empty-label",
            severity=Severity.MAY_HARM,
            case=case.case.name,
            path=case.label.path,
            sentence="nothing is labelled in this case",
            remedy="Fine if the structures are truly absent; otherwise add the label.",
        )


def _no_identifiers(case: CaseFacts, _: DatasetDescription) -> Iterator[Finding]:
    """No patient named in file names or headers."""
    what = suspicion(case.case.name)
    if what is not None:
        yield Finding(
            check="identifier-in-name",
            severity=Severity.MAY_HARM,
            case=case.case.name,
            path=case.case.channels[0] if case.case.channels else None,
            sentence=f"the case's name holds what looks like {what}",
            remedy="Rename the case to a pseudonym. Names of cases never leave this computer.",
        )
    for facts in _readable(case):
        for field, text in facts.notes:
            tag = any(field.startswith(telling) for telling in _TELLING_TAGS)
            said = suspicion(text) if "|" not in field else "a DICOM patient tag" if tag else None
            if said is not None:
                yield Finding(
                    check="identifier-in-header",
                    severity=Severity.MAY_HARM,
                    case=case.case.name,
                    path=facts.path,
                    sentence=f"the header field {field} of {Path(facts.path).name} holds what "
                    f"looks like {said}",
                    remedy="Clear the field in a copy of the file. Headers never leave this "
                    "computer.",
                )
                break  # one row per file: whoever mends it sees the whole header


CASE_CHECKS: Final[tuple[CaseCheck, ...]] = (
    _files_usable,
    _same_grid,
    _right_angles,
    _sane_spacing,
    _numbers,
    _not_constant,
    _hounsfield,
    _label_values,
    _label_not_empty,
    _no_identifiers,
)


def _readable(case: CaseFacts) -> tuple[ImageFacts, ...]:
    label = case.label
    return (
        *case.readable_channels,
        *((label,) if label is not None and label.problem is None else ()),
    )


def _structures(case: CaseFacts, description: DatasetDescription) -> frozenset[str]:
    """Names of the structures that are labelled in a case."""
    present = {value for value, _, _ in case.label.values} if case.label else set()
    return frozenset(
        name
        for name, value in description.foreground.items()
        if present & set(value if isinstance(value, tuple) else (value,))
    )


def _well_labelled(case: CaseFacts, description: DatasetDescription) -> bool:
    """True when the label is readable and each value in it is named."""
    label = case.label
    return (
        label is not None
        and label.problem is None
        and all(value in description.values for value, _, _ in label.values)
    )


# Checks of the folder.


_STRAY_CHECKS: Final = {
    StrayKind.EXTRA_CHANNEL: (
        "extra-channel",
        Severity.BLOCKS,
        "{name} is a channel that dataset.json does not name",
        "Take the file out of the folder, or name its channel in dataset.json.",
    ),
    StrayKind.LABEL_WITHOUT_IMAGE: (
        "extra-label",
        Severity.MAY_HARM,
        "{name} is a label without an image",
        "Add the image, or take the label out of the folder.",
    ),
    StrayKind.NO_CHANNEL_NUMBER: (
        "file-name",
        Severity.BLOCKS,
        "{name} has no channel number such as _0000 in its name",
        "Rename the file, or take it out of the folder.",
    ),
    StrayKind.UNMATCHED: (
        "unmatched-file",
        Severity.HARMLESS,
        "{name} belongs to no case and is left out",
        "Rename the file so that it shares its name with an image, or leave it so.",
    ),
}


def _no_strays(facts: FolderFacts) -> Iterator[Finding]:
    """No files that belong to no case."""
    for stray in facts.survey.strays:
        name, severity, sentence, remedy = _STRAY_CHECKS[stray.kind]
        yield Finding(
            check=name,
            severity=severity,
            case=stray.case,
            path=stray.path,
            sentence=sentence.format(name=Path(stray.path).name),
            remedy=remedy,
        )


def _enough_cases(facts: FolderFacts) -> Iterator[Finding]:
    """As many cases as the study and nnU-Net's folds need."""
    found = len(facts.training)
    if found < facts.minimum_cases:
        yield Finding(
            check="too-few-cases",
            severity=Severity.BLOCKS,
            sentence=f"there are {found} labelled cases; {facts.minimum_cases} are needed",
            remedy="Add labelled cases, or ask the study lead to lower the minimum.",
        )
    elif found < FOLDS:
        yield Finding(
            check="too-few-cases",
            severity=Severity.MAY_HARM,
            sentence=f"there are {found} cases, too few for nnU-Net's {FOLDS} folds",
            remedy="Add labelled cases; with fewer only a study that trains on “all” can run.",
        )


def _one_orientation(facts: FolderFacts) -> Iterator[Finding]:
    """Voxels of all cases stored the same way round; nnU-Net does not turn them."""
    codes = {
        case.case.name: (code, case.readable_channels[0].path)
        for case in (*facts.training, *facts.held_out)
        if case.readable_channels
        and (geometry := case.readable_channels[0].geometry) is not None
        and (code := orientation_code(geometry)) is not None
    }
    counted = Counter(code for code, _ in codes.values())
    if len(counted) < 2:
        return
    usual = max(counted, key=lambda code: (counted[code], code))
    for name, (code, path) in codes.items():
        if code != usual:
            yield Finding(
                check="mixed-orientation",
                severity=Severity.MAY_HARM,
                case=name,
                path=path,
                sentence=f"the voxels are stored as {code}, those of {counted[usual]} other cases "
                f"as {usual}",
                remedy=f"Reorient image and label of the case to {usual} in a copy of the folder.",
            )


def _no_duplicates(facts: FolderFacts) -> Iterator[Finding]:
    """No case twice, least of all in training and held out."""
    seen: dict[tuple[str, ...], str] = {}
    for case in (*facts.training, *facts.held_out):
        pixels = tuple(channel.pixels_sha256 for channel in case.channels)
        constant = all(channel.minimum == channel.maximum for channel in case.channels)
        if not all(pixels) or constant:
            continue
        first = seen.setdefault(pixels, case.case.name)
        if first != case.case.name:
            yield Finding(
                check="duplicate-case",
                severity=Severity.MAY_HARM,
                case=case.case.name,
                path=case.case.channels[0],
                sentence=f"has the same voxels as {first}",
                remedy="Leave one of the two out: a case that counts twice spoils every score.",
            )


def _structures_present(facts: FolderFacts) -> Iterator[Finding]:
    """Each structure labelled in some case, and common ones missed where they are absent."""
    labelled = [case for case in facts.training if _well_labelled(case, facts.description)]
    with_any = [case for case in labelled if _structures(case, facts.description)]
    if labelled and not with_any:
        yield Finding(
            check="no-foreground",
            severity=Severity.BLOCKS,
            sentence="nothing is labelled in any case",
            remedy="Add at least one case in which a structure is labelled.",
        )
        return
    for name, value in facts.description.foreground.items():
        having = [case for case in with_any if name in _structures(case, facts.description)]
        shown = value if isinstance(value, int) else ", ".join(map(str, value))
        if with_any and not having:
            yield Finding(
                check="label-never-used",
                severity=Severity.MAY_HARM,
                sentence=f"“{name}” ({shown}) is labelled in no case",
                remedy="Check the label's value; a site without it cannot teach it.",
            )
        elif len(having) >= _COMMON_SHARE * len(with_any):
            for case in with_any:
                if case not in having and case.label is not None:
                    yield Finding(
                        check="missing-label-value",
                        severity=Severity.HARMLESS,
                        case=case.case.name,
                        path=case.label.path,
                        sentence=f"“{name}” ({shown}) has no voxel here; {len(having)} of "
                        f"{len(with_any)} cases have it",
                        remedy="Fine if the structure is truly absent; otherwise add the label.",
                    )


def _as_the_study(facts: FolderFacts) -> Iterator[Finding]:
    """Channels and labels as the study names them."""
    if facts.study is None:
        return
    channels, labels = facts.study
    own = facts.description
    if [name.casefold() for name in own.channel_names] != [name.casefold() for name in channels]:
        yield Finding(
            check="study-channels",
            severity=Severity.BLOCKS,
            sentence=f"the folder has the channels {', '.join(own.channel_names)}; the study "
            f"expects {', '.join(channels)}",
            remedy="Arrange the channels in the study's order, under the study's names.",
        )
    if own.labels != labels:
        different = [
            f"{name} {own.labels.get(name, 'absent')} instead of {labels.get(name, 'absent')}"
            for name in {**labels, **own.labels}
            if own.labels.get(name) != labels.get(name)
        ]
        yield Finding(
            check="study-labels",
            severity=Severity.BLOCKS,
            sentence=f"the labels differ from the study's: {_listing(different)}",
            remedy="Relabel a copy of the folder as the study says, and name the labels so.",
        )


def _room_to_preprocess(facts: FolderFacts) -> Iterator[Finding]:
    """Disk and memory for nnU-Net's preprocessed cases, without its compression."""
    grids = [
        geometry
        for case in facts.training
        if case.readable_channels and (geometry := case.readable_channels[0].geometry) is not None
    ]
    if not grids:
        return
    target = [median(grid.spacing_mm[axis] for grid in grids) for axis in range(3)]
    channels = len(facts.description.channel_names)
    voxels = [
        math.prod(
            length * spacing / wanted
            for length, spacing, wanted in zip(grid.shape, grid.spacing_mm, target, strict=True)
        )
        for grid in grids
    ]
    disk = sum(voxels) * (4 * channels + 1)  # float32 channels, int8 label
    memory = max(voxels) * 4 * (channels + 1) * _ARRAYS_WHILE_RESAMPLING * facts.processes
    if disk > facts.room.free_disk:
        yield Finding(
            check="disk-space",
            # blosc2 packs images to about half; below that there is no hope.
            severity=Severity.BLOCKS if disk > 2 * facts.room.free_disk else Severity.MAY_HARM,
            sentence=f"preprocessing needs about {_size(disk)} of disk space; "
            f"{_size(facts.room.free_disk)} are free",
            remedy="Free disk space, or move the workspace to a larger disk.",
        )
    if memory > facts.room.free_memory:
        yield Finding(
            check="memory",
            severity=Severity.MAY_HARM,
            sentence=f"preprocessing the largest case needs about {_size(memory)} of memory; "
            f"{_size(facts.room.free_memory)} are free",
            remedy="Close other programs, use fewer processes, or a computer with more memory.",
        )


def _counted(facts: FolderFacts, found: frozenset[str]) -> Iterator[Finding]:
    """NumTraining agrees. Only stock nnU-Net needs it; rows that explain the number come first."""
    said, there = facts.survey.training_count, len(facts.training)
    if said is None or said == there or found & _EXPLAIN_THE_COUNT:
        return
    yield Finding(
        check="training-count",
        severity=Severity.HARMLESS,
        sentence=f"dataset.json says numTraining {said}, but there are {there} cases",
        remedy=f"Write {there} there; stock nnU-Net refuses the folder otherwise.",
    )


def _as_converted(facts: FolderFacts) -> Iterator[Finding]:
    """What was remarked when DICOM was converted, and whether it changed since."""
    yield from confirmation_findings(Path(facts.survey.dataset.root))


FOLDER_CHECKS: Final[tuple[FolderCheck, ...]] = (
    _no_strays,
    _enough_cases,
    _one_orientation,
    _no_duplicates,
    _structures_present,
    _as_the_study,
    _room_to_preprocess,
    _as_converted,
)
