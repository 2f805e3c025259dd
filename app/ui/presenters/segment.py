"""Segment: which model, which cases, how; what ran so far; and training without the federation."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import Struct

from app.control.messages import (
    BaselineView,
    ModelInspection,
    ModelView,
    ReviewView,
    RunState,
    RunView,
    Snapshot,
)
from app.domain.segmentation import CaseScore, CaseSource, ModelKind
from app.ui import text
from app.ui.models.rows import Cell, Column, Row, Table, number, words
from app.ui.presenters.parts import Progress, failure_of, progress_of
from app.ui.text import Tone, count, duration, figure, listed, moment, sentence_case

KIND_WORDS: Final = {
    ModelKind.FINAL: "Final model of the study",
    ModelKind.BEST: "Best average on this site's validation cases",
    ModelKind.ROUND: "Present average of the study",
    ModelKind.PERSONAL: "Personalised for this site",
    ModelKind.BASELINE: "Local baseline, trained here alone",
    ModelKind.FILE: "Model file",
}
_ORDER: Final = {kind: place for place, kind in enumerate(KIND_WORDS)}
_STATE_WORDS: Final = {
    RunState.RUNNING: ("Running", Tone.INFO, "play"),
    RunState.UNFINISHED: ("Unfinished", Tone.WARNING, "pause"),
    RunState.DONE: ("Done", Tone.GOOD, "check"),
}
RUN_COLUMNS: Final = (
    Column(title="Model", stretches=True),
    Column(title="Cases"),
    Column(title="Dice", hint="Mean overlap with the references, 1 is perfect", figures=True),
    Column(title="State"),
)
CASE_COLUMNS: Final = (
    Column(title="Case", stretches=True),
    Column(title="State"),
    Column(title="Dice", hint="Mean overlap with the reference, 1 is perfect", figures=True),
    Column(title="Files", hint="Every segmentation is a NIfTI file; of DICOM also a DICOM SEG"),
)


class ModelOption(Struct, frozen=True, kw_only=True):
    """A model that can be chosen; `detail` tells what it is."""

    title: str
    path: str
    detail: str


class SourceOption(Struct, frozen=True, kw_only=True):
    """Which cases can be chosen; of a folder the page asks."""

    title: str
    source: CaseSource
    usable: bool
    hint: str


class DeviceOption(Struct, frozen=True, kw_only=True):
    """What to compute on."""

    title: str
    device: str


class SegmentWish(Struct, frozen=True, kw_only=True):
    """Everything that a run needs; `folder` is empty but for a folder."""

    model: str
    source: CaseSource
    folder: str
    mirroring: bool
    device: str


class RunDetail(Struct, frozen=True, kw_only=True):
    """One run with its cases; `resume` is the wish that goes on with it."""

    serial: int
    title: str
    facts: str
    outcome: str
    state: RunState
    cases: Table
    resume: SegmentWish
    reviewable: bool
    output: str


class Inspected(Struct, frozen=True, kw_only=True):
    """What a look at a model file found."""

    path: str
    title: str
    sentence: str
    remedy: str
    usable: bool


class BaselineState(Struct, frozen=True, kw_only=True):
    """The card about training without the federation; no button once it is trained."""

    sentence: str
    button: str
    enabled: bool
    progress: Progress | None
    failure: str


class SegmentState(Struct, frozen=True, kw_only=True):
    """What the Segment page draws."""

    attached: bool
    models: tuple[ModelOption, ...]
    sources: tuple[SourceOption, ...]
    devices: tuple[DeviceOption, ...]
    inspected: Inspected | None
    progress: Progress | None
    failure: str
    ready: bool
    runs: Table
    details: tuple[RunDetail, ...]
    baseline: BaselineState

    def detail(self, serial: str) -> RunDetail | None:
        """Return one run by its key in the table."""
        return next((one for one in self.details if str(one.serial) == serial), None)


def present_segment(snapshot: Snapshot | None) -> SegmentState:
    """Return what the Segment page draws for a snapshot (None: not attached)."""
    view = snapshot.review if snapshot is not None else ReviewView()
    job = view.job
    details = tuple(_detail(run) for run in reversed(view.runs))
    return SegmentState(
        attached=snapshot is not None,
        models=tuple(
            ModelOption(title=model_title(model), path=model.path, detail=_model_detail(model))
            for model in sorted(view.models, key=lambda one: (_ORDER[one.kind], -one.round))
        ),
        sources=_sources(view),
        devices=_devices(snapshot),
        inspected=None if view.inspected is None else _inspected(view.inspected),
        progress=progress_of(job),
        failure=failure_of(job) if job is None or job.kind != "inspect" else "",
        ready=snapshot is not None and progress_of(job) is None,
        runs=Table(
            columns=RUN_COLUMNS,
            rows=tuple(_run_row(run) for run in reversed(view.runs)),
            empty=text.EMPTY_RUNS,
        ),
        details=details,
        baseline=_baseline(view.baseline),
    )


def model_title(model: ModelView) -> str:
    """Return how a model is called in lists: what it is, and which round of the study made it."""
    if model.kind is ModelKind.FILE:
        return model.name
    if model.kind in (ModelKind.ROUND, ModelKind.BEST) and model.round:
        return f"{KIND_WORDS[model.kind]} (after round {model.round})"
    return KIND_WORDS[model.kind]


def run_title(run: RunView) -> str:
    """Return how a run is called in lists."""
    return f"{model_title(run.model)}, {_cases_words(run)}"


def mean_dice(scores: tuple[CaseScore, ...]) -> float | None:
    """Return the mean over cases of their mean Dice, where it is defined."""
    defined = [score.mean_dice for score in scores if score.mean_dice is not None]
    return sum(defined) / len(defined) if defined else None


def _model_detail(model: ModelView) -> str:
    if model.kind is ModelKind.ROUND:
        return "What all sites have learned so far; it changes with every round."
    if model.kind is ModelKind.PERSONAL:
        return "The shared model, trained on by this site alone in its last round."
    if model.kind is ModelKind.BASELINE:
        return "By the study's plan and for as long, but on this site's cases only."
    if model.kind is ModelKind.FILE:
        return model.path
    return sentence_case(model.name)


def _sources(view: ReviewView) -> tuple[SourceOption, ...]:
    return (
        SourceOption(
            title=f"Held-out cases ({view.held_out})",
            source=CaseSource.HELD_OUT,
            usable=view.held_out > 0,
            hint="Cases of your folder on which nobody trains (imagesTs)."
            if view.held_out
            else "Your folder has no held-out cases (imagesTs).",
        ),
        SourceOption(
            title=f"Validation cases ({view.validation})",
            source=CaseSource.VALIDATION,
            usable=view.validation > 0,
            hint="Labelled cases that the study's fold keeps out of training at this site."
            if view.validation
            else "The study's fold keeps no case of this site out of training.",
        ),
        SourceOption(
            title="A folder or DICOM series",
            source=CaseSource.FOLDER,
            usable=True,
            hint="Images as NIfTI, NRRD or MHA, or DICOM series. The folder is only read.",
        ),
    )


def _devices(snapshot: Snapshot | None) -> tuple[DeviceOption, ...]:
    samples = snapshot.training.samples if snapshot is not None else ()
    cards = samples[-1].cards if samples else ()
    return (
        DeviceOption(title="Automatic", device=""),
        *(
            DeviceOption(title=f"Graphics card: {card.name}", device=f"cuda:{place}")
            for place, card in enumerate(cards)
        ),
        DeviceOption(title="Processor only (slow)", device="cpu"),
    )


def _inspected(found: ModelInspection) -> Inspected:
    name = Path(found.path).name
    if found.problem:
        return Inspected(
            path=found.path,
            title=name,
            sentence=f"{name} is not used: {found.problem}.",
            remedy=found.remedy,
            usable=False,
        )
    folds = count(found.folds, "trained fold")
    return Inspected(
        path=found.path,
        title=name,
        sentence=f"{name}: finds {listed(found.labels)} in {listed(found.channels)} images "
        f"({found.configuration}, {folds}). Nothing in the file was run.",
        remedy="",
        usable=True,
    )


def _cases_words(run: RunView) -> str:
    number_of = len(run.cases) or len(run.results)
    match run.source:
        case CaseSource.HELD_OUT:
            return count(number_of, "held-out case")
        case CaseSource.VALIDATION:
            return count(number_of, "validation case")
        case CaseSource.FOLDER:
            where = Path(run.folder or "").name
            return f"{count(number_of, 'case')} of {where}" if number_of else where


def _run_row(run: RunView) -> Row:
    state, tone, icon = _STATE_WORDS[run.state]
    if run.state is not RunState.DONE and run.cases:
        state = f"{state}: {len(run.results)} of {len(run.cases)}"
    mean = mean_dice(run.scores)
    mirrored = ", mirrored" if run.mirroring else ""
    return Row(
        key=str(run.serial),
        group=run.state.value,
        cells=(
            words(model_title(run.model) + mirrored, hint=run.model.path),
            words(_cases_words(run), hint=run.folder or ""),
            number(mean, figure(mean, 2)),
            Cell(text=state, order=state, tone=tone, icon=icon, hint=sentence_case(run.outcome)),
        ),
    )


def _detail(run: RunView) -> RunDetail:
    done = {result.case: result for result in run.results}
    scores = {score.case: score for score in run.scores}
    rows = []
    waiting_began = False
    for case in run.cases or tuple(done):
        result = done.get(case)
        origin = run.origins.get(case, "")
        mean = scores[case].mean_dice if case in scores else None
        if result is None:
            running = run.state is RunState.RUNNING and not waiting_began
            waiting_began = True
            state = Cell(
                text="In work" if running else "Waiting",
                order=1 if running else 2,
                tone=Tone.INFO if running else None,
            )
            files = ""
        else:
            remark = "; ".join(map(sentence_case, result.warnings))
            state = Cell(
                text=remark or "Done",
                order=0,
                tone=Tone.WARNING if remark else Tone.GOOD,
                icon="warning" if remark else "check",
                hint=remark,
            )
            files = "NIfTI, DICOM SEG" if result.dicom_seg else "NIfTI"
        rows.append(
            Row(
                key=case,
                group=run.state.value,
                cells=(
                    words(f"{case}  ({origin})" if origin else case, hint=origin),
                    state,
                    number(mean, figure(mean, 2)),
                    words(files),
                ),
            )
        )
    return RunDetail(
        serial=run.serial,
        title=model_title(run.model),
        facts=f"{sentence_case(_cases_words(run))}, "
        f"{'with' if run.mirroring else 'without'} mirroring, "
        f"begun {moment(run.begun_at)}",
        outcome=sentence_case(run.outcome),
        state=run.state,
        cases=Table(
            columns=CASE_COLUMNS,
            rows=tuple(rows),
            empty="The cases are being looked for."
            if run.state is RunState.RUNNING
            else "No case was found before it ended.",
        ),
        resume=SegmentWish(
            model=run.model.path,
            source=run.source,
            folder=run.folder or "",
            mirroring=run.mirroring,
            device=run.device,
        ),
        reviewable=bool(run.results),
        output=run.output,
    )


def _baseline(view: BaselineView) -> BaselineState:
    progress = progress_of(view.job)
    left = view.total_epochs - view.epoch
    if view.done:
        sentence = (
            "This site's baseline is trained. Segment the same cases with it and with the study's "
            "model; Review then shows, structure by structure, what the federation brings here."
        )
    elif progress is not None:
        sentence = f"{view.epoch} of {count(view.total_epochs, 'epoch')} trained. " + _time(view)
    elif view.epoch:
        sentence = (
            f"{view.epoch} of {count(view.total_epochs, 'epoch')} are trained, {left} are left."
        )
    else:
        sentence = (
            "Train by the study's plan and for as long, but on this site's cases alone. Only then "
            "can you see whether the federation helps or harms here. Nothing of it leaves this site."
        )
    if not view.offered and not view.done and progress is None and view.why_not:
        sentence = f"{sentence} Not now: {view.why_not}."
    return BaselineState(
        sentence=sentence.strip(),
        button=""
        if view.done
        else "Go on with the local baseline"
        if view.epoch
        else "Train the local baseline",
        enabled=view.offered and progress is None,
        progress=progress,
        failure=failure_of(view.job),
    )


def _time(view: BaselineView) -> str:
    if not view.epochs:
        return ""
    recent = [record.seconds for record in view.epochs[-10:]]
    left = (view.total_epochs - view.epoch) * sum(recent) / len(recent)
    return f"About {duration(left)} left."
