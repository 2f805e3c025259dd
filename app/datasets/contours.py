"""From closed contours to voxels.

The convention: a voxel belongs to a contour when its centre lies inside; of centres exactly on the
edge those count that lie on a left or upper edge, so that structures which share an edge share no
voxel. Several contours of one structure in one slice are combined by parity, so a contour inside
another one cuts a hole, as planning systems draw them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from app.datasets.placement import Mask

# Contours drawn around voxels have corners at exact half or whole voxels; a matrix inverse moves
# them by some 1e-12, which must not decide on which side they are.
_SNAP_DIGITS: Final = 6


def inside(corners: npt.ArrayLike, shape: tuple[int, int]) -> Mask:
    """Return which pixel centres (rows, columns) lie inside a closed polygon.

    `corners` (n, 2) are (x, y) in pixels; the centre of pixel (row, column) is (column, row).
    A polygon that crosses itself is filled by parity.
    """
    points = np.round(np.asarray(corners, dtype=np.float64), _SNAP_DIGITS)
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), dtype=np.int64)
    start, end = points, np.roll(points, -1, axis=0)
    upward = start[:, 1] > end[:, 1]
    lower = np.where(upward[:, None], end, start)
    upper = np.where(upward[:, None], start, end)
    # An edge is met by the rows of lower <= row < upper: half open, so corners count once.
    first = np.clip(np.ceil(lower[:, 1]).astype(np.int64), 0, rows)
    last = np.clip(np.ceil(upper[:, 1]).astype(np.int64), 0, rows)
    counts = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(len(points)), counts)
    if edge.size == 0:
        return np.zeros(shape, dtype=np.bool_)
    row = np.arange(edge.size) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (upper[edge, 0] - lower[edge, 0]) / (upper[edge, 1] - lower[edge, 1])
    crossing = np.round(lower[edge, 0] + (row - lower[edge, 1]) * slope, _SNAP_DIGITS)
    column = np.clip(np.ceil(crossing).astype(np.int64), 0, columns)
    np.add.at(toggles, (row, column), 1)
    return np.asarray(np.cumsum(toggles[:, :columns], axis=1) % 2 == 1, dtype=np.bool_)
