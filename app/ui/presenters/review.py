"""Review: cases worst first, their scores, and what a person said of each."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Final

from msgspec import Struct

from app.control.messages import ReviewView, RunView, Snapshot
from app.domain.dataset import BACKGROUND, IGNORE
from app.domain.segmentation import CaseScore, LabelScore, SegmentationResult, Verdict
from app.review.errors import ErrorComponent, ErrorKind
from app.review.order import OUTLIER_SIGMAS, volume_outliers, worst_first
from app.ui import text
from app.ui.models.pictures import PictureWish
from app.ui.models.rows import Cell, Column, Row, Table, number, words
from app.ui.presenters.benefit import BenefitState, present_benefit
from app.ui.presenters.parts import Badge, Fact, progress_of
from app.ui.presenters.segment import run_title
from app.ui.text import NOTHING, Tone, count, figure, sentence_case

VERDICT_WORDS: Final = {
    Verdict.UNREVIEWED: ("To review", Tone.NEUTRAL, ""),
    Verdict.ACCEPTED: ("Accepted", Tone.GOOD, "check"),
    Verdict.FLAGGED: ("Flagged", Tone.WARNING, "flag"),
}
LESION_WORDS: Final = {ErrorKind.MISSED: "missed", ErrorKind.ADDED: "too much"}
CASE_COLUMNS: Final = (
    Column(title="Case", stretches=True),
    Column(title="Dice", hint="Mean overlap with the reference, 1 is perfect", figures=True),
    Column(title="Verdict"),
)
VOLUME_COLUMNS: Final = (
    Column(title="Case", stretches=True),
    Column(title="Volume", hint="Whether the volumes are unusual among the cases of this list"),
    Column(title="Verdict"),
)
SCORE_COLUMNS: Final = (
    Column(title="Structure", stretches=True),
    Column(title="Dice", hint="Overlap with the reference, 1 is perfect", figures=True),
    Column(
        title="HD95",
        hint="95 % of the surface lies within this distance (mm)",
        figures=True,
    ),
    Column(
        title="Surf.",
        hint="Share of the surface within 1 mm of the reference's, 1 is perfect",
        figures=True,
    ),
)


class Opinion(Struct, frozen=True, kw_only=True):
    """What a person said of one case; `reason` is why it was flagged."""

    verdict: Verdict = Verdict.UNREVIEWED
    comment: str = ""
    reason: str = ""

    @property
    def words(self) -> str:
        """Reason and comment in one line."""
        return ". ".join(filter(None, (self.reason, self.comment)))


class RunChoice(Struct, frozen=True, kw_only=True):
    """A run whose segmentations can be reviewed."""

    title: str
    serial: int


class LabelEntry(Struct, frozen=True, kw_only=True):
    """One structure of the legend; `value` is its voxel value (the first one of a region)."""

    name: str
    value: int


class CaseDetail(Struct, frozen=True, kw_only=True):
    """The case that the viewer shows; `worst` names the structure that is most wrong."""

    case: str
    title: str
    channels: tuple[str, ...]
    prediction: str
    reference: str | None
    scores: Table
    badges: tuple[Badge, ...]
    warnings: tuple[str, ...]
    opinion: Opinion
    worst: str = ""
    picture: PictureWish | None = None


class ReviewState(Struct, frozen=True, kw_only=True):
    """What the Review page draws."""

    attached: bool
    runs: tuple[RunChoice, ...]
    """Newest first."""
    shown: int | None
    """Serial of the run that is shown."""
    can_report: bool
    empty: str
    empty_hint: str
    cases: Table
    summary: str
    facts: tuple[Fact, ...]
    labels: tuple[LabelEntry, ...]
    details: tuple[CaseDetail, ...]
    """In the order of the list."""
    others: tuple[RunChoice, ...] = ()
    """Runs that segmented the same images, to look at a case by turns or side by side."""
    benefit: BenefitState | None = None
    """None while nothing can be compared and nothing is missing for it."""

    def detail(self, case: str) -> CaseDetail | None:
        """Return one case's detail."""
        return next((detail for detail in self.details if detail.case == case), None)


def run_shown(view: ReviewView, serial: int | None) -> RunView | None:
    """Return the run with this serial, else the newest that has segmentations."""
    with_results = [run for run in view.runs if run.results]
    chosen = next((run for run in with_results if run.serial == serial), None)
    return chosen or (with_results[-1] if with_results else None)


def structures_of(run: RunView | None) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return what is judged in a run: names and voxel values."""
    return tuple(
        (name, value if isinstance(value, tuple) else (value,))
        for name, value in ({} if run is None else run.labels).items()
        if name not in (BACKGROUND, IGNORE)
    )


def present_review(
    snapshot: Snapshot | None,
    opinions: Mapping[str, Opinion] | None = None,
    *,
    serial: int | None = None,
) -> ReviewState:
    """Return what the Review page draws of a run (None: the newest).

    `opinions` come from the verdict store, by case.
    """
    view = snapshot.review if snapshot is not None else ReviewView()
    said = opinions or {}
    run = run_shown(view, serial)
    run_scores = () if run is None else run.scores
    scores = {score.case: score for score in run_scores}
    odd = _odd_volumes(run)
    results = () if run is None else run.results
    place = {one.case: number for number, one in enumerate(worst_first(run_scores))}
    last = len(place)
    ordered = sorted(
        results,
        # Scored cases first, worst of all; then those without a reference, the oddest first.
        key=lambda one: (place.get(one.case, last), -odd.get(one.case, _USUAL).sigmas, one.case),
    )
    progress = progress_of(view.job)
    referenced = bool(run_scores) or any(result.reference for result in results)
    details = tuple(
        _detail(
            result,
            scores.get(result.case),
            odd.get(result.case, _USUAL),
            said.get(result.case, Opinion()),
        )
        for result in ordered
    )
    return ReviewState(
        attached=snapshot is not None,
        runs=tuple(
            RunChoice(title=run_title(one), serial=one.serial)
            for one in reversed(view.runs)
            if one.results
        ),
        shown=None if run is None else run.serial,
        can_report=bool(details) and progress is None,
        empty=text.SEGMENTING if progress is not None else text.EMPTY_REVIEW,
        empty_hint=text.EMPTY_REVIEW_HINT,
        cases=Table(
            columns=CASE_COLUMNS if referenced else VOLUME_COLUMNS,
            rows=tuple(
                _case_row(
                    detail,
                    scores.get(detail.case),
                    None if referenced else odd.get(detail.case, _USUAL),
                )
                for detail in details
            ),
            empty=text.EMPTY_REVIEW,
        ),
        summary=_summary(details),
        facts=_facts(tuple(scores[d.case] for d in details if d.case in scores)),
        labels=tuple(
            LabelEntry(
                name=sentence_case(name), value=value[0] if isinstance(value, tuple) else value
            )
            for name, value in ({} if run is None else run.labels).items()
            if name not in (BACKGROUND, IGNORE)
        ),
        details=details,
        others=_others(view, run),
        benefit=present_benefit(view),
    )


def _others(view: ReviewView, run: RunView | None) -> tuple[RunChoice, ...]:
    if run is None:
        return ()
    images = {result.channels for result in run.results}
    return tuple(
        RunChoice(title=run_title(one), serial=one.serial)
        for one in reversed(view.runs)
        if one.serial != run.serial and any(result.channels in images for result in one.results)
    )


class OddVolume(Struct, frozen=True, kw_only=True):
    """How unusual a case's volumes are among those of its run."""

    sigmas: float
    sentences: tuple[str, ...] = ()


_USUAL: Final = OddVolume(sigmas=0.0)
_FEWEST_TO_COMPARE: Final = 4
"""Of fewer cases nobody can say what is usual."""


def _odd_volumes(run: RunView | None) -> dict[str, OddVolume]:
    """Compare the volumes of a run's cases; only those without a reference need it."""
    if run is None or len(run.volumes) < _FEWEST_TO_COMPARE:
        return {}
    volumes = {one.case: {label.label: label.ml for label in one.labels} for one in run.volumes}
    usual = {
        label: median([own[label] for own in volumes.values()])
        for label in next(iter(volumes.values()))
    }
    found: dict[str, OddVolume] = {}
    for one in volume_outliers(volumes):
        before = found.get(one.case, _USUAL)
        sentences = before.sentences
        if one.sigmas >= OUTLIER_SIGMAS:
            name = sentence_case(one.label)
            sentences = (
                *sentences,
                f"{name}: {one.prediction_ml:.1f} ml, usual here is {usual[one.label]:.1f} ml",
            )
        found[one.case] = OddVolume(sigmas=max(before.sigmas, one.sigmas), sentences=sentences)
    return found


def _detail(
    result: SegmentationResult, score: CaseScore | None, odd: OddVolume, opinion: Opinion
) -> CaseDetail:
    badges = [Badge(text=sentence, tone=Tone.WARNING) for sentence in odd.sentences]
    for label in score.labels if score is not None else ():
        name = sentence_case(label.label)
        if label.only_predicted:
            badges.append(Badge(text=f"{name}: not in the reference", tone=Tone.WARNING))
        elif label.reference_ml > 0 and label.prediction_ml == 0:
            badges.append(Badge(text=f"{name}: missed", tone=Tone.DANGER))
        elif label.prediction_components > label.reference_components >= 1:
            badges.append(
                Badge(
                    text=f"{name}: {label.prediction_components} pieces",
                    tone=Tone.NEUTRAL,
                )
            )
    rows = tuple(_score_row(label) for label in score.labels) if score is not None else ()
    ranked = worst_first((score,))[0] if score is not None else None
    return CaseDetail(
        case=result.case,
        title=result.case,
        channels=result.channels,
        prediction=result.prediction,
        reference=result.reference,
        scores=Table(
            columns=SCORE_COLUMNS,
            rows=rows,
            empty="No scores: this case has no reference labels."
            if result.reference is None
            else "The scores are being computed.",
        ),
        badges=tuple(badges),
        warnings=tuple(map(sentence_case, result.warnings)),
        opinion=opinion,
        worst=ranked.worst.label if ranked is not None and ranked.worst is not None else "",
        picture=PictureWish(
            case=result.case,
            image=result.channels[0],
            label=result.prediction,
            version=result.model_digest,
        )
        if result.channels
        else None,
    )


def _score_row(label: LabelScore) -> Row:
    return Row(
        key=label.label,
        cells=(
            words(sentence_case(label.label)),
            number(label.dice, figure(label.dice, 2)),
            number(label.hausdorff95_mm, figure(label.hausdorff95_mm, 1)),
            number(label.surface_dice, figure(label.surface_dice, 2)),
        ),
    )


def _case_row(detail: CaseDetail, score: CaseScore | None, odd: OddVolume | None) -> Row:
    """Return a row of the list; `odd` stands in the place of scores where no case has any."""
    verdict, tone, icon = VERDICT_WORDS[detail.opinion.verdict]
    mean = score.mean_dice if score is not None else None
    hint = detail.opinion.words or "; ".join(badge.text for badge in detail.badges)
    alarming = any(badge.tone in (Tone.WARNING, Tone.DANGER) for badge in detail.badges)
    figure_cell = number(mean, figure(mean, 2))
    if odd is not None:
        unusual = bool(odd.sentences)
        figure_cell = Cell(
            text="Unusual" if unusual else "Usual",
            order=-odd.sigmas,
            tone=Tone.WARNING if unusual else None,
            hint="; ".join(odd.sentences),
        )
    return Row(
        key=detail.case,
        group=verdict,
        cells=(
            words(
                detail.title,
                hint=hint,
                tone=Tone.WARNING if alarming else None,
                icon="warning" if alarming else "",
            ),
            figure_cell,
            Cell(text=verdict, order=verdict, tone=tone, icon=icon, hint=detail.opinion.words),
        ),
    )


def _summary(details: tuple[CaseDetail, ...]) -> str:
    if not details:
        return ""
    judged = sum(detail.opinion.verdict is not Verdict.UNREVIEWED for detail in details)
    flagged = sum(detail.opinion.verdict is Verdict.FLAGGED for detail in details)
    sentence = f"{judged} of {count(len(details), 'case')} reviewed"
    return f"{sentence}, {flagged} flagged" if flagged else sentence


def _facts(scores: tuple[CaseScore, ...]) -> tuple[Fact, ...]:
    by_label: dict[str, list[float]] = {}
    for score in scores:
        for label in score.labels:
            values = by_label.setdefault(label.label, [])
            if label.dice is not None:
                values.append(label.dice)
    return tuple(
        Fact(
            name=f"Mean Dice, {name}",
            value=figure(sum(values) / len(values), 2) if values else NOTHING,
        )
        for name, values in by_label.items()
    )


def lesion_words(lesions: tuple[ErrorComponent, ...], number: int, *, compared: bool) -> str:
    """Say where one is among the errors (or parts, without a reference) of a case.

    `number` -1 means that none was looked at yet.
    """
    if not lesions:
        return ""
    noun = "error" if compared else "part"
    if number < 0:
        return f"{sentence_case(count(len(lesions), noun))}, L for the largest"
    one = lesions[number]
    kind = f", {LESION_WORDS[one.kind]}" if compared else ""
    return (
        f"{sentence_case(noun)} {number + 1} of {len(lesions)}: "
        f"{sentence_case(one.label)}{kind}, {one.ml:.2f} ml"
    )


def neighbour(
    order: tuple[str, ...], current: str, step: int, *, without: frozenset[str] = frozenset()
) -> str | None:
    """Return the next (`step` 1) or previous (-1) case that is not in `without`, None at the end."""
    if current not in order:
        return next((case for case in order if case not in without), None)
    position = order.index(current) + step
    while 0 <= position < len(order):
        if order[position] not in without:
            return order[position]
        position += step
    return None
