"""Where voxels lie in the patient: orientation letters and what a viewer must flip.

Physical points are in millimetres in the LPS frame of DICOM and SimpleITK (x grows to the
patient's left, y to posterior, z to superior). Arrays are indexed (z, y, x); the direction matrix
keeps SimpleITK's order: its columns are the physical directions of the index axes x, y, z.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np
import numpy.typing as npt

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
Triple = tuple[float, float, float]
Voxel = tuple[int, int, int]

IDENTITY: Final[Matrix] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

# From here on an axis gets a second letter. Heads are tilted by a degree or two in most scans;
# naming that would only add noise at the edges of the picture.
OBLIQUE_DEGREES: Final = 5.0

_TOWARDS: Final = ("L", "P", "S")
_AWAY: Final = ("R", "A", "I")

# How far two grids may differ and still be one. Shape and spacing as strict as stock nnU-Net,
# which refuses such cases (numpy's allclose); origin and direction as large as rounding in
# float32 headers makes them, because nnU-Net itself only warns there.
_SPACING_TOLERANCE: Final = 1e-5
_ORIGIN_TOLERANCE_VOXELS: Final = 1e-2
_DIRECTION_TOLERANCE: Final = 1e-3
_ORTHONORMAL_TOLERANCE: Final = 1e-4


class Plane(enum.Enum):
    """The three planes that a viewer shows."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


class Convention(enum.Enum):
    """Which side of the screen shows the patient's right in axial and coronal planes."""

    RADIOLOGICAL = "radiological"
    NEUROLOGICAL = "neurological"


class Difference(enum.Enum):
    """What two voxel grids can disagree in."""

    SHAPE = "shape"
    SPACING = "spacing"
    ORIGIN = "origin"
    DIRECTION = "direction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The voxel grid of an image.

    `shape` and `spacing_mm` are ordered (z, y, x), `origin_mm` is the LPS point of voxel
    (0, 0, 0) as (x, y, z). `known` is False where the file does not say how the patient lies: then
    letters must not be shown. A plain 2-D image has one slice, `planar` True and a slice
    spacing of 1 mm that means nothing.
    """

    shape: Voxel
    spacing_mm: Triple
    origin_mm: Triple = (0.0, 0.0, 0.0)
    direction: Matrix = IDENTITY
    known: bool = True
    planar: bool = False

    def point_of(self, voxel: tuple[float, float, float]) -> Triple:
        """Return the LPS point in mm of the centre of voxel (z, y, x)."""
        # In plain floats: a viewer asks three times for every move of the mouse.
        along = tuple(
            place * spacing
            for place, spacing in zip(voxel[::-1], self.spacing_mm[::-1], strict=True)
        )
        x, y, z = (
            origin + sum(share * length for share, length in zip(row, along, strict=True))
            for origin, row in zip(self.origin_mm, self.direction, strict=True)
        )
        return float(x), float(y), float(z)

    def voxel_of(self, point: Triple) -> Triple:
        """Return the (fractional) voxel (z, y, x) at an LPS point in mm."""
        offset = np.asarray(point) - np.asarray(self.origin_mm)
        x, y, z = np.linalg.solve(np.asarray(self.direction), offset) / self.spacing_mm[::-1]
        return float(z), float(y), float(x)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return math.prod(self.spacing_mm) / 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneView:
    """How one plane is cut from an array (z, y, x) and turned for the screen.

    `slice_axis`, `row_axis`, `column_axis` are array axes; a flip says that screen order runs
    against array order. Slices are numbered towards superior, anterior and the patient's right.
    The letters are for the edges of the picture and empty when the orientation is unknown.
    """

    plane: Plane
    slice_axis: int
    row_axis: int
    column_axis: int
    flip_slices: bool
    flip_rows: bool
    flip_columns: bool
    left: str
    right: str
    top: str
    bottom: str

    def cut(self, array: npt.NDArray[np.generic], number: int) -> npt.NDArray[np.generic]:
        """Return slice `number` of an array (z, y, x) as the screen shows it (rows, columns).

        The result is a view: nothing is copied.
        """
        index = array.shape[self.slice_axis] - 1 - number if self.flip_slices else number
        selector: list[int | slice] = [slice(None)] * 3
        selector[self.slice_axis] = index
        cut = array[tuple(selector)]
        if self.row_axis > self.column_axis:
            cut = cut.T
        if self.flip_rows:
            cut = cut[::-1]
        if self.flip_columns:
            cut = cut[:, ::-1]
        return cut

    def voxel_at(self, shape: Voxel, number: int, row: int, column: int) -> Voxel:
        """Return the voxel (z, y, x) under a screen pixel of slice `number`."""
        voxel = [0, 0, 0]
        for axis, position, flip in (
            (self.slice_axis, number, self.flip_slices),
            (self.row_axis, row, self.flip_rows),
            (self.column_axis, column, self.flip_columns),
        ):
            voxel[axis] = shape[axis] - 1 - position if flip else position
        return voxel[0], voxel[1], voxel[2]

    def pixel_of(self, shape: Voxel, voxel: Voxel) -> tuple[int, int, int]:
        """Return (slice number, row, column) where a voxel (z, y, x) is shown."""
        number, row, column = (
            shape[axis] - 1 - voxel[axis] if flip else voxel[axis]
            for axis, flip in (
                (self.slice_axis, self.flip_slices),
                (self.row_axis, self.flip_rows),
                (self.column_axis, self.flip_columns),
            )
        )
        return number, row, column

    def pixel_mm(self, geometry: Geometry) -> tuple[float, float]:
        """Return height and width of a screen pixel in millimetres."""
        return geometry.spacing_mm[self.row_axis], geometry.spacing_mm[self.column_axis]


def letters_of(vector: Triple) -> str:
    """Name the way a direction in LPS points: one letter, or two when it is oblique."""
    order = sorted(range(3), key=lambda axis: -abs(vector[axis]))
    length = math.sqrt(sum(part * part for part in vector))
    name = _letter(order[0], vector[order[0]])
    if abs(vector[order[1]]) > math.sin(math.radians(OBLIQUE_DEGREES)) * length:
        name += _letter(order[1], vector[order[1]])
    return name


def orientation_code(geometry: Geometry) -> str | None:
    """Name the ways in which x, y and z of the array grow, e.g. "LPS"; None when unknown.

    Each anatomical axis appears once, also at 45 degrees.
    """
    if not geometry.known:
        return None
    return "".join(
        _letter(patient_axis, geometry.direction[patient_axis][index_axis])
        for index_axis, patient_axis in enumerate(_assignment(geometry.direction))
    )


def is_oblique(geometry: Geometry) -> bool:
    """Tell whether some array axis is more than `OBLIQUE_DEGREES` off the patient's axes."""
    return any(len(letters_of(_column(geometry.direction, axis))) > 1 for axis in range(3))


def is_orthonormal(direction: Matrix) -> bool:
    """Tell whether the axes are unit vectors at right angles, as ITK and nnU-Net need them."""
    matrix = np.asarray(direction)
    return bool(np.allclose(matrix.T @ matrix, np.eye(3), atol=_ORTHONORMAL_TOLERANCE))


def plane_view(
    geometry: Geometry, plane: Plane, convention: Convention = Convention.RADIOLOGICAL
) -> PlaneView:
    """Say how to cut and turn `plane` for the screen.

    Axial: anterior on top; coronal and sagittal: superior on top; sagittal: anterior left; the
    patient's right is left on the screen when radiological. With an unknown orientation
    the array is shown as it lies and every letter is empty.
    """
    if geometry.known:
        direction, assignment = geometry.direction, _assignment(geometry.direction)
    else:
        direction, assignment = IDENTITY, (0, 1, 2)
    index_axis_of = {patient: index for index, patient in enumerate(assignment)}
    lateral, frontal, vertical = (index_axis_of[patient] for patient in (0, 1, 2))
    patient_left_is_right = 1.0 if convention is Convention.RADIOLOGICAL else -1.0
    # For each plane: the index axis and the wanted sign along its LPS axis, for slices,
    # rows (downwards) and columns (rightwards).
    slices, rows, columns = {
        Plane.AXIAL: ((vertical, 1.0), (frontal, 1.0), (lateral, patient_left_is_right)),
        Plane.CORONAL: ((frontal, -1.0), (vertical, -1.0), (lateral, patient_left_is_right)),
        Plane.SAGITTAL: ((lateral, -1.0), (vertical, -1.0), (frontal, 1.0)),
    }[plane]

    def flipped(axis: int, wanted: float) -> bool:
        return geometry.known and direction[assignment[axis]][axis] * wanted < 0

    flip_rows, flip_columns = flipped(*rows), flipped(*columns)
    down = _column(direction, rows[0], -1.0 if flip_rows else 1.0)
    rightwards = _column(direction, columns[0], -1.0 if flip_columns else 1.0)
    return PlaneView(
        plane=plane,
        slice_axis=2 - slices[0],
        row_axis=2 - rows[0],
        column_axis=2 - columns[0],
        flip_slices=flipped(*slices),
        flip_rows=flip_rows,
        flip_columns=flip_columns,
        left=letters_of(_opposite(rightwards)) if geometry.known else "",
        right=letters_of(rightwards) if geometry.known else "",
        top=letters_of(_opposite(down)) if geometry.known else "",
        bottom=letters_of(down) if geometry.known else "",
    )


def differences(reference: Geometry, other: Geometry) -> tuple[Difference, ...]:
    """Return in what two grids differ, beyond rounding. Empty: they are one grid."""
    found: list[Difference] = []
    if reference.shape != other.shape:
        found.append(Difference.SHAPE)
    if not np.allclose(reference.spacing_mm, other.spacing_mm, rtol=_SPACING_TOLERANCE, atol=1e-8):
        found.append(Difference.SPACING)
    shift = np.abs(np.subtract(reference.origin_mm, other.origin_mm)).max()
    if shift > _ORIGIN_TOLERANCE_VOXELS * min(reference.spacing_mm):
        found.append(Difference.ORIGIN)
    turn = np.abs(np.subtract(reference.direction, other.direction)).max()
    if turn > _DIRECTION_TOLERANCE:
        found.append(Difference.DIRECTION)
    return tuple(found)


def _letter(patient_axis: int, sign: float) -> str:
    return _TOWARDS[patient_axis] if sign >= 0 else _AWAY[patient_axis]


def _column(direction: Matrix, axis: int, sign: float = 1.0) -> Triple:
    return sign * direction[0][axis], sign * direction[1][axis], sign * direction[2][axis]


def _opposite(vector: Triple) -> Triple:
    return -vector[0], -vector[1], -vector[2]


def _assignment(direction: Matrix) -> tuple[int, int, int]:
    """Return for the index axes x, y, z the patient axis (0 L, 1 P, 2 S) each runs along.

    The permutation with the largest total cosine, so that no axis is named twice.
    """
    of_x, of_y, of_z = max(
        permutations((0, 1, 2)),
        key=lambda axes: sum(abs(direction[patient][index]) for index, patient in enumerate(axes)),
    )
    return of_x, of_y, of_z
