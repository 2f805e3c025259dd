"""The coordinator's optimiser over files: from an average to the next model, tensor by tensor.

What the optimiser keeps lies in a blob of its own for each round. A round that is averaged again,
because a site left or the coordinator was killed, reads the blob of the round before and comes to
the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.domain.rounds import TensorSpec
from app.federation.server_optimiser import ServerRule, first_state, step
from app.system.tensor_files import TensorFile, TensorFileWriter, read_manifest

Write = Callable[[str, npt.NDArray[Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFiles:
    """The optimiser's files in one round: what it kept before (if anything), and what it keeps."""

    rule: ServerRule
    kept: Path | None
    keeps: Path


@contextlib.contextmanager
def next_model(
    target: Path,
    manifest: Sequence[TensorSpec],
    *,
    before: Path,
    files: ServerFiles | None,
) -> Iterator[Write]:
    """Open `target` for an average of `manifest`; with `files` each tensor takes a step first.

    `before` is the model that the sites began from. A tensor that is not in it has no place to take
    a step from: its average is taken as it is, and its momentum begins anew.

    Raises:
        DataProblem: a step leaves the range of numbers.
        OSError: the disk refuses.
    """
    if files is None:
        with TensorFileWriter(target, manifest) as output:
            yield output.write
        return
    rule = files.rule
    start, known = _opened(before)
    moments, remembered = (None, frozenset[str]()) if files.kept is None else _opened(files.kept)
    kept_specs = [
        TensorSpec(name=f"{moment}/{spec.name}", shape=spec.shape)
        for moment in rule.moments
        for spec in manifest
    ]
    with (
        TensorFileWriter(target, manifest) as output,
        TensorFileWriter(files.keeps, kept_specs) as keeps,
    ):

        def write(name: str, mean: npt.NDArray[Any]) -> None:
            state = first_state(rule, mean.shape)
            if name in known:
                if moments is not None and f"m/{name}" in remembered:
                    state = {moment: _read(moments, f"{moment}/{name}") for moment in rule.moments}
                mean, state = step(rule, _read(start, name), mean, state)
            output.write(name, mean)
            for moment in rule.moments:
                keeps.write(f"{moment}/{name}", state[moment])

        yield write


def _opened(path: Path) -> tuple[TensorFile, frozenset[str]]:
    manifest = read_manifest(path)
    return TensorFile(path, manifest), frozenset(spec.name for spec in manifest)


def _read(file: TensorFile, name: str) -> npt.NDArray[np.float32]:
    return file.read(name).astype(np.float32, copy=False)
