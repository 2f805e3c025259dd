"""Reading one case for the viewer: its image, its label maps, where it is wrong and worst."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from app.datasets.images import Volume
    from app.review.errors import ErrorComponent

    Labels = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePaths:
    """What to read: absolute paths. `voxel` (z, y, x) is where to look first, None to choose.

    `labels` are (name, values) of the structures to judge; `worst` names the one whose worst slice
    is shown first (empty: that with most errors).
    """

    case: str
    image: str
    prediction: str | None = None
    reference: str | None = None
    voxel: tuple[int, int, int] | None = None
    labels: tuple[tuple[str, tuple[int, ...]], ...] = ()
    worst: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedCase:
    """An image with label maps (z, y, x) of its shape; `remark` says what could not be shown.

    `worst` is a voxel in the worst slice of the worst structure; `voxel` is where to look now.
    """

    case: str
    image: Volume
    prediction: Labels | None
    reference: Labels | None
    voxel: tuple[int, int, int] | None
    remark: str = ""
    source: str = ""
    worst: tuple[int, int, int] | None = None

    @property
    def bytes_held(self) -> int:
        """Memory of image and label maps."""
        arrays = (self.image.array, self.prediction, self.reference)
        return sum(array.nbytes for array in arrays if array is not None)


FileStamp = tuple[int | None, ...]


def file_stamp(paths: CasePaths) -> FileStamp:
    """Return when each file of a case was changed (ns); None for one that is not there."""

    def changed(path: str | None) -> int | None:
        try:
            return None if path is None else Path(path).stat().st_mtime_ns
        except OSError:
            return None

    return tuple(map(changed, (paths.image, paths.prediction, paths.reference)))


def read_case(paths: CasePaths) -> LoadedCase:
    """Read a case; takes as long as its files are large, so never in the Qt thread.

    Raises:
        DataProblem: the image or a label map cannot be read.
    """
    from app.datasets.images import read_volume

    image = read_volume(Path(paths.image))
    maps: list[Volume | None] = []
    remarks = []
    for name, path in (("segmentation", paths.prediction), ("label", paths.reference)):
        volume = None if path is None else read_volume(Path(path))
        if volume is not None and volume.array.shape != image.array.shape:
            remarks.append(f"The {name} has another size than the image and is not shown.")
            volume = None
        maps.append(volume)
    prediction, reference = maps
    shown = None if prediction is None else prediction.array
    truth = None if reference is None else reference.array
    worst = worst_place(shown, truth, dict(paths.labels).get(paths.worst))
    return LoadedCase(
        case=paths.case,
        image=image,
        prediction=shown,
        reference=truth,
        voxel=paths.voxel or worst,
        worst=worst,
        remark=" ".join(remarks),
        source=paths.image,
    )


def lesions_of(paths: CasePaths, loaded: LoadedCase) -> tuple[ErrorComponent, ...]:
    """Return the places of a case to step through, largest first.

    Connected errors where there is a reference, else the parts of what was segmented. Takes
    seconds for a large volume of many structures: after the case is on the screen, never in the
    Qt thread.
    """
    from dataclasses import replace

    import numpy as np

    from app.review.errors import find_errors

    if loaded.prediction is None or not paths.labels:
        return ()
    # On the grid of the image, on which both are shown: headers may differ by rounding.
    prediction = replace(loaded.image, array=loaded.prediction)
    empty = np.broadcast_to(np.zeros((), loaded.prediction.dtype), loaded.prediction.shape)
    reference = replace(prediction, array=empty if loaded.reference is None else loaded.reference)
    labels: dict[str, int | tuple[int, ...]] = dict(paths.labels)
    return find_errors(paths.case, reference, prediction, labels)


def worst_place(
    prediction: Labels | None, reference: Labels | None, values: tuple[int, ...] | None
) -> tuple[int, int, int] | None:
    """Return a voxel (z, y, x) in the slice in which a structure is most wrong.

    `values` are those of the structure; None looks at all of them together. Where the structure is
    right everywhere, all are looked at.
    """
    import numpy as np

    if values is not None and prediction is not None and reference is not None:
        ours, theirs = np.isin(prediction, values), np.isin(reference, values)
        if (ours != theirs).any():
            return place_to_look(ours, theirs)
    return place_to_look(prediction, reference)


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
