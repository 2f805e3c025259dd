"""Sending what a round changed in two bytes a weight, or in one, without losing what rounding takes.

A site sends the difference between its weights and the model that it trained from; the coordinator
sends the difference between two models that sites train from. Differences are small and need few
bits. FP16 multiplies each of them by 1024 and rounds it to a half-precision number: changes of late
training would else be subnormal halves, which have few bits and which processors convert ten times
slower. INT8 divides blocks of `BLOCK` weights by their largest value and keeps 8 bits of each.

Whoever rounds keeps the remainder and adds it to what it sends next (error feedback: Seide et al.
2014, section 3.1; Karimireddy et al. 2019, algorithm 1; in both directions: Tang et al. 2019,
DoubleSqueeze). So the sum of what was sent stays within one round's rounding of the sum of what
was meant, however many rounds there are.

A tensor that one side cannot have the present value of has no change: it is sent whole, in single
precision, and nothing is owed for it.

Everything is element by element in single precision, so every machine gets the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import OurMistake
from app.domain.rounds import TensorSpec
from app.domain.study import Transfer
from app.federation.averaging import TensorReader

BLOCK: Final = 2048
"""Weights that share a scale: 0.2 % more bytes. Within a tensor sizes differ by channel."""
_STEPS: Final = 127
_SCALE: Final = "scale of "
_HALF_UNIT: Final = np.float32(2**-10)
"""What a half of 1.0 stands for. A power of two: multiplying by it is exact."""
_LARGEST_CHANGE: Final = np.float32(8)
"""No weight changes by more in a round; one that did would arrive in several. As a half it is below
the largest value that receivers take (`app.wire.tensors`)."""
_SMALLEST_NORMAL_HALF: Final = np.float32(2**-14)
"""Smaller ones stay in the remainder: changes below 6e-8."""
_WITHOUT_COPIES_OF_THE_SIGN: Final = np.uint32(0x8FFFE000).astype(np.int32)
_FROM_MOVED_BITS: Final = np.float32(2**112) * _HALF_UNIT
_AT_A_TIME: Final = 1 << 15
"""Values converted at a time, so that each step finds them in the processor's own cache."""
_DTYPES: Final = {Transfer.FP16: "F16", Transfer.INT8: "I8"}


def change_manifest(
    manifest: Sequence[TensorSpec], transfer: Transfer, whole: Collection[str] = ()
) -> tuple[TensorSpec, ...]:
    """Return what a file of changes to a model of `manifest` holds, in the order of its bytes.

    Tensors named in `whole` are in it as they are.

    Raises:
        OurMistake: a tensor is not of single precision; no network of nnU-Net has such.
    """
    if transfer is Transfer.FP32:
        return tuple(manifest)
    for spec in manifest:
        if spec.dtype != "F32":
            raise OurMistake(f"the tensor {spec.name} is {spec.dtype}; changes are sent of F32")
    kept = tuple(spec for spec in manifest if spec.name in whole)
    rounded = tuple(spec for spec in manifest if spec.name not in whole)
    values = tuple(
        TensorSpec(name=spec.name, shape=spec.shape, dtype=_DTYPES[transfer]) for spec in rounded
    )
    if transfer is Transfer.FP16:
        return (*kept, *values)
    # The wide numbers first: so every number lies at a multiple of its size.
    return (*(_scale_spec(spec) for spec in rounded), *kept, *values)


def contents_of(
    found: Sequence[TensorSpec], known: Sequence[TensorSpec]
) -> tuple[tuple[TensorSpec, ...], frozenset[str]]:
    """Return which tensors of `known` a file of changes makes, and which of them it holds whole.

    `found` is what its header says. Nothing is checked: hold the file against `change_manifest` of
    the answer.
    """
    kinds = {spec.name: spec.dtype for spec in found}
    made = tuple(spec for spec in known if spec.name in kinds)
    return made, frozenset(spec.name for spec in made if kinds[spec.name] == spec.dtype)


def change_bytes(manifest: Sequence[TensorSpec], transfer: Transfer) -> int:
    """Return how many bytes the tensors of a file of changes have (its header comes on top)."""
    sizes = {"F32": 4, "F16": 2, "I8": 1}
    return sum(
        math.prod(spec.shape) * sizes[spec.dtype] for spec in change_manifest(manifest, transfer)
    )


def encode(
    spec: TensorSpec, change: NDArray[np.float32], transfer: Transfer
) -> tuple[Mapping[str, NDArray[Any]], NDArray[np.float32]]:
    """Round one tensor's change; return what to send, by name, and what the receiver makes of it.

    The remainder to keep is `change` less the second. `change` is finite, float32, of any shape.
    """
    if transfer is Transfer.FP16:
        half = _to_halves(change)
        return {spec.name: half}, _from_halves(half)
    if transfer is not Transfer.INT8:
        raise OurMistake("a change is sent in fp16 or int8")
    blocks = _in_blocks(change)
    largest = np.abs(blocks).max(axis=1)
    # Never below the smallest normal number: processors may be set to take smaller ones for zero,
    # and what is made of a change must be the same bits everywhere.
    scales = np.maximum(largest / np.float32(_STEPS), np.finfo(np.float32).tiny).astype("<f4")
    rounded = np.rint(blocks / scales[:, None]).astype(np.int8)
    sent = rounded.reshape(-1)[: change.size].reshape(change.shape)
    return {scale_name(spec): scales, spec.name: sent}, _decoded(sent, scales)


def decode(
    spec: TensorSpec, read: Callable[[str], NDArray[Any]], transfer: Transfer
) -> NDArray[np.float32]:
    """Return one tensor's change from its parts; `read` raises KeyError where one is missing."""
    values = read(spec.name)
    if transfer is Transfer.FP16:
        return _from_halves(values)
    return _decoded(values, read(scale_name(spec)))


def scale_name(spec: TensorSpec) -> str:
    """Return the name under which the scales of a tensor travel."""
    return _SCALE + spec.name


class ChangedTensors:
    """The tensors of a model after a change: a `TensorReader` over two others.

    Those named in `whole` come from the change as they are.
    """

    def __init__(
        self,
        base: TensorReader,
        change: TensorReader,
        manifest: Sequence[TensorSpec],
        transfer: Transfer,
        whole: Collection[str] = (),
    ) -> None:
        self._base, self._change, self._transfer = base, change, transfer
        self._whole = frozenset(whole)
        self._specs = {spec.name: spec for spec in manifest}

    def read(self, name: str) -> NDArray[np.generic]:
        """Return one tensor of base and change together; raises KeyError when there is none."""
        if name in self._whole:
            return self._change.read(name)
        changed = decode(self._specs[name], self._change.read, self._transfer)
        changed += self._base.read(name).astype(np.float32, copy=False)
        return changed


def _scale_spec(spec: TensorSpec) -> TensorSpec:
    blocks = -(-math.prod(spec.shape) // BLOCK)
    return TensorSpec(name=scale_name(spec), shape=(blocks,), dtype="F32")


def _in_blocks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values as rows of `BLOCK`; the last row is filled up with zeros."""
    flat = values.reshape(-1)
    missing = -flat.size % BLOCK
    return np.pad(flat, (0, missing)).reshape(-1, BLOCK)


def _to_halves(change: NDArray[np.float32]) -> NDArray[np.float16]:
    halves = np.empty(change.shape, "<f2")
    source, target = change.reshape(-1), halves.reshape(-1)
    units = np.empty(min(source.size, _AT_A_TIME), np.float32)
    for start in range(0, source.size, _AT_A_TIME):
        part = source[start : start + _AT_A_TIME]
        block = units[: part.size]
        np.clip(part, -_LARGEST_CHANGE, _LARGEST_CHANGE, out=block)
        block /= _HALF_UNIT
        np.copyto(block, 0, where=np.abs(block) < _SMALLEST_NORMAL_HALF)
        target[start : start + _AT_A_TIME] = block
    return halves


def _from_halves(halves: NDArray[Any]) -> NDArray[np.float32]:
    """Return the changes that halves stand for.

    numpy converts them one by one. By their bits they are converted many at once: a half's exponent
    and fraction, moved to where a single's are, make it times 2 to the power of -112 (F. Giesen,
    "half to float, done quick"), subnormal halves, too. Infinity and NaN, which no receiver takes,
    become large numbers.
    """
    changes = np.empty(halves.shape, np.float32)
    source, target = halves.view("<i2").reshape(-1), changes.reshape(-1)
    for start in range(0, source.size, _AT_A_TIME):
        block = target[start : start + _AT_A_TIME]
        bits = block.view(np.int32)
        bits[...] = source[start : start + _AT_A_TIME]
        bits <<= 13
        bits &= _WITHOUT_COPIES_OF_THE_SIGN
        block *= _FROM_MOVED_BITS
    return changes


def _decoded(values: NDArray[Any], scales: NDArray[Any]) -> NDArray[np.float32]:
    blocks = _in_blocks(values.astype(np.float32))
    blocks *= scales.astype(np.float32)[:, None]
    return blocks.reshape(-1)[: values.size].reshape(values.shape)
