"""Asymmetric federated averaging for one site: which tensors it shares, and what they begin with.

The average of a round is one file of groups (see `app.federation.alignment`). A site never sees it:
it gets the tensors that its own network holds of it, under its own names, and adds the ones that
stay local from its own last weights. Likewise it sends the shared tensors only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from app.domain.errors import ErrorCode, PeerMistake
from app.domain.ids import SiteName, digest_of
from app.domain.rounds import TensorSpec
from app.domain.study import Aggregation
from app.federation.alignment import (
    Coverage,
    LayerCoverage,
    TensorGroup,
    align,
    align_as_published,
    coverage,
    key_of,
)
from app.federation.canonical import canonical
from app.federation.network import NetworkPlan, Role, manifest, tensors

MAXIMUM_BYTES: Final = 1 << 20
_SLOPE: Final = 1e-2
"""Negative slope that nnU-Net's initialisation counts with (InitWeights_He in its networks)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPart:
    """What of one site's network goes round: the tensors in its own order, and how they are told."""

    coverage: Coverage
    tensors: tuple[TensorSpec, ...]


class PartRefused(PeerMistake):
    """A statement about the shared part that does not fit this site's own network."""

    code = ErrorCode.PLANS_REFUSED


def group_networks(
    networks: Mapping[SiteName, NetworkPlan], *, minimum_sites: int, rule: Aggregation
) -> tuple[TensorGroup, ...]:
    """Group the tensors of all sites by the study's rule: by what they do, or as published."""
    if rule is Aggregation.PAPER:
        return align_as_published(networks)
    return align(networks, minimum_sites=minimum_sites)


def part_of(
    groups: Collection[TensorGroup], networks: Mapping[SiteName, NetworkPlan], site: SiteName
) -> SharedPart:
    """Return what of a site's network goes round."""
    shared = {name for group in groups for holder, name in group.members if holder == site}
    return SharedPart(
        coverage=coverage(tuple(groups), networks, site),
        tensors=tuple(spec for spec in manifest(networks[site]) if spec.name in shared),
    )


def keys_of(network: NetworkPlan, rule: Aggregation) -> dict[str, str]:
    """Return the group of every tensor of a network, by the tensor's name."""
    return {tensor.spec.name: key_of(tensor, rule) for tensor in tensors(network)}


# --- what every site begins with ---------------------------------------------------------------


def first_values(group: TensorGroup, seed: int) -> NDArray[np.float32]:
    """Draw the values that a group begins with at all of its sites, as nnU-Net would.

    Convolutions from He's normal distribution, biases 0, normalisation 1, and 0 where a residual
    block adds its branch (dynamic_network_architectures, initialization/weight_init.py). What is
    drawn depends on the seed and the group's key alone, so it is the same whoever takes part.
    """
    if group.part.endswith("norm.weight"):
        # The last normalisation before a residual sum begins at 0: the block begins as its skip.
        value = 0.0 if ".conv2." in f".{group.part}" else 1.0
        return np.full(group.shape, value, dtype=np.float32)
    if group.part.endswith("bias"):
        return np.zeros(group.shape, dtype=np.float32)
    fan_in = math.prod(group.shape[1:])
    deviation = math.sqrt(2.0 / ((1.0 + _SLOPE**2) * fan_in))
    number = int(digest_of(f"{seed} {group.key}".encode()), 16)
    generator = np.random.Generator(np.random.PCG64(number))
    return generator.standard_normal(group.shape, dtype=np.float32) * np.float32(deviation)


# --- the part as bytes -------------------------------------------------------------------------

_Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
_Sites = Annotated[int, Meta(ge=0, le=500)]
_Scale = Annotated[tuple[Annotated[int, Meta(ge=1, le=1 << 20)], ...], Meta(max_length=3)]


class _Layer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: Role
    scale: _Scale
    shared: _Count
    sites: _Sites
    weights: _Count


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    layers: Annotated[tuple[_Layer, ...], Meta(max_length=200)]
    others: _Sites
    partners: _Sites
    site: Annotated[str, Meta(min_length=1, max_length=40)]
    tensors: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...], Meta(max_length=2000)
    ]


def encode_part(part: SharedPart) -> bytes:
    """Write a site's part as canonical JSON. It names no other site, only how many they are."""
    told = part.coverage
    document = _Part(
        format=1,
        layers=tuple(
            _Layer(
                role=layer.role,
                scale=layer.scale,
                shared=layer.shared,
                sites=layer.sites,
                weights=layer.weights,
            )
            for layer in told.layers
        ),
        others=told.others,
        partners=told.partners,
        site=told.site,
        tensors=tuple(spec.name for spec in part.tensors),
    )
    return canonical(msgspec.to_builtins(document))


def decode_part(document: bytes, *, site: SiteName, network: NetworkPlan) -> SharedPart:
    """Read this site's part and hold it against its own network.

    Raises:
        PartRefused: it is damaged, meant for another site, or speaks of another network.
    """
    if len(document) > MAXIMUM_BYTES:
        raise PartRefused("the statement of what is shared is too long")
    try:
        found = msgspec.json.decode(document, type=_Part, strict=True)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise PartRefused("the statement of what is shared cannot be read") from exc
    if found.site != site:
        raise PartRefused("the statement of what is shared is meant for another site")
    named = set(found.tensors)
    specs = tuple(spec for spec in manifest(network) if spec.name in named)
    if tuple(spec.name for spec in specs) != found.tensors:
        raise PartRefused("the statement of what is shared names tensors that this network lacks")
    held: dict[tuple[Role, tuple[int, ...]], tuple[int, int]] = {}
    for tensor in tensors(network):
        size = math.prod(tensor.spec.shape)
        weights, shared = held.get((tensor.role, tensor.scale), (0, 0))
        shared += size if tensor.spec.name in named else 0
        held[tensor.role, tensor.scale] = (weights + size, shared)
    told = {(layer.role, layer.scale): (layer.weights, layer.shared) for layer in found.layers}
    if told != held or len(found.layers) != len(held):
        raise PartRefused("the statement of what is shared counts other layers than this network's")
    layers = tuple(
        LayerCoverage(
            role=layer.role,
            scale=layer.scale,
            weights=layer.weights,
            shared=layer.shared,
            sites=layer.sites,
        )
        for layer in found.layers
    )
    return SharedPart(
        coverage=Coverage(
            site=site,
            weights=sum(layer.weights for layer in layers),
            shared=sum(layer.shared for layer in layers),
            partners=found.partners,
            others=found.others,
            layers=layers,
        ),
        tensors=specs,
    )
