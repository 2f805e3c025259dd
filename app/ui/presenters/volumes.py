"""Reading one case for the viewer: its image, its label maps, and where to look first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from app.datasets.images import Volume

    Labels = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePaths:
    """What to read: absolute paths. `voxel` (z, y, x) is where to look first, None to choose."""

    case: str
    image: str
    prediction: str | None = None
    reference: str | None = None
    voxel: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedCase:
    """An image with label maps (z, y, x) of its shape; `remark` says what could not be shown."""

    case: str
    image: Volume
    prediction: Labels | None
    reference: Labels | None
    voxel: tuple[int, int, int] | None
    remark: str = ""


def read_case(paths: CasePaths) -> LoadedCase:
    """Read a case; takes as long as its files are large, so never in the Qt thread.

    Raises:
        DataProblem: the image or a label map cannot be read.
    """
    from app.datasets.images import read_volume

    image = read_volume(Path(paths.image))
    maps: list[Labels | None] = []
    remarks = []
    for name, path in (("segmentation", paths.prediction), ("label", paths.reference)):
        if path is None:
            maps.append(None)
            continue
        array = read_volume(Path(path)).array
        if array.shape != image.array.shape:
            remarks.append(f"The {name} has another size than the image and is not shown.")
            maps.append(None)
            continue
        maps.append(array)
    prediction, reference = maps
    voxel = paths.voxel
    if voxel is None:
        voxel = place_to_look(prediction, reference)
    return LoadedCase(
        case=paths.case,
        image=image,
        prediction=prediction,
        reference=reference,
        voxel=voxel,
        remark=" ".join(remarks),
    )


def place_to_look(
    prediction: Labels | None, reference: Labels | None
) -> tuple[int, int, int] | None:
    """Return a voxel (z, y, x) in the slice with most errors, or with most label; None without any."""
    import numpy as np

    shown: Any
    if prediction is not None and reference is not None and (prediction != reference).any():
        shown = prediction != reference
    else:
        labels = prediction if prediction is not None else reference
        if labels is None:
            return None
        shown = labels != 0
    per_slice = shown.reshape(shown.shape[0], -1).sum(axis=1)
    z = int(per_slice.argmax())
    if not per_slice[z]:
        return None
    rows, columns = np.nonzero(shown[z])
    # The member nearest the centre: a centroid may lie outside a bent structure.
    distance = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    nearest = int(distance.argmin())
    return (z, int(rows[nearest]), int(columns[nearest]))
