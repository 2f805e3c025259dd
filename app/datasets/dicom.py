"""DICOM series in a tree of folders, and their way into files that hold no patient.

A converted file carries voxels and geometry only. Every tag stays behind, also those that nobody
thought of: the new image is made from nothing but the array and its grid.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from app.datasets.images import Fault, ImageProblem

_DEEPEST_FOLDER: Final = 12
_MAGIC_OFFSET: Final = 128
_MAGIC: Final = b"DICM"
# Slices of one series whose distances differ by more than this share were not all found.
_UNEVEN_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series: its slices in order along the patient, all in one folder."""

    folder: str
    files: tuple[str, ...]


def find_series(root: Path) -> tuple[Series, ...]:
    """List every series below a folder, by folder; several series may share one.

    Single-file objects such as DICOM SEG count as series of one file.
    """
    import SimpleITK

    found: list[Series] = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        if len(Path(folder).relative_to(root).parts) >= _DEEPEST_FOLDER:
            folders.clear()
        # GDCM opens every file; it is only asked where there is something to find.
        if not any(_is_dicom(Path(folder) / name) for name in sorted(files)):
            continue
        for identifier in sorted(SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(folder)):
            names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(folder, identifier)
            found.append(Series(folder=folder, files=tuple(names)))
    return tuple(found)


def convert(series: Series, destination: Path) -> None:
    """Write a series as one image file in the format that the destination's name says.

    Raises:
        ImageProblem: the series cannot be read, slices are missing, or it is not grey.
        OSError: the destination cannot be written.
    """
    import SimpleITK

    source = Path(series.folder)
    try:
        image = SimpleITK.ReadImage(list(series.files))
    except RuntimeError as exc:
        raise ImageProblem(
            source, Fault.FORMAT, "the slices of the series do not form one volume"
        ) from exc
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise ImageProblem(source, Fault.COLOUR, "the series is in colours")
    _refuse_gaps(source, series)
    bare = SimpleITK.GetImageFromArray(SimpleITK.GetArrayViewFromImage(image))
    bare.SetSpacing(image.GetSpacing())
    bare.SetOrigin(image.GetOrigin())
    bare.SetDirection(image.GetDirection())
    try:
        SimpleITK.WriteImage(bare, str(destination), True)
    except RuntimeError as exc:
        raise OSError(f"{destination} cannot be written") from exc


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_OFFSET + len(_MAGIC))[_MAGIC_OFFSET:] == _MAGIC
    except OSError:
        return False  # what cannot be read cannot be converted either


def _refuse_gaps(source: Path, series: Series) -> None:
    """Refuse a series with uneven slice distances: a volume has only one distance.

    Raises:
        ImageProblem: slices are missing or doubled.
    """
    import SimpleITK

    places: list[float] = []
    for file in series.files:
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(file)
        reader.ReadImageInformation()
        if reader.GetDimension() > 2 and reader.GetSize()[2] > 1:
            return  # a multi-frame object says its distance itself
        direction = np.reshape(reader.GetDirection(), (3, 3))
        places.append(float(np.dot(direction[:, 2], reader.GetOrigin())))
    steps = np.abs(np.diff(places))
    if steps.size and steps.max() - steps.min() > _UNEVEN_SHARE * np.median(steps):
        raise ImageProblem(
            source,
            Fault.FORMAT,
            f"its slices lie {steps.min():g} to {steps.max():g} mm apart: some are missing",
        )
