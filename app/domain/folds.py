"""Folds of a study: which ones it trains, and where in them a round stands. Pure.

A study of several folds trains one after the other. Its rounds are numbered through: what belongs
to a round by its number stays as it is in a study of one fold, and the fold follows from the number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ALL_FOLDS: Final = "all"
MOST_FOLDS: Final = 5
"""As many as nnU-Net splits the cases into (nnunetv2 2.8.1, `nnUNetTrainer.do_split`)."""

SINGLE_FOLDS: Final = tuple(str(number) for number in range(MOST_FOLDS))
"""The folds that keep a fifth of the cases out of training."""


def folds_of(text: str) -> tuple[str, ...]:
    """Return the folds that a study file names: one ("0" to "4", "all") or a range ("0-4").

    Raises:
        ValueError: it names none, or a range that does not rise.
    """
    if text == ALL_FOLDS:
        return (ALL_FOLDS,)
    first, dash, last = text.partition("-")
    last = last if dash else first
    if first not in SINGLE_FOLDS or last not in SINGLE_FOLDS or (dash and first >= last):
        raise ValueError(text)
    return SINGLE_FOLDS[int(first) : int(last) + 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldPlace:
    """Where a round stands: `round` of `rounds` in the fold that is `number` of `folds`, from 1."""

    number: int
    folds: int
    round: int
    rounds: int

    @property
    def index(self) -> int:
        """Position of the fold among those of the study, from 0."""
        return self.number - 1

    @property
    def begins(self) -> bool:
        """Whether the fold begins with this round."""
        return self.round == 1

    @property
    def ends(self) -> bool:
        """Whether the fold ends with this round."""
        return self.round == self.rounds

    @property
    def title(self) -> str:
        """The place as a sentence or a heading begins with it."""
        words = str(self)
        return words[0].upper() + words[1:]

    def __str__(self) -> str:
        within = f"round {self.round} of {self.rounds}"
        return within if self.folds == 1 else f"fold {self.number} of {self.folds}, {within}"


def place_of(round_number: int, *, rounds: int, folds: int) -> FoldPlace:
    """Return where a round, counted over the whole study from 1, stands.

    `rounds` are those of the whole study, a multiple of `folds`. Before the first round and after
    the last one it is where the study begins or ends.
    """
    each = max(1, rounds // max(1, folds))
    last = each * max(1, folds)
    fold, before = divmod(min(max(round_number, 1), last) - 1, each)
    return FoldPlace(number=fold + 1, folds=max(1, folds), round=before + 1, rounds=each)
