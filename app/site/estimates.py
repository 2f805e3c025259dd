"""What a study costs this site, in words: bytes on its line, and days of its computer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from app.control.messages import TrafficView
from app.domain.rounds import TensorSpec
from app.domain.study import StudyTerms, Transfer
from app.federation.traffic import duration, traffic
from app.site.state import MeasuredPace

_PRECISION: Final = {
    Transfer.FP32: "4 bytes a weight",
    Transfer.FP16: "changes, 2 bytes a weight",
    Transfer.INT8: "changes, 1 byte a weight",
}


def traffic_view(
    terms: StudyTerms,
    *,
    tensors: Sequence[Sequence[TensorSpec]] | None,
    pace: MeasuredPace | None,
    now: float,
    rounds_left: int | None = None,
) -> TrafficView:
    """Return what a study moves over this site's line and when it would end.

    `tensors` are those of the plan's network, or of each pass's; None before there is a plan. `pace`
    is this computer's.
    """
    moved = traffic(terms, *(tensors or ()))
    folds = f"{len(terms.folds)} folds of " if len(terms.folds) > 1 else ""
    if len(terms.passes) > 1:
        folds = f"{len(terms.passes)} passes of {folds}"
    rounds = f"{folds}{terms.rounds} round{'s' if terms.rounds > 1 else ''}"
    upto = "up to " if tensors is None else ""
    sentence = (
        f"Each round sends {upto}{size(moved.round_up)} and receives {upto}{size(moved.round_down)} "
        f"({_PRECISION[terms.transfer]}). All {rounds} move {upto}"
        f"{size(moved.study_up + moved.study_down)}."
    )
    finish: float | None = None
    if pace is not None and pace.fits(terms):
        lasts = duration(
            terms,
            step_s=pace.step_s,
            validation_step_s=pace.validation_step_s,
            rounds_left=rounds_left,
        )
        finish = now + lasts.study_s
        day = time.strftime("%d %B %Y", time.localtime(finish))
        sentence += (
            f" At this computer's measured pace its training takes {span(lasts.study_s)}: until "
            f"{day} if it begins now. Waiting for other sites comes on top."
        )
    else:
        sentence += " How long it takes here can be measured before joining."
    return TrafficView(
        transfer=terms.transfer.value,
        round_up=moved.round_up,
        round_down=moved.round_down,
        study_up=moved.study_up,
        study_down=moved.study_down,
        estimated=tensors is None,
        sentence=sentence,
        finish_at=finish,
    )


def size(count: int) -> str:
    """Return bytes as a person reads them, in powers of ten as networks are sold."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:.1f} {unit}"


def seconds(count: float) -> str:
    """Return seconds as a person reads them."""
    return f"{count:.2g} s" if count < 10 else f"{count:.0f} s"


def span(count: float) -> str:
    """Return a length of time in its largest unit of which there are at least two."""
    for unit, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if count >= 2 * unit:
            return f"{count / unit:.0f} {name}"
    return f"{count:.0f} seconds"
