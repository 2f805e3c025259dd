"""What DICOM objects lie below a folder: series of images, segmentations, structure sets.

Headers are read with pydicom, pixels are not. Files are found by what is in them, not by their
names: scanners export files without an ending, and several studies in one tree.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from app.datasets.geometry import Geometry, Matrix, Triple
from app.domain.errors import DataProblem, ErrorCode, JobFailed

if TYPE_CHECKING:
    from pydicom import Dataset

_MAGIC_AT: Final = 128
_MAGIC: Final = b"DICM"
_DEEPEST_FOLDER: Final = 16
_SEGMENTATIONS: Final = frozenset(
    {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}  # SEG and label map SEG
)
_STRUCTURE_SET: Final = "1.2.840.10008.5.1.4.1.1.481.3"
_READ_TAGS: Final = [
    "SOPClassUID",
    "SOPInstanceUID",
    "ImageType",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "SeriesDescription",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "SegmentSequence",
    "ReferencedSeriesSequence",
    "StructureSetROISequence",
    "ReferencedFrameOfReferenceSequence",
]
# Slices of one volume are evenly spaced to this share of their distance; rounded positions stay
# far below it, a missing slice far above.
_UNEVEN_SHARE: Final = 0.02
# A stack that drifts sideways by more than this many pixels was scanned with a tilted gantry.
_TILT_PIXELS: Final = 0.5
_SAME_PLACE_MM: Final = 1e-3
MISSING_SLICES: Final = "slices are missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One image file of a series; `path` is relative to the folder."""

    path: str
    position_mm: Triple


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Images that make one volume, in the order of their positions.

    `geometry` is None where `fault` says why they make none. UIDs are for matching only: they
    identify a patient and must not be written anywhere.
    """

    study: str
    uid: str
    frame_of_reference: str
    modality: str
    description: str
    slices: tuple[Slice, ...]
    geometry: Geometry | None
    fault: str = ""

    @property
    def path(self) -> str:
        """Its first file by name: what the series is called by."""
        return min(one.path for one in self.slices)

    @property
    def detail(self) -> str:
        """A line for a person, without anything of the patient."""
        if self.geometry is None:
            return f"{self.modality}, {len(self.slices)} images"
        depth, height, width = self.geometry.shape
        lengths = " x ".join(f"{length:.4g}" for length in self.geometry.spacing_mm[::-1])
        return f"{self.modality}, {width} x {height} x {depth} voxels of {lengths} mm"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelObject:
    """A DICOM SEG or RTSTRUCT: its structures and the series on which they were drawn."""

    path: str
    structure_set: bool
    study: str
    frame_of_reference: str
    refers_to: tuple[str, ...]
    structures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomTree:
    """All that was found; `other` are files that are not DICOM, `ignored` DICOM of other kinds."""

    series: tuple[Series, ...]
    labels: tuple[LabelObject, ...]
    other: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """What one image file's header says."""

    path: str
    instance: str
    study: str
    series: str
    frame_of_reference: str
    modality: str
    description: str
    position_mm: Triple | None
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, float] | None
    thickness_mm: float
    rows: int
    columns: int
    frames: int
    samples: int
    localizer: bool


class _Nothing:
    """DICOM without an image or structures: reports, directories, doses."""


@contextmanager
def quietly() -> Iterator[None]:
    """Keep pydicom and highdicom silent: they quote odd values, also those of a patient.

    For one thread at a time, as warning filters are shared by all.
    """
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [one.level for one in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in loggers:
            one.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)


def index(
    folder: Path,
    *,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> DicomTree:
    """Read the headers of all files below `folder`; links to folders are not followed.

    Raises:
        DataProblem: the folder may not be read.
        JobFailed: JOB_STOPPED when `stopped` said so between two files.
    """
    files = _walk(folder)
    images: list[_Image] = []
    labels: list[LabelObject] = []
    other: list[str] = []
    ignored: list[tuple[str, str]] = []
    for number, path in enumerate(files):
        if stopped():
            raise JobFailed("reading the folder was stopped", code=ErrorCode.JOB_STOPPED)
        progress(number, len(files), "reading DICOM headers")
        with quietly():
            match _read(folder, path):
                case None:
                    other.append(path)
                case LabelObject() as label:
                    labels.append(label)
                case _Image() as image:
                    images.append(image)
                case _Nothing():
                    ignored.append((path, "it holds neither images nor structures"))
    progress(len(files), len(files), "reading DICOM headers")
    return DicomTree(
        series=_series(images), labels=tuple(labels), other=tuple(other), ignored=tuple(ignored)
    )


def _walk(folder: Path) -> list[str]:
    found: list[str] = []
    waiting = [(folder, 0)]
    while waiting:
        current, depth = waiting.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if depth < _DEEPEST_FOLDER:
                            waiting.append((Path(entry.path), depth + 1))
                    elif entry.is_file():
                        found.append(Path(entry.path).relative_to(folder).as_posix())
        except OSError as exc:
            raise DataProblem(
                f"the folder {current} cannot be read: {exc.strerror}",
                code=ErrorCode.FOLDER_NOT_READABLE,
            ) from exc
    return sorted(found)


def _read(folder: Path, path: str) -> LabelObject | _Image | _Nothing | None:
    """Read what one file is; None when it is no DICOM."""
    header = _header(folder / path)
    if header is None:
        return None
    kind = _text(header, "SOPClassUID")
    if kind in _SEGMENTATIONS or kind == _STRUCTURE_SET:
        return _label_object(path, header, structure_set=kind == _STRUCTURE_SET)
    return _image(path, header) if "Rows" in header else _Nothing()


def _header(path: Path) -> Dataset | None:
    """Read a DICOM header; None when the file is something else or damaged."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with path.open("rb") as file:
            marked = file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
        if not marked and path.suffix.casefold() not in {".dcm", ".ima"}:
            return None
        header = pydicom.dcmread(
            path, stop_before_pixels=True, force=not marked, specific_tags=_READ_TAGS
        )
    except (InvalidDicomError, OSError, ValueError, KeyError, EOFError, NotImplementedError):
        return None
    return header if marked or "SOPClassUID" in header else None


def _text(header: Dataset, name: str) -> str:
    return str(header.get(name) or "").strip()


def _numbers(header: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """Return a multi-valued number; None when it is absent, of another length or not finite."""
    try:
        values = tuple(float(value) for value in header.get(name) or ())
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and all(map(np.isfinite, values)) else None


def _image(path: str, header: Dataset) -> _Image:
    position = _numbers(header, "ImagePositionPatient", 3)
    spacing = _numbers(header, "PixelSpacing", 2)
    return _Image(
        path=path,
        instance=_text(header, "SOPInstanceUID"),
        study=_text(header, "StudyInstanceUID"),
        series=_text(header, "SeriesInstanceUID"),
        frame_of_reference=_text(header, "FrameOfReferenceUID"),
        modality=_text(header, "Modality"),
        description=_text(header, "SeriesDescription"),
        position_mm=None if position is None else (position[0], position[1], position[2]),
        orientation=_numbers(header, "ImageOrientationPatient", 6) or (),
        spacing_mm=None if spacing is None else (spacing[0], spacing[1]),
        thickness_mm=_positive(header, "SpacingBetweenSlices")
        or _positive(header, "SliceThickness")
        or 1.0,
        rows=int(header.get("Rows") or 0),
        columns=int(header.get("Columns") or 0),
        frames=int(header.get("NumberOfFrames") or 1),
        samples=int(header.get("SamplesPerPixel") or 1),
        localizer="LOCALIZER" in {str(word) for word in header.get("ImageType") or ()},
    )


def _positive(header: Dataset, name: str) -> float:
    try:
        value = float(header.get(name) or 0.0)
    except (TypeError, ValueError):
        return 0.0
    return value if np.isfinite(value) and value > 0 else 0.0


def _label_object(path: str, header: Dataset, *, structure_set: bool) -> LabelObject:
    if structure_set:
        frames = header.get("ReferencedFrameOfReferenceSequence") or ()
        refers_to = [
            _text(series, "SeriesInstanceUID")
            for frame in frames
            for study in frame.get("RTReferencedStudySequence") or ()
            for series in study.get("RTReferencedSeriesSequence") or ()
        ]
        frame_of_reference = next((_text(frame, "FrameOfReferenceUID") for frame in frames), "")
        structures = [_text(one, "ROIName") for one in header.get("StructureSetROISequence") or ()]
    else:
        refers_to = [
            _text(one, "SeriesInstanceUID") for one in header.get("ReferencedSeriesSequence") or ()
        ]
        frame_of_reference = _text(header, "FrameOfReferenceUID")
        structures = [_text(one, "SegmentLabel") for one in header.get("SegmentSequence") or ()]
    return LabelObject(
        path=path,
        structure_set=structure_set,
        study=_text(header, "StudyInstanceUID"),
        frame_of_reference=frame_of_reference,
        refers_to=tuple(uid for uid in refers_to if uid),
        structures=tuple(dict.fromkeys(name for name in structures if name)),
    )


def _series(images: list[_Image]) -> tuple[Series, ...]:
    """Sort images into volumes: of one series, and lying the same way in the same size.

    Localizers put several orientations into one series.
    """
    stacks: dict[tuple[object, ...], dict[str, _Image]] = {}
    for image in images:
        key = (
            image.study,
            image.series,
            image.frame_of_reference,
            tuple(round(part, 3) for part in image.orientation),
            image.rows,
            image.columns,
            None if image.spacing_mm is None else tuple(round(mm, 4) for mm in image.spacing_mm),
        )
        # The same image copied twice into the tree is one image.
        stacks.setdefault(key, {}).setdefault(image.instance or image.path, image)
    found = [_volume(list(stack.values())) for stack in stacks.values()]
    return tuple(sorted(found, key=lambda series: series.path))


def _volume(images: list[_Image]) -> Series:
    """Order the images by position and say on which grid they lie, or why on none."""
    first = images[0]
    ordered, geometry, fault = images, None, _unusable(images)
    if not fault:
        row, column, normal = _axes(first.orientation)
        places = np.array([image.position_mm for image in images])
        order = np.argsort(places @ normal, kind="stable")
        ordered, places = [images[number] for number in order], places[order]
        fault = _uneven(places, normal, min(first.spacing_mm or (1.0, 1.0)))
        if not fault:
            along = places @ normal
            step = (
                float(along[-1] - along[0]) / (len(images) - 1)
                if len(images) > 1
                else first.thickness_mm
            )
            row_mm, column_mm = first.spacing_mm or (1.0, 1.0)
            matrix = np.stack([row, column, normal], axis=1).tolist()
            direction: Matrix = (tuple(matrix[0]), tuple(matrix[1]), tuple(matrix[2]))
            geometry = Geometry(
                shape=(len(images), first.rows, first.columns),
                spacing_mm=(step, row_mm, column_mm),
                origin_mm=(float(places[0, 0]), float(places[0, 1]), float(places[0, 2])),
                direction=direction,
            )
    return Series(
        study=first.study,
        uid=first.series,
        frame_of_reference=first.frame_of_reference,
        modality=first.modality,
        description=first.description,
        slices=tuple(
            Slice(path=image.path, position_mm=image.position_mm or (0.0, 0.0, 0.0))
            for image in ordered
        ),
        geometry=geometry,
        fault=fault,
    )


def _unusable(images: list[_Image]) -> str:
    first = images[0]
    if first.localizer:
        return "it is a localizer"
    if any(image.frames > 1 for image in images):
        return "it is a multi-frame object; export it as one file for each slice"
    if first.samples > 1:
        return "it holds colours; only grey values can be used"
    if not first.orientation or any(image.position_mm is None for image in images):
        return "it does not say where its images lie in the patient"
    if first.spacing_mm is None or min(first.spacing_mm) <= 0:
        return "it does not say how large its pixels are"
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    if abs(row @ column) > 1e-3 or not np.allclose([row @ row, column @ column], 1, atol=1e-2):
        return "the rows and columns of its images are not at right angles"
    return ""


def _axes(orientation: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return unit vectors along rows, along columns, and the normal."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal = normal / np.linalg.norm(normal)
    return row, np.cross(normal, row), normal


def _uneven(places: np.ndarray, normal: np.ndarray, pixel_mm: float) -> str:
    """Say what is wrong with the distances between ordered slices; empty when nothing is."""
    if len(places) < 2:
        return ""
    gaps = np.diff(places @ normal)
    if gaps.min() < _SAME_PLACE_MM:
        return (
            "several of its images lie at the same place, as time points, echoes or repeated "
            "scans do"
        )
    usual = float(np.median(gaps))
    odd = np.flatnonzero(np.abs(gaps - usual) > _UNEVEN_SHARE * usual)
    if odd.size:
        number = int(odd[0])
        missing = gaps[number] > 1.5 * usual
        return (
            f"{MISSING_SLICES if missing else 'slices are unevenly spaced'}: from slice "
            f"{number + 1} to {number + 2} there are {gaps[number]:.2f} mm, elsewhere "
            f"{usual:.2f} mm"
        )
    offsets = places - places[0]
    drift = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1).max()
    if drift > _TILT_PIXELS * pixel_mm:
        return "its slices are shifted sideways, as a tilted gantry does"
    return ""
