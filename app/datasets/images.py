"""Reading one image file, or one DICOM series, as a volume in the patient's space.

SimpleITK does the reading, as in nnU-Net, so that voxels are the same as in training. What it
accepts silently is refused here: NIfTI and GIPL files that are cut off come back from it as
garbage without a word (measured with SimpleITK 2.5.7).
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.datasets import nifti
from app.datasets.geometry import Geometry, Matrix, Triple, Voxel
from app.datasets.mapping import raw_layout
from app.domain.errors import DataProblem, ErrorCode

VoxelArray = npt.NDArray[np.generic]

# Header fields in which scanners, converters and people leave names, dates and numbers.
_NIFTI_NOTES: Final = ("descrip", "aux_file", "db_name", "intent_name")
_GIPL_HEADER_BYTES: Final = 256
_NIFTI_HEADER_BYTES: Final = 352
_FEWEST_DIMENSIONS: Final = 2
_LARGEST_DIMENSION: Final = 3


class Fault(enum.Enum):
    """Why an image cannot be used."""

    MISSING = "missing"
    NO_PERMISSION = "no permission"
    EMPTY = "empty"
    CUT_OFF = "cut off"
    FORMAT = "format"
    DIMENSIONS = "dimensions"
    COLOUR = "colour"
    NOT_ORTHONORMAL = "not orthonormal"
    SEVERAL_SERIES = "several series"
    MEMORY = "memory"


_REMEDIES: Final = {
    Fault.MISSING: "Put the file back, or correct its name.",
    Fault.NO_PERMISSION: "Ask IT for read permission on this file.",
    Fault.EMPTY: "Copy the file again from its source, or leave the case out.",
    Fault.CUT_OFF: "Copy the file again from its source, or leave the case out.",
    Fault.FORMAT: "Replace the file by an intact copy, or leave the case out.",
    Fault.DIMENSIONS: "Split the file into one 3-D file for each channel or time point.",
    Fault.COLOUR: "Export the image in grey values, one value per voxel.",
    Fault.NOT_ORTHONORMAL: "Resample the image to a grid with right angles (tilted gantries need it).",
    Fault.SEVERAL_SERIES: "Put each DICOM series into a folder of its own.",
    Fault.MEMORY: "Close other programs, or use a computer with more memory.",
}


class ImageProblem(DataProblem):
    """Raised when one image cannot be read or is of a kind that cannot be used."""

    code = ErrorCode.CASE_UNREADABLE

    def __init__(self, path: Path, fault: Fault, reason: str) -> None:
        super().__init__(f"{path.parent.name}/{path.name} cannot be used: {reason}")
        self.path, self.fault, self.reason = path, fault, reason

    @property
    def remedy(self) -> str:
        """What a site operator can do about this fault."""
        return _REMEDIES[self.fault]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an image file says before its voxels.

    `notes` are the free texts of the header (NIfTI descrip and aux_file, DICOM tags that a
    converter left behind) as (field, text).
    """

    geometry: Geometry
    voxel_type: str
    voxel_bytes: int
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def bytes_in_memory(self) -> int:
        """Size of the voxels as an array."""
        return math.prod(self.geometry.shape) * self.voxel_bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """Voxels and where they lie. The array (z, y, x) is read-only.

    `mapped` says that the array is the file itself, mapped into memory: slices of it are read
    from disk when they are looked at.
    """

    array: VoxelArray
    geometry: Geometry
    mapped: bool = False

    @property
    def spacing_mm(self) -> Triple:
        """Voxel size (z, y, x)."""
        return self.geometry.spacing_mm

    @property
    def origin_mm(self) -> Triple:
        """LPS point (x, y, z) of the first voxel."""
        return self.geometry.origin_mm

    @property
    def direction(self) -> Matrix:
        """Columns are the LPS directions of x, y, z."""
        return self.geometry.direction


class _ImageBuffer:
    """Lends a SimpleITK image's voxels to numpy without a copy, and keeps the image alive.

    SimpleITK's own array views dangle once the image is gone; an array made from this object
    holds on to it.
    """

    def __init__(self, image: Any) -> None:  # noqa: ANN401 - SimpleITK has no types
        import SimpleITK

        self._image = image
        self.__array_interface__ = SimpleITK.GetArrayViewFromImage(image).__array_interface__


def read_geometry(path: Path) -> Geometry:
    """Read where the voxels lie without reading them.

    Raises:
        ImageProblem: as `read_header`.
    """
    return read_header(path).geometry


def read_header(path: Path) -> Header:
    """Read what the file says before its voxels; `path` is a file or a DICOM series folder.

    Raises:
        ImageProblem: the file is missing, empty, of no known format, has more than three
            dimensions, colours, or axes that are not at right angles.
    """
    _refuse_absent(path)
    if path.is_dir():
        return _header(path, _information(path, _series_files(path)[0]), slices=path)
    return _header(path, _information(path, path))


def read_volume(
    path: Path,
    *,
    header: Header | None = None,
    map_above_bytes: int | None = None,
) -> Volume:
    """Read an image file or the DICOM series of a folder.

    `header` saves reading it again. An uncompressed NIfTI, MetaImage or NRRD file of more than
    `map_above_bytes` is mapped instead of read. Damage inside a gzipped NIfTI is not noticed
    here, only that it ends early; `app.datasets.nifti.inspect` looks for both.

    Raises:
        ImageProblem: as `read_header`, and when the voxels are not all there.
        DataProblem: with the code MEMORY_FULL when the memory does not suffice.
    """
    header = header or read_header(path)
    if path.is_file():
        _refuse_cut_off(path, header)
        if map_above_bytes is not None and header.bytes_in_memory > map_above_bytes:
            mapped = _map(path, header)
            if mapped is not None:
                return mapped
    import SimpleITK

    try:
        if path.is_dir():
            image = SimpleITK.ReadImage([str(file) for file in _series_files(path)])
        else:
            image = SimpleITK.ReadImage(str(path))
    except MemoryError as exc:
        raise _too_large(path) from exc
    except RuntimeError as exc:
        if "allocate" in str(exc):
            raise _too_large(path) from exc
        raise ImageProblem(
            path, Fault.CUT_OFF, "its voxels are not all there or are damaged"
        ) from exc
    array: VoxelArray = np.asarray(_ImageBuffer(image))
    while array.ndim < _LARGEST_DIMENSION:
        array = array[np.newaxis]
    while array.ndim > _LARGEST_DIMENSION:
        array = array[0]  # `read_header` let only axes of length one pass
    geometry = header.geometry
    if path.is_dir():  # the slice distance of a series is known only now
        geometry = _geometry(image, known=geometry.known)
    return Volume(array=array, geometry=geometry)


def read_reduced(
    path: Path,
    *,
    largest_bytes: int,
    free_bytes: int,
    step: int | None = None,
) -> tuple[Volume, int]:
    """Read an image to be looked at: of a larger one than `largest_bytes` only a part of the voxels.

    Returns the volume and its step: every so manieth voxel along each axis was taken, the first
    one first; 1 is the whole image. `step` asks for one, so that a label map fits its image. Of
    an uncompressed NIfTI, MetaImage or NRRD file no more than that is ever in memory; any other
    file must fit into `free_bytes` while it is read.

    Raises:
        ImageProblem: as `read_volume`.
        DataProblem: with the code MEMORY_FULL when the memory does not suffice.
    """
    header = read_header(path)
    step = step or reduction(header.bytes_in_memory, largest_bytes)
    whole = None
    if step > 1 and path.is_file():
        _refuse_cut_off(path, header)
        whole = _map(path, header)
    if whole is None:
        if header.bytes_in_memory > free_bytes:
            raise _too_large(path)
        whole = read_volume(path, header=header)
    return (whole if step == 1 else _thinned(whole, step)), step


def reduction(size: int, largest: int) -> int:
    """Return the least step along three axes that brings `size` bytes below `largest`."""
    step = 1
    while size > largest * step**3:
        step += 1
    return step


def _thinned(volume: Volume, step: int) -> Volume:
    grid = volume.geometry
    z, y, x = (-(-count // step) for count in grid.shape)
    array = np.empty((z, y, x), volume.array.dtype.newbyteorder("="))
    for target, number in zip(array, range(0, grid.shape[0], step), strict=True):
        target[...] = volume.array[number, ::step, ::step]
    array.flags.writeable = False
    depth, height, width = grid.spacing_mm
    return Volume(
        array=array,
        geometry=replace(
            grid, shape=(z, y, x), spacing_mm=(depth * step, height * step, width * step)
        ),
    )


def _refuse_absent(path: Path) -> None:
    try:
        size = path.stat().st_size
        if path.is_file():
            with path.open("rb"):
                pass
    except FileNotFoundError as exc:
        raise ImageProblem(path, Fault.MISSING, "there is no such file") from exc
    except PermissionError as exc:
        raise ImageProblem(path, Fault.NO_PERMISSION, "reading it is not permitted") from exc
    except OSError as exc:
        raise ImageProblem(path, Fault.FORMAT, f"the disk reports “{exc.strerror}”") from exc
    if path.is_file() and size == 0:
        raise ImageProblem(path, Fault.EMPTY, "the file is empty (0 bytes)")


def _series_files(folder: Path) -> list[Path]:
    import SimpleITK

    series = SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise ImageProblem(folder, Fault.FORMAT, "the folder holds no DICOM series")
    if len(series) > 1:
        raise ImageProblem(
            folder, Fault.SEVERAL_SERIES, f"the folder holds {len(series)} DICOM series"
        )
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    return [Path(name) for name in names]


def _information(path: Path, file: Path) -> Any:  # noqa: ANN401 - SimpleITK has no types
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as exc:
        if "orthonormal" in str(exc) or "determinant" in str(exc):
            raise ImageProblem(
                path, Fault.NOT_ORTHONORMAL, "its voxel axes are not at right angles"
            ) from exc
        raise ImageProblem(
            path, Fault.FORMAT, "it is damaged, or not in the format its name says"
        ) from exc
    return reader


def _header(path: Path, reader: Any, *, slices: Path | None = None) -> Header:  # noqa: ANN401
    import SimpleITK

    size = tuple(int(length) for length in reader.GetSize())
    if any(length > 1 for length in size[_LARGEST_DIMENSION:]):
        volumes = math.prod(size[_LARGEST_DIMENSION:])
        raise ImageProblem(
            path, Fault.DIMENSIONS, f"it has {len(size)} dimensions ({volumes} volumes in one file)"
        )
    if len(size) < _FEWEST_DIMENSIONS or 0 in size:
        raise ImageProblem(path, Fault.DIMENSIONS, "it is no picture: its size is " + _sizes(size))
    components = int(reader.GetNumberOfComponents())
    if components > 1:
        raise ImageProblem(
            path, Fault.COLOUR, f"it holds {components} values per voxel, as colour images do"
        )
    keys = set(reader.GetMetaDataKeys())
    notes = tuple(
        (key, text)
        for key in sorted(keys)
        if (key in _NIFTI_NOTES or "|" in key) and (text := reader.GetMetaData(key).strip(" \0"))
    )
    # A pixel of each type, to learn its size: SimpleITK has no table for it.
    pixel = SimpleITK.GetArrayFromImage(SimpleITK.Image([1] * 2, reader.GetPixelID()))
    geometry = _geometry(reader, known=_orientation_known(path, reader, keys))
    if slices is not None:
        shape = (len(_series_files(slices)), geometry.shape[1], geometry.shape[2])
        geometry = Geometry(
            shape=shape,
            spacing_mm=geometry.spacing_mm,
            origin_mm=geometry.origin_mm,
            direction=geometry.direction,
            known=geometry.known,
        )
    return Header(
        geometry=geometry, voxel_type=str(pixel.dtype), voxel_bytes=pixel.itemsize, notes=notes
    )


def _sizes(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


def _geometry(source: Any, *, known: bool) -> Geometry:  # noqa: ANN401
    """Read the grid of a SimpleITK image or reader, whatever its number of dimensions."""
    size = [int(length) for length in source.GetSize()]
    spacing = [float(length) for length in source.GetSpacing()]
    origin = [float(place) for place in source.GetOrigin()]
    dimensions = len(size)
    matrix = np.asarray(source.GetDirection(), dtype=float).reshape(dimensions, dimensions)
    if dimensions < _LARGEST_DIMENSION:
        full = np.eye(_LARGEST_DIMENSION)
        full[:dimensions, :dimensions] = matrix
        matrix = full
        size, spacing, origin = [*size, 1], [*spacing, 1.0], [*origin, 0.0]
    rows = matrix[:_LARGEST_DIMENSION, :_LARGEST_DIMENSION].tolist()
    shape: Voxel = (size[2], size[1], size[0])
    return Geometry(
        shape=shape,
        spacing_mm=(spacing[2], spacing[1], spacing[0]),
        origin_mm=(origin[0], origin[1], origin[2]),
        direction=(tuple(rows[0]), tuple(rows[1]), tuple(rows[2])),
        known=known,
        planar=dimensions < _LARGEST_DIMENSION,
    )


def _orientation_known(path: Path, reader: Any, keys: set[str]) -> bool:  # noqa: ANN401
    """Tell whether the file says how the patient lies, instead of ITK having assumed it."""
    if reader.GetDimension() < _LARGEST_DIMENSION:
        return False
    if "qform_code" in keys:
        return bool({reader.GetMetaData(key) for key in ("qform_code", "sform_code")} - {"0"})
    name = path.name.casefold()
    if name.endswith((".nrrd", ".nhdr")):
        return "NRRD_space" in keys
    if name.endswith((".mha", ".mhd")):
        with path.open("rb") as file:
            head = file.read(4096)
        return any(word in head for word in (b"TransformMatrix", b"Orientation", b"Rotation"))
    # GIPL, TIFF and picture formats have no field for it.
    return any(key.startswith("0020|") for key in keys) or path.is_dir()


def expected_bytes(path: Path, header: Header) -> int | None:
    """Return how long an unpacked NIfTI or GIPL file must be; None for other formats.

    For those two SimpleITK does not notice that a file ends early; for the others it does.
    """
    name = path.name.casefold()
    if name.endswith(".gipl"):
        return _GIPL_HEADER_BYTES + header.bytes_in_memory
    if not name.endswith((".nii", ".nii.gz")):
        return None
    layout = nifti.read_layout(path)
    if layout is None:
        return _NIFTI_HEADER_BYTES + header.bytes_in_memory
    return layout.offset + math.prod(header.geometry.shape) * layout.bits // 8


def cut_off(path: Path, found: int, expected: int) -> ImageProblem:
    """Say that a file ends early or is damaged before its end."""
    return ImageProblem(
        path, Fault.CUT_OFF, f"only {found:,} of its {expected:,} bytes are there and sound"
    )


def _refuse_cut_off(path: Path, header: Header) -> None:
    expected = expected_bytes(path, header)
    if expected is None:
        return
    if path.name.casefold().endswith(".gipl"):
        found = path.stat().st_size
    else:
        found = nifti.quick_length(path, expected)
    if found < expected:
        raise cut_off(path, found, expected)


def _map(path: Path, header: Header) -> Volume | None:
    layout = raw_layout(path)
    if layout is None or layout.voxel_type.itemsize != header.voxel_bytes:
        return None
    found, expected = path.stat().st_size, layout.offset + header.bytes_in_memory
    if found < expected:
        raise cut_off(path, found, expected)
    array = np.memmap(
        path, dtype=layout.voxel_type, mode="r", offset=layout.offset, shape=header.geometry.shape
    )
    return Volume(array=array, geometry=header.geometry, mapped=True)


def _too_large(path: Path) -> DataProblem:
    return DataProblem(
        f"{path.parent.name}/{path.name} does not fit into memory", code=ErrorCode.MEMORY_FULL
    )
