"""The form that confirms a layout, as values: what it shows, what a person answers, what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.domain.layout_proposal import NORMALISATIONS, ChannelAnswer, StructureAnswer
from app.ui.models.rows import Column, Table
from app.ui.text import sentence_case

CASE_COLUMNS: Final = (
    Column(title="Use / case"),
    Column(title="Found as"),
    Column(title="Images", stretches=True),
    Column(title="Labels", stretches=True),
)
CHANNEL_NAMES: Final = tuple(name for name, _ in NORMALISATIONS)
"""Names by which nnU-Net chooses how it scales grey values; offered, any other may be typed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutChannel:
    """What files call a channel, its proposed name, and in how many cases it is."""

    found: str
    name: str
    cases: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutStructure:
    """What labels call a structure, its proposed name and value (0: left out)."""

    found: str
    name: str
    value: int
    cases: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutState:
    """What the form draws."""

    digest: str
    sentence: str
    channels: tuple[LayoutChannel, ...]
    structures: tuple[LayoutStructure, ...]
    values_fixed: bool
    cases: Table
    unused: str
    always_pseudonyms: bool
    can_confirm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutAnswers:
    """What a person confirmed; `digest` says of which proposal."""

    digest: str
    channels: tuple[ChannelAnswer, ...]
    structures: tuple[StructureAnswer, ...]
    leave_out: tuple[str, ...]
    pseudonyms: bool


def normalisation_words(name: str) -> str:
    """Return how nnU-Net scales a channel of this name."""
    known = {one.casefold(): sentence for one, sentence in NORMALISATIONS}
    return sentence_case(known.get(name.strip().casefold(), known["mri"]))


def problem_of(answers: LayoutAnswers, *, cases: int) -> str:
    """Return why these answers cannot be used, empty when they can; `cases` were proposed."""
    channels = [one.name.casefold() for one in answers.channels]
    kept = [one for one in answers.structures if one.value > 0]
    values: dict[str, set[int]] = {}
    for one in kept:
        values.setdefault(one.name, set()).add(one.value)
    used = sorted(value for several in values.values() for value in several)
    problem = ""
    if not all(channels) or len(set(channels)) < len(channels):
        problem = "Each kind of image needs a name of its own."
    elif not all(one.name for one in kept):
        problem = "Each structure needs a name."
    elif not kept:
        problem = "At least one structure must be kept."
    elif any(len(several) > 1 for several in values.values()):
        problem = "One name cannot have two values."
    elif len(set(used)) < len(used):
        problem = "Two structures have the same value; give them the same name to join them."
    elif used != list(range(1, len(used) + 1)):
        problem = "The values must be 1, 2, 3 and so on, without a gap."
    elif len(answers.leave_out) >= cases:
        problem = "At least one case must be used."
    return problem
