"""What a study costs a site: bytes on its line, and hours of its computer; before and after planning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.folds import CASCADE
from app.domain.rounds import TensorSpec
from app.domain.study import StudyTerms, Transfer
from app.federation.network import Architecture, NetworkPlan, manifest
from app.federation.plan_rules import first_pass_names
from app.federation.transfer import change_bytes

_IGNORE: Final = "ignore"
_BACKGROUND: Final = "background"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes between a site and its coordinator; up is away from the site."""

    round_up: int
    round_down: int
    study_up: int
    study_down: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """Seconds of computing at a site, without waiting for its line or for other sites."""

    round_s: float
    study_s: float


def largest_network(terms: StudyTerms) -> NetworkPlan:
    """Return the largest network that the study's planner makes for patches of usual size.

    nnU-Net halves a patch until 4 voxels are left and stops to widen at 320 features (512 in 2d):
    128 voxels give 6 stages, 512 pixels give 8 (nnunetv2 2.8.1, default_experiment_planner.py and
    get_network_topology.py). Larger patches add a stage in the rarest of cases.
    """
    flat = terms.configuration == "2d"
    stages, axes, widest = (8, 2, 512) if flat else (6, 3, 320)
    residual = terms.planner != "ExperimentPlanner"
    names = [name for name in terms.labels if name not in (_BACKGROUND, _IGNORE)]
    regions = any(isinstance(value, tuple) for value in terms.labels.values())
    blocks = (1, 3, 4, 6, 6, 6, 6, 6) if residual else (2,) * 8
    return NetworkPlan(
        architecture=Architecture.RESIDUAL if residual else Architecture.PLAIN,
        features=tuple(min(widest, 32 << stage) for stage in range(stages)),
        kernels=((3,) * axes,) * stages,
        strides=((1,) * axes, *(((2,) * axes,) * (stages - 1))),
        encoder_depth=blocks[:stages],
        decoder_depth=((1,) if residual else (2,)) * (stages - 1),
        bias=True,
        affine=True,
        inputs=len(terms.channel_names)
        + (len(first_pass_names(terms.labels)) if terms.configuration == CASCADE else 0),
        outputs=len(names) + (0 if regions else 1),
    )


def traffic(terms: StudyTerms, *passes: Sequence[TensorSpec]) -> Traffic:
    """Return what a site moves when it takes part in every round of every fold.

    `passes` are the tensors of the plan's network, in a cascade those of each pass; before there is a
    plan, none, and those of the largest network count. A fold's first model and, where changes
    travel, its last average are fetched whole. `round_up` and `round_down` are of the larger pass.
    """
    known = passes or (manifest(largest_network(terms)),) * len(terms.passes)
    whole = [change_bytes(tensors, Transfer.FP32) for tensors in known]
    change = [change_bytes(tensors, terms.transfer) for tensors in known]
    folds, rounds = len(terms.folds), terms.rounds
    return Traffic(
        round_up=max(change),
        round_down=max(change),
        study_up=folds * rounds * sum(change),
        study_down=folds * ((rounds - 1) * sum(change) + 2 * sum(whole)),
    )


def duration(
    terms: StudyTerms, *, step_s: float, validation_step_s: float, rounds_left: int | None = None
) -> Duration:
    """Return how long a site computes at this pace; `rounds_left` None means the whole study."""
    epoch_s = terms.iterations_per_epoch * step_s + terms.validation_iterations * validation_step_s
    rounds = terms.total_rounds if rounds_left is None else rounds_left
    round_s = terms.epochs_per_round * epoch_s
    return Duration(round_s=round_s, study_s=rounds * round_s)
