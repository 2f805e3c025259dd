"""Reading the voxels of a DICOM series, slice by slice in the order of positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from app.datasets.dicom_index import Series
from app.datasets.geometry import Geometry
from app.datasets.images import Fault, ImageProblem, VoxelArray
from app.domain.errors import DataProblem, ErrorCode, JobFailed


def read_series(
    folder: Path, series: Series, *, stopped: Callable[[], bool] = lambda: False
) -> VoxelArray:
    """Return the voxels (z, y, x) of a series, rescaled as each slice says (Hounsfield units).

    Each slice is read on its own: slices of a PET have their own slopes, and one reader for all
    would round them to the type of the first. Doubles become single precision, as in nnU-Net.

    Raises:
        ImageProblem: a slice is damaged or packed in a way that cannot be read.
        DataProblem: the series makes no volume (its `fault` says why), or MEMORY_FULL.
        JobFailed: JOB_STOPPED when `stopped` said so between two slices.
    """
    import SimpleITK

    geometry = series.geometry
    if geometry is None:
        raise DataProblem(series.fault, code=ErrorCode.CASE_UNREADABLE)
    reader: Any = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    slices: list[VoxelArray] = []
    for one in series.slices:
        if stopped():
            raise JobFailed("reading the images was stopped", code=ErrorCode.JOB_STOPPED)
        path = folder / one.path
        reader.SetFileName(str(path))
        try:
            array = SimpleITK.GetArrayFromImage(reader.Execute())
        except MemoryError as exc:
            raise DataProblem(
                "a series does not fit into memory", code=ErrorCode.MEMORY_FULL
            ) from exc
        except RuntimeError as exc:
            raise ImageProblem(
                path, Fault.FORMAT, "it is damaged, or packed in a way that cannot be read"
            ) from exc
        array = np.squeeze(array, axis=0) if array.ndim == 3 else array
        if array.shape != geometry.shape[1:]:
            raise ImageProblem(path, Fault.DIMENSIONS, "it is not a single grey picture")
        slices.append(array.astype(np.float32) if array.dtype == np.float64 else array)
    return np.stack(slices).astype(np.result_type(*slices), copy=False)


def write_image(array: VoxelArray, geometry: Geometry, path: Path) -> None:
    """Write voxels and grid as a NIfTI file and nothing else: no text of any source goes along.

    Raises:
        DataProblem: DISK_FULL or NO_PERMISSION, in SimpleITK's case as one: it tells no reason.
    """
    import SimpleITK

    image: Any = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection([part for row in geometry.direction for part in row])
    try:
        SimpleITK.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as exc:
        raise DataProblem(
            f"{path.name} cannot be written to the workspace", code=ErrorCode.DISK_FULL
        ) from exc
