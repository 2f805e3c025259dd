import dataclasses
import json
import math

import numpy as np
import pytest
from helpers.networks import unet
from helpers.plans import document_of, stock_plan
from hypothesis import given, strategies as st

from app.domain.errors import ErrorCode
from app.domain.ids import SiteName
from app.domain.study import Aggregation
from app.federation.asymmetric import (
    PartRefused,
    decode_part,
    encode_part,
    first_values,
    group_networks,
    keys_of,
    part_of,
)
from app.federation.network import manifest, parameters, tensors
from app.federation.plan_rules import network_of

A, B, C = SiteName("a"), SiteName("b"), SiteName("c")
NETWORKS = {A: unet(4), B: unet(4), C: unet(5)}
GROUPS = group_networks(NETWORKS, minimum_sites=2, rule=Aggregation.CASES)


@pytest.mark.parametrize("site", NETWORKS)
@pytest.mark.parametrize("rule", Aggregation)
def test_a_sites_part_says_what_of_its_network_goes_round(site, rule):
    groups = group_networks(NETWORKS, minimum_sites=2, rule=rule)
    part = part_of(groups, NETWORKS, site)
    assert decode_part(encode_part(part), site=site, network=NETWORKS[site]) == part
    keys = keys_of(NETWORKS[site], rule)
    assert {keys[spec.name] for spec in part.tensors} == {
        group.key for group in groups if site in group.sites
    }
    assert sum(math.prod(spec.shape) for spec in part.tensors) == part.coverage.shared
    assert part.coverage.weights == parameters(NETWORKS[site])
    order = [spec.name for spec in manifest(NETWORKS[site])]
    assert [spec.name for spec in part.tensors] == sorted(
        (spec.name for spec in part.tensors), key=order.index
    )
    # Other sites are counted, never named.
    others = [f'"{name}"' for name in NETWORKS if name != site]
    assert not any(other in encode_part(part).decode() for other in others)


def test_a_part_for_another_site_or_network_is_refused():
    document = encode_part(part_of(GROUPS, NETWORKS, C))
    for site, network in ((A, NETWORKS[C]), (C, NETWORKS[A]), (C, unet(5, outputs=9))):
        with pytest.raises(PartRefused) as caught:
            decode_part(document, site=site, network=network)
        assert caught.value.code is ErrorCode.PLANS_REFUSED
    table = json.loads(document)
    for change in (
        {"tensors": [*table["tensors"], table["tensors"][0]]},
        {"tensors": table["tensors"][1:]},
        {"layers": table["layers"][1:]},
        {"layers": [table["layers"][0] | {"shared": 0}, *table["layers"][1:]]},
        {"surprise": 1},
    ):
        with pytest.raises(PartRefused):
            decode_part(json.dumps(table | change).encode(), site=C, network=NETWORKS[C])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_part_or_refused(data):
    with pytest.raises(PartRefused):
        decode_part(data, site=A, network=NETWORKS[A])


def test_keys_depend_on_the_tensor_alone():
    alone = keys_of(unet(4), Aggregation.CASES)
    for group in GROUPS:
        for site, name in group.members:
            assert keys_of(NETWORKS[site], Aggregation.CASES)[name] == group.key
    assert len(set(alone.values())) == len(alone)


def test_layers_that_read_or_mark_other_things_are_not_alike():
    named = dataclasses.replace(unet(4, inputs=2), input_names=("T1", "T2"))
    swapped = dataclasses.replace(named, input_names=("T2", "T1"))
    other = dataclasses.replace(named, output_names=("background", "x", "y"))
    groups = group_networks({A: named, B: swapped}, minimum_sites=2, rule=Aggregation.CASES)
    local = {s.name for s in manifest(named)} - {name for g in groups for _, name in g.members}
    assert local == {"encoder.stages.0.0.convs.0.conv.weight"}
    groups = group_networks({A: named, B: other}, minimum_sites=2, rule=Aggregation.CASES)
    local = {s.name for s in manifest(named)} - {name for g in groups for _, name in g.members}
    assert local == {
        f"decoder.seg_layers.{n}.{kind}" for n in range(3) for kind in ("weight", "bias")
    }


def test_first_values_are_the_same_whoever_takes_part():
    pair = group_networks({B: unet(4), C: unet(5)}, minimum_sites=2, rule=Aggregation.CASES)
    three = {group.key: group for group in GROUPS}
    assert pair
    for group in pair:
        first = first_values(group, 7)
        assert first.dtype == np.float32
        assert first.shape == group.shape
        assert np.array_equal(first, first_values(three[group.key], 7))
    drawn = [g for g in pair if g.part.endswith("conv.weight")]
    assert not np.array_equal(first_values(drawn[0], 7), first_values(drawn[0], 8))


@pytest.mark.nnunet
@pytest.mark.parametrize("planner", ["ExperimentPlanner", "nnUNetPlannerResEncM"])
def test_first_values_are_of_nnunets_own_distribution(planner):
    """Against the network that nnU-Net builds and initialises: same constants, same deviations."""
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    entry = stock_plan(planner, "hippocampus")
    network = network_of(document_of(entry), "3d_fullres")
    architecture = entry["plans"]["configurations"]["3d_fullres"]["architecture"]
    torch.manual_seed(0)
    built = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        network.inputs,
        network.outputs,
        deep_supervision=True,
    )
    theirs = {name: value.detach().numpy() for name, value in built.named_parameters()}
    groups = group_networks({A: network, B: network}, minimum_sites=2, rule=Aggregation.CASES)
    assert len(groups) == len(tensors(network)) == len(theirs)
    for group in groups:
        ours, stock = first_values(group, 12345), theirs[group.members[0][1]]
        if np.ptp(stock) == 0:
            assert np.array_equal(ours, stock), group.key
        else:
            spread = 6 / math.sqrt(2 * group.size)  # six deviations of an estimated deviation
            assert ours.std() == pytest.approx(stock.std(), rel=2 * spread), group.key
            assert abs(ours.mean()) < 6 * stock.std() / math.sqrt(group.size), group.key
