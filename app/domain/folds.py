"""Folds and passes of a study: which ones it trains, and where in them a round stands. Pure.

A study of several folds trains one after the other. Its rounds are numbered through: what belongs
to a round by its number stays as it is in a study of one fold, and the fold follows from the number.
A cascade does so twice: all folds of its first pass, then all folds of the second, which learns from
the images and from what the first one made of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

ALL_FOLDS: Final = "all"
MOST_FOLDS: Final = 5
"""As many as nnU-Net splits the cases into (nnunetv2 2.8.1, `nnUNetTrainer.do_split`)."""

SINGLE_FOLDS: Final = tuple(str(number) for number in range(MOST_FOLDS))
"""The folds that keep a fifth of the cases out of training."""

CASCADE: Final = "3d_cascade_fullres"
"""nnU-Net's configuration of two passes: a coarse network, then a fine one that sees its result."""
COARSE: Final = "3d_lowres"
FINE: Final = "3d_fullres"
"""Whose images, patches and network a cascade's second pass has (nnunetv2 2.8.1 `inherits_from`)."""


def passes_of(configuration: str) -> tuple[str, ...]:
    """Return the configurations that are trained one after the other for this one."""
    return (COARSE, CASCADE) if configuration == CASCADE else (configuration,)


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
    """Where a round stands: `round` of `rounds` in the fold that is `number` of `folds`, from 1.

    That fold belongs to the pass that is `stage` of `stages`, from 1 too.
    """

    number: int
    folds: int
    round: int
    rounds: int
    stage: int = 1
    stages: int = 1

    @property
    def index(self) -> int:
        """Position of this fold of this pass among all that the study trains, from 0."""
        return (self.stage - 1) * self.folds + self.fold

    @property
    def fold(self) -> int:
        """Position of the fold among those of its pass, from 0."""
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

    @property
    def fold_words(self) -> str:
        """The pass and the fold, empty where the study has one of each."""
        words = f"fold {self.number} of {self.folds}" if self.folds > 1 else ""
        if self.stages == 1:
            return words
        name = _PASSES[self.stage - 1]
        return f"{name}, {words}" if words else name

    @property
    def short(self) -> str:
        """The place in a narrow column."""
        if self.folds == self.stages == 1:
            return str(self.round)
        fold = f"fold {self.number}"
        return f"{self.round} ({fold if self.stages == 1 else f'pass {self.stage}, {fold}'})"

    def __str__(self) -> str:
        within = f"round {self.round} of {self.rounds}"
        return f"{self.fold_words}, {within}" if self.fold_words else within


_PASSES: Final = ("first pass", "second pass")


class Course(Protocol):
    """What a view of a study tells of its length: all `rounds`, its `folds`, passes as `stages`."""

    @property
    def rounds(self) -> int: ...

    @property
    def folds(self) -> int: ...

    @property
    def stages(self) -> int: ...


def place_in(course: Course, round_number: int) -> FoldPlace:
    """Return where a round, counted over the whole study from 1, stands; see `place_of`."""
    return place_of(round_number, rounds=course.rounds, folds=course.folds, stages=course.stages)


def place_of(round_number: int, *, rounds: int, folds: int, stages: int = 1) -> FoldPlace:
    """Return where a round, counted over the whole study from 1, stands.

    `rounds` are those of the whole study, a multiple of `folds` times `stages`. Before the first
    round and after the last one it is where the study begins or ends.
    """
    folds, stages = max(1, folds), max(1, stages)
    each = max(1, rounds // (folds * stages))
    last = each * folds * stages
    index, before = divmod(min(max(round_number, 1), last) - 1, each)
    stage, fold = divmod(index, folds)
    return FoldPlace(
        number=fold + 1,
        folds=folds,
        round=before + 1,
        rounds=each,
        stage=stage + 1,
        stages=stages,
    )
