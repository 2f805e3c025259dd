"""The terms of a study: what every site agrees to when it joins. Made from one TOML file."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from app.domain.dataset import BACKGROUND, IGNORE
from app.domain.folds import FoldPlace, folds_of, passes_of, place_of

MAXIMUM_SEED: Final = 2**31 - 1


class Policy(enum.Enum):
    """What a site may disclose of its fingerprint."""

    MINIMAL = "minimal"
    PAPER = "paper"


class Method(enum.Enum):
    """How sites train together (Skorupko et al. 2025)."""

    FFE = "ffe"
    ASYM = "asymfedavg"


class Aggregation(enum.Enum):
    """How updates become one model: by training cases, or as the paper's code does (unweighted)."""

    CASES = "cases"
    PAPER = "paper"


class Transfer(enum.Enum):
    """How precisely weights travel: FP32 as they are; FP16 and INT8 as differences to the base."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class ServerOptimiser(enum.Enum):
    """What the coordinator makes of an average (see `app.federation.server_optimiser`)."""

    NONE = "none"
    FEDAVGM = "fedavgm"
    FEDADAM = "fedadam"


class Admission(enum.Enum):
    """Whether a valid invitation is enough, or the coordinator also approves each site by hand."""

    INVITATION = "invitation"
    APPROVAL = "approval"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One network that a study trains: a configuration on a fold; `stage` counts passes from 0."""

    configuration: str
    fold: str
    stage: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTerms:
    """Everything a study file says.

    `channel_names` and `labels` are as in nnU-Net's dataset.json (labels: name -> value, or
    several values for a region). `planner` is an nnU-Net planner class name. `fold` is "0".."4",
    "all", or a range such as "0-4": its folds are trained one after the other, each for `rounds`
    rounds from a first model of its own. With a cascade as `configuration` they are so twice, once in
    each pass. `progress_deadline_minutes` is the time without any sign of progress after which a
    round closes without a late site; it never bounds a round's total time. `proximal_mu` is FedProx's
    weight of the distance to a round's base (Li et al. 2020), 0 leaves it out. Every `score_every`
    rounds, and after the last, sites score the average on their held-out cases; 0 is never.
    """

    name: str
    purpose: str
    contact: str
    channel_names: tuple[str, ...]
    labels: dict[str, int | tuple[int, ...]]
    regions_class_order: tuple[int, ...] = ()
    method: Method = Method.FFE
    aggregation: Aggregation = Aggregation.CASES
    transfer: Transfer = Transfer.FP32
    proximal_mu: float = 0.0
    server_optimiser: ServerOptimiser = ServerOptimiser.NONE
    server_learning_rate: float = 1.0
    server_momentum: float = 0.9
    configuration: str = "3d_fullres"
    planner: str = "ExperimentPlanner"
    gpu_memory_target_gb: float | None = None
    fold: str = "0"
    rounds: int = 50
    epochs_per_round: int = 1
    iterations_per_epoch: int = 250
    validation_iterations: int = 50
    score_every: int = 1
    seed: int = 12345
    minimum_sites: int = 2
    minimum_cases: int = 5
    policy: Policy = Policy.MINIMAL
    admission: Admission = Admission.APPROVAL
    progress_deadline_minutes: int = 240

    @property
    def foreground(self) -> int:
        """Number of labels or regions that are segmented: neither background nor ignore."""
        return sum(name not in (BACKGROUND, IGNORE) for name in self.labels)

    @property
    def folds(self) -> tuple[str, ...]:
        """The folds that are trained, in their order."""
        return folds_of(self.fold)

    @property
    def passes(self) -> tuple[str, ...]:
        """The configurations that are trained, in their order: two in a cascade, else one."""
        return passes_of(self.configuration)

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Everything that is trained from a first model to a last one, in its order."""
        return tuple(
            Training(configuration=configuration, fold=fold, stage=stage)
            for stage, configuration in enumerate(self.passes)
            for fold in self.folds
        )

    @property
    def total_rounds(self) -> int:
        """Rounds over the whole study, all folds of all passes together."""
        return len(self.trainings) * self.rounds

    @property
    def fold_epochs(self) -> int:
        """Epochs of one fold; nnU-Net's learning-rate schedule spans them."""
        return self.rounds * self.epochs_per_round

    @property
    def total_epochs(self) -> int:
        """Epochs over the whole study, all folds of all passes together."""
        return len(self.trainings) * self.fold_epochs

    def place_of(self, round_number: int) -> FoldPlace:
        """Return in which pass and fold a round of the study is, and which round of that it is."""
        return place_of(
            round_number,
            rounds=self.total_rounds,
            folds=len(self.folds),
            stages=len(self.passes),
        )

    def seed_of(self, index: int) -> int:
        """Return the seed of the training at this position: those of an ensemble begin differently."""
        return (self.seed + index) % (MAXIMUM_SEED + 1)

    def training_at(self, round_number: int) -> Training:
        """Return what a round of the study trains."""
        return self.trainings[self.place_of(round_number).index]

    @property
    def discloses(self) -> str:
        """What a site shares before training: a policy's word, or "network" where each plans alone."""
        return "network" if self.method is Method.ASYM else self.policy.value
