"""Asymmetric averaging with files: the sites' networks aligned, rounds averaged, shares cut.

A share is what one site gets: which of its tensors go round, and those tensors of the newest
average under the site's own names. Where changes travel, the change of a share is cut from one
change of the shared model, so that all holders of a tensor make the same bits of it (decision
0060). All of it can be made again from the spool and comes out equal to the bit. All of it belongs
in a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.coordinator.averaging import UnfitUpdate, write_published
from app.coordinator.planning import UnfitFingerprint
from app.coordinator.server_steps import ServerFiles, next_model
from app.coordinator.spool import Spool
from app.coordinator.translation import reference
from app.domain.errors import FednnunetError
from app.domain.ids import SiteName
from app.domain.rounds import BlobRef, TensorSpec
from app.domain.study import StudyTerms, Transfer
from app.federation import shared_network
from app.federation.alignment import TensorGroup, align_delivered, average_groups
from app.federation.asymmetric import (
    SharedPart,
    decode_part,
    encode_part,
    first_values,
    group_networks,
    keys_of,
    part_of,
)
from app.federation.averaging import TensorReader, TensorsRefused
from app.federation.canonical import canonical
from app.federation.network import NetworkPlan
from app.federation.study_events import AlignSites, AverageRound, SiteShare
from app.federation.transfer import ChangedTensors, change_manifest, contents_of, scale_name
from app.system.atomic import disk_errors
from app.system.tensor_files import TensorFile, TensorFileWriter, read_manifest

Statements = Sequence[tuple[SiteName, BlobRef]]
_Named = tuple[tuple[TensorSpec, str], ...]
"""The tensors of a site's base in their order, each with the group that it is cut from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedStudy:
    """What the first alignment made: the table of statements, the groups' first values, shares.

    `firsts` has first values for each fold of each pass; the shares are cut from the first of them.
    """

    table: BlobRef
    firsts: tuple[BlobRef, ...]
    shares: tuple[SiteShare, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragedRound:
    """What averaging made: the model that sites go on from, their shares, and the exact average.

    `master` is None where the model is the exact average itself.
    """

    model: BlobRef
    shares: tuple[SiteShare, ...]
    master: BlobRef | None = None


class SharedLayers:
    """The files of one study's asymmetric averaging.

    It does one piece of work at a time, in any thread: a task that was replaced may still be
    writing when its successor begins.
    """

    def __init__(self, terms: StudyTerms, *, spool: Spool, folder: Path) -> None:
        self._terms, self._spool, self._folder = terms, spool, folder
        self._working = threading.Lock()

    def align_study(self, statements: Statements) -> AlignedStudy:
        """Align the networks of all sites and draw what the shared tensors begin with.

        Raises:
            UnfitFingerprint: a site's statement is damaged or does not fit the study.
            SetupProblem: the disk refuses.
        """
        with self._working:
            networks = read_networks(self._terms, statements, self._spool)
            groups = [
                self._grouped(read_networks(self._terms, statements, self._spool, stage=stage))
                for stage in range(len(self._terms.passes))
            ]
            firsts = [
                self._drawn(groups[training.stage], index)
                for index, training in enumerate(self._terms.trainings)
            ]
            table = canonical(
                {"format": 1, "networks": {site: blob.sha256 for site, blob in statements}}
            )
            return AlignedStudy(
                table=reference(self._spool.keep_bytes(table)),
                firsts=tuple(firsts),
                shares=self._cut(statements, networks, firsts[0]),
            )

    def _drawn(self, groups: Sequence[TensorGroup], index: int) -> BlobRef:
        """Draw what the shared tensors begin the training at this position with."""
        target = self._folder / "initial.safetensors"
        with disk_errors(target), TensorFileWriter(target, _specs(groups)) as output:
            for group in groups:
                output.write(group.key, first_values(group, self._terms.seed_of(index)))
        return reference(self._spool.keep_file(target))

    def align_late(self, effect: AlignSites) -> tuple[SiteShare, ...]:
        """Make the shares of sites that came after the others; raises as `align_study` does."""
        with self._working:
            networks = read_networks(self._terms, effect.networks, self._spool, stage=effect.stage)
            late = [(site, blob) for site, blob in effect.networks if site in effect.newcomers]
            return self._cut(late, networks, effect.model)

    def average(
        self,
        effect: AverageRound,
        server: ServerFiles | None = None,
        *,
        master: BlobRef | None = None,
    ) -> AveragedRound:
        """Average the shared tensors of a round and cut every site's share for the next one.

        A group of which fewer sites delivered than the study's minimum is not in the average; its
        sites go on with their own. With `server` each group takes a step of the coordinator's
        optimiser. `master` is the exact average of the round before, where changes travel.

        Raises:
            UnfitUpdate: one site's update cannot be used.
            DataProblem: the optimiser's step leaves the range of numbers.
            SetupProblem: the disk refuses.
        """
        with self._working:
            stage = self._terms.training_at(effect.round).stage
            networks = read_networks(self._terms, effect.networks, self._spool, stage=stage)
            exact = self._averaged(effect, networks, server, master or effect.base)
            if self._terms.transfer is Transfer.FP32 or self._terms.place_of(effect.round).ends:
                # A fold's last model goes to everyone as it is.
                shares = self._cut(effect.networks, networks, exact)
                return AveragedRound(model=exact, shares=shares)
            target = self._folder / f"average-{effect.round}.safetensors"
            change = self._folder / "change.safetensors"
            write_published(
                self._spool.path(exact.sha256),
                self._spool.path(effect.base.sha256),
                self._terms.transfer,
                target,
                change,
            )
            model = reference(self._spool.keep_file(target))
            shares = self._cut(effect.networks, networks, model, change, effect.shares)
            change.unlink()
            return AveragedRound(model=model, shares=shares, master=exact)

    def _averaged(
        self,
        effect: AverageRound,
        networks: Mapping[SiteName, NetworkPlan],
        server: ServerFiles | None,
        before: BlobRef,
    ) -> BlobRef:
        shares = {share.site: share for share in effect.shares}
        start = self._spool.path(before.sha256)
        readers: dict[SiteName, TensorReader] = {}
        delivered: dict[SiteName, frozenset[str]] = {}
        for update in effect.updates:
            site = update.site
            try:
                part = read_part(site, shares[site].part, networks[site], self._spool)
                path = self._spool.verify(update.weights.sha256)
                readers[site] = self._reader(path, part, shares[site], networks[site], start)
            except FednnunetError as exc:
                raise UnfitUpdate(site, exc) from exc
            delivered[site] = frozenset(spec.name for spec in part.tensors)
        rule, least = self._terms.aggregation, max(2, self._terms.minimum_sites)
        groups = [
            group
            for group in align_delivered(networks, delivered, rule=rule)
            if len(group.members) >= least
        ]
        target = self._folder / f"average-{effect.round}.safetensors"
        with (
            disk_errors(target),
            next_model(target, _specs(groups), before=start, files=server) as write,
        ):
            try:
                average_groups(
                    groups,
                    readers,
                    {update.site: update.cases for update in effect.updates},
                    write,
                    minimum_sites=least,
                    rule=rule,
                )
            except TensorsRefused as exc:
                raise UnfitUpdate(exc.site, exc) from exc
        return reference(self._spool.keep_file(target))

    def _reader(
        self,
        update: Path,
        part: SharedPart,
        share: SiteShare,
        network: NetworkPlan,
        start: Path,
    ) -> TensorReader:
        """Read an update as weights: what changes is added to the exact average before it."""
        transfer = self._terms.transfer
        if transfer is Transfer.FP32:
            return TensorFile(update, part.tensors)
        whole = sent_whole(part, share, self._spool)
        keys = keys_of(network, self._terms.aggregation)
        exact = _ByKey(TensorFile(start, read_manifest(start)), keys)
        file = TensorFile(update, change_manifest(part.tensors, transfer, whole))
        return ChangedTensors(exact, file, part.tensors, transfer, whole)

    def _grouped(self, networks: Mapping[SiteName, NetworkPlan]) -> tuple[TensorGroup, ...]:
        return group_networks(
            networks,
            minimum_sites=self._terms.minimum_sites,
            rule=self._terms.aggregation,
        )

    def _cut(
        self,
        statements: Statements,
        networks: Mapping[SiteName, NetworkPlan],
        model: BlobRef,
        change: Path | None = None,
        before: Sequence[SiteShare] = (),
    ) -> tuple[SiteShare, ...]:
        """Cut from a model what each of `statements`' sites gets; `networks` are all sites'.

        `change` makes the model of the one that the shares of `before` were cut from. Sites of equal
        networks get the same files, which are made once.
        """
        groups = self._grouped(networks)
        path = self._spool.path(model.sha256)
        manifest = read_manifest(path)
        values, held = TensorFile(path, manifest), {spec.name for spec in manifest}
        earlier = {share.site: share.base for share in before}
        bases: dict[_Named, BlobRef] = {}
        changes: dict[tuple[_Named, BlobRef], BlobRef | None] = {}
        shares = []
        for site, statement in statements:
            part = part_of(groups, networks, site)
            keys = keys_of(networks[site], self._terms.aggregation)
            named = tuple(
                (spec, keys[spec.name]) for spec in part.tensors if keys[spec.name] in held
            )
            if named not in bases:
                bases[named] = self._cut_base(values, named)
            base = bases[named]
            old, smaller = earlier.get(site), None
            if change is not None and old is not None:
                if (named, old) not in changes:
                    changes[named, old] = self._cut_change(change, old, base, keys)
                smaller = changes[named, old]
            shares.append(
                SiteShare(
                    site=site,
                    network=statement,
                    part=reference(self._spool.keep_bytes(encode_part(part))),
                    base=base,
                    change=smaller,
                    before=None if smaller is None or old is None else old.sha256,
                )
            )
        return tuple(shares)

    def _cut_base(self, values: TensorFile, named: _Named) -> BlobRef:
        target = self._folder / "base.safetensors"
        with (
            disk_errors(target),
            TensorFileWriter(target, [spec for spec, _ in named]) as output,
        ):
            for spec, key in named:
                output.write(spec.name, values.read(key))
        return reference(self._spool.keep_file(target))

    def _cut_change(
        self, change: Path, before: BlobRef, base: BlobRef, keys: Mapping[str, str]
    ) -> BlobRef | None:
        """Cut what makes a site's base of the one that it had; None when all of it would be whole."""
        transfer = self._terms.transfer
        path = self._spool.path(base.sha256)
        specs = read_manifest(path)
        known = frozenset(read_manifest(self._spool.path(before.sha256)))
        found = read_manifest(change)
        by_key = [TensorSpec(name=keys[spec.name], shape=spec.shape) for spec in specs]
        _, whole_keys = contents_of(found, by_key)
        whole = {spec.name for spec in specs if spec not in known or keys[spec.name] in whole_keys}
        if len(whole) == len(specs):
            return None
        values, changes = TensorFile(path, specs), TensorFile(change, found)
        target = self._folder / "share-change.safetensors"
        manifest = change_manifest(specs, transfer, whole)
        scaled = {spec.name for spec in manifest}
        with disk_errors(target), TensorFileWriter(target, manifest) as output:
            for spec, renamed in zip(specs, by_key, strict=True):
                if spec.name in whole:
                    output.write(spec.name, values.read(spec.name))
                    continue
                output.write(spec.name, changes.read(renamed.name))
                if scale_name(spec) in scaled:
                    output.write(scale_name(spec), changes.read(scale_name(renamed)))
        return reference(self._spool.keep_file(target))


def read_networks(
    terms: StudyTerms, statements: Statements, spool: Spool, *, stage: int = 0
) -> dict[SiteName, NetworkPlan]:
    """Read and check the statements of several sites; return their networks of a pass, from 0.

    Raises:
        UnfitFingerprint: one of them does not fit the study.
    """
    networks = {}
    for site, blob in statements:
        try:
            shared = shared_network.decode(spool.verify(blob.sha256).read_bytes())
            shared_network.check_terms(shared, terms)
        except FednnunetError as exc:
            raise UnfitFingerprint(site, exc) from exc
        networks[site] = shared.networks[stage]
    return networks


def read_part(site: SiteName, part: BlobRef, network: NetworkPlan, spool: Spool) -> SharedPart:
    """Read which tensors of a site go round."""
    return decode_part(spool.verify(part.sha256).read_bytes(), site=site, network=network)


def sent_whole(part: SharedPart, share: SiteShare, spool: Spool) -> frozenset[str]:
    """Return which tensors an update holds as they are: those that the site's base lacks.

    Their sites go on from values of their own, which nobody else knows.
    """
    held = {spec.name for spec in read_manifest(spool.path(share.base.sha256))}
    return frozenset(spec.name for spec in part.tensors if spec.name not in held)


class _ByKey:
    """Reads the tensors of one site by its own names from a file that is named by groups."""

    def __init__(self, file: TensorFile, keys: Mapping[str, str]) -> None:
        self._file, self._keys = file, keys

    def read(self, name: str) -> NDArray[np.generic]:
        return self._file.read(self._keys[name])


def _specs(groups: Sequence[TensorGroup]) -> list[TensorSpec]:
    return [TensorSpec(name=group.key, shape=group.shape) for group in groups]
