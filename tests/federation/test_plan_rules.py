import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
from helpers.plans import document_of, name_of, stock_plan, stock_plans, terms_of
from hypothesis import given, strategies as st

from app.domain.errors import ErrorCode
from app.federation.plan_rules import (
    PLANNERS,
    PlanRefused,
    check_plan,
    network_of,
    pack,
    summarise,
    unpack,
)

STOCK = stock_plans()


@pytest.mark.parametrize("entry", STOCK, ids=name_of)
def test_every_stock_plan_passes(entry):
    check_plan(document_of(entry), terms_of(entry))


def test_every_allowed_planner_is_among_the_stock_plans():
    assert {entry["planner"] for entry in STOCK} == PLANNERS


def test_a_plan_passes_for_every_configuration_it_has():
    entry = stock_plan("nnUNetPlannerResEncM", "liver")
    for configuration in ("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"):
        terms = replace(terms_of(entry), configuration=configuration)
        check_plan(document_of(entry), terms)
        assert summarise(document_of(entry), configuration).configuration == configuration


# --- hostile -----------------------------------------------------------------------------------

Path = tuple[str | int, ...]
FULL: Path = ("plans", "configurations", "3d_fullres")
ARCH: Path = (*FULL, "architecture")
ARGS: Path = (*ARCH, "arch_kwargs")
MISSING = object()


def spoil(entry, path: Path, value):
    target = entry
    for step in path[:-1]:
        target = target[step]
    if value is MISSING:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return entry


HOSTILE: dict[str, tuple[Path, object, str]] = {
    # what nnU-Net would import and call
    "network os.system": ((*ARCH, "network_class_name"), "os.system", "network_class_name"),
    "network antigravity": ((*ARCH, "network_class_name"), "antigravity.fly", "network_class_name"),
    "network of another module": (
        (*ARCH, "network_class_name"),
        "evil.architectures.unet.PlainConvUNet",
        "network_class_name",
    ),
    "network bare name": ((*ARCH, "network_class_name"), "PlainConvUNet", "network_class_name"),
    "network primus": (
        (*ARCH, "network_class_name"),
        "dynamic_network_architectures.architectures.primus.Primus",
        "network_class_name",
    ),
    "network is a list": ((*ARCH, "network_class_name"), ["os.system"], "network_class_name"),
    "network is nothing": ((*ARCH, "network_class_name"), None, "network_class_name"),
    "convolution os.system": ((*ARGS, "conv_op"), "os.system", "conv_op"),
    "convolution of 2d in 3d": ((*ARGS, "conv_op"), "torch.nn.modules.conv.Conv2d", "conv_op"),
    "normalisation builtins.exec": ((*ARGS, "norm_op"), "builtins.exec", "norm_op"),
    "normalisation by batch": (
        (*ARGS, "norm_op"),
        "torch.nn.modules.batchnorm.BatchNorm3d",
        "norm_op",
    ),
    "dropout subprocess": ((*ARGS, "dropout_op"), "subprocess.Popen", "dropout_op"),
    "dropout arguments": ((*ARGS, "dropout_op_kwargs"), {"args": "id"}, "dropout_op_kwargs"),
    "nonlinearity shutil.rmtree": ((*ARGS, "nonlin"), "shutil.rmtree", "nonlin"),
    "nonlinearity arguments": ((*ARGS, "nonlin_kwargs", "path"), "/", "nonlin_kwargs.path"),
    "more to import": (
        (*ARCH, "_kw_requires_import"),
        ["conv_op", "norm_op", "dropout_op", "nonlin", "n_stages"],
        "_kw_requires_import",
    ),
    "nothing to import": ((*ARCH, "_kw_requires_import"), [], "_kw_requires_import"),
    "argument that is imported": ((*ARGS, "block"), "os.system", "arch_kwargs.block"),
    "argument pool_type": ((*ARGS, "pool_type"), "conv", "arch_kwargs.pool_type"),
    "unknown key in architecture": ((*ARCH, "init"), "os.system", "architecture.init"),
    "preprocessor": ((*FULL, "preprocessor_name"), "EvilPreprocessor", "preprocessor_name"),
    "preprocessor path": ((*FULL, "preprocessor_name"), "../evil", "preprocessor_name"),
    "resampling of images": ((*FULL, "resampling_fn_data"), "evil", "resampling_fn_data"),
    "resampling of labels": ((*FULL, "resampling_fn_seg"), "evil", "resampling_fn_seg"),
    "resampling of probabilities": (
        (*FULL, "resampling_fn_probabilities"),
        "evil",
        "resampling_fn_probabilities",
    ),
    "resampling argument": (
        (*FULL, "resampling_fn_data_kwargs", "device"),
        "cuda",
        "resampling_fn_data_kwargs.device",
    ),
    "resampling order": ((*FULL, "resampling_fn_data_kwargs", "order"), 99, "kwargs.order"),
    "resampling arguments missing": (
        (*FULL, "resampling_fn_data_kwargs"),
        MISSING,
        "resampling_fn_data_kwargs",
    ),
    "resampling arguments no table": (
        (*FULL, "resampling_fn_data_kwargs"),
        [],
        "resampling_fn_data_kwargs",
    ),
    "reader": (("plans", "image_reader_writer"), "EvilIO", "image_reader_writer"),
    "reader of the dataset": (
        ("dataset", "overwrite_image_reader_writer"),
        "EvilIO",
        "overwrite_image_reader_writer",
    ),
    "planner": (("plans", "experiment_planner_used"), "EvilPlanner", "experiment_planner_used"),
    "another planner": (
        ("plans", "experiment_planner_used"),
        "nnUNetPlannerResEncL",
        "experiment_planner_used",
    ),
    "label manager": (("plans", "label_manager"), "EvilManager", "label_manager"),
    "normalisation scheme": (
        (*FULL, "normalization_schemes"),
        ["EvilNormalization"],
        "normalization_schemes",
    ),
    "normalisation that is not nnU-Net's": (
        (*FULL, "normalization_schemes"),
        ["NoNormalization"],
        "normalization_schemes",
    ),
    # what nnU-Net would join to a path
    "dataset name path": (("plans", "dataset_name"), "../../etc", "dataset_name"),
    "dataset name absolute": (("plans", "dataset_name"), "/etc", "dataset_name"),
    "dataset name with newline": (("plans", "dataset_name"), "Dataset001_x\n", "dataset_name"),
    "plans name path": (("plans", "plans_name"), "../x", "plans_name"),
    "data identifier path": ((*FULL, "data_identifier"), "../../home", "data_identifier"),
    "file ending path": (("dataset", "file_ending"), "/../../x.nii.gz", "file_ending"),
    # what would exhaust the machine
    "many stages": ((*ARGS, "n_stages"), 1000, "n_stages"),
    "no stage": ((*ARGS, "n_stages"), 0, "n_stages"),
    "stages that do not fit": ((*ARGS, "n_stages"), 3, "list of 3"),
    "stages as truth": ((*ARGS, "n_stages"), True, "n_stages"),
    "wide stage": ((*ARGS, "features_per_stage", 0), 10**6, "features_per_stage[0]"),
    "negative features": ((*ARGS, "features_per_stage", 0), -1, "features_per_stage[0]"),
    "large kernel": ((*ARGS, "kernel_sizes", 0), [99, 99, 99], "kernel_sizes[0][0]"),
    "kernel of two axes": ((*ARGS, "kernel_sizes", 0), [3, 3], "kernel_sizes[0]"),
    "large stride": ((*ARGS, "strides", 1), [64, 2, 2], "strides[1][0]"),
    "stride before the first stage": ((*ARGS, "strides", 0), [2, 2, 2], "full resolution"),
    "deep stage": ((*ARGS, "n_conv_per_stage", 0), 10**9, "n_conv_per_stage[0]"),
    "deep decoder": ((*ARGS, "n_conv_per_stage_decoder", 0), 10**9, "decoder[0]"),
    "huge patch": ((*FULL, "patch_size"), [8192, 8192, 8192], "patch_size"),
    "huge edge": ((*FULL, "patch_size"), [10**12, 8, 8], "patch_size[0]"),
    "patch of two axes": ((*FULL, "patch_size"), [40, 56], "patch_size"),
    "patch the strides do not divide": ((*FULL, "patch_size"), [41, 56, 40], "strides"),
    "patch of fractions": ((*FULL, "patch_size"), [40.5, 56, 40], "patch_size[0]"),
    "huge batch": ((*FULL, "batch_size"), 10**9, "batch_size"),
    "batch that makes too many voxels": ((*FULL, "batch_size"), 4000, "batch_size"),
    "no batch": ((*FULL, "batch_size"), 0, "batch_size"),
    "spacing of nothing": ((*FULL, "spacing"), [0, 1, 1], "spacing[0]"),
    "negative spacing": ((*FULL, "spacing"), [-1.0, 1, 1], "spacing[0]"),
    "tiny spacing": ((*FULL, "spacing"), [1e-9, 1, 1], "spacing[0]"),
    "spacing as text": ((*FULL, "spacing"), ["1", 1, 1], "spacing[0]"),
    "eps of nothing": ((*ARGS, "norm_op_kwargs", "eps"), 0, "norm_op_kwargs.eps"),
    "number of cases": (("dataset", "numTraining"), -1, "numTraining"),
    # what is not there, or should not be
    "unknown key in plans": (("plans", "continue_training"), True, "plans.continue_training"),
    "old style network": ((*FULL, "UNet_class_name"), "PlainConvUNet", "UNet_class_name"),
    "no architecture": (ARCH, MISSING, "architecture"),
    "architecture no table": (ARCH, "PlainConvUNet", "architecture"),
    "unknown configuration": (("plans", "configurations", "evil"), {}, "configurations.evil"),
    "inheriting configuration": (
        (*FULL, "inherits_from"),
        "2d",
        "3d_fullres.inherits_from",
    ),
    "cascade without its stages": (
        ("plans", "configurations", "3d_cascade_fullres"),
        {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        "without both of its stages",
    ),
    "cascade with more": (
        ("plans", "configurations", "3d_cascade_fullres"),
        {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres", "batch_size": 10**9},
        "3d_cascade_fullres.batch_size",
    ),
    "next stage": ((*FULL, "next_stage"), "3d_cascade_fullres", "next_stage"),
    "no configuration to train": (FULL, MISSING, "'3d_fullres', which the study trains"),
    "no configurations": (("plans", "configurations"), [], "configurations"),
    "transposition": (("plans", "transpose_forward"), [0, 0, 1], "transpose_forward"),
    "transposition not inverse": (("plans", "transpose_backward"), [1, 2, 0], "transpose_forward"),
    "intensities of another channel": (
        ("plans", "foreground_intensity_properties_per_channel", "7"),
        {},
        "per_channel.7",
    ),
    "intensity as text": (
        ("plans", "foreground_intensity_properties_per_channel", "0", "mean"),
        "os.system",
        "0.mean",
    ),
    "other channels": (("dataset", "channel_names"), {"0": "CT"}, "channel_names"),
    "other labels": (("dataset", "labels"), {"background": 0, "x": 1}, "dataset.labels"),
    "label as truth": (("dataset", "labels", "anterior"), 3, "dataset.labels"),
    "regions without terms": (("dataset", "regions_class_order"), [1], "regions_class_order"),
    "unknown key in dataset": (("dataset", "dataset"), {"x": {"images": ["/"]}}, "dataset.dataset"),
    "unknown key in fingerprint": (("fingerprint", "x"), 1, "fingerprint.x"),
    "fingerprint without cases": (("fingerprint", "spacings"), [], "fingerprint.spacings"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_plan_is_refused_and_its_entry_named(name):
    path, value, named = HOSTILE[name]
    entry = stock_plan("ExperimentPlanner", "hippocampus")
    terms = terms_of(entry)
    with pytest.raises(PlanRefused) as caught:
        check_plan(document_of(spoil(entry, path, value)), terms)
    assert caught.value.code is ErrorCode.PLANS_REFUSED
    assert named in str(caught.value)


def test_the_corpus_is_large_enough():
    assert len(HOSTILE) >= 50


def test_a_network_of_too_many_weights_is_refused():
    entry = stock_plan("ExperimentPlanner", "hippocampus")
    terms = terms_of(entry)
    spoil(entry, (*ARGS, "features_per_stage"), [512, 512, 512, 512])
    spoil(entry, (*ARGS, "n_conv_per_stage"), [8, 8, 8, 8])
    check_plan(document_of(entry), terms)
    spoil(
        entry, ARGS, entry["plans"]["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    )
    arguments = entry["plans"]["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments |= {
        "n_stages": 10,
        "features_per_stage": [512] * 10,
        "kernel_sizes": [[3, 3, 3]] * 10,
        "strides": [[1, 1, 1]] * 10,
        "n_conv_per_stage": [8] * 10,
        "n_conv_per_stage_decoder": [8] * 9,
    }
    with pytest.raises(PlanRefused, match="weights; allowed are 500000000"):
        check_plan(document_of(entry), terms)


def test_hostile_plans_import_nothing(project_root):
    """In a fresh interpreter with an audit hook: no import, no open, no exec while checking."""
    entries = [document_of(stock_plan("ExperimentPlanner", "hippocampus")).decode()]
    for path, value, _ in HOSTILE.values():
        entry = stock_plan("ExperimentPlanner", "hippocampus")
        entries.append(document_of(spoil(entry, path, value)).decode())
    script = textwrap.dedent("""
        import json, sys
        from helpers.plans import stock_plan, terms_of
        from app.federation.plan_rules import PlanRefused, check_plan, summarise
        terms = terms_of(stock_plan("ExperimentPlanner", "hippocampus"))
        documents = [text.encode() for text in json.load(sys.stdin)]
        check_plan(documents[0], terms)  # whatever is imported lazily by json and re is here now
        seen = []
        watched = ("import", "open", "exec", "compile", "subprocess.Popen", "os.system")
        sys.addaudithook(lambda name, arguments: seen.append((name, arguments)) if name in watched else None)
        modules = set(sys.modules)
        refused = 0
        for document in documents:
            try:
                check_plan(document, terms)
                summarise(document, "3d_fullres")
            except PlanRefused:
                refused += 1
        happened = [str(one)[:200] for one in seen]
        try:
            import no_such_module_anywhere
        except ImportError:
            pass
        print(json.dumps([refused, happened, sorted(set(sys.modules) - modules), len(seen)]))
    """)
    result = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(entries),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=project_root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["tests", "."])},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    refused, happened, new_modules, seen = json.loads(result.stdout)
    assert refused == len(HOSTILE)
    assert happened == []
    assert new_modules == []
    assert seen > 0, "the hook saw nothing at all"


# --- form --------------------------------------------------------------------------------------


def test_a_package_comes_apart_as_it_was_put_together():
    entry = stock_plan("nnUNetPlannerResEncM", "prostate")
    package = pack(entry["plans"], entry["dataset"], entry["fingerprint"], {"nnunetv2": "2.8.1"})
    plans, dataset, fingerprint, versions = unpack(package.document)
    assert (plans, dataset, fingerprint) == (
        entry["plans"],
        entry["dataset"],
        entry["fingerprint"],
    )
    assert versions == {"nnunetv2": "2.8.1"}
    assert list(dataset["labels"]) == list(entry["dataset"]["labels"])


def test_the_order_of_keys_does_not_change_a_package_but_that_of_labels_does():
    entry = stock_plan("ExperimentPlanner", "hippocampus")
    first = pack(entry["plans"], entry["dataset"], {}, {})
    plans = dict(reversed(entry["plans"].items()))
    dataset = dict(reversed(entry["dataset"].items()))
    assert pack(plans, dataset, {}, {}) == first
    labels = dict(reversed(entry["dataset"]["labels"].items()))
    assert (
        pack(entry["plans"], entry["dataset"] | {"labels": labels}, {}, {}).digest != first.digest
    )


def test_nan_cannot_be_packed():
    with pytest.raises(ValueError, match="JSON"):
        pack({"a": float("nan")}, {}, {}, {})


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(":", ": ", 1),
        lambda text: text[:-1],
        lambda text: "[]",
        lambda text: "",
        lambda text: text.replace('"versions":{', '"versions":{"a":NaN,'),
        lambda text: text.replace('"versions":{', '"versions":{"nnunetv2":"2.8.1",'),
        lambda text: text.replace('"versions":', '"version":'),
        lambda text: '{"dataset":[],"fingerprint":{},"plans":{},"versions":{}}',
        lambda text: "[" * 100_000,
    ],
)
def test_other_forms_are_refused(change):
    entry = stock_plan("ExperimentPlanner", "hippocampus")
    document = change(document_of(entry).decode()).encode()
    with pytest.raises(PlanRefused):
        unpack(document)
    with pytest.raises(PlanRefused):
        check_plan(document, terms_of(entry))


def test_a_document_that_is_too_long_is_refused_unread():
    with pytest.raises(PlanRefused, match="bytes, more than"):
        unpack(b" " * ((32 << 20) + 1))


@given(st.data())
def test_a_plan_with_any_entry_replaced_is_accepted_or_refused_in_words(data):
    """Fuzz: put any JSON in place of any entry; nothing but PlanRefused comes out."""
    entry = stock_plan("ExperimentPlanner", "hippocampus")
    terms = terms_of(entry)
    target = entry
    key = data.draw(st.sampled_from(["plans", "dataset", "fingerprint"]))
    for _ in range(data.draw(st.integers(0, 6))):
        inner = target[key]
        keys = (
            sorted(inner)
            if isinstance(inner, dict)
            else range(len(inner))
            if isinstance(inner, list)
            else ()
        )
        if not keys:
            break
        target, key = inner, data.draw(st.sampled_from(list(keys)))
    target[key] = data.draw(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"]))
        | st.lists(st.integers() | st.text(max_size=3), max_size=3)
        | st.dictionaries(st.text("abc", max_size=3), st.integers(), max_size=3)
    )
    if not all(isinstance(entry[part], dict) for part in ("plans", "dataset", "fingerprint")):
        return
    document = document_of(entry)
    try:
        check_plan(document, terms)
    except PlanRefused:
        return
    summarise(document, "3d_fullres")


# --- reading -----------------------------------------------------------------------------------


def test_the_summary_is_what_a_person_reads():
    entry = stock_plan("nnUNetPlannerResEncXL", "liver")
    summary = summarise(document_of(entry), "3d_fullres")
    assert summary.spacing_mm == (1.0, 0.76, 0.76)
    assert summary.patch == (192, 256, 256)
    assert summary.batch_size == 2
    assert summary.stages == 7
    assert summary.features == (32, 64, 128, 256, 320, 320, 320)
    assert summary.normalisation == ("CTNormalization",)
    assert summary.network == "ResidualEncoderUNet"
    assert summary.parameters is not None
    assert 100e6 < summary.parameters < 200e6


def test_a_cascade_sees_the_first_stages_labels_and_regions_have_heads():
    liver = document_of(stock_plan("ExperimentPlanner", "liver"))
    assert network_of(liver, "3d_fullres").inputs == 1
    assert network_of(liver, "3d_cascade_fullres").inputs == 3
    assert network_of(liver, "3d_fullres").outputs == 3  # ignore has no head
    prostate = document_of(stock_plan("ExperimentPlanner", "prostate"))
    assert network_of(prostate, "3d_fullres").inputs == 2
    assert network_of(prostate, "3d_fullres").outputs == 2  # regions: no head for the background


def test_a_configuration_that_is_not_there_is_refused():
    document = document_of(stock_plan("ExperimentPlanner", "retina"))
    with pytest.raises(PlanRefused, match="has no '3d_fullres'"):
        summarise(document, "3d_fullres")
    with pytest.raises(PlanRefused, match="has no '3d_fullres'"):
        network_of(document, "3d_fullres")
