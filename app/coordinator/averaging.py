"""Averaging the updates of a round: files in, one file out, one tensor in memory at a time.

Where changes travel instead of weights, the coordinator keeps the exact average (the master) in
single precision and publishes the model that sites make of it: the model that they trained from and
a rounded change. What rounding took away is in the master, so the next change makes up for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.coordinator.server_steps import ServerFiles, next_model
from app.coordinator.spool import Spool
from app.coordinator.translation import reference
from app.domain.errors import FednnunetError, PeerMistake
from app.domain.ids import SiteName
from app.domain.rounds import BlobRef, ModelUpdate, TensorSpec
from app.domain.study import Aggregation, Transfer
from app.federation.averaging import TensorReader, TensorsRefused, average
from app.federation.transfer import ChangedTensors, change_manifest, encode
from app.system.atomic import disk_errors
from app.system.tensor_files import TensorFile, TensorFileWriter, check_file, read_manifest


class UnfitUpdate(PeerMistake):
    """Raised when one site's update cannot be used; `site` says whose."""

    def __init__(self, site: SiteName, reason: FednnunetError) -> None:
        super().__init__(f"the update of {site} cannot be used: {reason}", code=reason.code)
        self.site = site


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What sites train from next: a model, and the change that makes it of the one before."""

    model: BlobRef
    change: BlobRef


def check_weights(
    path: Path,
    manifest: Sequence[TensorSpec],
    transfer: Transfer = Transfer.FP32,
    whole: Collection[str] = (),
) -> None:
    """Refuse an update that does not fit the study's model; `whole` names tensors sent as they are.

    Raises:
        PeerMistake: (TENSORS_REFUSED) header, names, shapes, types or a value are wrong.
    """
    check_file(path, change_manifest(manifest, transfer, whole))


def average_updates(
    updates: Sequence[ModelUpdate],
    *,
    base: BlobRef,
    rule: Aggregation,
    spool: Spool,
    target: Path,
    transfer: Transfer = Transfer.FP32,
    server: ServerFiles | None = None,
) -> BlobRef:
    """Average the updates of a round into a new blob of the spool. Belongs in a thread.

    `base` is the exact average of the round before; where changes travel they are added to it.
    With `server` the average takes a step of the coordinator's optimiser from there. Every update
    is read again and held against its digest first: a disk may have changed it.

    Raises:
        UnfitUpdate: one site's update cannot be used.
        DataProblem: the optimiser's step leaves the range of numbers.
        OSError: the disk refuses.
    """
    manifest = read_manifest(spool.path(base.sha256))
    sent = change_manifest(manifest, transfer)
    before = TensorFile(spool.path(base.sha256), manifest)
    readers: list[TensorReader] = []
    for update in updates:
        try:
            file = TensorFile(spool.verify(update.weights.sha256), sent)
        except FednnunetError as exc:
            raise UnfitUpdate(update.site, exc) from exc
        readers.append(
            file if transfer is Transfer.FP32 else ChangedTensors(before, file, manifest, transfer)
        )
    with (
        disk_errors(target),
        next_model(target, manifest, before=spool.path(base.sha256), files=server) as write,
    ):
        try:
            average(
                readers,
                [float(update.cases) for update in updates],
                manifest,
                write,
                sites=[update.site for update in updates],
                rule=rule,
            )
        except TensorsRefused as exc:
            raise UnfitUpdate(exc.site, exc) from exc
    return reference(spool.keep_file(target))


def publish(
    master: BlobRef, *, base: BlobRef, spool: Spool, transfer: Transfer, target: Path
) -> Published:
    """Make the change that takes sites from `base` close to `master`, and the model they get.

    Equal masters and bases give equal bytes. Belongs in a thread.

    Raises:
        OSError: the disk refuses.
    """
    change_target = target.with_name(f"{target.name}.change")
    write_published(
        spool.path(master.sha256), spool.path(base.sha256), transfer, target, change_target
    )
    return Published(
        model=reference(spool.keep_file(target)), change=reference(spool.keep_file(change_target))
    )


def write_published(
    master: Path, base: Path, transfer: Transfer, target: Path, change_target: Path
) -> None:
    """Write the model that sites make of `base` to `target`, and the change that they make it by.

    A tensor of the master that is not in `base` is in both as it is.

    Raises:
        SetupProblem: the disk refuses.
    """
    manifest, known = read_manifest(master), read_manifest(base)
    exact, before = TensorFile(master, manifest), TensorFile(base, known)
    whole = {spec.name for spec in manifest} - {spec.name for spec in known}
    with (
        disk_errors(target),
        TensorFileWriter(target, manifest) as model,
        TensorFileWriter(change_target, change_manifest(manifest, transfer, whole)) as change,
    ):
        for spec in manifest:
            if spec.name in whole:
                change.write(spec.name, exact.read(spec.name))
                model.write(spec.name, exact.read(spec.name))
                continue
            old = before.read(spec.name).astype(np.float32, copy=False)
            wanted = exact.read(spec.name).astype(np.float32, copy=False)
            wanted -= old
            parts, made = encode(spec, wanted, transfer)
            for name, part in parts.items():
                change.write(name, part)
            made += old
            model.write(spec.name, made)
