"""The proposed layout of a folder, as a form for a person to confirm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from app.control.messages import DataView
from app.domain.layout_proposal import (
    NORMALISATIONS,
    ChannelAnswer,
    LayoutProposal,
    ProposedCase,
    Source,
    StructureAnswer,
)
from app.ui.models.rows import Cell, Column, Row, Table, words
from app.ui.presenters.data import LAYOUT_WORDS
from app.ui.text import NOTHING, Tone, count, sentence_case

CASE_COLUMNS: Final = (
    Column(title="Use / case"),
    Column(title="Found as"),
    Column(title="Images", stretches=True),
    Column(title="Labels", stretches=True),
)
CHANNEL_NAMES: Final = tuple(name for name, _ in NORMALISATIONS)
"""Names by which nnU-Net chooses how it scales grey values; offered, any other may be typed."""
DICOM: Final = "dicom"
_MOST_UNUSED: Final = 3


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


def present_layout(data: DataView) -> LayoutState | None:
    """Return the form, None when there is nothing to confirm."""
    proposal = data.proposal
    if proposal is None or data.proposal_digest is None:
        return None
    kind = LAYOUT_WORDS.get(proposal.layout, proposal.layout)
    labelled = sum(bool(case.labels) for case in proposal.cases)
    return LayoutState(
        digest=data.proposal_digest,
        sentence=f"This folder seems to hold {count(len(proposal.cases), 'case')}, "
        f"{labelled} of them with labels ({kind}). Look whether that is right, then use it.",
        channels=tuple(
            LayoutChannel(found=one.found, name=one.name, cases=count(one.cases, "case"))
            for one in proposal.channels
        ),
        structures=tuple(
            LayoutStructure(
                found=one.found, name=one.name, value=one.value, cases=count(one.cases, "case")
            )
            for one in proposal.structures
        ),
        values_fixed=proposal.values_fixed,
        cases=_cases_table(proposal),
        unused=_unused(proposal),
        always_pseudonyms=proposal.layout == DICOM,
        can_confirm=data.job is None or not data.job.running,
    )


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


def _cases_table(proposal: LayoutProposal) -> Table:
    return Table(
        columns=CASE_COLUMNS,
        rows=tuple(_case_row(case) for case in proposal.cases),
        empty="No case was found.",
    )


def _case_row(case: ProposedCase) -> Row:
    missing = any(source is None for source in case.channels)
    images = _files(case.channels)
    labels = _files(case.labels)
    return Row(
        key=case.name,
        checked=True,
        cells=(
            words(case.name),
            words(case.found, hint=case.found),
            Cell(
                text=images,
                order=images.casefold(),
                tone=Tone.WARNING if missing else None,
                icon="warning" if missing else "",
                hint=_paths(case.channels),
            ),
            words(labels, hint=_paths(case.labels)),
        ),
    )


def _files(sources: tuple[Source | None, ...]) -> str:
    names = []
    for source in sources:
        if source is None:
            names.append("missing")
        elif source.detail:
            names.append(f"{PurePosixPath(source.path).name} ({source.detail})")
        else:
            names.append(PurePosixPath(source.path).name)
    return ", ".join(names) or NOTHING


def _paths(sources: tuple[Source | None, ...]) -> str:
    return "\n".join(source.path for source in sources if source is not None)


def _unused(proposal: LayoutProposal) -> str:
    missed = [one for one in proposal.unused if one.missed]
    if not missed:
        return ""
    named = "; ".join(
        f"{PurePosixPath(one.source.path).name}: {one.reason}" for one in missed[:_MOST_UNUSED]
    )
    more = f"; and {len(missed) - _MOST_UNUSED} more" if len(missed) > _MOST_UNUSED else ""
    return f"Not used though somebody may have meant it to be: {named}{more}."
