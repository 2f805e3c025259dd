"""Structures of a DICOM SEG, an RTSTRUCT or a label file, as masks on the grid of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from app.datasets.contours import inside
from app.datasets.dicom_index import quietly
from app.datasets.geometry import Geometry
from app.datasets.images import read_geometry, read_volume
from app.datasets.placement import Mask, OtherGrid, landing, lies_within, place, voxels_of
from app.domain.errors import DataProblem, ErrorCode

if TYPE_CHECKING:
    from pydicom import Dataset

# A contour belongs to a slice from whose plane it is this share of a slice distance away.
_OFF_SLICE: Final = 0.25
_HIGHEST_VALUE: Final = 255
_STRUCTURE_SET_TAGS: Final = ["StructureSetROISequence", "ROIContourSequence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnStructure:
    """A structure of one label object; `draw` returns its mask (z, y, x) and remarks on it.

    Raises (draw):
        OtherGrid: the structure was not drawn on this image's voxels or slices.
    """

    found: str
    draw: Callable[[], tuple[Mask, tuple[str, ...]]]


def value_name(value: int) -> str:
    """Return what a structure of a label file is called, which has only a value."""
    return f"value {value}"


def segmentation_structures(path: Path, onto: Geometry) -> tuple[DrawnStructure, ...]:
    """Return the segments of a DICOM SEG.

    Frames are placed by their positions: writers leave out empty ones and choose any order.

    Raises:
        DataProblem: the file is damaged, or breaks the standard where it matters here.
    """
    import highdicom

    try:
        with quietly():
            segmentation = highdicom.seg.segread(path)
            numbers = list(segmentation.segment_numbers)
            described = {
                number: segmentation.get_segment_description(number).segment_label
                for number in numbers
            }
    # highdicom raises what it meets: AttributeError for a missing tag, ValueError, TypeError.
    except (AttributeError, ValueError, TypeError, KeyError, OSError, RuntimeError) as exc:
        raise DataProblem(
            f"{path.name} is not a DICOM segmentation that can be read",
            code=ErrorCode.CASE_UNREADABLE,
        ) from exc

    def drawn(number: int) -> DrawnStructure:
        return DrawnStructure(
            found=str(described[number]).strip(), draw=lambda: _segment(segmentation, number, onto)
        )

    return tuple(drawn(number) for number in numbers)


def _segment(segmentation: Any, number: int, onto: Geometry) -> tuple[Mask, tuple[str, ...]]:  # noqa: ANN401
    mask = np.zeros(onto.shape, dtype=np.bool_)
    kind = segmentation.segmentation_type.value
    highest = int(segmentation.get("MaximumFractionalValue", 1))
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    outside = 0
    for frame_number, frame in enumerate(segmentation.PerFrameFunctionalGroupsSequence, start=1):
        if kind != "LABELMAP" and number != _segment_number(frame, shared):
            continue
        pixels = segmentation.get_stored_frame(frame_number)
        if kind == "LABELMAP":
            pixels = pixels == number
        elif kind == "FRACTIONAL":
            pixels = pixels.astype(np.float64) >= highest / 2
        position = _group(frame, shared, "PlanePositionSequence").ImagePositionPatient
        way = [
            float(part)
            for part in _group(frame, shared, "PlaneOrientationSequence").ImageOrientationPatient
        ]
        row_mm, column_mm = map(float, _group(frame, shared, "PixelMeasuresSequence").PixelSpacing)
        outside += place(
            pixels,
            origin_mm=[float(part) for part in position],
            # Down one row is along the second half of the orientation, right along the first.
            steps_mm=(
                [part * row_mm for part in way[3:]],
                [part * column_mm for part in way[:3]],
            ),
            onto=onto,
            mask=mask,
        )
    remarks = []
    if outside:
        remarks.append(f"{outside:,} of its voxels lie outside of the image and are left out")
    if kind == "FRACTIONAL":
        remarks.append("it holds fractions; voxels of one half or more are taken")
    return mask, tuple(remarks)


def _group(frame: Dataset, shared: Dataset, name: str) -> Dataset:
    """Return a functional group, of the frame or else of all frames.

    Raises:
        DataProblem: the segmentation does not say it at all.
    """
    for place_of in (frame, shared):
        sequence = place_of.get(name)
        if sequence:
            item: Dataset = sequence[0]
            return item
    raise DataProblem(
        f"the segmentation does not say its {name.removesuffix('Sequence')}",
        code=ErrorCode.CASE_UNREADABLE,
    )


def _segment_number(frame: Dataset, shared: Dataset) -> int:
    group = _group(frame, shared, "SegmentIdentificationSequence")
    return int(group.ReferencedSegmentNumber)


def structure_set_structures(path: Path, onto: Geometry) -> tuple[DrawnStructure, ...]:
    """Return the regions of an RTSTRUCT; see `app.datasets.contours` for which voxels are inside.

    Raises:
        DataProblem: the file is damaged.
    """
    import pydicom

    try:
        with quietly():
            document = pydicom.dcmread(path, specific_tags=_STRUCTURE_SET_TAGS)
            names = {
                int(one.ROINumber): str(one.get("ROIName") or "").strip()
                for one in document.get("StructureSetROISequence") or ()
            }
            contours = {
                int(one.ReferencedROINumber): _closed_contours(one)
                for one in document.get("ROIContourSequence") or ()
            }
    except (AttributeError, ValueError, TypeError, KeyError, OSError, EOFError) as exc:
        raise DataProblem(
            f"{path.name} is not a structure set that can be read",
            code=ErrorCode.CASE_UNREADABLE,
        ) from exc

    def drawn(number: int, name: str) -> DrawnStructure:
        return DrawnStructure(found=name, draw=lambda: _region(contours.get(number, []), onto))

    return tuple(drawn(number, name) for number, name in names.items() if name)


def _closed_contours(region: Dataset) -> list[np.ndarray]:
    """Return the closed planar contours of a region, each (n, 3) in mm; points and lines are none."""
    return [
        np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)
        for contour in region.get("ContourSequence") or ()
        if str(contour.get("ContourGeometricType", "")).startswith("CLOSED")
    ]


def _region(contours: list[np.ndarray], onto: Geometry) -> tuple[Mask, tuple[str, ...]]:
    mask = np.zeros(onto.shape, dtype=np.bool_)
    drawn: set[int] = set()
    outside = 0
    for contour in contours:
        voxels = voxels_of(contour, onto)
        level = float(np.mean(voxels[:, 2]))
        number = round(level)
        off = float(np.abs(voxels[:, 2] - number).max())
        if off > _OFF_SLICE:
            raise OtherGrid(off)
        if not 0 <= number < onto.shape[0]:
            outside += 1
            continue
        drawn.add(number)
        mask[number] ^= inside(voxels[:, :2], (onto.shape[1], onto.shape[2]))
    remarks = []
    if outside:
        remarks.append(f"{outside:,} of its contours lie outside of the image and are left out")
    if drawn:
        gaps = sorted(set(range(min(drawn), max(drawn) + 1)) - drawn)
        if gaps:
            remarks.append(
                f"it has no contour in {len(gaps)} slice(s) between others, the first is slice "
                f"{gaps[0] + 1}; nothing is filled in there"
            )
    return mask, tuple(remarks)


def file_structures(path: Path, onto: Geometry) -> tuple[DrawnStructure, ...]:
    """Return the values above 0 of a label file as structures.

    Raises:
        DataProblem: the file cannot be read, or holds no whole numbers up to 255.
        OtherGrid: its voxels do not lie on those of the image.
    """
    volume = read_volume(path)
    values = np.unique(volume.array)
    if values.size > _HIGHEST_VALUE + 1 or any(
        value != int(value) or not 0 <= value <= _HIGHEST_VALUE for value in values
    ):
        raise DataProblem(
            f"{path.name} is not a label: it holds other values than whole numbers from 0 to "
            f"{_HIGHEST_VALUE}",
            code=ErrorCode.CASE_UNREADABLE,
        )
    geometry = volume.geometry

    def draw(value: int) -> tuple[Mask, tuple[str, ...]]:
        mask = np.zeros(onto.shape, dtype=np.bool_)
        outside = place(
            volume.array == value,
            origin_mm=geometry.origin_mm,
            steps_mm=_steps(geometry),
            onto=onto,
            mask=mask,
        )
        remarks = (
            (f"{outside:,} of its voxels lie outside of the image and are left out",)
            if outside
            else ()
        )
        return mask, remarks

    def drawn(value: int) -> DrawnStructure:
        return DrawnStructure(found=value_name(value), draw=lambda: draw(value))

    return tuple(drawn(int(value)) for value in values if value > 0)


def file_lies_on(path: Path, onto: Geometry) -> bool:
    """Tell whether a label file's voxels lie on those of an image; False also when unreadable."""
    try:
        geometry = read_geometry(path)
        where = landing(
            geometry.shape,
            origin_mm=geometry.origin_mm,
            steps_mm=_steps(geometry),
            onto=onto,
        )
    except DataProblem:
        return False
    ends = np.array([[0, 0, 0], [length - 1 for length in geometry.shape]], dtype=np.int64)
    return bool(lies_within(where.voxels(ends), onto).all())


def _steps(geometry: Geometry) -> list[list[float]]:
    """Return the LPS way in mm from voxel to voxel along z, y and x."""
    axes = np.asarray(geometry.direction) * np.asarray(geometry.spacing_mm[::-1])
    steps: list[list[float]] = axes.T[::-1].tolist()
    return steps
