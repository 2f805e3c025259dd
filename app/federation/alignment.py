"""Which tensors of unlike networks belong together: asymmetric federated averaging.

The paper's code (Skorupko et al. 2025) pairs tensors of equal name and shape over all sites. Names
count encoder stages from the top and decoder stages from the bottom, so in U-Nets of unequal depth
equal names work at unequal resolutions. Here tensors belong together when they do the same: the
same role at the same stride to full resolution, at the same place in it, with the same shape; the
first and last layers also read the same channels and mark the same structures.
A tensor is averaged over the sites that hold it; one that too few sites hold stays local.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import OurMistake
from app.domain.ids import SiteName, digest_of
from app.domain.rounds import TensorSpec
from app.domain.study import Aggregation
from app.federation.averaging import TensorReader, average
from app.federation.canonical import canonical
from app.federation.network import NetworkPlan, PlacedTensor, Role, tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorGroup:
    """Tensors that are averaged with each other: site and the tensor's name there, by site.

    `key` names the group; it is the same whatever sites take part.
    """

    key: str
    role: Role
    scale: tuple[int, ...]
    part: str
    shape: tuple[int, ...]
    members: tuple[tuple[SiteName, str], ...]

    @property
    def sites(self) -> tuple[SiteName, ...]:
        """The sites that hold it, in order."""
        return tuple(site for site, _ in self.members)

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCoverage:
    """One layer of a site's network for a picture: `shared` of `weights` go round with `sites`.

    `sites` counts the other sites that share any of it.
    """

    role: Role
    scale: tuple[int, ...]
    weights: int
    shared: int
    sites: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of one site's network is shared; layers from full resolution down and up again."""

    site: SiteName
    weights: int
    shared: int
    partners: int
    others: int
    layers: tuple[LayerCoverage, ...]

    @property
    def percent(self) -> int:
        """Share of the weights that go round, rounded down, so that 100 means all."""
        return 100 * self.shared // self.weights

    def __str__(self) -> str:
        if not self.shared:
            return "Nothing of your network is shared: no other site has layers like it."
        sites = "site" if self.others == 1 else "sites"
        return (
            f"{self.percent} % of your network is shared with "
            f"{self.partners} of {self.others} other {sites}."
        )


def key_of(tensor: PlacedTensor, rule: Aggregation) -> str:
    """Name the group of a tensor; the name depends on the tensor alone, never on who takes part."""
    if rule is Aggregation.PAPER:
        return f"{tensor.spec.name}/{_joined(tensor.spec.shape)}"
    return _place(tensor)


def align(
    networks: Mapping[SiteName, NetworkPlan], *, minimum_sites: int
) -> tuple[TensorGroup, ...]:
    """Group the tensors of several networks by what they do.

    Groups of fewer than `minimum_sites` sites, and of a single one, are left out: those tensors
    stay local. The order is that of the tensors in the first site's network, then the second's.
    """
    return _groups(
        {site: tensors(network) for site, network in networks.items()},
        Aggregation.CASES,
        max(2, minimum_sites),
    )


def align_as_published(networks: Mapping[SiteName, NetworkPlan]) -> tuple[TensorGroup, ...]:
    """Group tensors by the paper's code: equal name and shape, and only those every site holds."""
    return _groups(
        {site: tensors(network) for site, network in networks.items()},
        Aggregation.PAPER,
        max(2, len(networks)),
    )


def align_delivered(
    networks: Mapping[SiteName, NetworkPlan],
    delivered: Mapping[SiteName, frozenset[str]],
    *,
    rule: Aggregation,
) -> tuple[TensorGroup, ...]:
    """Group the tensors that these sites' updates hold: names by site.

    Updates of one round may have been made when other sites took part; groups of a single site are
    in the answer, for `average_groups` to leave out.
    """
    held = {
        site: [tensor for tensor in tensors(networks[site]) if tensor.spec.name in names]
        for site, names in delivered.items()
    }
    return _groups(held, rule, 1)


def coverage(
    groups: Sequence[TensorGroup], networks: Mapping[SiteName, NetworkPlan], site: SiteName
) -> Coverage:
    """Tell how much of a site's network goes round, and with whom."""
    shared = {name: group for group in groups for holder, name in group.members if holder == site}
    partners: set[SiteName] = set()
    layers: dict[tuple[Role, tuple[int, ...]], tuple[int, int, set[SiteName]]] = {}
    for tensor in tensors(networks[site]):
        size = math.prod(tensor.spec.shape)
        weights, going, sites = layers.get((tensor.role, tensor.scale), (0, 0, set()))
        group = shared.get(tensor.spec.name)
        if group is not None:
            going += size
            sites |= set(group.sites) - {site}
        layers[tensor.role, tensor.scale] = (weights + size, going, sites)
        partners |= sites
    found = tuple(
        LayerCoverage(role=role, scale=scale, weights=weights, shared=going, sites=len(sites))
        for (role, scale), (weights, going, sites) in layers.items()
    )
    return Coverage(
        site=site,
        weights=sum(layer.weights for layer in found),
        shared=sum(layer.shared for layer in found),
        partners=len(partners),
        others=len(networks) - 1,
        layers=found,
    )


def average_groups(
    groups: Sequence[TensorGroup],
    readers: Mapping[SiteName, TensorReader],
    cases: Mapping[SiteName, int],
    write: Callable[[str, NDArray[np.float32]], None],
    *,
    minimum_sites: int,
    rule: Aggregation = Aggregation.CASES,
) -> tuple[str, ...]:
    """Average every group over its sites that delivered; return the keys that stayed local.

    `readers` and `cases` hold the sites whose update is in this round. A group of which fewer than
    `minimum_sites` (and fewer than two) delivered is not averaged: its holders keep their own.

    Raises:
        TensorsRefused: as `app.federation.averaging.average` does.
    """
    local = []
    for group in groups:
        members = [(site, name) for site, name in group.members if site in readers]
        if len(members) < max(2, minimum_sites):
            local.append(group.key)
            continue
        average(
            [_Renamed(readers[site], group.key, name) for site, name in members],
            [cases[site] for site, _ in members],
            [TensorSpec(name=group.key, shape=group.shape)],
            write,
            sites=[site for site, _ in members],
            rule=rule,
        )
    return tuple(local)


class _Renamed:
    """Reads one tensor of an update under the name of its group."""

    def __init__(self, reader: TensorReader, key: str, name: str) -> None:
        self._reader, self._key, self._name = reader, key, name

    def read(self, name: str) -> NDArray[np.generic]:
        if name != self._key:
            raise OurMistake(f"group {self._key} was asked for {name}")
        return self._reader.read(self._name)


def _place(tensor: PlacedTensor) -> str:
    """Name what a tensor does and where: equal for tensors that are averaged with each other."""
    place = (
        f"{tensor.role.value}/{_joined(tensor.scale)}/{tensor.part}/{_joined(tensor.spec.shape)}"
    )
    if not tensor.meaning:
        return place
    # Names of channels and labels are a site's own words: as a digest they have one length.
    return f"{place}/{digest_of(canonical(tensor.meaning))[:12]}"


def _groups(
    placed: Mapping[SiteName, Sequence[PlacedTensor]],
    rule: Aggregation,
    least: int,
) -> tuple[TensorGroup, ...]:
    found: dict[str, list[tuple[SiteName, PlacedTensor]]] = {}
    for site in sorted(placed):
        for tensor in placed[site]:
            found.setdefault(key_of(tensor, rule), []).append((site, tensor))
    return tuple(
        TensorGroup(
            key=key,
            role=members[0][1].role,
            scale=members[0][1].scale,
            part=members[0][1].part,
            shape=members[0][1].spec.shape,
            members=tuple((site, tensor.spec.name) for site, tensor in members),
        )
        for key, members in found.items()
        if len(members) >= least
    )


def _joined(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))
