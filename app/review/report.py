"""The report of a review: a CSV table for statistics, one HTML page for people.

Both stay at the site. The page needs no network and no other file: figures are inline SVG.
Numbers are written with a point, whatever the computer's language.
"""

from __future__ import annotations

import base64
import csv
import datetime
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.domain.segmentation import CaseScore, LabelScore, Verdict
from app.review.benefit import LabelBenefit
from app.review.order import worst_first
from app.review.scores import mean_foreground_dice
from app.review.summary import LabelSummary, Spread, summarise
from app.review.verdicts import CaseReview, count_verdicts

CSV_COLUMNS: Final = (
    "case",
    "label",
    "dice",
    "hausdorff95_mm",
    "surface_dice",
    "reference_ml",
    "prediction_ml",
    "reference_components",
    "prediction_components",
    "only_predicted",
    "verdict",
    "reason",
    "reviewer",
    "reviewed_at",
    "comments",
)
# Spreadsheets run cells that begin so as formulas.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1e1e1e; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .8rem; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.badge { border: 1px solid #8a5a00; border-radius: .3rem; padding: 0 .4rem }
img { image-rendering: pixelated; vertical-align: middle }
footer { color: #595959; margin-top: 2rem }
@media (prefers-color-scheme: dark) {
  body { color: #e0e0e0; background: #1e1e1e } th, td { border-color: #444 }
  .badge { border-color: #e69f00 } footer { color: #8c8c8c } }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewReport:
    """What a report is made of. `reviews` has one entry for each case that is scored or seen.

    `pictures` are PNG files by case, shown beside flagged ones; `made_at` is in seconds since
    the epoch.
    """

    title: str
    model_digest: str
    scores: tuple[CaseScore, ...]
    reviews: tuple[CaseReview, ...]
    made_at: float
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    benefit: tuple[LabelBenefit, ...] = ()
    """The shared model against this site's local baseline, where both were scored."""


def csv_report(report: ReviewReport) -> str:
    """Write one row per case and label, worst cases first; cases without scores come last."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    reviews = {review.case: review for review in report.reviews}
    ranked = [one.score for one in worst_first(report.scores)]
    scored = {score.case for score in ranked}
    for score in ranked:
        for label in score.labels:
            review = reviews.get(score.case)
            writer.writerow((_text(score.case), *_label_cells(label), *_review_cells(review)))
    for review in report.reviews:
        if review.case not in scored:
            blank = ("",) * len(_LABEL_FIELDS)
            writer.writerow((_text(review.case), *blank, *_review_cells(review)))
    return written.getvalue()


def html_report(report: ReviewReport) -> str:
    """Write the page: counts of verdicts, figures per label, flagged cases, all cases."""
    mean = mean_foreground_dice(report.scores)
    sections = [
        f"<h1>{html.escape(report.title)}</h1>",
        (
            f"<p>Model <code>{html.escape(report.model_digest[:16])}</code>, "
            f"{len(report.scores)} scored cases, {_time(report.made_at)}. "
            f"Mean foreground Dice: {_figure(mean, 3)}.</p>"
        ),
        _verdict_table(report),
        _label_table(summarise(report.scores)),
        _benefit_table(report.benefit),
        _flagged(report),
        _case_table(report),
        (
            "<footer>For research use only. This page holds names of cases: it stays at the site."
            "</footer>"
        ),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(report.title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body></html>\n"
    )


# Cells of the CSV.

_LABEL_FIELDS: Final = CSV_COLUMNS[1:10]


def _label_cells(label: LabelScore) -> tuple[str, ...]:
    return (
        _text(label.label),
        _figure(label.dice, 6, ""),
        _figure(label.hausdorff95_mm, 6, ""),
        _figure(label.surface_dice, 6, ""),
        _figure(label.reference_ml, 6),
        _figure(label.prediction_ml, 6),
        str(label.reference_components),
        str(label.prediction_components),
        "yes" if label.only_predicted else "no",
    )


def _review_cells(review: CaseReview | None) -> tuple[str, ...]:
    if review is None:
        return (Verdict.UNREVIEWED.value, "", "", "", "")
    decided = review.decided
    return (
        review.verdict.value,
        _text(decided.reason) if decided else "",
        _text(decided.reviewer) if decided else "",
        _time(decided.at) if decided else "",
        _text(" | ".join(entry.comment for entry in review.comments)),
    )


def _text(value: str) -> str:
    """Keep a spreadsheet from running a person's words as a formula."""
    return f"'{value}" if value.startswith(_FORMULA_STARTS) else value


def _figure(value: float | None, digits: int, absent: str = "-") -> str:
    return absent if value is None else f"{value:.{digits}f}"


def _time(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M UTC")


# Parts of the page.


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table; cells are HTML already."""
    first = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    return f"<td>{html.escape(text)}</td>"


def _number_cell(text: str) -> str:
    return f'<td class="number">{html.escape(text)}</td>'


def _verdict_table(report: ReviewReport) -> str:
    counted = count_verdicts(report.reviews)
    rows = [(_cell(verdict.value), _number_cell(str(counted[verdict]))) for verdict in Verdict]
    return "<h2>Verdicts</h2>" + _table(("verdict", "cases"), rows)


def _label_table(summaries: Sequence[LabelSummary]) -> str:
    if not summaries:
        return ""
    rows = [
        (
            _cell(summary.label),
            *_spread_cells(summary.dice, 3),
            _number_cell(_median(summary.hausdorff95_mm, 2)),
            _number_cell(_median(summary.surface_dice, 3)),
            _number_cell(str(summary.missed)),
            _number_cell(str(summary.only_predicted)),
            f"<td>{_histogram(summary)}</td>",
        )
        for summary in summaries
    ]
    head = (
        "label",
        "cases",
        "mean Dice",
        "median",
        "lowest",
        "median HD95 mm",
        "median surface Dice",
        "missed",
        "only predicted",
        "Dice 0 to 1",
    )
    return "<h2>Scores by label</h2>" + _table(head, rows)


def _benefit_table(found: Sequence[LabelBenefit]) -> str:
    if not found:
        return ""
    rows = [
        (
            _cell(one.label),
            _number_cell(str(one.cases)),
            _number_cell(_figure(one.baseline, 3)),
            _number_cell(_figure(one.model, 3)),
            _number_cell(f"{one.gain:+.3f}"),
            _number_cell(f"{one.better} / {len(one.worse)}"),
            '<td><span class="badge">harmed</span></td>' if one.harms else "<td></td>",
        )
        for one in found
    ]
    head = ("label", "cases", "Dice alone", "Dice together", "change", "better / worse", "")
    return "<h2>What the federation brings to this site</h2>" + _table(head, rows)


def _spread_cells(spread: Spread | None, digits: int) -> tuple[str, ...]:
    if spread is None:
        return (_number_cell("0"), *(_number_cell("-") for _ in range(3)))
    figures = (spread.mean, spread.median, spread.lowest)
    return (
        _number_cell(str(spread.cases)),
        *(_number_cell(_figure(value, digits)) for value in figures),
    )


def _median(spread: Spread | None, digits: int) -> str:
    return _figure(None if spread is None else spread.median, digits)


def _histogram(summary: LabelSummary) -> str:
    """Draw cases per tenth of Dice; the numbers are in the title for those who cannot see it."""
    highest = max(*summary.dice_counts, 1)
    bars = "".join(
        f'<rect x="{12 * place}" y="{32 - 32 * count / highest:.1f}" width="10" '
        f'height="{32 * count / highest:.1f}"/>'
        for place, count in enumerate(summary.dice_counts)
    )
    counts = ", ".join(map(str, summary.dice_counts))
    return (
        f'<svg width="120" height="33" role="img" fill="currentColor"><title>cases per tenth of '
        f'Dice: {counts}</title>{bars}<path d="M0 32.5h118" stroke="currentColor"/></svg>'
    )


def _flagged(report: ReviewReport) -> str:
    flagged = [review for review in report.reviews if review.verdict is Verdict.FLAGGED]
    if not flagged:
        return ""
    items = []
    for review in flagged:
        picture = report.pictures.get(review.case)
        image = ""
        if picture is not None:
            image = (
                f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture).decode()}"> '
            )
        reason = review.decided.reason if review.decided else ""
        reviewer = review.decided.reviewer if review.decided else ""
        comments = "".join(
            f"<li>{html.escape(entry.comment)}"
            + (f" (voxel z, y, x: {', '.join(map(str, entry.voxel))})" if entry.voxel else "")
            + "</li>"
            for entry in review.comments
        )
        items.append(
            f"<li>{image}<strong>{html.escape(review.case)}</strong>: "
            f"{html.escape(reason or 'no reason given')} ({html.escape(reviewer)})"
            + (f"<ul>{comments}</ul>" if comments else "")
            + "</li>"
        )
    return f"<h2>Flagged cases</h2><ul>{''.join(items)}</ul>"


def _case_table(report: ReviewReport) -> str:
    if not report.scores:
        return ""
    verdicts = {review.case: review.verdict for review in report.reviews}
    rows = []
    for ranked in worst_first(report.scores):
        badge = "".join(
            f' <span class="badge">{html.escape(label)}: only predicted</span>'
            for label in ranked.only_predicted
        )
        worst = ranked.worst
        rows.append(
            (
                f"<td>{html.escape(ranked.case)}{badge}</td>",
                _number_cell(_figure(ranked.score.mean_dice, 3)),
                _cell(worst.label if worst else "-"),
                _number_cell(_figure(worst.dice if worst else None, 3)),
                _number_cell(_figure(worst.hausdorff95_mm if worst else None, 2)),
                _cell(verdicts.get(ranked.case, Verdict.UNREVIEWED).value),
            )
        )
    head = ("case", "mean Dice", "worst label", "its Dice", "its HD95 mm", "verdict")
    return "<h2>Cases, worst first</h2>" + _table(head, rows)
