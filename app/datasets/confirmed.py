"""Proposing what a loose folder holds, and using it once a person has confirmed it.

A confirmed layout is a dataset.json with explicit paths in the site's workspace, never in the
source folder; from then on all rooms use that workspace as the data set. Loose files stay where
they are and are listed there; DICOM is converted into the workspace first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from app.datasets.checks import StudyFolder, check
from app.datasets.confirmation import (
    RECORD_NAME,
    Confirmation,
    ConfirmedCase,
    source_file,
    write_confirmation,
)
from app.datasets.conversion import convert
from app.datasets.description import DESCRIPTION_NAME, check_labels, encode_description
from app.datasets.dicom_cases import DICOM, propose_dicom
from app.datasets.dicom_index import index
from app.datasets.scan import Survey, survey
from app.domain.dataset import Case, DatasetDescription, DatasetFolder
from app.domain.errors import DataProblem, ErrorCode, SetupProblem
from app.domain.findings import Finding, Severity, ValidationReport
from app.domain.layout_proposal import (
    ChannelAnswer,
    LayoutProposal,
    ProposedCase,
    ProposedChannel,
    ProposedStructure,
    Source,
    SourceKind,
    StructureAnswer,
    UnusedSource,
)
from app.system.atomic import disk_errors, make_folder, write_atomic

Progress = Callable[[int, int, str], None]

_DESCRIBED: Final = frozenset({"nnunet", "nnunet-map", "decathlon"})
_MADE_HERE: Final = frozenset(
    {RECORD_NAME, DESCRIPTION_NAME, "imagesTr", "labelsTr", "imagesTs", ".DS_Store"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderCheck:
    """What a check found, and a layout to confirm where the folder does not say its own."""

    report: ValidationReport
    dataset: DatasetFolder | None
    proposal: LayoutProposal | None


def check_folder(
    folder: Path,
    *,
    study: StudyFolder | None = None,
    minimum_cases: int = 5,
    processes: int = 1,
    progress: Progress = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> FolderCheck:
    """Check a folder as `app.datasets.checks.check` does, and propose a layout where it is loose.

    A DICOM folder cannot be used before its layout is confirmed: one finding says so.

    Raises:
        JobFailed: JOB_STOPPED when `stopped` said so.
    """
    proposal = propose(folder, study=study, progress=progress, stopped=stopped)
    if proposal is not None and proposal.layout == DICOM:
        usable = any(case.labels for case in proposal.cases)
        return FolderCheck(
            report=_dicom_report(folder, proposal),
            dataset=None,
            proposal=proposal if usable else None,
        )
    report, dataset = check(
        folder,
        study=study,
        minimum_cases=minimum_cases,
        processes=processes,
        progress=progress,
        stopped=stopped,
    )
    return FolderCheck(report=report, dataset=dataset, proposal=proposal)


def propose(
    folder: Path,
    *,
    study: StudyFolder | None = None,
    progress: Progress = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> LayoutProposal | None:
    """Propose which file is which; None where dataset.json says it, or nothing is recognised.

    `study` is (channel names, labels) of the joined study, whose names are taken where they fit.

    Raises:
        JobFailed: JOB_STOPPED when `stopped` said so.
    """
    try:
        found = survey(folder)
    except DataProblem as problem:
        if problem.code is not ErrorCode.FOLDER_LAYOUT:
            return None
    else:
        return None if found.dataset.layout in _DESCRIBED else _propose_loose(found, study)
    try:
        tree = index(folder, progress=progress, stopped=stopped)
    except DataProblem:
        return None  # the check will say it
    return propose_dicom(folder, tree, study=study, progress=progress)


def answered(
    proposal: LayoutProposal,
    *,
    channels: Sequence[ChannelAnswer],
    structures: Sequence[StructureAnswer],
    leave_out: Sequence[str] = (),
    pseudonyms: bool = False,
) -> LayoutProposal:
    """Return the proposal as a person answered it.

    `channels` are those to use, in the order of their numbers. `structures` must name each one
    that is kept; one that is not named is left out. `pseudonyms` names the cases case-0001, …,
    which DICOM cases always are.

    Raises:
        DataProblem: an answer is about something that was not proposed, a name is empty or given
            twice, the values are not 1, 2, 3, …, or values of label files were changed.
    """
    known_channels = {one.found: number for number, one in enumerate(proposal.channels)}
    known = {one.found: one for one in proposal.structures}
    strangers = {one.found for one in channels} - set(known_channels)
    strangers |= {one.found for one in structures} - set(known)
    strangers |= set(leave_out) - {one.name for one in proposal.cases}
    if strangers:
        raise _wrong(f"“{min(strangers)}” is not in the proposed layout")
    if not channels or len({one.found for one in channels}) < len(channels):
        raise _wrong("each channel must be used once, and at least one")
    names = [one.name.strip() for one in channels]
    if not all(names) or len({name.casefold() for name in names}) < len(names):
        raise _wrong("each channel needs a name of its own")
    order = [known_channels[one.found] for one in channels]
    answers = {one.found: one for one in structures}
    settled = tuple(_settled(one, answers.get(one.found), proposal) for one in proposal.structures)
    values: dict[str, int] = {}
    for one in settled:
        if one.value and values.setdefault(one.name, one.value) != one.value:
            raise _wrong(f"“{one.name}” cannot have two values")
    if len(set(values.values())) < len(values):
        raise _wrong("two structures have the same value; give them the same name to join them")
    kept = [case for case in proposal.cases if case.name not in set(leave_out)]
    changed = replace(
        proposal,
        channels=tuple(
            replace(proposal.channels[number], name=name)
            for number, name in zip(order, names, strict=True)
        ),
        structures=settled,
        cases=tuple(
            replace(
                case,
                name=f"case-{number:04d}" if pseudonyms else case.name,
                found=case.found or case.name,
                channels=tuple(case.channels[place] for place in order),
            )
            for number, case in enumerate(kept, start=1)
        ),
    )
    check_labels(changed.labels)
    return changed


def confirm(
    folder: Path,
    proposal: LayoutProposal,
    workspace: Path,
    *,
    progress: Progress = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Confirmation:
    """Make `workspace` the data set that `proposal` describes; the source is only read.

    dataset.json is written last, so that a workspace which has one is complete. What an earlier
    confirmation left in the workspace is removed first.

    Raises:
        SetupProblem: the workspace holds something else, or cannot be written.
        DataProblem: the labels are not what nnU-Net takes, or no case could be used.
        JobFailed: JOB_STOPPED when `stopped` said so; the workspace is then empty.
    """
    check_labels(proposal.labels)
    folder, workspace = folder.absolute(), workspace.absolute()
    if workspace == folder or folder in workspace.parents:
        raise SetupProblem("the workspace must not lie in the folder that is only read")
    _clear(workspace)
    try:
        return _make(folder, proposal, workspace, progress=progress, stopped=stopped)
    except BaseException:  # also when interrupted: half a data set must not stay
        _clear(workspace)
        raise


def _make(
    folder: Path,
    proposal: LayoutProposal,
    workspace: Path,
    *,
    progress: Progress,
    stopped: Callable[[], bool],
) -> Confirmation:
    if proposal.layout == DICOM:
        tree = index(folder, progress=progress, stopped=stopped)
        made = convert(folder, tree, proposal, workspace, progress=progress, stopped=stopped)
        training, findings = made.training, (*made.findings, *_missed(proposal))
        sources = tuple(source_file(folder, path) for path in made.sources)
    else:
        training, findings, sources = _where_they_are(folder, proposal), (), ()
    if not training:
        why = findings[0].sentence if findings else "no case has a label"
        raise DataProblem(f"no case can be used; {why}", code=ErrorCode.NO_CASES)
    confirmation = Confirmation(
        source=str(folder),
        layout=proposal.layout,
        cases=tuple(ConfirmedCase(name=case.name, found=case.found) for case in proposal.cases),
        findings=findings,
        sources=sources,
    )
    write_confirmation(workspace, confirmation)
    description = DatasetDescription(
        channel_names=tuple(one.name for one in proposal.channels),
        labels=proposal.labels,
        file_ending=proposal.file_ending,
    )
    write_atomic(
        workspace / DESCRIPTION_NAME, encode_description(description, training, by_map=True)
    )
    return confirmation


def _wrong(sentence: str) -> DataProblem:
    return DataProblem(sentence, code=ErrorCode.DATASET_DESCRIPTION)


def _settled(
    structure: ProposedStructure, answer: StructureAnswer | None, proposal: LayoutProposal
) -> ProposedStructure:
    if answer is None:
        answer = StructureAnswer(found=structure.found, name=structure.name, value=0)
    if proposal.values_fixed and answer.value != structure.value:
        raise _wrong(
            f"“{structure.found}” has the value {structure.value} in the label files, which are "
            "used as they are"
        )
    name = answer.name.strip()
    if answer.value < 0 or answer.value > 255 or (answer.value and not name):
        raise _wrong(f"“{structure.found}” needs a name, and a value from 0 to 255")
    return replace(structure, name=name or structure.name, value=answer.value)


def _clear(workspace: Path) -> None:
    """Empty a workspace of what was made here; refuse to touch anything else."""
    make_folder(workspace)
    with disk_errors(workspace):
        inside = list(workspace.iterdir())
        strangers = [one.name for one in inside if one.name not in _MADE_HERE]
        if strangers:
            raise SetupProblem(
                f"{workspace} holds files that this program did not make, e.g. {min(strangers)}",
                code=ErrorCode.WORKSPACE,
            )
        for one in sorted(inside, key=lambda path: path.name != DESCRIPTION_NAME):
            if one.is_dir() and not one.is_symlink():
                shutil.rmtree(one)
            else:
                one.unlink()


def _dicom_report(folder: Path, proposal: LayoutProposal) -> ValidationReport:
    labelled = sum(bool(case.labels) for case in proposal.cases)
    if labelled:
        main = Finding(
            check="layout-to-confirm",
            severity=Severity.BLOCKS,
            sentence=f"the folder holds DICOM; {labelled} case(s) with labels were found, which "
            "are converted once you have confirmed what is what",
            remedy="Look at cases, channels and structures, name them, and confirm.",
        )
    else:
        main = Finding(
            check=ErrorCode.NO_CASES.value,
            severity=Severity.BLOCKS,
            sentence="the folder holds DICOM images, but no DICOM SEG, RTSTRUCT or label file "
            "that belongs to one of them",
            remedy="Put the labels into the same folder, with the series they were drawn on.",
        )
    return ValidationReport(
        folder=str(folder),
        cases=labelled,
        content_digest="",
        findings=(main, *_missed(proposal)),
    )


def _missed(proposal: LayoutProposal) -> tuple[Finding, ...]:
    """Name labels and series that belong to no case though somebody may have meant them to."""
    return tuple(
        Finding(
            check="unused-source",
            severity=Severity.MAY_HARM,
            path=one.source.path,
            sentence=f"{Path(one.source.path).name} ({one.source.kind.value}) is not used: "
            f"{one.reason}",
            remedy="Export it again together with its images, or go on without it.",
        )
        for one in proposal.unused
        if one.missed
    )


# Loose files.


def _propose_loose(found: Survey, study: StudyFolder | None) -> LayoutProposal:
    dataset = found.dataset
    description = dataset.description
    cases = tuple(_loose_case(dataset, case) for case in dataset.training)
    channels = description.channel_names
    names = channels
    if study is not None and len(study[0]) == len(channels):
        names = study[0]
    structures = {
        value: ProposedStructure(found=name, name=name, value=value, cases=len(cases))
        for name, value in description.foreground.items()
        if isinstance(value, int)
    }
    for name, value in () if study is None else study[1].items():
        if isinstance(value, int) and value > 0:
            known = structures.get(value)
            structures[value] = (
                ProposedStructure(found=name, name=name, value=value, cases=0)
                if known is None
                else replace(known, name=name)
            )
    return LayoutProposal(
        layout=dataset.layout,
        file_ending=description.file_ending,
        values_fixed=True,
        channels=tuple(
            ProposedChannel(
                found=channel,
                name=name,
                cases=sum(Path(case.channels[number]).exists() for case in dataset.training),
            )
            for number, (channel, name) in enumerate(zip(channels, names, strict=True))
        ),
        structures=tuple(structures[value] for value in sorted(structures)),
        cases=cases,
        unused=tuple(
            UnusedSource(
                source=Source(kind=SourceKind.FILE, path=os.path.relpath(stray.path, dataset.root)),
                reason="it shares its name with no image",
            )
            for stray in found.strays
        ),
    )


def _loose_case(dataset: DatasetFolder, case: Case) -> ProposedCase:
    def source(path: str) -> Source:
        return Source(kind=SourceKind.FILE, path=os.path.relpath(path, dataset.root))

    return ProposedCase(
        name=case.name,
        found=case.name,
        channels=tuple(source(path) for path in case.channels),
        labels=() if case.label is None else (source(case.label),),
    )


def _where_they_are(folder: Path, proposal: LayoutProposal) -> tuple[Case, ...]:
    """List the files of loose cases at their own places; missing ones are left to the check."""
    return tuple(
        Case(
            name=case.name,
            channels=tuple(str(folder / one.path) for one in case.channels if one is not None),
            label=str(folder / case.labels[0].path),
        )
        for case in proposal.cases
        if case.labels
    )
