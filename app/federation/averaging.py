"""The average of the sites' updates: tensor by tensor, in double precision, in site order.

Sites are taken in the order of their names, whatever order their updates came in, and every
addition happens in that order: a rerun gives the same bits. Memory is one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import ErrorCode, OurMistake, PeerMistake
from app.domain.ids import SiteName
from app.domain.rounds import TensorSpec
from app.domain.study import Aggregation

LARGEST_WEIGHT: Final = 1e4
"""No weight of a trained nnU-Net comes near it; a larger one is damage or an attack."""
_BLOCK: Final = 1 << 15
"""Values that are worked on at a time: in double precision they fit a processor's own cache."""
_DTYPES: Final = {"F16": np.dtype(np.float16), "F32": np.dtype(np.float32)}


class TensorReader(Protocol):
    """Where the tensors of one update come from (a memory-mapped file, or memory in tests)."""

    def read(self, name: str) -> NDArray[np.generic]:
        """Return one tensor; raises KeyError when there is none of this name."""
        ...


class TensorsRefused(PeerMistake):
    """A site's update that cannot go into an average."""

    code = ErrorCode.TENSORS_REFUSED

    def __init__(self, site: SiteName, tensor: str, reason: str) -> None:
        super().__init__(f"the update of site {site} is refused: tensor {tensor[:120]!r} {reason}")
        self.site, self.tensor, self.reason = site, tensor, reason


def average(
    readers: Sequence[TensorReader],
    weights: Sequence[float],
    manifest: Sequence[TensorSpec],
    write: Callable[[str, NDArray[np.float32]], None],
    *,
    sites: Sequence[SiteName],
    rule: Aggregation = Aggregation.CASES,
) -> None:
    """Average updates and hand every tensor to `write` once, in the manifest's order.

    `readers`, `weights` (training cases) and `sites` belong together by position. By the rule
    PAPER every site weighs the same. Every tensor of every site is checked before it is counted;
    what was written before a refusal must be thrown away.

    Raises:
        TensorsRefused: a site's tensor is missing, has another shape or dtype than the manifest's,
            or holds a value that is not finite or larger than `LARGEST_WEIGHT`.
        OurMistake: nothing to average, sites that double, or a weight that is not positive.
    """
    if not readers or not len(readers) == len(weights) == len(sites) == len(set(sites)):
        raise OurMistake("an average needs one reader and one weight for each of several sites")
    if any(not 0 < weight < float("inf") for weight in weights):
        raise OurMistake("an average needs positive weights")
    order = sorted(range(len(sites)), key=lambda position: sites[position])
    shares = [1.0 if rule is Aggregation.PAPER else float(weights[one]) for one in order]
    total = sum(shares)
    for spec in manifest:
        size = int(np.prod(spec.shape, dtype=np.int64))
        accumulated = np.zeros(size, dtype=np.float64)
        for position, share in zip(order, shares, strict=True):
            tensor = _checked(readers[position], spec, sites[position])
            _add(accumulated, tensor, share)
        rounded = np.empty(size, dtype=np.float32)
        for start in range(0, size, _BLOCK):
            rounded[start : start + _BLOCK] = accumulated[start : start + _BLOCK] / total
        write(spec.name, rounded.reshape(spec.shape))


def check_tensor(tensor: NDArray[np.generic], spec: TensorSpec, site: SiteName) -> None:
    """Check one tensor of a site against the manifest; see `average` for what is raised."""
    if tensor.shape != spec.shape:
        raise TensorsRefused(site, spec.name, f"has the shape {tensor.shape}, not {spec.shape}")
    if tensor.dtype != _DTYPES.get(spec.dtype):
        raise TensorsRefused(site, spec.name, f"is {tensor.dtype}, not {spec.dtype}")
    flat = tensor.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK].astype(np.float32, copy=False)
        # NaN comes through and compares false, so this finds what is no number, too.
        with np.errstate(invalid="ignore"):
            fits = block.min() >= -LARGEST_WEIGHT and block.max() <= LARGEST_WEIGHT
        if not fits:
            finite = bool(np.all(np.isfinite(block)))
            reason = (
                f"has a value beyond ±{LARGEST_WEIGHT:g}" if finite else "has a value not finite"
            )
            raise TensorsRefused(site, spec.name, reason)


def _checked(reader: TensorReader, spec: TensorSpec, site: SiteName) -> NDArray[np.generic]:
    try:
        tensor = reader.read(spec.name)
    except KeyError as exc:
        raise TensorsRefused(site, spec.name, "is missing") from exc
    check_tensor(tensor, spec, site)
    return tensor


def _add(accumulated: NDArray[np.float64], tensor: NDArray[np.generic], share: float) -> None:
    flat = tensor.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK].astype(np.float64)
        block *= share
        accumulated[start : start + _BLOCK] += block
