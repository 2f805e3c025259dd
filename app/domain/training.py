"""What a training session tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One optimisation step: numbers count from 1; `loss` is nnU-Net's training loss.

    `seconds` is the whole step, `wait_s` the part of it that went into waiting for its batch.
    """

    round: int
    epoch: int
    step: int
    steps_per_epoch: int
    loss: float
    seconds: float
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One finished epoch, in nnU-Net's own figures.

    `epoch` counts over the whole study from 1. `pseudo_dice` is per foreground label in the
    study's order, measured on validation patches (an estimate, not a result);
    `pseudo_dice_average` is nnU-Net's exponential moving average. None where undefined.
    """

    round: int
    epoch: int
    train_loss: float
    validation_loss: float | None
    pseudo_dice: tuple[float | None, ...]
    pseudo_dice_average: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutScore:
    """How a model does on the held-out cases of a site's fold, which the site does not train on.

    `dice` is per foreground label in the study's order, a mean over `cases`; None where no case
    has the label, in reference or prediction.
    """

    cases: int
    dice: tuple[float | None, ...]

    @property
    def mean(self) -> float | None:
        """Mean of the defined Dice values, None when none is defined."""
        defined = [value for value in self.dice if value is not None]
        return sum(defined) / len(defined) if defined else None
