"""The network of a plan, and the first global model: random weights of the study's seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from app.domain.errors import ErrorCode, PeerMistake
from app.domain.rounds import BlobRef, TensorSpec
from app.nnunet.convert import PlanDocument, read_plan
from app.nnunet.weights import manifest, write_tensors


def build_network(
    plan: PlanDocument, configuration: str, *, deep_supervision: bool = True
) -> torch.nn.Module:
    """Return the network on the CPU exactly as stock `nnUNetTrainer.initialize` builds it.

    Its weights are drawn from torch's global generator; seed that first for equal weights.

    Raises:
        PeerMistake: the plans lack the configuration or describe no network (PLANS_REFUSED).
    """
    try:
        plans: Any = PlansManager(plan.plans_for())
        chosen = plans.get_configuration(configuration)
        heads = plans.get_label_manager(plan.dataset).num_segmentation_heads
        channels = determine_num_input_channels(plans, chosen, plan.dataset)
        network: torch.nn.Module = nnUNetTrainer.build_network_architecture(
            plans, chosen, channels, heads, deep_supervision
        )
    except (KeyError, TypeError, ValueError, ImportError, AttributeError, RuntimeError) as exc:
        raise PeerMistake(
            f"the plans do not describe a network for {configuration}",
            code=ErrorCode.PLANS_REFUSED,
        ) from exc
    return network


def draw(
    plan: Path, *, configuration: str, seed: int, output: Path
) -> tuple[BlobRef, tuple[TensorSpec, ...]]:
    """Write the first global model to `output` and return what it is and holds.

    A stock trainer in a process seeded with the same number begins with the same weights.

    Raises:
        PeerMistake: the plan does not describe a network.
        SetupProblem: the file cannot be written.
    """
    document = read_plan(plan)
    torch.manual_seed(seed)
    network = build_network(document, configuration)
    return write_tensors(network, output), manifest(network)
