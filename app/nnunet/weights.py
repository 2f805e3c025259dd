"""Weights: from a network to safetensors and back, and to a checkpoint that plain nnU-Net loads.

nnU-Net's networks name most tensors several times (`all_modules.*`, `decoder.encoder.*`), and
torch.compile and DistributedDataParallel put prefixes before all of them. On wire and disk each
tensor stands once, under the name that the plain network gives it first. Values go back in place,
so every alias and the optimizer see them.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import safetensors
import safetensors.torch
import torch

from app.domain.errors import ErrorCode, PeerMistake, SetupProblem
from app.domain.ids import Digest
from app.domain.rounds import BlobRef, TensorSpec
from app.domain.study import Transfer
from app.federation.transfer import change_manifest, encode
from app.system.atomic import PRIVATE_FILE, disk_errors, move_durable, sync_folder
from app.system.partial_files import file_sha256
from app.system.tensor_files import TensorFile, TensorFileWriter, check_file, read_manifest

_log = logging.getLogger(__name__)

TRAINER_NAME: Final = "nnUNetTrainer"
_PREFIXES: Final = ("module.", "_orig_mod.")
_DTYPES: Final = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class CheckpointDamaged(SetupProblem):
    """Raised for a file that is not, or no longer, a whole checkpoint of ours."""

    def __init__(self) -> None:
        super().__init__("the checkpoint is damaged")


def plain(network: torch.nn.Module) -> torch.nn.Module:
    """Return the network inside the wrappers of DistributedDataParallel and torch.compile."""
    for attribute in ("module", "_orig_mod"):
        inner = getattr(network, attribute, None)
        if isinstance(inner, torch.nn.Module):
            network = inner
    return network


def unique_tensors(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return every stored tensor once, in the network's own order, as live references."""
    network = plain(network)
    stored = network.state_dict().keys()
    # Buffers that are not stored are computed anew by every network.
    buffers = {name: buffer for name, buffer in network.named_buffers() if name in stored}
    return {name: parameter.data for name, parameter in network.named_parameters()} | buffers


def manifest(network: torch.nn.Module) -> tuple[TensorSpec, ...]:
    """Return name, shape and type of every tensor that a file of this network must hold."""
    return tuple(
        TensorSpec(name=name, shape=tuple(tensor.shape), dtype=_DTYPES[tensor.dtype])
        for name, tensor in unique_tensors(network).items()
    )


def all_finite(network: torch.nn.Module) -> bool:
    """Tell whether every weight is a finite number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in unique_tensors(network).values())


def write_tensors(network: torch.nn.Module, path: Path) -> BlobRef:
    """Write the network's tensors to `path`, durably, and return the file's digest and size.

    Equal weights give equal bytes.

    Raises:
        SetupProblem: the disk is full or the place is forbidden; an older file is untouched.
    """
    with _written_beside(network, path) as beside:
        return _reference(beside)


def keep_tensors(network: torch.nn.Module, path: Path) -> None:
    """Write what nobody asks a digest of as `write_tensors` does."""
    with _written_beside(network, path):
        pass


def _reference(path: Path) -> BlobRef:
    return BlobRef(sha256=Digest(file_sha256(path)), size=path.stat().st_size)


@contextlib.contextmanager
def _written_beside(network: torch.nn.Module, path: Path) -> Iterator[Path]:
    """Write the tensors beside `path`; the file is put there, durably, when the block ends well."""
    tensors = {
        name: tensor.detach().to("cpu").contiguous()
        for name, tensor in unique_tensors(network).items()
    }
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with disk_errors(path):
        try:
            _save(tensors, beside)
            yield beside
            move_durable(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def write_changes(
    network: torch.nn.Module,
    path: Path,
    *,
    base: Path,
    transfer: Transfer,
    remainder_before: Path | None,
    remainder: Path,
    sent: Collection[str] | None = None,
    whole: Collection[str] = (),
) -> BlobRef:
    """Write how the network's tensors differ from `base`, rounded, as `app.federation.transfer` says.

    What rounding took away before is added first; what it takes now is written to `remainder`. A
    remainder that is damaged or of another network counts as none: it is worth less than a round,
    so it is not forced to the disk either.
    With `sent` only these tensors are written; those of them in `whole` as they are, without a
    remainder.

    Raises:
        PeerMistake: `base` is not of this network.
        SetupProblem: the disk is full or the place is forbidden; older files are untouched.
    """
    # The order of the base's bytes, which all sites share.
    specs = read_manifest(base)
    before = TensorFile(base, specs)
    tensors = unique_tensors(network)
    _check_names(frozenset(tensors), frozenset(spec.name for spec in specs))
    if sent is not None:
        specs = tuple(spec for spec in specs if spec.name in sent)
    rounded = [spec for spec in specs if spec.name not in whole]
    owed = _remainder(remainder_before, rounded)
    part, rest = (one.with_name(f".{one.name}.{os.getpid()}.part") for one in (path, remainder))
    with disk_errors(path):
        try:
            with (
                TensorFileWriter(part, change_manifest(specs, transfer, whole)) as output,
                TensorFileWriter(rest, rounded, durable=False) as kept,
            ):
                for spec in specs:
                    value = tensors[spec.name].detach().to("cpu").numpy()
                    if spec.name in whole:
                        output.write(spec.name, value)
                        continue
                    change = before.read(spec.name).astype(np.float32, copy=False)
                    np.subtract(value, change, out=change)
                    if spec.name in owed:
                        change += owed[spec.name].read(spec.name).astype(np.float32, copy=False)
                    parts, made = encode(spec, change, transfer)
                    for name, values in parts.items():
                        output.write(name, values)
                    change -= made
                    kept.write(spec.name, change)
            update = _reference(part)
            rest.replace(remainder)
            part.replace(path)
            sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)
            rest.unlink(missing_ok=True)
    return update


def _remainder(path: Path | None, specs: Sequence[TensorSpec]) -> dict[str, TensorFile]:
    """Return the file to read each tensor's remainder from, for those tensors that have one."""
    if path is None:
        return {}
    try:
        found = read_manifest(path)
        check_file(path, found)
        file = TensorFile(path, found)
    except (OSError, PeerMistake) as exc:
        _log.warning("what rounding took away before cannot be read: %s", exc)
        return {}
    # What is shared may have changed since: a tensor that is new has no remainder.
    return {spec.name: file for spec in specs if spec in found}


def read_into(network: torch.nn.Module, path: Path) -> None:
    """Load a safetensors file into the network in place.

    Everything is checked before the first value is changed: names, shapes, types, finiteness.

    Raises:
        PeerMistake: the file does not fit the network (TENSORS_REFUSED), which is unchanged.
        SetupProblem: the file is not there.
    """
    targets = unique_tensors(network)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            _check_names(frozenset(targets), frozenset(file.keys()))
            for name, target in targets.items():
                found = file.get_slice(name)
                shape, dtype = tuple(found.get_shape()), found.get_dtype()
                if shape != tuple(target.shape) or dtype != _DTYPES[target.dtype]:
                    raise _refused(
                        f"tensor {name} is {dtype}{list(shape)}, "
                        f"not {_DTYPES[target.dtype]}{list(target.shape)}"
                    )
            # The file is mapped, not read: going through it twice costs no second copy.
            for name in targets:
                if not bool(torch.isfinite(file.get_tensor(name)).all()):
                    raise _refused(f"tensor {name} holds values that are not finite")
            with torch.no_grad():
                for name, target in targets.items():
                    target.copy_(file.get_tensor(name))
    except FileNotFoundError as exc:
        raise SetupProblem("the file of the shared model is not there") from exc
    except safetensors.SafetensorError as exc:
        raise _refused("the file is damaged or not a safetensors file") from exc


def slim_checkpoint(
    network: torch.nn.Module,
    *,
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    configuration: str,
    fold: int | str,
    mirroring_axes: tuple[int, ...] | None,
) -> dict[str, Any]:
    """Return what plain nnU-Net needs to predict, of plain types only.

    `plans` and `dataset` travel with the model: give the study's, never a site's own dataset.json,
    which names files.
    """
    return {
        "network_weights": {
            name: tensor.detach().to("cpu") for name, tensor in plain(network).state_dict().items()
        },
        "trainer_name": TRAINER_NAME,
        "init_args": {
            "plans": dict(plans),
            "configuration": configuration,
            "fold": fold,
            "dataset_json": dict(dataset),
        },
        "inference_allowed_mirroring_axes": mirroring_axes,
    }


def write_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint durably; raises SetupProblem as `write_tensors` does."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with disk_errors(path):
        try:
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
            with os.fdopen(handle, "wb") as file:
                _save_checkpoint(dict(content), file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            sync_folder(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint that `write_checkpoint` wrote. It can hold tensors and plain types only.

    Raises:
        CheckpointDamaged: it is damaged, or holds anything else.
        SetupProblem: it is not there.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - here
    except FileNotFoundError as exc:
        raise SetupProblem("the checkpoint is not there") from exc
    # torch.load's errors are of a dozen classes (zip, pickle, key, runtime); all mean the same.
    except Exception as exc:
        raise CheckpointDamaged from exc
    if not isinstance(content, dict):
        raise CheckpointDamaged
    return content


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    try:
        safetensors.torch.save_file(tensors, path)
    except safetensors.SafetensorError as exc:
        # safetensors writes by itself and hides the system's error number in a sentence.
        number = 28 if "os error 28" in str(exc) or "No space left" in str(exc) else 5
        raise OSError(number, str(exc)) from exc


class _WatchedFile:
    """Remembers the system's error, which torch.save buries under one of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as exc:
            self.error = exc
            raise

    def flush(self) -> None:
        self._file.flush()


def _save_checkpoint(content: dict[str, Any], file: BinaryIO) -> None:
    watched: Any = _WatchedFile(file)
    try:
        torch.save(content, watched)
    except RuntimeError as exc:
        if watched.error is not None:
            raise watched.error from exc
        raise


def _check_names(expected: frozenset[str], found: frozenset[str]) -> None:
    if expected - found:
        raise _refused(f"tensor {min(expected - found)} is missing")
    if found - expected:
        raise _refused(f"tensor {min(found - expected)[:100]!r} does not belong to this network")


def _refused(sentence: str) -> PeerMistake:
    return PeerMistake(sentence, code=ErrorCode.TENSORS_REFUSED)
