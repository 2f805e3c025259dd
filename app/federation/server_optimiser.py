"""What the coordinator makes of an average before it becomes the next model.

Plain averaging takes the mean of the sites' models as it is. With momentum the change of a round is
taken as a gradient (Reddi et al. 2021, Adaptive Federated Optimization, algorithm 2):

- FedAvgM (Hsu et al. 2019, section 4): m <- beta m + delta; x <- x + eta m
- FedAdam: m <- beta1 m + (1 - beta1) delta; v <- beta2 v + (1 - beta2) delta^2;
  x <- x + eta m / (sqrt(v) + tau), v beginning at tau^2

with delta the case-weighted mean of the sites' weights minus x, the model that they began from.
Everything is element by element. What is kept between rounds is rounded to single precision, as the
models are, so going on from a file gives the same bits as never having stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import DataProblem, ErrorCode
from app.domain.study import ServerOptimiser, StudyTerms

SECOND_MOMENTUM: Final = 0.99
"""Reddi et al. 2021, section 5: beta2 of FedAdam in all of their experiments."""
ADAPTIVITY: Final = 1e-3
"""Reddi et al. 2021, section 5.3: tau, what a weight that hardly moves is divided by at least."""

State = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRule:
    """Which optimiser with which numbers; see the module for what they do."""

    optimiser: ServerOptimiser
    learning_rate: float
    momentum: float

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of what is kept for each tensor from round to round."""
        return ("m", "v") if self.optimiser is ServerOptimiser.FEDADAM else ("m",)


def rule_of(terms: StudyTerms) -> ServerRule | None:
    """Return the study's rule, None where the average itself is the next model."""
    if terms.server_optimiser is ServerOptimiser.NONE:
        return None
    return ServerRule(
        optimiser=terms.server_optimiser,
        learning_rate=terms.server_learning_rate,
        momentum=terms.server_momentum,
    )


def first_state(rule: ServerRule, shape: tuple[int, ...]) -> State:
    """Return what is kept of a tensor before its first step."""
    begins = {"m": 0.0, "v": ADAPTIVITY**2}
    return {name: np.full(shape, begins[name], dtype=np.float32) for name in rule.moments}


def step(
    rule: ServerRule, before: NDArray[np.generic], mean: NDArray[np.generic], state: State
) -> tuple[NDArray[np.float32], State]:
    """Return one tensor of the next model, and what is kept for the step after it.

    `before` is the model that the sites began from, `mean` the mean of their weights.

    Raises:
        DataProblem: (NOT_FINITE) the step leaves the range of numbers: the learning rate is far too
            large for this study.
    """
    start = before.astype(np.float64)
    change = mean.astype(np.float64) - start
    kept = {name: value.astype(np.float64) for name, value in state.items()}
    if rule.optimiser is ServerOptimiser.FEDADAM:
        kept["m"] = rule.momentum * kept["m"] + (1.0 - rule.momentum) * change
        kept["v"] = SECOND_MOMENTUM * kept["v"] + (1.0 - SECOND_MOMENTUM) * change**2
        moved = kept["m"] / (np.sqrt(kept["v"]) + ADAPTIVITY)
    else:
        kept["m"] = rule.momentum * kept["m"] + change
        moved = kept["m"]
    with np.errstate(over="ignore", invalid="ignore"):
        made = (start + rule.learning_rate * moved).astype(np.float32)
        rounded = {name: value.astype(np.float32) for name, value in kept.items()}
    if not all(bool(np.isfinite(value).all()) for value in (made, *rounded.values())):
        raise DataProblem(
            "the coordinator's optimiser left the range of numbers; its learning rate is too large",
            code=ErrorCode.NOT_FINITE,
        )
    return made, rounded
