"""What the federation brings to this site: local baseline, shared and personalised model, per label."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from app.control.messages import ReviewView, RunState, RunView
from app.domain.segmentation import CaseSource, ModelKind
from app.review.benefit import LabelBenefit, compare
from app.ui.models.rows import Cell, Column, Row, Table, number, words
from app.ui.text import Tone, count, figure, listed, sentence_case

BENEFIT_COLUMNS: Final = (
    Column(title="Structure", stretches=True),
    Column(title="Cases", hint="Cases that both models were scored on", figures=True),
    Column(title="Alone", hint="Mean Dice of the local baseline, trained here alone", figures=True),
    Column(title="Together", hint="Mean Dice of the study's shared model", figures=True),
    Column(title="Change", hint="Together minus alone", figures=True),
    Column(
        title="Better / worse",
        hint="Cases that the shared model segments better or worse by more than 0.02 Dice",
    ),
    Column(title="Personalised", hint="Mean Dice of the model trained on here", figures=True),
    Column(title="Change", hint="Personalised minus alone", figures=True),
)
_SHARED: Final = (ModelKind.FINAL, ModelKind.BEST, ModelKind.ROUND)
_MOST_NAMED: Final = 3
_WITHOUT_PERSONAL: Final = (
    "Segment the same cases with the personalised model too, to see whether it does better here."
)
_SOURCE_WORDS: Final = {
    CaseSource.HELD_OUT: "held-out cases",
    CaseSource.VALIDATION: "validation cases",
    CaseSource.FOLDER: "cases of a folder",
}


class BenefitState(Struct, frozen=True, kw_only=True):
    """The comparison. `missing` says what must be segmented first, empty when nothing."""

    title: str
    table: Table
    warnings: tuple[str, ...]
    verdict: str
    tone: Tone
    missing: str


def present_benefit(view: ReviewView) -> BenefitState | None:
    """Compare the newest runs over the same cases; None where no model of the study is there."""
    kinds = {model.kind for model in view.models}
    if not kinds & {*_SHARED, ModelKind.BASELINE}:
        return None
    for source in (CaseSource.HELD_OUT, CaseSource.VALIDATION, CaseSource.FOLDER):
        baseline = _newest(view, source, (ModelKind.BASELINE,))
        shared = _newest(view, source, _SHARED)
        if baseline is not None and shared is not None:
            own = _newest(view, source, (ModelKind.PERSONAL,))
            state = _compared(source, baseline, shared, own)
            if own is None and ModelKind.PERSONAL in kinds:
                return replace(state, missing=_WITHOUT_PERSONAL)
            return state
    return BenefitState(
        title="What the federation brings here",
        table=Table(columns=BENEFIT_COLUMNS, empty="There is nothing to compare yet."),
        warnings=(),
        verdict="",
        tone=Tone.NEUTRAL,
        missing=_missing(view, kinds),
    )


def compared_labels(view: ReviewView) -> tuple[LabelBenefit, ...]:
    """Return the comparison of the shared model with the baseline, for the report."""
    for source in CaseSource:
        baseline = _newest(view, source, (ModelKind.BASELINE,))
        shared = _newest(view, source, _SHARED)
        if baseline is not None and shared is not None:
            return compare(baseline.scores, shared.scores)
    return ()


def _newest(view: ReviewView, source: CaseSource, kinds: tuple[ModelKind, ...]) -> RunView | None:
    """Return the newest finished run of the first of these kinds that has one."""
    for kind in kinds:
        for run in reversed(view.runs):
            if (
                run.source is source
                and run.model.kind is kind
                and run.state is RunState.DONE
                and run.scores
            ):
                return run
    return None


def _missing(view: ReviewView, kinds: set[ModelKind]) -> str:
    if ModelKind.BASELINE not in kinds:
        return (
            "Only a model that was trained here alone can tell whether the federation helps this "
            "site. Train the local baseline on the Segment page when the study is over or paused."
        )
    if not kinds & set(_SHARED):
        return "The study has no shared model yet."
    where = "held-out cases" if view.held_out else "validation cases"
    return (
        f"Segment the same {where} with the local baseline and with the study's model on the "
        "Segment page; the comparison then stands here."
    )


def _compared(
    source: CaseSource, baseline: RunView, shared: RunView, own: RunView | None
) -> BenefitState:
    together = compare(baseline.scores, shared.scores)
    personal = (
        {} if own is None else {one.label: one for one in compare(baseline.scores, own.scores)}
    )
    harmed = tuple(one for one in together if one.harms)
    warnings = tuple(_warning(one, "the federation") for one in together if one.harms or one.worse)
    saved = [one.label for one in harmed if one.label in personal and not personal[one.label].harms]
    if saved:
        warnings = (
            *warnings,
            f"The personalised model does not lose at {listed(tuple(saved))}; consider it here.",
        )
    return BenefitState(
        title=f"What the federation brings here, on {_SOURCE_WORDS[source]}",
        table=Table(
            columns=BENEFIT_COLUMNS,
            rows=tuple(_row(one, personal.get(one.label)) for one in together),
            empty="No structure was scored by both models.",
        ),
        warnings=warnings,
        verdict=_verdict(together, harmed),
        tone=Tone.WARNING if harmed else Tone.GOOD,
        missing="",
    )


def _verdict(together: tuple[LabelBenefit, ...], harmed: tuple[LabelBenefit, ...]) -> str:
    if not together:
        return ""
    if harmed:
        names = listed(tuple(one.label for one in harmed))
        others = len(together) - len(harmed)
        rest = ""
        if others == 1:
            rest = " The other structure gains or stays as good."
        elif others:
            rest = f" The other {others} structures gain or stay as good."
        return f"The federation harms {names} at this site.{rest}"
    if any(one.worse for one in together):
        return "The federation helps this site, but not in every case."
    if all(one.better == 0 for one in together):
        return "The federation makes no difference that can be seen on these cases."
    return "The federation helps this site, or does not harm it, in every structure."


def _warning(one: LabelBenefit, what: str) -> str:
    """Name the cases that lost most: a mean over them hides that they did."""
    named = ", ".join(
        f"{case.case} {case.baseline:.2f} to {case.model:.2f}" for case in one.worse[:_MOST_NAMED]
    )
    rest = len(one.worse) - _MOST_NAMED
    more = f" and {count(rest, 'more case')}" if rest > 0 else ""
    sentence = f"{sentence_case(one.label)}: {what} is worse in {len(one.worse)} of {one.cases}"
    if not one.worse:
        return f"{sentence_case(one.label)}: {what} loses {-one.gain:.2f} Dice on the mean."
    return f"{sentence} cases ({named}{more})."


def _row(one: LabelBenefit, own: LabelBenefit | None) -> Row:
    return Row(
        key=one.label,
        group="harm" if one.harms else "",
        cells=(
            words(
                sentence_case(one.label),
                tone=Tone.WARNING if one.harms else None,
                icon="warning" if one.harms else "",
            ),
            number(one.cases, str(one.cases)),
            number(one.baseline, figure(one.baseline, 3)),
            number(one.model, figure(one.model, 3)),
            _gain(one),
            Cell(text=f"{one.better} / {len(one.worse)}", order=one.better - len(one.worse)),
            number(None if own is None else own.model, figure(own.model if own else None, 3)),
            _gain(own),
        ),
    )


def _gain(one: LabelBenefit | None) -> Cell:
    if one is None:
        return number(None)
    tone = Tone.WARNING if one.harms else Tone.GOOD if one.gain > 0 else None
    return Cell(text=f"{one.gain:+.3f}", order=one.gain, tone=tone)
