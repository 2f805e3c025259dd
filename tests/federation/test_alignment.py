import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.networks import unet
from helpers.plans import document_of, stock_plan

from app.domain.ids import SiteName
from app.domain.study import Aggregation
from app.federation.alignment import align, align_as_published, average_groups, coverage
from app.federation.averaging import TensorsRefused
from app.federation.network import NetworkPlan, Role, manifest, parameters, tensors
from app.federation.plan_rules import network_of

A, B, C = SiteName("a"), SiteName("b"), SiteName("c")


def test_equal_networks_are_shared_whole():
    networks = {A: unet(6), B: unet(6), C: unet(6)}
    groups = align(networks, minimum_sites=2)
    assert [group.members[0][1] for group in groups] == [s.name for s in manifest(unet(6))]
    assert all(len({name for _, name in group.members}) == 1 for group in groups)
    found = coverage(groups, networks, A)
    assert (found.shared, found.percent) == (parameters(unet(6)), 100)
    assert str(found) == "100 % of your network is shared with 2 of 2 other sites."


def test_unequal_depth_pairs_stages_of_equal_resolution():
    """Where names mislead: decoder stage 0 of six stages works where stage 1 of seven does."""
    networks = {A: unet(6), B: unet(7)}
    groups = align(networks, minimum_sites=2)
    decoder = [group for group in groups if group.role is Role.DECODER]
    assert decoder
    for group in decoder:
        (_, six), (_, seven) = group.members
        assert int(seven.split(".")[2]) == int(six.split(".")[2]) + 1
    for group in groups:
        scales = {
            next(t.scale for t in tensors(networks[site]) if t.spec.name == name)
            for site, name in group.members
        }
        assert scales == {group.scale}


def test_the_published_rule_pairs_stages_of_unequal_resolution():
    """The reference's flaw, kept for comparison (peers.md 1.3, item 8)."""
    networks = {A: unet(6), B: unet(7)}
    crossed = 0
    for group in align_as_published(networks):
        assert len({name for _, name in group.members}) == 1
        scales = {
            next(t.scale for t in tensors(networks[site]) if t.spec.name == name)
            for site, name in group.members
        }
        crossed += len(scales) > 1
    assert crossed > 0
    # Figures of peers.md 1.3: 23.1 M of 31.2 M weights for 6 and 7 stages.
    shared = sum(group.size for group in align_as_published(networks))
    assert shared == pytest.approx(23.1e6, rel=0.01)
    assert parameters(unet(6)) == pytest.approx(31.2e6, rel=0.02)


@pytest.mark.parametrize(("one", "other"), [(5, 6), (6, 7), (5, 7), (4, 6)])
def test_alignment_by_role_shares_the_outer_layers_at_every_depth(one, other):
    networks = {A: unet(one), B: unet(other)}
    groups = align(networks, minimum_sites=2)
    roles = {group.role for group in groups}
    assert {Role.STEM, Role.ENCODER, Role.DECODER, Role.HEAD} <= roles
    assert Role.BOTTLENECK not in roles
    full = (1, 1, 1)
    for role in (Role.STEM, Role.DECODER, Role.HEAD, Role.UPSAMPLING):
        mine = [t for t in tensors(unet(one)) if t.role is role and t.scale == full]
        shared = [g for g in groups if g.role is role and g.scale == full]
        assert len(shared) == len(mine)


def test_other_inputs_and_outputs_stay_local_and_the_rest_is_shared():
    networks = {A: unet(5), B: unet(5, inputs=2, outputs=4)}
    groups = align(networks, minimum_sites=2)
    local = {spec.name for spec in manifest(unet(5))} - {g.members[0][1] for g in groups}
    assert local == {
        "encoder.stages.0.0.convs.0.conv.weight",
        *(f"decoder.seg_layers.{n}.{kind}" for n in range(4) for kind in ("weight", "bias")),
    }


def test_a_plain_and_a_residual_network_share_their_decoder():
    plain = network_of(document_of(stock_plan("ExperimentPlanner", "hippocampus")), "3d_fullres")
    residual = network_of(
        document_of(stock_plan("nnUNetPlannerResEncM", "hippocampus")), "3d_fullres"
    )
    groups = align({A: plain, B: residual}, minimum_sites=2)
    assert {Role.DECODER, Role.UPSAMPLING, Role.HEAD} <= {group.role for group in groups}
    assert Role.ENCODER not in {group.role for group in groups}


def test_tensors_of_too_few_sites_stay_local():
    networks = {A: unet(5), B: unet(5), C: unet(6)}
    two = align(networks, minimum_sites=2)
    three = align(networks, minimum_sites=3)
    assert {len(group.members) for group in two} == {2, 3}
    assert {len(group.members) for group in three} == {3}
    assert {group.key for group in three} < {group.key for group in two}
    assert align({A: unet(5)}, minimum_sites=1) == ()


def test_coverage_counts_weights_layers_and_partners():
    networks = {A: unet(5), B: unet(5), C: unet(6)}
    groups = align(networks, minimum_sites=3)
    found = coverage(groups, networks, A)
    assert found.weights == parameters(unet(5))
    assert found.shared == sum(group.size for group in groups)
    assert found.partners == found.others == 2
    assert 0 < found.percent < 100
    bottleneck = next(layer for layer in found.layers if layer.role is Role.BOTTLENECK)
    assert (bottleneck.shared, bottleneck.sites) == (0, 0)
    stem = next(layer for layer in found.layers if layer.role is Role.STEM)
    assert (stem.shared, stem.sites) == (stem.weights, 2)
    flat = replace(unet(5), kernels=((1, 3, 3),) * 5, strides=((1, 1, 1), *(((1, 2, 2),) * 4)))
    alone = {A: flat, B: replace(unet(5), outputs=7)}
    nothing = coverage((), alone, A)
    assert str(nothing).startswith("Nothing of your network is shared")


class Memory(dict):
    def read(self, name):
        return self[name]


def made(network: NetworkPlan, seed: int) -> Memory:
    rng = np.random.default_rng(seed)
    return Memory({s.name: rng.normal(size=s.shape).astype(np.float32) for s in manifest(network)})


def small(stages: int) -> NetworkPlan:
    return replace(unet(stages), features=tuple(4 * 2**stage for stage in range(stages)))


def test_groups_are_averaged_over_their_own_sites_by_cases():
    networks = {A: small(3), B: small(3), C: small(4)}
    groups = align(networks, minimum_sites=2)
    readers = {site: made(network, seed) for seed, (site, network) in enumerate(networks.items())}
    cases = {A: 24, B: 16, C: 10}
    written = {}
    local = average_groups(groups, readers, cases, written.__setitem__, minimum_sites=2)
    assert local == ()
    assert set(written) == {group.key for group in groups}
    for group in groups:
        expected = np.average(
            [readers[site][name].astype(np.float64) for site, name in group.members],
            axis=0,
            weights=[cases[site] for site, _ in group.members],
        )
        np.testing.assert_allclose(written[group.key], expected, rtol=1e-6, atol=1e-7)
        assert math.prod(written[group.key].shape) == group.size
    by_paper = {}
    average_groups(
        groups, readers, cases, by_paper.__setitem__, minimum_sites=2, rule=Aggregation.PAPER
    )
    assert any(not np.array_equal(by_paper[key], written[key]) for key in written)


def test_a_group_without_enough_updates_keeps_its_weights():
    networks = {A: small(3), B: small(3), C: small(4)}
    groups = align(networks, minimum_sites=2)
    readers = {A: made(small(3), 1), C: made(small(4), 2)}
    written = {}
    local = average_groups(groups, readers, {A: 1, C: 1}, written.__setitem__, minimum_sites=2)
    only_ab = {group.key for group in groups if set(group.sites) == {A, B}}
    assert only_ab
    assert set(local) == only_ab
    assert set(written) == {group.key for group in groups} - only_ab


def test_a_damaged_tensor_names_its_site():
    networks = {A: small(3), B: small(3)}
    groups = align(networks, minimum_sites=2)
    bad = made(small(3), 2)
    bad["decoder.seg_layers.0.bias"][0] = np.nan
    with pytest.raises(TensorsRefused) as caught:
        average_groups(
            groups, {A: made(small(3), 1), B: bad}, {A: 1, B: 1}, {}.__setitem__, minimum_sites=2
        )
    assert caught.value.site == B


def test_keys_are_the_same_whoever_takes_part():
    both = {group.key for group in align({A: unet(5), B: unet(5)}, minimum_sites=2)}
    three = {group.key for group in align({A: unet(5), B: unet(5), C: unet(7)}, minimum_sites=2)}
    assert both <= three
    assert len(both) == len(align({A: unet(5), B: unet(5)}, minimum_sites=2))
