"""Sites of one asymmetric study plan for themselves with nnU-Net's own planners."""

from __future__ import annotations

import dataclasses

import pytest
from helpers.fingerprints import MadeCase, minimal

from app.domain.ids import SiteName
from app.domain.study import Aggregation, Method, StudyTerms
from app.federation.alignment import align, coverage
from app.federation.merging import merge
from app.federation.network import Role, manifest
from app.federation.plan_rules import check_plan, network_of
from app.federation.shared_network import (
    check_terms,
    decode,
    encode,
    site_terms,
    statement_of,
    terms_of_plan,
)
from app.nnunet.convert import read_plan
from app.nnunet.initial import build_network
from app.nnunet.planning import plan
from app.nnunet.weights import manifest as manifest_of_network

pytestmark = pytest.mark.nnunet

TERMS = StudyTerms(
    name="n",
    purpose="p",
    contact="c",
    channel_names=("T1", "T2"),
    labels={"background": 0, "whole": (1, 2), "core": (2,), "ignore": 3},
    regions_class_order=(1, 2),
    method=Method.ASYM,
)
# Spacing (mm), shape, and what the site has of the study's channels and regions.
SITES = {
    "cube": ((1.0, 1.0, 1.0), (40, 48, 48), ("T1", "T2"), TERMS.labels),
    "thick": ((4.0, 0.8, 0.8), (16, 96, 96), ("T2",), TERMS.labels),
    "small": ((1.0, 1.0, 1.0), (24, 24, 24), ("T1", "T2"), {"background": 0, "whole": (1,)}),
}
CASES = 6


def planned(name: str, terms: StudyTerms, folder) -> bytes:
    spacing, shape, channels, labels = SITES[name]
    own = site_terms(terms, channels, labels)
    cases = [
        MadeCase(spacing=spacing, shape=shape, share=1.0, voxels=tuple(map(float, range(256))))
        for _ in range(CASES)
    ]
    alone = minimal(cases)
    statistics = dataclasses.replace(
        alone.statistics, channels=alone.statistics.channels * len(channels)
    )
    alone = dataclasses.replace(alone, channel_names=channels, statistics=statistics)
    merged = merge([alone], rule=Aggregation.CASES)
    document = plan(own, merged, folder / name).document
    check_plan(document, own)
    assert terms_of_plan(document, terms) == own
    return document


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize(
    "planner",
    [
        "ExperimentPlanner",
        "nnUNetPlannerResEncM",
        pytest.param("nnUNetPlannerResEncL", marks=pytest.mark.slow),
        pytest.param("nnUNetPlannerResEncXL", marks=pytest.mark.slow),
    ],
)
def test_sites_with_other_images_channels_and_regions_share_what_is_alike(
    planner, configuration, tmp_path
):
    terms = dataclasses.replace(
        TERMS, planner=planner, configuration=configuration, gpu_memory_target_gb=None
    )
    networks = {}
    for name in SITES:
        document = planned(name, terms, tmp_path)
        shared = decode(encode(statement_of(document, configuration)))
        check_terms(shared, terms)
        assert shared.cases == CASES
        networks[SiteName(name)] = shared.network
        # What was told from the plan alone is the network that nnU-Net builds.
        path = tmp_path / f"{name}.json"
        path.write_bytes(document)
        built = build_network(read_plan(path), configuration)
        assert manifest(network_of(document, configuration)) == manifest_of_network(built)
    cube, thick, small = (networks[SiteName(name)] for name in SITES)
    assert cube.stages > small.stages
    if configuration == "3d_fullres":
        assert thick.kernels != cube.kernels
    groups = align(networks, minimum_sites=2)
    members = {group.key: set(group.sites) for group in groups}
    assert {"cube", "small"} in members.values()
    # First layers meet only where the channels are the same, last ones where the regions are.
    first = [g for g in groups if g.role is Role.STEM and g.part.endswith("convs.0.conv.weight")]
    assert [set(group.sites) for group in first] == [{"cube", "small"}]
    heads = [set(group.sites) for group in groups if group.role is Role.HEAD]
    assert all(sites == {"cube", "thick"} for sites in heads)
    for site in networks:
        told = coverage(groups, networks, site)
        assert 0 <= told.percent <= 100
        assert told.others == 2
    assert coverage(groups, networks, SiteName("small")).percent > 10
