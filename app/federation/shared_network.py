"""What a site shares in asymmetric averaging: the form of its own network, and nothing measured.

Each site plans at home, from its own fingerprint. The coordinator needs the shapes of the network
that came out to see which layers sites have in common; spacings, sizes and intensities stay. The
document has one spelling and is held against what stock planners can make for the study.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from app.domain.dataset import BACKGROUND, IGNORE
from app.domain.errors import ErrorCode, PeerMistake
from app.domain.folds import passes_of
from app.domain.study import StudyTerms
from app.federation import network as networks
from app.federation.canonical import Json, canonical
from app.federation.network import Architecture, NetworkPlan
from app.federation.plan_rules import (
    MAXIMUM_DEPTH,
    MAXIMUM_FEATURES,
    MAXIMUM_PARAMETERS,
    MAXIMUM_STAGES,
    first_pass_names,
    network_of,
    output_names,
    unpack,
)
from app.federation.study_file import MAXIMUM_CHANNELS, MAXIMUM_LABELS

MAXIMUM_BYTES: Final = 1 << 18
_PLAIN: Final = "ExperimentPlanner"


class NetworkRefused(PeerMistake):
    """A statement about a network that no stock planner makes for this study."""

    code = ErrorCode.FINGERPRINT_REFUSED

    def __init__(self, entry: str, reason: str) -> None:
        super().__init__(f"the shared network's {entry} {reason}")
        self.entry, self.reason = entry, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedNetwork:
    """One site's network with what it reads and marks; `cases` is how many it was planned from.

    `labels` are pairs of name and value, or values for a region, in the order that nnU-Net takes
    them. `versions` are those of the libraries that planned, as in a plan package. `first_pass` is
    the coarse network of a cascade, whose `network` then reads that one's result, too.
    """

    cases: int
    channel_names: tuple[str, ...]
    labels: tuple[tuple[str, int | tuple[int, ...]], ...]
    configuration: str
    network: NetworkPlan
    versions: tuple[tuple[str, str], ...] = ()
    first_pass: NetworkPlan | None = None

    @property
    def networks(self) -> tuple[NetworkPlan, ...]:
        """The network of each pass, in the order in which they are trained."""
        return (self.network,) if self.first_pass is None else (self.first_pass, self.network)


_Name = Annotated[str, Meta(min_length=1, max_length=60)]
_Value = Annotated[int, Meta(ge=0, le=MAXIMUM_LABELS)]
_Label = tuple[_Name, _Value | Annotated[tuple[_Value, ...], Meta(min_length=1, max_length=255)]]
_Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.+-]{1,60}\Z")]
_Stages = Meta(min_length=1, max_length=MAXIMUM_STAGES)
_Depth = Annotated[int, Meta(ge=1, le=MAXIMUM_DEPTH)]


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a network's layers; shared by both of a cascade."""

    affine: bool
    architecture: Architecture
    bias: bool
    decoder_depth: Annotated[tuple[_Depth, ...], Meta(max_length=MAXIMUM_STAGES)]
    encoder_depth: Annotated[tuple[_Depth, ...], _Stages]
    features: Annotated[tuple[Annotated[int, Meta(ge=1, le=MAXIMUM_FEATURES)], ...], _Stages]
    kernels: Annotated[tuple[tuple[Literal[1, 3], ...], ...], _Stages]
    strides: Annotated[tuple[tuple[Literal[1, 2], ...], ...], _Stages]


class _Document(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cases: Annotated[int, Meta(ge=1, le=1_000_000)]
    channel_names: Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=MAXIMUM_CHANNELS)]
    configuration: _Word
    format: Literal[1]
    labels: Annotated[tuple[_Label, ...], Meta(min_length=2, max_length=MAXIMUM_LABELS)]
    versions: Annotated[dict[_Word, _Word], Meta(max_length=20)]
    first_pass: _Form | msgspec.UnsetType = msgspec.UNSET


def encode(shared: SharedNetwork) -> bytes:
    """Write the statement as canonical JSON: exactly these bytes leave the site."""
    document = _Document(
        **msgspec.structs.asdict(_form_of(shared.network)),
        cases=shared.cases,
        channel_names=shared.channel_names,
        configuration=shared.configuration,
        first_pass=msgspec.UNSET if shared.first_pass is None else _form_of(shared.first_pass),
        format=1,
        labels=shared.labels,
        versions=dict(shared.versions),
    )
    return canonical(msgspec.to_builtins(document))


def _form_of(network: NetworkPlan) -> _Form:
    return _Form(
        affine=network.affine,
        architecture=network.architecture,
        bias=network.bias,
        decoder_depth=network.decoder_depth,
        encoder_depth=network.encoder_depth,
        features=network.features,
        kernels=msgspec.convert(network.kernels, tuple[tuple[Literal[1, 3], ...], ...]),
        strides=msgspec.convert(network.strides, tuple[tuple[Literal[1, 2], ...], ...]),
    )


def _network_of(form: _Form, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> NetworkPlan:
    return NetworkPlan(
        architecture=form.architecture,
        features=form.features,
        kernels=form.kernels,
        strides=form.strides,
        encoder_depth=form.encoder_depth,
        decoder_depth=form.decoder_depth,
        bias=form.bias,
        affine=form.affine,
        inputs=len(inputs),
        outputs=len(outputs),
        input_names=inputs,
        output_names=outputs,
    )


def decode(document: bytes) -> SharedNetwork:
    """Read a statement; `check_terms` must follow before anything is built on it.

    Raises:
        NetworkRefused: the bytes are not what `encode` writes, or describe no U-Net.
    """
    if len(document) > MAXIMUM_BYTES:
        raise NetworkRefused("document", f"has {len(document)} bytes, more than {MAXIMUM_BYTES}")
    try:
        found = msgspec.json.decode(document, type=_Document, strict=True)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise NetworkRefused("document", f"cannot be read: {str(exc)[:200]}") from exc
    labels = dict(found.labels)
    if len(labels) != len(found.labels) or len(set(found.channel_names)) != len(
        found.channel_names
    ):
        raise NetworkRefused("labels or channel_names", "name one thing twice")
    inputs, outputs = found.channel_names, output_names(labels)
    first = None
    if found.first_pass is not msgspec.UNSET:
        first = _network_of(found.first_pass, inputs, outputs)
        inputs += first_pass_names(labels)
    shared = SharedNetwork(
        cases=found.cases,
        channel_names=found.channel_names,
        labels=found.labels,
        configuration=found.configuration,
        network=_network_of(found, inputs, outputs),
        versions=tuple(sorted(found.versions.items())),
        first_pass=first,
    )
    if encode(shared) != document:
        raise NetworkRefused("document", "is not in canonical form")
    return shared


def check_terms(shared: SharedNetwork, terms: StudyTerms) -> None:
    """Hold a statement against the study's terms.

    A site may have fewer channels than the study, or fewer structures; what it has must be called
    as the study calls it, so that layers are only averaged where they mean the same.

    Raises:
        NetworkRefused: it does not fit the study, or is no network that its planner makes.
    """
    if shared.configuration != terms.configuration:
        raise NetworkRefused(
            "configuration", f"is {shared.configuration}, the study's is {terms.configuration}"
        )
    if len(shared.networks) != len(terms.passes):
        raise NetworkRefused(
            "first_pass",
            f"is missing: {shared.configuration} trains two networks"
            if shared.first_pass is None
            else f"is none of {shared.configuration}, which trains one network",
        )
    misfit = misfit_of(shared.channel_names, dict(shared.labels), terms)
    if misfit:
        raise NetworkRefused("channels and labels", f"do not fit the study: {misfit}")
    for network in shared.networks:
        _check_form(network, terms)


def _check_form(network: NetworkPlan, terms: StudyTerms) -> None:
    """Refuse what is no U-Net of the study's planner."""
    stages = network.stages
    wanted = Architecture.PLAIN if terms.planner == _PLAIN else Architecture.RESIDUAL
    if network.architecture is not wanted:
        raise NetworkRefused(
            "architecture", f"is {network.architecture.value}; {terms.planner} makes {wanted.value}"
        )
    axes = 2 if terms.configuration == "2d" else 3
    per_stage = (network.kernels, network.strides, network.encoder_depth)
    if any(len(values) != stages for values in per_stage):
        raise NetworkRefused("stages", "are not as many in every entry")
    if len(network.decoder_depth) != stages - 1:
        raise NetworkRefused("decoder_depth", f"does not fit {stages} stages")
    if any(len(one) != axes for one in (*network.kernels, *network.strides)):
        raise NetworkRefused("kernels or strides", f"do not have {axes} axes")
    if any(step != 1 for step in network.strides[0]):
        raise NetworkRefused("strides", "must begin at full resolution")
    weights = networks.parameters(network)
    if weights > MAXIMUM_PARAMETERS:
        raise NetworkRefused("network", f"has {weights} weights; allowed are {MAXIMUM_PARAMETERS}")


def misfit_of(
    channel_names: Sequence[str],
    labels: Mapping[str, int | tuple[int, ...]],
    terms: StudyTerms,
) -> str:
    """Say why a site's channels or labels cannot take part, empty when they can."""
    strange = [name for name in channel_names if name not in terms.channel_names]
    if strange:
        return (
            f"the images have a channel {strange[0]!r}, the study has "
            f"{', '.join(map(repr, terms.channel_names))}"
        )
    if labels.get(BACKGROUND) != 0 or len(set(labels) - {BACKGROUND, IGNORE}) == 0:
        return "the labels have no background 0, or no structure"
    for name, value in labels.items():
        known = terms.labels.get(name)
        if known is None:
            return f"the labels name {name!r}, which the study does not"
        if isinstance(known, tuple) != isinstance(value, tuple):
            return f"the label {name!r} is one value here and a region there"
    return ""


def statement_of(document: bytes, configuration: str) -> SharedNetwork:
    """Return what leaves of a site's own plan package: its network's form, no measurement.

    Raises:
        PeerMistake: the document is no plan package with such a configuration.
    """
    _, dataset, _, versions = unpack(document)
    names, labels, cases = dataset["channel_names"], dataset["labels"], dataset["numTraining"]
    if not (isinstance(names, dict) and isinstance(labels, dict) and isinstance(cases, int)):
        raise NetworkRefused("plan", "has no channels, labels or cases")
    passes = passes_of(configuration)
    return SharedNetwork(
        cases=cases,
        channel_names=tuple(map(str, names.values())),
        labels=tuple((name, _value_of(value)) for name, value in labels.items()),
        configuration=configuration,
        network=network_of(document, configuration),
        versions=tuple(sorted((name, str(version)) for name, version in versions.items())),
        first_pass=network_of(document, passes[0]) if len(passes) > 1 else None,
    )


def terms_of_plan(document: bytes, terms: StudyTerms) -> StudyTerms:
    """Return the terms that a site's own plan package was made by."""
    own = statement_of(document, terms.configuration)
    return site_terms(terms, own.channel_names, dict(own.labels))


def site_terms(
    terms: StudyTerms,
    channel_names: tuple[str, ...],
    labels: dict[str, int | tuple[int, ...]],
) -> StudyTerms:
    """Return the terms by which one site plans in asymmetric averaging: its own images' form."""
    order = terms.regions_class_order
    if labels != terms.labels:
        regions = [name for name, value in labels.items() if isinstance(value, tuple)]
        order = _order_of(terms, labels) if regions else ()
    return dataclasses.replace(
        terms, channel_names=channel_names, labels=labels, regions_class_order=order
    )


def _order_of(terms: StudyTerms, labels: dict[str, int | tuple[int, ...]]) -> tuple[int, ...]:
    """Return the study's output value of each region that a site marks, in the site's order."""
    study = dict(zip(output_names(terms.labels), terms.regions_class_order, strict=True))
    return tuple(study[name] for name in output_names(labels) if name in study)


def _value_of(value: Json) -> int | tuple[int, ...]:
    numbers = value if isinstance(value, list) else [value]
    found = tuple(number for number in numbers if isinstance(number, int))
    return found if isinstance(value, list) else found[0]
