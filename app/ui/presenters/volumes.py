"""Reading one case for the viewer: its image, its label maps, where it is wrong and worst."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from app.datasets.images import Volume
    from app.review.errors import ErrorComponent
    from app.ui.widgets.viewer_volumes import CodedVolume, LabelVolume

    Labels = npt.NDArray[np.generic]

_LARGEST_BYTES: Final = 2 << 30
_SHARE_OF_MEMORY: Final = 8
"""A larger image than this share of the memory is reduced: the viewer holds up to four times it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePaths:
    """What to read: absolute paths. `voxel` (z, y, x) is where to look first, None to choose.

    `more` are further channels of the image, `channel_names` what all of them are called.
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
    more: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedCase:
    """An image with label maps (z, y, x) of its shape; `remark` says what could not be shown.

    `worst` is a voxel in the worst slice of the worst structure; `voxel` is where to look now.
    `coded` and `maps` are channels and label maps (prediction, reference) as the viewer wants them.
    Of an image that is too large every `step`-th voxel along each axis was read; all places count
    the voxels of the file.
    """

    case: str
    image: Volume
    prediction: Labels | None
    reference: Labels | None
    voxel: tuple[int, int, int] | None
    remark: str = ""
    source: str = ""
    worst: tuple[int, int, int] | None = None
    more: tuple[Volume, ...] = ()
    channel_names: tuple[str, ...] = ()
    coded: tuple[CodedVolume, ...] = ()
    maps: tuple[LabelVolume | None, ...] = (None, None)
    step: int = 1

    @property
    def channels(self) -> tuple[Volume, ...]:
        """All channels, that of the `image` first."""
        return (self.image, *self.more)

    @property
    def bytes_held(self) -> int:
        """Memory of image and label maps, and of the copies that viewers made of them."""
        import numpy as np

        held = 0
        sources = (*self.coded, *self.maps)
        arrays = (*(volume.array for volume in self.channels), self.prediction, self.reference)
        for source, array in zip(sources, arrays, strict=True):
            held += 0 if source is None else source.bytes_held
            if array is not None and (source is None or not np.shares_memory(array, source.codes)):
                held += array.nbytes
        return held


FileStamp = tuple[int | None, ...]


def file_stamp(paths: CasePaths) -> FileStamp:
    """Return when each file of a case was changed (ns); None for one that is not there."""

    def changed(path: str | None) -> int | None:
        try:
            return None if path is None else Path(path).stat().st_mtime_ns
        except OSError:
            return None

    return tuple(map(changed, (paths.image, *paths.more, paths.prediction, paths.reference)))


def read_case(paths: CasePaths) -> LoadedCase:
    """Read a case; takes as long as its files are large, so never in the Qt thread.

    Raises:
        DataProblem: the image or a label map cannot be read.
    """
    from app.ui.widgets.viewer_volumes import CodedVolume, label_volumes

    image, step = _read(paths.image)
    remarks = [] if step == 1 else [_reduced(image, step)]
    channels, names = [image], list(paths.channel_names[:1])
    for number, path in enumerate(paths.more, start=1):
        name = dict(enumerate(paths.channel_names)).get(number, f"Channel {number}")
        channel, _ = _read(path, step)
        if channel.array.shape != image.array.shape:
            remarks.append(f"{name} has another size than the first channel and is not shown.")
            continue
        channels.append(channel)
        names.append(name)
    maps: list[Volume | None] = []
    for word, file in (("segmentation", paths.prediction), ("label", paths.reference)):
        volume = None if file is None else _read(file, step)[0]
        if volume is not None and volume.array.shape != image.array.shape:
            remarks.append(f"The {word} has another size than the image and is not shown.")
            volume = None
        maps.append(volume)
    prediction, reference = maps
    shown = None if prediction is None else prediction.array
    truth = None if reference is None else reference.array
    worst = worst_place(shown, truth, dict(paths.labels).get(paths.worst))
    worst = None if worst is None else _times(worst, step)
    return LoadedCase(
        case=paths.case,
        image=image,
        more=tuple(channels[1:]),
        channel_names=tuple(names),
        coded=tuple(CodedVolume(channel.array) for channel in channels),
        maps=tuple(label_volumes([shown, truth])),
        step=step,
        prediction=shown,
        reference=truth,
        voxel=paths.voxel or worst,
        worst=worst,
        remark=" ".join(remarks),
        source=paths.image,
    )


def lesions_of(paths: CasePaths, loaded: LoadedCase) -> tuple[ErrorComponent, ...]:
    """Return the places of a case to step through, largest first.

    Connected errors where a segmentation has a reference, else the parts of what there is: of the
    segmentation, or of the label of a case that was not segmented. Takes seconds for a large volume of many structures: after the case is on the screen, never in the
    Qt thread.
    """
    import numpy as np

    from app.review.errors import find_errors

    shown = loaded.reference if loaded.prediction is None else loaded.prediction
    if shown is None or not paths.labels:
        return ()
    # On the grid of the image, on which both are shown: headers may differ by rounding.
    prediction = replace(loaded.image, array=shown)
    compared = loaded.prediction is not None and loaded.reference is not None
    empty = np.broadcast_to(np.zeros((), shown.dtype), shown.shape)
    reference = replace(
        prediction, array=loaded.reference if compared and loaded.reference is not None else empty
    )
    labels: dict[str, int | tuple[int, ...]] = dict(paths.labels)
    return tuple(
        replace(error, voxel=_times(error.voxel, loaded.step))
        for error in find_errors(paths.case, reference, prediction, labels)
    )


def worst_place(
    prediction: Labels | None, reference: Labels | None, values: tuple[int, ...] | None
) -> tuple[int, int, int] | None:
    """Return a voxel (z, y, x) in the slice in which a structure is most wrong.

    `values` are those of the structure; None looks at all of them together. Where the structure is
    right everywhere, all are looked at.
    """
    from app.review.label_maps import bounding_box, mask_of

    if values is None or prediction is None or reference is None:
        return place_to_look(prediction, reference)
    # Only where the two differ can anything be wrong; the rest of a large volume costs seconds.
    box = bounding_box(prediction != reference)
    if box is not None:
        ours, theirs = mask_of(prediction[box], values), mask_of(reference[box], values)
        inside = place_to_look(ours, theirs) if (ours != theirs).any() else None
        if inside is not None:
            z, y, x = (at + edge.start for at, edge in zip(inside, box, strict=True))
            return (z, y, x)
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


def _times(voxel: tuple[int, int, int], step: int) -> tuple[int, int, int]:
    return voxel[0] * step, voxel[1] * step, voxel[2] * step


def _read(path: str, step: int | None = None) -> tuple[Volume, int]:
    """Read an image, by `step` or as much of it as there is room for."""
    import psutil

    from app.datasets.images import read_reduced

    memory = psutil.virtual_memory()
    return read_reduced(
        Path(path),
        largest_bytes=min(_LARGEST_BYTES, memory.total // _SHARE_OF_MEMORY),
        free_bytes=memory.available,
        step=step,
    )


def _reduced(image: Volume, step: int) -> str:
    size = image.array.nbytes * step**3 / 1e9
    which = {2: "second", 3: "third"}.get(step, f"{step}th")
    return (
        f"This image of {size:.1f} GB is too large to be shown whole: "
        f"every {which} voxel along each axis is shown."
    )
