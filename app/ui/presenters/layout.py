"""The proposed layout of a folder, as a form for a person to confirm."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from app.control.messages import DataView
from app.domain.layout_proposal import LayoutProposal, ProposedCase, Source
from app.ui.models.layout import CASE_COLUMNS, LayoutChannel, LayoutState, LayoutStructure
from app.ui.models.rows import Cell, Row, Table, words
from app.ui.presenters.data import LAYOUT_WORDS
from app.ui.text import NOTHING, Tone, count

DICOM: Final = "dicom"
_MOST_UNUSED: Final = 3


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
