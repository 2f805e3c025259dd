"""Data: the chosen folder, what the check found, and the cases."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from app.control.messages import DataView, Snapshot
from app.domain.dataset import Case, DatasetFolder
from app.domain.findings import Finding, Severity, ValidationReport
from app.ui import text
from app.ui.models.pictures import GalleryItem, PictureWish
from app.ui.models.rows import Cell, Column, Row, Table, words
from app.ui.presenters.parts import Badge, Fact, Progress, failure_of, progress_of
from app.ui.text import NOTHING, Tone, count, sentence_case

if TYPE_CHECKING:
    from app.review.errors import ErrorComponent

SEVERITY_WORDS: Final = {
    Severity.BLOCKS: "Blocks",
    Severity.MAY_HARM: "May harm",
    Severity.HARMLESS: "Harmless",
}
_SEVERITY_TONES: Final = {
    Severity.BLOCKS: Tone.DANGER,
    Severity.MAY_HARM: Tone.WARNING,
    Severity.HARMLESS: Tone.NEUTRAL,
}
_SEVERITY_ICONS: Final = {
    Severity.BLOCKS: "problem",
    Severity.MAY_HARM: "warning",
    Severity.HARMLESS: "info",
}
_RANKS: Final = {Severity.BLOCKS: 0.0, Severity.MAY_HARM: 1.0, Severity.HARMLESS: 2.0}

LAYOUT_WORDS: Final = {
    "nnunet": "nnU-Net: imagesTr, labelsTr, dataset.json",
    "nnunet-map": "nnU-Net, files listed in dataset.json",
    "decathlon": "Medical Segmentation Decathlon",
    "pairs": "Image and label side by side in one folder",
    "two-folders": "Images in one folder, labels in another",
    "case-folders": "One folder for each case",
    "bids": "BIDS",
    "dicom": "DICOM series",
}
FINDING_COLUMNS: Final = (
    Column(title="Severity"),
    Column(title="Case"),
    Column(title="What was found", stretches=True),
    Column(title="What to do", stretches=True),
)
CASE_COLUMNS: Final = (
    Column(title="Case"),
    Column(title="Use"),
    Column(title="Images", figures=True),
    Column(title="Label"),
    Column(title="Findings", stretches=True),
)


class CaseFiles(Struct, frozen=True, kw_only=True):
    """What a viewer opens for a case: absolute paths, and where to look first (z, y, x)."""

    case: str
    channels: tuple[str, ...]
    label: str | None
    voxel: tuple[int, int, int] | None = None


class DataState(Struct, frozen=True, kw_only=True):
    """What the Data page draws."""

    attached: bool
    folder: str | None
    folder_name: str
    layout: tuple[Fact, ...]
    summary: str
    badge: Badge | None
    progress: Progress | None
    failure: str
    findings: Table
    cases: Table
    gallery: tuple[GalleryItem, ...]
    can_check: bool
    confirmed: bool
    """A person confirmed the layout; it can be looked at anew."""


def present_data(snapshot: Snapshot | None) -> DataState:
    """Return what the Data page draws."""
    data = snapshot.data if snapshot is not None else DataView()
    progress = progress_of(data.job)
    summary, badge = summarise(data.report) if data.report is not None else ("", None)
    if progress is not None:
        summary, badge = "", None
    return DataState(
        attached=snapshot is not None,
        folder=data.folder,
        folder_name=PurePath(data.folder).name if data.folder else "",
        layout=layout_facts(data.dataset),
        summary=summary,
        badge=badge,
        progress=progress,
        failure=failure_of(data.job),
        findings=findings_table(data.report),
        cases=cases_table(data.dataset, data.report),
        gallery=gallery_items(data.dataset, data.report),
        can_check=data.folder is not None and progress is None,
        confirmed=data.confirmed,
    )


def summarise(report: ValidationReport) -> tuple[str, Badge]:
    """Return one sentence like “24 cases, 1 finding that may harm” and its badge."""
    cases = sentence_case(count(report.cases, "case"))
    parts = []
    for severity, words_one, words_many in (
        (Severity.BLOCKS, "finding that blocks training", "findings that block training"),
        (Severity.MAY_HARM, "finding that may harm", "findings that may harm"),
        (Severity.HARMLESS, "harmless finding", "harmless findings"),
    ):
        number = sum(finding.severity is severity for finding in report.findings)
        if number:
            parts.append(count(number, words_one, words_many))
    sentence = f"{cases}, {text.listed(tuple(parts))}." if parts else f"{cases}, nothing to mend."
    if report.blocks:
        return sentence, Badge(text="Blocks training", tone=Tone.DANGER)
    if any(finding.severity is Severity.MAY_HARM for finding in report.findings):
        return sentence, Badge(text="Ready, with remarks", tone=Tone.WARNING)
    return sentence, Badge(text="Ready", tone=Tone.GOOD)


def layout_facts(dataset: DatasetFolder | None) -> tuple[Fact, ...]:
    """Return how the folder was understood, line by line."""
    if dataset is None:
        return ()
    description = dataset.description
    labels = ", ".join(
        f"{name} ({', '.join(map(str, value)) if isinstance(value, tuple) else value})"
        for name, value in description.foreground.items()
    )
    return (
        Fact(name="Arranged as", value=LAYOUT_WORDS.get(dataset.layout, dataset.layout)),
        Fact(name="Images", value=", ".join(description.channel_names) or NOTHING),
        Fact(name="Structures", value=labels or NOTHING),
        Fact(
            name="Cases",
            value=f"{len(dataset.training)} to train on, {len(dataset.held_out)} held out",
        ),
        Fact(name="File type", value=description.file_ending),
    )


def findings_table(report: ValidationReport | None) -> Table:
    """Return one row per finding; keys number the findings of the report."""
    if report is None:
        return Table(columns=FINDING_COLUMNS, empty=text.EMPTY_FINDINGS)
    ordered = sorted(
        enumerate(report.findings), key=lambda item: (_RANKS[item[1].severity], item[0])
    )
    return Table(
        columns=FINDING_COLUMNS,
        rows=tuple(_finding_row(number, finding) for number, finding in ordered),
        empty=text.NO_FINDINGS,
    )


def _finding_row(number: int, finding: Finding) -> Row:
    where = finding.path or ""
    return Row(
        key=str(number),
        group=SEVERITY_WORDS[finding.severity],
        cells=(
            Cell(
                text=SEVERITY_WORDS[finding.severity],
                order=_RANKS[finding.severity],
                tone=_SEVERITY_TONES[finding.severity],
                icon=_SEVERITY_ICONS[finding.severity],
            ),
            words(finding.case or "Whole folder", hint=where),
            words(sentence_case(finding.sentence), hint=sentence_case(finding.sentence)),
            words(finding.remedy, hint=finding.remedy),
        ),
    )


def cases_table(dataset: DatasetFolder | None, report: ValidationReport | None) -> Table:
    """Return one row per case; keys are the cases' names."""
    if dataset is None:
        return Table(columns=CASE_COLUMNS, empty=text.EMPTY_CASES)
    by_case = _findings_by_case(report)
    rows: list[Row] = []
    for cases, use in ((dataset.training, "Training"), (dataset.held_out, "Held out")):
        rows.extend(_case_row(case, use, by_case.get(case.name, ())) for case in cases)
    return Table(columns=CASE_COLUMNS, rows=tuple(rows), empty=text.EMPTY_CASES)


def _findings_by_case(report: ValidationReport | None) -> dict[str, tuple[Finding, ...]]:
    """Return the findings of each case that has some, worst first."""
    by_case: dict[str, list[Finding]] = {}
    for finding in report.findings if report is not None else ():
        if finding.case is not None:
            by_case.setdefault(finding.case, []).append(finding)
    return {
        case: tuple(sorted(found, key=lambda one: _RANKS[one.severity]))
        for case, found in by_case.items()
    }


def gallery_items(
    dataset: DatasetFolder | None, report: ValidationReport | None
) -> tuple[GalleryItem, ...]:
    """Return one picture per case with an image, in the order of the list of cases."""
    if dataset is None:
        return ()
    by_case = _findings_by_case(report)
    items = []
    for case in (*dataset.training, *dataset.held_out):
        if not case.channels:
            continue
        found = by_case.get(case.name, ())
        items.append(
            GalleryItem(
                wish=PictureWish(
                    case=case.name,
                    image=case.channels[0],
                    label=case.label,
                    version=report.content_digest if report is not None else "",
                ),
                tone=_SEVERITY_TONES[found[0].severity] if found else None,
                hint=sentence_case(found[0].sentence) if found else "",
            )
        )
    return tuple(items)


def _case_row(case: Case, use: str, findings: tuple[Finding, ...]) -> Row:
    if findings:
        first = findings[0]
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        found = Cell(
            text=sentence_case(first.sentence) + more,
            order=_RANKS[first.severity],
            tone=_SEVERITY_TONES[first.severity],
            icon=_SEVERITY_ICONS[first.severity],
        )
    else:
        found = Cell(text="None", order=9.0, tone=Tone.GOOD, icon="check")
    return Row(
        key=case.name,
        group=use,
        cells=(
            words(case.name),
            words(use),
            Cell(text=str(len(case.channels)), order=float(len(case.channels))),
            words("Yes" if case.label else "No"),
            found,
        ),
    )


def files_of_case(data: DataView, name: str) -> CaseFiles | None:
    """Return what a viewer needs for the case `name`, None when the folder has no such case."""
    if data.dataset is None:
        return None
    for case in (*data.dataset.training, *data.dataset.held_out):
        if case.name == name:
            return CaseFiles(case=case.name, channels=case.channels, label=case.label)
    return None


def files_of_finding(data: DataView, key: str) -> CaseFiles | None:
    """Return what a viewer needs for the finding with this row key; None for whole-folder ones."""
    if data.report is None or not key.isdecimal() or int(key) >= len(data.report.findings):
        return None
    finding = data.report.findings[int(key)]
    files = files_of_case(data, finding.case) if finding.case is not None else None
    if files is None:
        return None
    return CaseFiles(
        case=files.case, channels=files.channels, label=files.label, voxel=finding.voxel
    )


def structures_of_folder(data: DataView) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the structures that the folder's labels hold: names and voxel values."""
    if data.dataset is None:
        return ()
    return tuple(
        (name, value if isinstance(value, tuple) else (value,))
        for name, value in data.dataset.description.foreground.items()
    )


def case_beside(data: DataView, name: str, step: int) -> str | None:
    """Return the next (`step` 1) or previous (-1) case of the folder, None at its end."""
    if data.dataset is None:
        return None
    names = [case.name for case in (*data.dataset.training, *data.dataset.held_out)]
    place = names.index(name) + step if name in names else -1
    return names[place] if 0 <= place < len(names) else None


def part_words(part: ErrorComponent, number: int, total: int) -> str:
    """Say which part of a case's labels is looked at; `number` counts from 0."""
    return f"Part {number + 1} of {total}: {sentence_case(part.label)}, {part.ml:.2f} ml"
