"""The local fingerprint by nnU-Net's own definition, reading each file once and keeping no samples.

nnunetv2 2.8.1 (`DatasetFingerprintExtractor`) crops each case to its nonzero region, draws 1e8
foreground voxels over all cases and takes their statistics. Here every foreground voxel of a case
is counted once, in a histogram on public bins, with its exact mean and mean square. What nnU-Net
estimates by sampling follows from that without the sampling noise.

This module imports neither torch nor nnunetv2, so a fingerprint job starts fast and stays
small; `tests/nnunet/test_fingerprint.py` compares it with the stock extractor.
"""

from __future__ import annotations

import math
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from app.domain.dataset import Case, DatasetFolder
from app.domain.errors import DataProblem, ErrorCode, JobFailed
from app.domain.fingerprint import CaseFingerprint, ChannelStatistics, Fingerprint
from app.domain.shared import INTENSITY_BINS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MANTISSA_SHIFT: Final = 13
# Values are counted in blocks of this many, so that a whole-body label needs no copies of itself.
_BLOCK: Final = 1 << 20
_WHAT: Final = "reading cases"
_SIGN: Final = np.uint32(0x80000000)
# nnU-Net gives a 2-D image a third axis with this many times its largest spacing
# (nnunetv2 2.8.1, imageio/simpleitk_reader_writer.py:44).
_FLAT_SPACING_FACTOR: Final = 999


def intensity_bins(values: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[Any]]:
    """Number of the public intensity bin of each finite float32 value (uint32, same shape).

    Equals `app.domain.shared.intensity_bin` value by value.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    bits = np.where(bits == _SIGN, np.uint32(0), bits)  # minus zero is zero
    ordered = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    ordered >>= _MANTISSA_SHIFT
    return ordered


def nonzero_box(channels: Iterable[np.ndarray[Any, Any]]) -> tuple[slice, slice, slice]:
    """Return the box (z, y, x) that nnU-Net's `crop_to_nonzero` cuts out of the channels.

    nnU-Net also fills the holes of the nonzero mask first. A hole has nonzero voxels on every side,
    so filling it never moves the box, nor does it make a voxel foreground: it is left out here.
    An image that is zero everywhere keeps its size.
    """
    mask: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    for channel in channels:
        nonzero = channel != 0
        mask = nonzero if mask is None else np.logical_or(mask, nonzero, out=mask)
    if mask is None:
        raise ValueError("an image without channels has no box")
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        if filled.size == 0:
            return (slice(0, mask.shape[0]), slice(0, mask.shape[1]), slice(0, mask.shape[2]))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return (box[0], box[1], box[2])


def channel_statistics(values: np.ndarray[Any, Any]) -> ChannelStatistics:
    """Summarise the foreground values of one channel of one case (one dimension, any real type).

    nnU-Net reads images as float32, so values are rounded to it first. Sums are float64.
    """
    if values.size == 0:
        return ChannelStatistics(
            voxels=0, mean=0.0, mean_square=0.0, minimum=0.0, maximum=0.0, histogram=()
        )
    counts = np.zeros(INTENSITY_BINS, dtype=np.int64)
    sums, squares, lowest, highest = [], [], [], []
    for start in range(0, values.size, _BLOCK):
        single = values[start : start + _BLOCK].astype(np.float32, copy=False)
        counts += np.bincount(intensity_bins(single), minlength=INTENSITY_BINS)
        double = single.astype(np.float64)
        sums.append(float(double.sum()))
        squares.append(float(np.square(double, out=double).sum()))
        lowest.append(float(single.min()))
        highest.append(float(single.max()))
    filled = np.flatnonzero(counts)
    return ChannelStatistics(
        voxels=int(values.size),
        mean=math.fsum(sums) / values.size,
        mean_square=math.fsum(squares) / values.size,
        minimum=min(lowest),
        maximum=max(highest),
        histogram=tuple(zip(filled.tolist(), counts[filled].tolist(), strict=True)),
    )


def extract_case(case: Case, channel_count: int) -> CaseFingerprint:
    """Read one case and return its fingerprint.

    Raises:
        DataProblem: naming the case, when a file cannot be read, holds values that are not
            finite, or when channels and label differ in shape or the channels in spacing.
    """
    if case.label is None:
        raise DataProblem(f"case {case.name} has no label", code=ErrorCode.CASE_UNREADABLE)
    label, label_spacing = _read(case, case.label)
    if len(label) != 1:
        raise DataProblem(f"the label of case {case.name} has {len(label)} channels instead of one")
    images: list[np.ndarray[Any, Any]] = []
    spacing = label_spacing
    for number, path in enumerate(case.channels):
        arrays, channel_spacing = _read(case, path)
        if number and channel_spacing != spacing:
            raise DataProblem(f"the channels of case {case.name} differ in spacing")
        spacing = channel_spacing
        images.extend(arrays)
    if len(images) != channel_count:
        raise DataProblem(
            f"case {case.name} has {len(images)} channels, the dataset has {channel_count}"
        )
    shape = images[0].shape
    for array in (*images, *label):
        if array.shape != shape:
            raise DataProblem(
                f"case {case.name}: images have {_axes(shape)} voxels, "
                f"another channel or the label has {_axes(array.shape)}"
            )
    box = nonzero_box(images)
    cropped_shape = (
        box[0].stop - box[0].start,
        box[1].stop - box[1].start,
        box[2].stop - box[2].start,
    )
    # The ignore label counts as foreground here, as it does in nnU-Net's extractor.
    foreground = label[0][box] > 0
    return CaseFingerprint(
        case=case.name,
        spacing_mm=spacing,
        shape=cropped_shape,
        relative_size=float(np.prod(cropped_shape) / np.prod(shape)),
        channels=tuple(channel_statistics(image[box][foreground]) for image in images),
    )


def extract(
    folder: DatasetFolder | Path,
    *,
    content_digest: str,
    leave_out: frozenset[str] = frozenset(),
    processes: int = 1,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Fingerprint:
    """Return the fingerprint of all training cases but those in `leave_out`, in the folder's order.

    `processes` cases are read at a time, in threads: SimpleITK and numpy let go of the interpreter
    while they read and count, and threads need no second copy of the program. `progress` gets
    (done, total, what) in the caller's thread. `stopped` is asked after every case.

    Raises:
        DataProblem: a case cannot be used (the sentence names it), none is left, or no case has
            any foreground.
        JobFailed: with code JOB_STOPPED when `stopped` said so.
    """
    if isinstance(folder, Path):
        from app.datasets.scan import scan

        folder = scan(folder)
    cases = [case for case in folder.training if case.name not in leave_out]
    if not cases:
        raise DataProblem("no training case is left to describe", code=ErrorCode.TOO_FEW_CASES)
    channel_names = folder.description.channel_names
    found: dict[int, CaseFingerprint] = {}
    progress(0, len(cases), _WHAT)
    pool = ThreadPoolExecutor(max_workers=max(1, processes), thread_name_prefix="fingerprint")
    try:
        # Only as many cases as there are workers are under way, so a stop waits for those alone.
        waiting = list(enumerate(cases))[::-1]
        running: dict[Future[CaseFingerprint], int] = {}
        while waiting or running:
            if stopped():
                raise JobFailed("the fingerprint was stopped", code=ErrorCode.JOB_STOPPED)
            while waiting and len(running) < max(1, processes):
                index, case = waiting.pop()
                running[pool.submit(extract_case, case, len(channel_names))] = index
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                found[running.pop(future)] = future.result()
                progress(len(found), len(cases), _WHAT)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    fingerprints = tuple(found[index] for index in range(len(cases)))
    if not any(case.channels[0].voxels for case in fingerprints):
        raise DataProblem(
            f"none of the {len(cases)} labels holds a voxel above 0", code=ErrorCode.NO_FOREGROUND
        )
    return Fingerprint(
        content_digest=content_digest, channel_names=channel_names, cases=fingerprints
    )


def _read(case: Case, path: str) -> tuple[list[np.ndarray[Any, Any]], tuple[float, float, float]]:
    """Return the channels of one file (each z, y, x) and its spacing as nnU-Net's reader does.

    Source: nnunetv2 2.8.1, imageio/simpleitk_reader_writer.py `read_images`. Integer images keep
    their type, which saves memory and changes no value that nnU-Net would see.
    """
    import SimpleITK

    try:
        image: Any = SimpleITK.ReadImage(path)
    except RuntimeError as exc:
        raise DataProblem(
            f"case {case.name}: {Path(path).name} cannot be read as an image",
            code=ErrorCode.CASE_UNREADABLE,
        ) from exc
    array = SimpleITK.GetArrayFromImage(image)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataProblem(
            f"case {case.name}: {Path(path).name} holds values that are not finite numbers"
        )
    return _as_nnunet(case, array, image.GetSpacing())


def _as_nnunet(
    case: Case, array: np.ndarray[Any, Any], spacing_xyz: tuple[float, ...]
) -> tuple[list[np.ndarray[Any, Any]], tuple[float, float, float]]:
    lengths = [abs(float(length)) for length in reversed(spacing_xyz)]
    if array.ndim == 2:
        return [array[None]], (max(lengths) * _FLAT_SPACING_FACTOR, lengths[0], lengths[1])
    if array.ndim == 3:
        return [array], (lengths[0], lengths[1], lengths[2])
    if array.ndim == 4 and len(lengths) == 4:
        return list(array), (lengths[1], lengths[2], lengths[3])
    raise DataProblem(f"case {case.name} has an image of {array.ndim} dimensions")


def _axes(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
