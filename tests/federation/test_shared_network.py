import json
from dataclasses import replace

import pytest
from helpers.plans import document_of, name_of, stock_plan, stock_plans, terms_of
from hypothesis import given, strategies as st

from app.domain.errors import ErrorCode, PeerMistake
from app.federation.network import Architecture
from app.federation.plan_rules import network_of
from app.federation.shared_network import (
    NetworkRefused,
    check_terms,
    decode,
    encode,
    misfit_of,
    site_terms,
    statement_of,
    terms_of_plan,
)
from app.federation.study_file import PLANNERS

ENTRIES = [entry for entry in stock_plans() if entry["planner"] in PLANNERS]
CASES = [
    (entry, configuration)
    for entry in ENTRIES
    for configuration in entry["plans"]["configurations"]
]
ENTRY = stock_plan("ExperimentPlanner", "liver")
TERMS = replace(terms_of(ENTRY), configuration="3d_fullres")
STATEMENT = statement_of(document_of(ENTRY), "3d_fullres")


@pytest.mark.parametrize(
    ("entry", "configuration"), CASES, ids=lambda v: v if isinstance(v, str) else name_of(v)
)
def test_every_planner_and_configuration_makes_a_statement_that_is_taken(entry, configuration):
    """Cascades, too; regions, an ignore label, several channels."""
    terms = replace(terms_of(entry), configuration=configuration)
    document = document_of(entry)
    shared = statement_of(document, configuration)
    assert decode(encode(shared)) == shared
    check_terms(decode(encode(shared)), terms)
    assert shared.network == network_of(document, configuration)
    assert terms_of_plan(document, terms) == terms
    assert shared.networks == tuple(network_of(document, one) for one in terms.passes)


def test_a_cascade_states_both_of_its_networks():
    terms = replace(TERMS, configuration="3d_cascade_fullres")
    shared = decode(encode(statement_of(document_of(ENTRY), "3d_cascade_fullres")))
    coarse, fine = shared.networks
    assert coarse == network_of(document_of(ENTRY), "3d_lowres")
    names = tuple(name for name in terms.labels if name not in ("background", "ignore"))
    assert fine.input_names == (
        *coarse.input_names,
        *(f"first pass: {name}" for name in names),
    )
    with pytest.raises(NetworkRefused, match="first_pass is missing"):
        check_terms(replace(shared, first_pass=None), terms)
    alone = replace(shared, configuration="3d_fullres")
    with pytest.raises(NetworkRefused, match="first_pass is none of 3d_fullres"):
        check_terms(alone, TERMS)
    strange = replace(coarse, strides=((2, 2, 2), *coarse.strides[1:]))
    with pytest.raises(NetworkRefused, match="must begin at full resolution"):
        check_terms(replace(shared, first_pass=strange), terms)


def test_nothing_measured_is_in_it():
    text = encode(STATEMENT).decode()
    table = json.loads(text)
    assert set(table) == {
        "affine", "architecture", "bias", "cases", "channel_names", "configuration",
        "decoder_depth", "encoder_depth", "features", "format", "kernels", "labels", "strides",
        "versions",
    }  # fmt: skip
    plans = ENTRY["plans"]
    for measured in (
        plans["original_median_spacing_after_transp"],
        plans["configurations"]["3d_fullres"]["spacing"],
        plans["configurations"]["3d_fullres"]["patch_size"],
        plans["configurations"]["3d_fullres"]["median_image_size_in_voxels"],
    ):
        assert json.dumps(measured, separators=(",", ":")) not in text


CHANGES = {
    "another configuration": {"configuration": "2d"},
    "a channel that the study lacks": {"channel_names": ("T9",)},
    "a label that the study lacks": {"labels": (("background", 0), ("lung", 1))},
    "no structure": {"labels": (("background", 0),)},
    "a region where the study has a label": {"labels": (("background", 0), ("liver", (1, 2)))},
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_does_not_fit_the_study_is_refused(what):
    with pytest.raises(NetworkRefused) as caught:
        check_terms(replace(STATEMENT, **CHANGES[what]), TERMS)
    assert caught.value.code is ErrorCode.FINGERPRINT_REFUSED
    assert str(caught.value).startswith("the shared network's ")


NETWORKS = {
    "architecture": {"architecture": Architecture.RESIDUAL},
    "stages": {"encoder_depth": (2,)},
    "decoder": {"decoder_depth": (2,)},
    "axes": {"kernels": ((3, 3),) * STATEMENT.network.stages},
    "full resolution": {"strides": ((2, 2, 2),) * STATEMENT.network.stages},
    "weights": {
        "features": (512,) * 10,
        "kernels": ((3, 3, 3),) * 10,
        "strides": ((1, 1, 1),) * 10,
        "encoder_depth": (8,) * 10,
        "decoder_depth": (8,) * 9,
    },
}


@pytest.mark.parametrize("what", NETWORKS)
def test_a_network_that_no_planner_makes_is_refused(what):
    network = replace(STATEMENT.network, **NETWORKS[what])
    with pytest.raises(NetworkRefused):
        check_terms(replace(STATEMENT, network=network), TERMS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"bias":true', '"bias":1'),
        ('"format":1', '"format":2'),
        ('"cases":', '"cases": '),
        ('"cases":130', '"cases":0'),
        ('"features":[32', '"features":[0'),
        ('"strides":[[1,', '"strides":[[7,'),
        ("PlainConvUNet", "os.system"),
        ('{"affine"', '{"affine":true,"affine"'),
        ('{"affine"', '{"extra":1,"affine"'),
    ],
)
def test_bytes_that_nobody_here_writes_are_refused(old, new):
    text = encode(STATEMENT).decode()
    assert old in text
    with pytest.raises(NetworkRefused):
        decode(text.replace(old, new, 1).encode())


@given(st.binary(max_size=200))
def test_any_bytes_give_a_statement_or_a_refusal(data):
    with pytest.raises(PeerMistake):
        decode(data)


def test_a_site_plans_by_its_own_channels_and_labels_in_the_studys_words():
    entry = stock_plan("ExperimentPlanner", "prostate")
    terms = terms_of(entry)
    own = site_terms(terms, ("T2",), {"background": 0, "peripheral": (2,)})
    assert own.channel_names == ("T2",)
    assert own.labels == {"background": 0, "peripheral": (2,)}
    assert own.regions_class_order == terms.regions_class_order[1:]
    assert site_terms(terms, terms.channel_names, terms.labels) == terms
    plain = site_terms(TERMS, ("CT",), {"background": 0, "tumour": 1})
    assert plain.regions_class_order == ()


def test_what_cannot_take_part_is_said_in_a_sentence():
    fine = misfit_of(("CT",), {"background": 0, "tumour": 1}, TERMS)
    assert fine == ""
    assert "'MR'" in misfit_of(("MR",), TERMS.labels, TERMS)
    assert "'lung'" in misfit_of(("CT",), {"background": 0, "lung": 1}, TERMS)
    assert "region" in misfit_of(("CT",), {"background": 0, "liver": (1, 2)}, TERMS)
    assert "background" in misfit_of(("CT",), {"liver": 1}, TERMS)
