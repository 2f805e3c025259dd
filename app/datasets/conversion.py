"""From DICOM to NIfTI in the site's own workspace: voxels and grid, and nothing of the patient.

Each image is written on the grid of its series, each label on the grid of its image. What cannot
be converted faithfully is left out, with a finding that says why; nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from app.datasets.dicom_images import read_series, write_image
from app.datasets.dicom_index import DicomTree, Series
from app.datasets.dicom_labels import (
    DrawnStructure,
    file_structures,
    segmentation_structures,
    structure_set_structures,
)
from app.datasets.geometry import Geometry
from app.domain.dataset import Case
from app.domain.errors import DataProblem, ErrorCode, JobFailed
from app.domain.findings import Finding, Severity
from app.domain.layout_proposal import LayoutProposal, ProposedCase, Source, SourceKind
from app.system.atomic import make_folder

_STOPS_ALL: Final = frozenset({ErrorCode.DISK_FULL, ErrorCode.NO_PERMISSION, ErrorCode.MEMORY_FULL})
_ENDING: Final = ".nii.gz"

Labelling = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What was written: training cases, held-out ones, the files they were made of, remarks."""

    training: tuple[Case, ...]
    held_out: tuple[Case, ...]
    sources: tuple[str, ...]
    findings: tuple[Finding, ...]


def convert(
    folder: Path,
    tree: DicomTree,
    proposal: LayoutProposal,
    workspace: Path,
    *,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Converted:
    """Write images and labels of all cases of a DICOM proposal below `workspace`.

    Raises:
        DataProblem: the disk or the memory does not suffice.
        JobFailed: JOB_STOPPED when `stopped` said so.
    """
    series = {one.path: one for one in tree.series}
    training: list[Case] = []
    held_out: list[Case] = []
    sources: list[str] = []
    findings: list[Finding] = []
    for number, case in enumerate(proposal.cases):
        progress(number, len(proposal.cases), "converting cases")
        if stopped():
            raise JobFailed("the conversion was stopped", code=ErrorCode.JOB_STOPPED)
        try:
            images = _images_of(case, series, proposal)
            written = _write(folder, case, images, proposal, workspace, findings, stopped)
        except DataProblem as problem:
            if problem.code in _STOPS_ALL:
                raise
            findings.append(left_out(case.name, str(problem)))
            continue
        (training if case.labels else held_out).append(written)
        sources += [one.path for image in images for one in image.slices]
        sources += [label.path for label in case.labels]
    progress(len(proposal.cases), len(proposal.cases), "converting cases")
    return Converted(
        training=tuple(training),
        held_out=tuple(held_out),
        sources=tuple(dict.fromkeys(sources)),
        findings=tuple(findings),
    )


def left_out(case: str, why: str) -> Finding:
    """Say that a case was not converted."""
    return Finding(
        check="not-converted",
        severity=Severity.MAY_HARM,
        case=case,
        sentence=f"the case is left out: {why}",
        remedy="Export the case again, or go on without it.",
    )


def _images_of(
    case: ProposedCase, series: dict[str, Series], proposal: LayoutProposal
) -> list[Series]:
    images: list[Series] = []
    for channel, source in zip(proposal.channels, case.channels, strict=True):
        if source is None:
            raise DataProblem(f"it has no {channel.found}", code=ErrorCode.CASE_UNREADABLE)
        if source.path not in series:
            raise DataProblem(
                f"its {channel.found} is no longer where it was", code=ErrorCode.CASE_UNREADABLE
            )
        images.append(series[source.path])
    return images


def _write(
    folder: Path,
    case: ProposedCase,
    images: list[Series],
    proposal: LayoutProposal,
    workspace: Path,
    findings: list[Finding],
    stopped: Callable[[], bool],
) -> Case:
    """Convert one case; what it could not take over is added to `findings`."""
    geometry = images[0].geometry
    if geometry is None:
        raise DataProblem(images[0].fault, code=ErrorCode.CASE_UNREADABLE)
    remarks: list[Finding] = []
    label: Labelling | None = None
    if case.labels:
        label, remarks = _labelling(folder, case, proposal, geometry)
    part = "Tr" if case.labels else "Ts"
    paths: list[str] = []
    for number, image in enumerate(images):
        path = make_folder(workspace / f"images{part}") / f"{case.name}_{number:04d}{_ENDING}"
        # One grid for all channels: theirs agree within rounding.
        write_image(read_series(folder, image, stopped=stopped), geometry, path)
        paths.append(str(path))
    label_path = None
    if label is not None:
        target = make_folder(workspace / f"labels{part}") / f"{case.name}{_ENDING}"
        write_image(label, geometry, target)
        label_path = str(target)
    findings += remarks
    return Case(name=case.name, channels=tuple(paths), label=label_path)


def _labelling(
    folder: Path, case: ProposedCase, proposal: LayoutProposal, geometry: Geometry
) -> tuple[Labelling, list[Finding]]:
    """Draw all structures that are kept, in the order of their values: the higher one wins.

    Raises:
        DataProblem: a label cannot be read, or does not lie on the voxels of its image.
    """
    kept = {one.found: one for one in proposal.structures}
    label: Labelling = np.zeros(geometry.shape, dtype=np.uint8)
    drawn: dict[str, DrawnStructure] = {}
    remarks: list[Finding] = []
    for source in case.labels:
        for structure in _structures(folder, source, geometry):
            if structure.found not in kept:
                remarks.append(
                    _remark(case, "unknown-structure", f"“{structure.found}” was not in what you "
                            "confirmed and is left out")
                )  # fmt: skip
            elif structure.found in drawn:
                remarks.append(
                    _remark(case, "structure-twice", f"“{structure.found}” was drawn more than "
                            "once; the first is taken")
                )  # fmt: skip
            else:
                drawn[structure.found] = structure
    names = {value: name for name, value in proposal.labels.items()}
    wanted = sorted(
        (one for one in drawn if kept[one].value > 0), key=lambda one: (kept[one].value, one)
    )
    for found in wanted:
        value = kept[found].value
        mask, said = drawn[found].draw()
        remarks += [_remark(case, "structure", f"“{found}”: {text}") for text in said]
        remarks += [
            _remark(
                case,
                "overlap",
                f"“{names[value]}” and “{names[other]}” overlap in {count:,} voxels; they are "
                f"given to “{names[value]}”, which has the higher value",
                voxel=first,
            )
            for other, count, first in _overlaps(label, mask, value)
        ]
        label[mask] = value
    return label, remarks


def _structures(folder: Path, source: Source, geometry: Geometry) -> tuple[DrawnStructure, ...]:
    path = folder / source.path
    match source.kind:
        case SourceKind.SEG:
            return segmentation_structures(path, geometry)
        case SourceKind.RTSTRUCT:
            return structure_set_structures(path, geometry)
        case SourceKind.FILE:
            return file_structures(path, geometry)
        case SourceKind.SERIES:
            raise DataProblem(f"{source.path} is an image, not a label")


def _overlaps(
    label: Labelling, mask: npt.NDArray[np.bool_], value: int
) -> Iterator[tuple[int, int, tuple[int, int, int]]]:
    """Yield (other value, voxels, first voxel) for each structure that a mask would cover."""
    covered = np.where(mask, label, 0)
    for other in np.unique(covered):
        if other in (0, value):
            continue
        z, y, x = np.unravel_index(int(np.argmax(covered == other)), covered.shape)
        yield int(other), int(np.count_nonzero(covered == other)), (int(z), int(y), int(x))


def _remark(
    case: ProposedCase, check: str, sentence: str, *, voxel: tuple[int, int, int] | None = None
) -> Finding:
    return Finding(
        check=check,
        severity=Severity.MAY_HARM,
        case=case.name,
        sentence=sentence,
        remedy="Look at the case in the viewer; export its label again if this is not meant.",
        voxel=voxel,
    )
