"""Plans from the network, checked before nnU-Net sees them.

nnU-Net finds classes and functions by the names a plan gives, by importing whatever it is told
(`pydoc.locate` in utilities/get_network_from_plans.py, `recursive_find_python_class` elsewhere),
and joins other entries to paths. So a plan is a program. Here every entry is compared with a list
of what stock planners write (nnunetv2 2.8.1); what is not on the list is refused, and nothing is
imported to decide it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from app.domain.dataset import BACKGROUND, IGNORE
from app.domain.errors import ErrorCode, OurMistake, PeerMistake
from app.domain.folds import CASCADE, COARSE, FINE
from app.domain.ids import digest_of
from app.domain.plans import PlanPackage, PlanSummary
from app.domain.study import StudyTerms
from app.federation import network as networks
from app.federation.canonical import Json, parse
from app.federation.network import Architecture, NetworkPlan
from app.federation.study_file import CONFIGURATIONS

MAXIMUM_BYTES: Final = 32 << 20
PLANNERS: Final = frozenset(
    {
        "ExperimentPlanner",
        "ResEncUNetPlanner",
        "nnUNetPlannerResEncM",
        "nnUNetPlannerResEncL",
        "nnUNetPlannerResEncXL",
        "nnUNetPlanner_torchres",
        "nnUNetPlannerResEncL_torchres",
        "nnUNetPlannerResEncL_torchres_sepz",
        "nnUNetPlannerResEncL_noResampling",
    }
)
READERS: Final = frozenset(
    {"SimpleITKIO", "NibabelIO", "NibabelIOWithReorient", "NaturalImage2DIO", "Tiff3DIO"}
)
FILE_ENDINGS: Final = frozenset(
    {".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".bmp", ".tif", ".tiff", ".gipl"}
)
NORMALISATIONS: Final = {
    "ct": "CTNormalization",
    "nonorm": "NoNormalization",
    "rescale_to_0_1": "RescaleTo01Normalization",
    "rgb_to_0_1": "RGBTo01Normalization",
    "zscore": "ZScoreNormalization",
}
"""By casefolded channel name; every other channel is normalised by its z-score."""
_UNET: Final = "dynamic_network_architectures.architectures.unet."
ARCHITECTURES: Final = {_UNET + one.value: one for one in Architecture}
MAXIMUM_STAGES: Final = 10
MAXIMUM_FEATURES: Final = 512
MAXIMUM_DEPTH: Final = 8
MAXIMUM_BATCH: Final = 4096
MAXIMUM_PATCH_VOXELS: Final = 1 << 26
MAXIMUM_BATCH_VOXELS: Final = 1 << 28
MAXIMUM_PARAMETERS: Final = 500_000_000

_PLANS_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,80}")
_DATASET_NAME: Final = re.compile(r"Dataset[0-9]{3}_[A-Za-z0-9_]{1,80}")
_PARTS: Final = ("dataset", "fingerprint", "plans", "versions")

Document = dict[str, Json]
Check = Callable[[str, Json], None]


class PlanRefused(PeerMistake):
    """A plan that says something no stock planner says for this study."""

    code = ErrorCode.PLANS_REFUSED

    def __init__(self, entry: str, reason: str) -> None:
        super().__init__(f"the plan is refused: its entry {entry} {reason}")
        self.entry, self.reason = entry, reason


# --- packing -----------------------------------------------------------------------------------


def pack(
    plans: Mapping[str, object],
    dataset: Mapping[str, object],
    fingerprint: Mapping[str, object],
    versions: Mapping[str, object],
) -> PlanPackage:
    """Write plans and what belongs to them as the one document that all sites get.

    Keys are sorted, except the labels of `dataset`: their order tells nnU-Net which region
    overrides which.
    """
    text = json.dumps(
        {
            "dataset": _ordered(dataset, keep=("labels",)),
            "fingerprint": _ordered(fingerprint),
            "plans": _ordered(plans),
            "versions": _ordered(versions),
        },
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    document = text.encode()
    return PlanPackage(document=document, digest=digest_of(document))


def unpack(document: bytes) -> tuple[Document, Document, Document, Document]:
    """Return plans, dataset.json, fingerprint and versions of a plan package.

    Only the form is checked; see `check_plan` for what it says.

    Raises:
        PlanRefused: the bytes are too many or not the canonical JSON of these four tables.
    """
    if len(document) > MAXIMUM_BYTES:
        raise PlanRefused("(document)", f"has {len(document)} bytes, more than {MAXIMUM_BYTES}")
    try:
        parsed = parse(document)
    except ValueError as exc:
        raise PlanRefused("(document)", f"is not JSON: {exc}") from exc
    if not isinstance(parsed, dict) or sorted(parsed) != list(_PARTS):
        raise PlanRefused("(document)", f"must have exactly the keys {', '.join(_PARTS)}")
    parts: list[Document] = []
    for name in ("plans", "dataset", "fingerprint", "versions"):
        part = parsed[name]
        if not isinstance(part, dict):
            raise PlanRefused(name, "is not a table")
        parts.append(part)
    plans, dataset, fingerprint, versions = parts
    if pack(plans, dataset, fingerprint, versions).document != document:
        raise PlanRefused("(document)", "is not in canonical form")
    return plans, dataset, fingerprint, versions


def _ordered(value: object, keep: tuple[str, ...] = ()) -> object:
    """Sort the keys of tables within tables, but not inside the entries named in `keep`."""
    if isinstance(value, Mapping):
        return {
            str(key): value[key] if key in keep else _ordered(value[key])
            for key in sorted(value, key=str)
        }
    if isinstance(value, list | tuple):
        return [_ordered(one) for one in value]
    return value


# --- checking ----------------------------------------------------------------------------------


def check_plan(document: bytes, terms: StudyTerms) -> None:
    """Check a plan package against the allow-list and the study's terms.

    Raises:
        PlanRefused: (code PLANS_REFUSED) naming the first entry that is not allowed.
    """
    plans, dataset, fingerprint, versions = unpack(document)
    channels = len(terms.channel_names)
    _check_dataset(dataset, terms)
    _check_fingerprint(fingerprint, channels)
    _check_versions(versions)
    _plans_table(channels)("plans", plans)
    configurations = _table_at(plans, "configurations")
    for name, configuration in configurations.items():
        where = f"plans.configurations.{name[:40]}"
        if name not in CONFIGURATIONS:
            raise PlanRefused(where, f"is unknown; allowed are {', '.join(CONFIGURATIONS)}")
        if name == CASCADE:
            _CASCADE(where, configuration)
        else:
            _check_configuration(where, configuration, name, terms)
    if terms.configuration not in configurations:
        raise PlanRefused(
            "plans.configurations", f"has no {terms.configuration!r}, which the study trains"
        )
    if CASCADE in configurations and not {COARSE, FINE} <= set(configurations):
        raise PlanRefused("plans.configurations", "has a cascade without both of its stages")
    if plans["experiment_planner_used"] != terms.planner:
        raise PlanRefused(
            "plans.experiment_planner_used",
            f"is {_shown(plans['experiment_planner_used'])}, the study's is {terms.planner!r}",
        )
    if plans["image_reader_writer"] != dataset.get(
        "overwrite_image_reader_writer", plans["image_reader_writer"]
    ):
        raise PlanRefused("plans.image_reader_writer", "differs from the dataset's")
    forward, backward = (
        _integers(plans["transpose_forward"]),
        _integers(plans["transpose_backward"]),
    )
    if sorted(forward) != [0, 1, 2] or [forward[axis] for axis in backward] != [0, 1, 2]:
        raise PlanRefused("plans.transpose_forward", "and transpose_backward are no inverse pair")


def summarise(document: bytes, configuration: str) -> PlanSummary:
    """Return what a person reads of a checked plan.

    Raises:
        PlanRefused: the document is no plan package or has no such configuration.
    """
    plans, _, _, _ = unpack(document)
    network = network_of(document, configuration)
    chosen = _resolved(plans, configuration)
    try:
        return PlanSummary(
            configuration=configuration,
            spacing_mm=tuple(_numbers(chosen["spacing"])),
            patch=tuple(_integers(chosen["patch_size"])),
            batch_size=_integers([chosen["batch_size"]])[0],
            stages=network.stages,
            features=network.features,
            normalisation=tuple(_texts(chosen["normalization_schemes"])),
            network=network.architecture.value,
            parameters=networks.parameters(network),
        )
    except (KeyError, TypeError) as exc:
        raise PlanRefused(f"plans.configurations.{configuration}", "is incomplete") from exc


def network_of(document: bytes, configuration: str) -> NetworkPlan:
    """Return the network that a configuration of a checked plan describes.

    Raises:
        PlanRefused: the document is no plan package or has no such configuration.
    """
    plans, dataset, _, _ = unpack(document)
    chosen = _resolved(plans, configuration)
    try:
        labels = _table_at(dataset, "labels")
        inputs = tuple(str(name) for name in _table_at(dataset, "channel_names").values())
        if "previous_stage" in chosen:
            inputs += first_pass_names(labels)
        return _network(chosen["architecture"], inputs, output_names(labels))
    except (KeyError, TypeError, ValueError, OurMistake) as exc:
        raise PlanRefused(f"plans.configurations.{configuration}", "is incomplete") from exc


def output_names(labels: Mapping[str, object]) -> tuple[str, ...]:
    """Name the outputs of a network for these labels, in their order (nnU-Net's LabelManager).

    Labels follow their values, the background first; regions have no background, and the order in
    which they are written. A list of one value is a label to nnU-Net, unless another has several.
    The label to ignore has no output.
    """
    marked = {name: value for name, value in labels.items() if name != IGNORE}
    if any(isinstance(value, list | tuple) and len(value) > 1 for value in labels.values()):
        return tuple(name for name in marked if name != BACKGROUND)
    return tuple(sorted(marked, key=lambda name: _first_value(marked[name])))


def first_pass_names(labels: Mapping[str, object]) -> tuple[str, ...]:
    """Name what a cascade's second pass reads of the first one: a channel for each label value.

    In the order of the values, as nnU-Net's `foreground_labels`, without background and ignore. A
    value is called by the labels or regions that it is in, so that sites that number the same
    structures differently mean the same by it.
    """
    held: dict[int, list[str]] = {}
    for name, value in labels.items():
        if name != IGNORE:
            for one in value if isinstance(value, list | tuple) else (value,):
                held.setdefault(int(str(one)), []).append(name)
    return tuple(f"first pass: {', '.join(held[value])}" for value in sorted(held) if value)


def _first_value(value: object) -> int:
    first = value[0] if isinstance(value, list | tuple) else value
    return int(str(first))


def _resolved(plans: Document, configuration: str) -> Document:
    """Return a configuration with what it inherits (one level: the cascade)."""
    configurations = _table_at(plans, "configurations")
    chosen = configurations.get(configuration)
    if not isinstance(chosen, dict):
        raise PlanRefused("plans.configurations", f"has no {configuration!r}")
    parent = chosen.get("inherits_from")
    if parent is None:
        return chosen
    inherited = configurations.get(parent) if isinstance(parent, str) else None
    if not isinstance(inherited, dict):
        raise PlanRefused(f"plans.configurations.{configuration}", "inherits from nowhere")
    return {**inherited, **chosen}


def _network(architecture: Json, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> NetworkPlan:
    if not isinstance(architecture, dict):
        raise OurMistake("an architecture is a table")
    arguments = _table_at(architecture, "arch_kwargs")
    kind = ARCHITECTURES[str(architecture["network_class_name"])]
    depth = "n_conv_per_stage" if kind is Architecture.PLAIN else "n_blocks_per_stage"
    return NetworkPlan(
        architecture=kind,
        features=tuple(_integers(arguments["features_per_stage"])),
        kernels=tuple(tuple(_integers(one)) for one in _list(arguments["kernel_sizes"])),
        strides=tuple(tuple(_integers(one)) for one in _list(arguments["strides"])),
        encoder_depth=tuple(_integers(arguments[depth])),
        decoder_depth=tuple(_integers(arguments["n_conv_per_stage_decoder"])),
        bias=arguments["conv_bias"] is True,
        affine=_table_at(arguments, "norm_op_kwargs")["affine"] is True,
        inputs=len(inputs),
        outputs=len(outputs),
        input_names=inputs,
        output_names=outputs,
    )


def _check_configuration(where: str, value: Json, name: str, terms: StudyTerms) -> None:
    axes = 2 if name == "2d" else 3
    channels = len(terms.channel_names)
    _configuration_table(axes, channels)(where, value)
    configuration = _as_table(where, value)
    for what in ("data", "seg", "probabilities"):
        function = configuration[f"resampling_fn_{what}"]
        _RESAMPLING[str(function)](
            f"{where}.resampling_fn_{what}_kwargs", configuration[f"resampling_fn_{what}_kwargs"]
        )
    expected = [
        NORMALISATIONS.get(channel.casefold(), "ZScoreNormalization")
        for channel in terms.channel_names
    ]
    if configuration["normalization_schemes"] != expected:
        raise PlanRefused(
            f"{where}.normalization_schemes",
            f"is {_shown(configuration['normalization_schemes'])}; nnU-Net takes {expected} for "
            f"these channels",
        )
    if name != COARSE and "next_stage" in configuration:
        raise PlanRefused(f"{where}.next_stage", "is only allowed in 3d_lowres")
    patch = _integers(configuration["patch_size"])
    voxels = math.prod(patch)
    if voxels > MAXIMUM_PATCH_VOXELS:
        raise PlanRefused(
            f"{where}.patch_size", f"has {voxels} voxels; allowed are {MAXIMUM_PATCH_VOXELS}"
        )
    batch = _integers([configuration["batch_size"]])[0]
    if voxels * batch > MAXIMUM_BATCH_VOXELS:
        raise PlanRefused(
            f"{where}.batch_size",
            f"makes {voxels * batch} voxels with this patch; allowed are {MAXIMUM_BATCH_VOXELS}",
        )
    _check_architecture(f"{where}.architecture", configuration["architecture"], patch, axes)
    network = _network(
        configuration["architecture"], terms.channel_names, output_names(terms.labels)
    )
    weights = networks.parameters(network)
    if weights > MAXIMUM_PARAMETERS:
        raise PlanRefused(
            f"{where}.architecture", f"has {weights} weights; allowed are {MAXIMUM_PARAMETERS}"
        )


def _check_architecture(where: str, value: Json, patch: list[int], axes: int) -> None:
    _ARCHITECTURE(where, value)
    architecture = _as_table(where, value)
    where = f"{where}.arch_kwargs"
    arguments = _as_table(where, architecture["arch_kwargs"])
    stages = arguments.get("n_stages")
    _whole(1, MAXIMUM_STAGES)(f"{where}.n_stages", stages)
    kind = ARCHITECTURES[str(architecture["network_class_name"])]
    _arguments_table(kind, _integers([stages])[0], axes)(where, arguments)
    strides = [_integers(one) for one in _list(arguments["strides"])]
    if any(step != 1 for step in strides[0]):
        raise PlanRefused(f"{where}.strides", "must begin at full resolution")
    for axis, size in enumerate(patch):
        divisor = math.prod(stride[axis] for stride in strides)
        if size % divisor:
            raise PlanRefused(f"{where}.strides", f"divide the patch's {size} voxels by {divisor}")


def _check_dataset(dataset: Document, terms: StudyTerms) -> None:
    _DATASET("dataset", dataset)
    channels = {str(number): name for number, name in enumerate(terms.channel_names)}
    if dataset["channel_names"] != channels:
        raise PlanRefused(
            "dataset.channel_names", f"is {_shown(dataset['channel_names'])}, not {channels}"
        )
    labels = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in terms.labels.items()
    }
    found = _table_at(dataset, "labels")
    # As they are written: False equals 0 here, but is no label value.
    if json.dumps(list(found.items())) != json.dumps(list(labels.items())):
        raise PlanRefused("dataset.labels", f"is {_shown(dataset['labels'])}, not {labels}")
    if dataset.get("regions_class_order", []) != list(terms.regions_class_order):
        raise PlanRefused("dataset.regions_class_order", "differs from the study's")


def _check_fingerprint(fingerprint: Document, channels: int) -> None:
    _table(
        {
            "foreground_intensity_properties_per_channel": _properties(channels),
            "median_relative_size_after_cropping": _real(0, 1),
            "shapes_after_crop": _items(_items(_real(0, 1e6), 3, 3), 1, 200_000),
            "spacings": _items(_items(_real(0, 1e4), 3, 3), 1, 200_000),
        }
    )("fingerprint", fingerprint)


def _check_versions(versions: Document) -> None:
    if len(versions) > 20:
        raise PlanRefused("versions", "has more than 20 entries")
    for name, version in versions.items():
        _matching(re.compile(r"[A-Za-z0-9_.+-]{1,60}"))(f"versions.{name[:40]}", version)


# --- what is allowed ---------------------------------------------------------------------------


def _shown(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:120] + "…"


def _one_of(*allowed: Json) -> Check:
    def check(where: str, value: Json) -> None:
        # In Python True == 1, in a plan it is another value.
        if not any(type(value) is type(one) and value == one for one in allowed):
            shown = ", ".join(map(repr, allowed))
            raise PlanRefused(where, f"is {_shown(value)}; allowed are {shown}")

    return check


def _matching(pattern: re.Pattern[str]) -> Check:
    def check(where: str, value: Json) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise PlanRefused(where, f"is {_shown(value)}; allowed is {pattern.pattern}")

    return check


def _whole(least: int, most: int) -> Check:
    def check(where: str, value: Json) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise PlanRefused(
                where, f"is {_shown(value)}; allowed is a whole number from {least} to {most}"
            )

    return check


def _real(least: float, most: float) -> Check:
    def check(where: str, value: Json) -> None:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not least <= value <= most
        ):
            raise PlanRefused(where, f"is {_shown(value)}; allowed is {least:g} to {most:g}")

    return check


def _items(check_one: Check, least: int, most: int) -> Check:
    def check(where: str, value: Json) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            size = str(least) if least == most else f"{least} to {most}"
            raise PlanRefused(where, f"is {_shown(value)}; allowed is a list of {size}")
        for number, one in enumerate(value):
            check_one(f"{where}[{number}]", one)

    return check


def _table(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    known = {**required, **(optional or {})}

    def check(where: str, value: Json) -> None:
        table = _as_table(where, value)
        for key in table:
            if key not in known:
                raise PlanRefused(f"{where}.{key[:60]}", "is not known to stock nnU-Net")
        for key in required:
            if key not in table:
                raise PlanRefused(f"{where}.{key}", "is missing")
        for key, one in table.items():
            known[key](f"{where}.{key}", one)

    return check


def _any(where: str, value: Json) -> None:
    """Leave an entry to a check that needs more than itself."""


_TRUTH: Final = _one_of(True, False)
_FLOAT: Final = 3.5e38
_PROPERTY: Final = _table(
    {
        "max": _real(-_FLOAT, _FLOAT),
        "mean": _real(-_FLOAT, _FLOAT),
        "median": _real(-_FLOAT, _FLOAT),
        "min": _real(-_FLOAT, _FLOAT),
        "percentile_00_5": _real(-_FLOAT, _FLOAT),
        "percentile_99_5": _real(-_FLOAT, _FLOAT),
        "std": _real(0, _FLOAT),
    }
)


def _properties(channels: int) -> Check:
    return _table({str(number): _PROPERTY for number in range(channels)})


def _plans_table(channels: int) -> Check:
    return _table(
        {
            "configurations": _any,
            "dataset_name": _matching(_DATASET_NAME),
            "experiment_planner_used": _one_of(*sorted(PLANNERS)),
            "foreground_intensity_properties_per_channel": _properties(channels),
            "image_reader_writer": _one_of(*sorted(READERS)),
            "label_manager": _one_of("LabelManager"),
            "original_median_shape_after_transp": _items(_real(0, 1e6), 3, 3),
            "original_median_spacing_after_transp": _items(_real(0, 1e4), 3, 3),
            "plans_name": _matching(_PLANS_NAME),
            "transpose_backward": _items(_whole(0, 2), 3, 3),
            "transpose_forward": _items(_whole(0, 2), 3, 3),
        }
    )


def _configuration_table(axes: int, channels: int) -> Check:
    resampling = _one_of(*_RESAMPLING)
    return _table(
        {
            "architecture": _any,
            "batch_dice": _TRUTH,
            "batch_size": _whole(1, MAXIMUM_BATCH),
            "data_identifier": _matching(_PLANS_NAME),
            "median_image_size_in_voxels": _items(_real(1, 1e6), axes, axes),
            "normalization_schemes": _items(_one_of(*NORMALISATIONS.values()), channels, channels),
            "patch_size": _items(_whole(1, 8192), axes, axes),
            "preprocessor_name": _one_of("DefaultPreprocessor"),
            "resampling_fn_data": resampling,
            "resampling_fn_data_kwargs": _any,
            "resampling_fn_probabilities": resampling,
            "resampling_fn_probabilities_kwargs": _any,
            "resampling_fn_seg": resampling,
            "resampling_fn_seg_kwargs": _any,
            "spacing": _items(_real(1e-4, 1e4), axes, axes),
            "use_mask_for_norm": _items(_TRUTH, channels, channels),
        },
        {"next_stage": _one_of(CASCADE)},
    )


_CASCADE: Final = _table({"inherits_from": _one_of(FINE), "previous_stage": _one_of(COARSE)})
_RESAMPLING: Final[dict[str, Check]] = {
    "no_resampling_hack": _table({}),
    "resample_data_or_seg_to_shape": _table(
        {
            "force_separate_z": _one_of(None, True, False),
            "is_seg": _TRUTH,
            "order": _whole(0, 5),
            "order_z": _whole(0, 5),
        }
    ),
    "resample_torch_fornnunet": _table(
        {
            "force_separate_z": _one_of(None, True, False),
            "is_seg": _TRUTH,
            "memefficient_seg_resampling": _TRUTH,
        },
        {"separate_z_anisotropy_threshold": _real(1, 100)},
    ),
}
_ARCHITECTURE: Final = _table(
    {
        "_kw_requires_import": _one_of(["conv_op", "norm_op", "dropout_op", "nonlin"]),
        "arch_kwargs": _any,
        "network_class_name": _one_of(*ARCHITECTURES),
    }
)


def _arguments_table(kind: Architecture, stages: int, axes: int) -> Check:
    depth = "n_conv_per_stage" if kind is Architecture.PLAIN else "n_blocks_per_stage"
    depths = _whole(1, MAXIMUM_DEPTH)
    return _table(
        {
            "conv_bias": _TRUTH,
            "conv_op": _one_of(f"torch.nn.modules.conv.Conv{axes}d"),
            "dropout_op": _one_of(None),
            "dropout_op_kwargs": _one_of(None),
            "features_per_stage": _items(_whole(1, MAXIMUM_FEATURES), stages, stages),
            "kernel_sizes": _items(_items(_one_of(1, 3), axes, axes), stages, stages),
            depth: _items(depths, stages, stages),
            "n_conv_per_stage_decoder": _items(depths, stages - 1, stages - 1),
            "n_stages": _whole(stages, stages),
            "nonlin": _one_of("torch.nn.LeakyReLU"),
            "nonlin_kwargs": _table({"inplace": _TRUTH}),
            "norm_op": _one_of(f"torch.nn.modules.instancenorm.InstanceNorm{axes}d"),
            "norm_op_kwargs": _table({"affine": _TRUTH, "eps": _real(1e-8, 1e-2)}),
            "strides": _items(_items(_one_of(1, 2), axes, axes), stages, stages),
        }
    )


_DATASET: Final = _table(
    {
        "channel_names": _any,
        "file_ending": _one_of(*sorted(FILE_ENDINGS)),
        "labels": _any,
        "numTraining": _whole(1, 100_000_000),
    },
    {
        "overwrite_image_reader_writer": _one_of(*sorted(READERS)),
        "regions_class_order": _items(_whole(0, 254), 1, 254),
    },
)


# --- values whose kind was checked -------------------------------------------------------------


def _as_table(where: str, value: Json) -> Document:
    if not isinstance(value, dict):
        raise PlanRefused(where, f"is {_shown(value)}; allowed is a table")
    return value


def _table_at(table: Document, key: str) -> Document:
    return _as_table(key, table.get(key))


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise OurMistake("a list was expected in a checked plan")
    return value


def _integers(value: Json | Sequence[Json]) -> list[int]:
    if not isinstance(value, list):
        raise OurMistake("a list was expected in a checked plan")
    found = [one for one in value if isinstance(one, int)]
    if len(found) != len(value):
        raise OurMistake("whole numbers were expected in a checked plan")
    return found


def _numbers(value: Json) -> list[float]:
    return [float(one) for one in _list(value) if isinstance(one, int | float)]


def _texts(value: Json) -> list[str]:
    return [one for one in _list(value) if isinstance(one, str)]
