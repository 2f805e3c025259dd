"""The sites of a study and its closed rounds, as tables: for Federation and for Training."""

from __future__ import annotations

from typing import Final

from app.control.messages import FederationView, SiteRow, StudyView
from app.domain.folds import place_in
from app.ui import text
from app.ui.models.rows import Cell, Column, Row, Table, number, words
from app.ui.text import NOTHING, Tone, duration, figure, listed, moment, sentence_case, site_title

SITE_COLUMNS: Final = (
    Column(title="Site"),
    Column(title="Link"),
    Column(title="What it does", stretches=True),
    Column(title="Cases", figures=True),
    Column(title="Round", figures=True),
    Column(title="Progress", figures=True),
    Column(title="Last heard", figures=True),
)
ABSENT_AFTER_S: Final = 180
DOING_TONES: Final = {
    "delivered": Tone.GOOD,
    "failed": Tone.DANGER,
    "absent": Tone.WARNING,
    "paused": Tone.WARNING,
}


def sites_table(view: FederationView, *, now: float | None = None) -> Table:
    """Return one row per site of the study, this one named as such; `now` shortens times."""
    return Table(
        columns=SITE_COLUMNS,
        rows=tuple(_site_row(site, view.study, now) for site in view.sites),
        empty=text.EMPTY_SITES,
    )


def _doing(site: SiteRow, now: float | None) -> Cell:
    """Return what a site does, the troubled ones last when sorted."""
    if site.absent_since is not None:
        since = moment(site.absent_since, now=now)
        return Cell(text=f"Absent since {since}", order="z", tone=Tone.WARNING, icon="warning")
    tone = DOING_TONES.get(site.doing)
    text = sentence_case(site.doing or site.state)
    icon = "check" if site.doing == "delivered" else ""
    return Cell(text=text, order=text.casefold(), tone=tone, icon=icon)


def _round_words(number: int, study: StudyView | None) -> str:
    """Return a round's number, or the round within its fold, and the pass and fold."""
    if study is None or study.folds == study.stages == 1:
        return str(number)
    return place_in(study, number).short


def _site_row(site: SiteRow, study: StudyView | None, now: float | None) -> Row:
    name = site_title(site.name) + (" (this site)" if site.here else "")
    if site.connected:
        link = Cell(text="Connected", order=0.0, tone=Tone.GOOD, icon="check")
    else:
        link = Cell(text="Away", order=1.0, tone=Tone.WARNING, icon="warning")
    share = (site.step / site.steps) if site.steps else None
    if site.epoch and site.steps:
        progress = Cell(
            text=f"Epoch {site.epoch}, {site.step}/{site.steps}",
            order=site.epoch + (share or 0.0),
        )
    else:
        progress = Cell(text=NOTHING, order=None)
    late = site.silent_s >= ABSENT_AFTER_S
    return Row(
        key=site.name,
        cells=(
            words(name),
            link,
            _doing(site, now),
            number(float(site.cases), str(site.cases)) if site.cases else number(None),
            number(float(site.round), _round_words(site.round, study))
            if site.round
            else number(None),
            progress,
            number(
                float(site.silent_s),
                "now" if site.silent_s < 10 else f"{duration(site.silent_s)} ago",
                tone=Tone.WARNING if late else None,
            ),
        ),
    )


def rounds_table(view: FederationView) -> Table:
    """Return one row per closed round, newest first."""
    labels = view.study.labels if view.study is not None else ()
    columns = (
        Column(title="Round", figures=True),
        Column(title="Sites in the average", stretches=True),
        Column(title="Training loss", figures=True),
        Column(title="Validation loss", figures=True),
        Column(
            title="Held-out Dice",
            hint="The average on whole cases that no site trained on, over all sites and labels. "
            "It comes with the next round.",
            figures=True,
        ),
        *(
            Column(
                title=f"{sentence_case(label)} *",
                hint=f"Overlap with the labels (pseudo-Dice). {text.ESTIMATE}.",
                figures=True,
            )
            for label in labels
        ),
    )
    rows = []
    for closed in sorted(view.rounds, key=lambda row: -row.number):
        dice = (*closed.pseudo_dice, *([None] * len(labels)))[: len(labels)]
        known = [value for value in closed.held_out_dice if value is not None]
        held_out = sum(known) / len(known) if known else None
        rows.append(
            Row(
                key=str(closed.number),
                cells=(
                    number(float(closed.number), _round_words(closed.number, view.study)),
                    words(listed(tuple(map(site_title, closed.contributors)))),
                    number(closed.train_loss, figure(closed.train_loss)),
                    number(closed.validation_loss, figure(closed.validation_loss)),
                    number(held_out, figure(held_out, 3)),
                    *(number(value, figure(value, 2)) for value in dice),
                ),
            )
        )
    return Table(columns=columns, rows=tuple(rows), empty=text.EMPTY_ROUNDS)
