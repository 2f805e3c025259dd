"""Asymmetric averaging with files: the sites' networks aligned, rounds averaged, shares cut.

A share is what one site gets: which of its tensors go round, and those tensors of the newest
average under the site's own names. All of it can be made again from the spool and comes out equal
to the bit. All of it belongs in a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.coordinator.averaging import UnfitUpdate
from app.coordinator.planning import UnfitFingerprint
from app.coordinator.server_steps import ServerFiles, next_model
from app.coordinator.spool import Spool
from app.coordinator.translation import reference
from app.domain.errors import FednnunetError
from app.domain.ids import SiteName
from app.domain.rounds import BlobRef, TensorSpec
from app.domain.study import StudyTerms
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
from app.federation.averaging import TensorsRefused
from app.federation.canonical import canonical
from app.federation.network import NetworkPlan
from app.federation.study_events import AlignSites, AverageRound, SiteShare
from app.system.atomic import disk_errors
from app.system.tensor_files import TensorFile, TensorFileWriter, read_manifest

Statements = Sequence[tuple[SiteName, BlobRef]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedStudy:
    """What the first alignment made: the table of statements, the groups' first values, shares.

    `firsts` has first values for each fold; the shares are cut from those of the first one.
    """

    table: BlobRef
    firsts: tuple[BlobRef, ...]
    shares: tuple[SiteShare, ...]


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
            groups = self._grouped(networks)
            firsts = [self._drawn(groups, fold) for fold in range(len(self._terms.folds))]
            table = canonical(
                {"format": 1, "networks": {site: blob.sha256 for site, blob in statements}}
            )
            return AlignedStudy(
                table=reference(self._spool.keep_bytes(table)),
                firsts=tuple(firsts),
                shares=self._cut(statements, networks, firsts[0]),
            )

    def _drawn(self, groups: Sequence[TensorGroup], fold: int) -> BlobRef:
        """Draw what the shared tensors begin a fold with."""
        target = self._folder / "initial.safetensors"
        with disk_errors(target), TensorFileWriter(target, _specs(groups)) as output:
            for group in groups:
                output.write(group.key, first_values(group, self._terms.seed_of(fold)))
        return reference(self._spool.keep_file(target))

    def align_late(self, effect: AlignSites) -> tuple[SiteShare, ...]:
        """Make the shares of sites that came after the others; raises as `align_study` does."""
        with self._working:
            networks = read_networks(self._terms, effect.networks, self._spool)
            late = [(site, blob) for site, blob in effect.networks if site in effect.newcomers]
            return self._cut(late, networks, effect.model)

    def average(
        self, effect: AverageRound, server: ServerFiles | None = None
    ) -> tuple[BlobRef, tuple[SiteShare, ...]]:
        """Average the shared tensors of a round and cut every site's share for the next one.

        A group of which fewer sites delivered than the study's minimum is not in the average; its
        sites go on with their own. With `server` each group takes a step of the coordinator's
        optimiser.

        Raises:
            UnfitUpdate: one site's update cannot be used.
            DataProblem: the optimiser's step leaves the range of numbers.
            SetupProblem: the disk refuses.
        """
        with self._working:
            networks = read_networks(self._terms, effect.networks, self._spool)
            model = self._averaged(effect, networks, server)
            return model, self._cut(effect.networks, networks, model)

    def _averaged(
        self,
        effect: AverageRound,
        networks: Mapping[SiteName, NetworkPlan],
        server: ServerFiles | None,
    ) -> BlobRef:
        parts = {share.site: share.part for share in effect.shares}
        readers: dict[SiteName, TensorFile] = {}
        delivered: dict[SiteName, frozenset[str]] = {}
        for update in effect.updates:
            site = update.site
            try:
                part = read_part(site, parts[site], networks[site], self._spool)
                readers[site] = TensorFile(self._spool.verify(update.weights.sha256), part.tensors)
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
        before = self._spool.path(effect.base.sha256)
        with (
            disk_errors(target),
            next_model(target, _specs(groups), before=before, files=server) as write,
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
    ) -> tuple[SiteShare, ...]:
        """Cut from a model what each of `statements`' sites gets; `networks` are all sites'."""
        groups = self._grouped(networks)
        path = self._spool.path(model.sha256)
        manifest = read_manifest(path)
        values, held = TensorFile(path, manifest), {spec.name for spec in manifest}
        shares = []
        for site, statement in statements:
            part = part_of(groups, networks, site)
            keys = keys_of(networks[site], self._terms.aggregation)
            specs = [spec for spec in part.tensors if keys[spec.name] in held]
            target = self._folder / "base.safetensors"
            with disk_errors(target), TensorFileWriter(target, specs) as output:
                for spec in specs:
                    output.write(spec.name, values.read(keys[spec.name]))
            shares.append(
                SiteShare(
                    site=site,
                    network=statement,
                    part=reference(self._spool.keep_bytes(encode_part(part))),
                    base=reference(self._spool.keep_file(target)),
                )
            )
        return tuple(shares)


def read_networks(
    terms: StudyTerms, statements: Statements, spool: Spool
) -> dict[SiteName, NetworkPlan]:
    """Read and check the statements of several sites; raises UnfitFingerprint."""
    networks = {}
    for site, blob in statements:
        try:
            shared = shared_network.decode(spool.verify(blob.sha256).read_bytes())
            shared_network.check_terms(shared, terms)
        except FednnunetError as exc:
            raise UnfitFingerprint(site, exc) from exc
        networks[site] = shared.network
    return networks


def read_part(site: SiteName, part: BlobRef, network: NetworkPlan, spool: Spool) -> SharedPart:
    """Read which tensors of a site go round."""
    return decode_part(spool.verify(part.sha256).read_bytes(), site=site, network=network)


def _specs(groups: Sequence[TensorGroup]) -> list[TensorSpec]:
    return [TensorSpec(name=group.key, shape=group.shape) for group in groups]
