import math

import pytest
from helpers.plans import document_of, name_of, stock_plan, stock_plans

from app.federation.network import Role, manifest, parameters, tensors
from app.federation.plan_rules import network_of

ENTRIES = [
    entry
    for entry in stock_plans()
    if entry["planner"] in ("ExperimentPlanner", "nnUNetPlannerResEncM", "nnUNetPlannerResEncXL")
]


@pytest.mark.nnunet
@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_the_manifest_is_that_of_the_network_nnunet_builds(entry):
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    configurations = entry["plans"]["configurations"]
    for name, configuration in configurations.items():
        network = network_of(document_of(entry), name)
        described = configurations[configuration.get("inherits_from", name)]
        architecture = described["architecture"]
        with torch.device("meta"):
            built = get_network_from_plans(
                architecture["network_class_name"],
                architecture["arch_kwargs"],
                architecture["_kw_requires_import"],
                network.inputs,
                network.outputs,
                allow_init=False,
                deep_supervision=True,
            )
        expected = [(key, tuple(value.shape)) for key, value in built.named_parameters()]
        assert [(spec.name, spec.shape) for spec in manifest(network)] == expected
        assert all(spec.dtype == "F32" for spec in manifest(network))
        assert parameters(network) == sum(value.numel() for value in built.parameters())


def test_the_sample_studys_network_has_its_known_size():
    """5.6 million weights, as issue 2 says of hippocampus."""
    network = network_of(document_of(stock_plan("ExperimentPlanner", "hippocampus")), "3d_fullres")
    assert 5.5e6 < parameters(network) < 5.7e6
    names = [spec.name for spec in manifest(network)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_every_tensor_has_its_role_at_its_resolution(entry):
    name = "3d_fullres" if "3d_fullres" in entry["plans"]["configurations"] else "2d"
    network = network_of(document_of(entry), name)
    placed = tensors(network)
    full = (1,) * len(network.strides[0])
    lowest = network.scale(network.stages - 1)
    assert all(math.prod(one.scale) >= 1 for one in placed)
    for one in placed:
        if one.role is Role.STEM:
            assert one.scale == full
        if one.role is Role.BOTTLENECK:
            assert one.scale == lowest
        if one.role in (Role.DECODER, Role.HEAD, Role.UPSAMPLING):
            assert one.scale != lowest
    assert {one.role for one in placed} == set(Role)
    places = [(one.role, one.scale, one.part) for one in placed]
    assert len(set(places)) == len(places)
    heads = [one for one in placed if one.role is Role.HEAD and one.spec.name.endswith("weight")]
    assert heads[-1].scale == full
