"""What this computer brings to the study: how long it takes here, which cards, how large a step."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from app.control.messages import CalibrationView, DevicesView, Snapshot, TrainingView
from app.ui.presenters.parts import Badge, Fact, Progress, failure_of, progress_of
from app.ui.presenters.speed import speed_of
from app.ui.text import Tone, count, duration, moment, sentence_case

UNMEASURED: Final = (
    "A few steps of training, on this computer and then thrown away, tell how long a round and the "
    "whole study will take here. That needs a minute or two; nothing leaves this site."
)
OWN_PACE: Final = "While a round is trained here its own pace is taken; nothing is to be measured."
CARDS_MEANING: Final = (
    "The patches of each step are shared out to the cards, so a round takes less time. The result "
    "counts the same. A change holds from the next round on; a round under way goes on as it began."
)
_TRAINING: Final = "training"
_TO_THE_SECOND_S: Final = 600
_SHARED: Final = ("auto", "cuda")
"""Devices that stand for all graphics cards; one card or a processor by name is alone."""


class EstimateState(Struct, frozen=True, kw_only=True):
    """How long the study takes here, and how sure that is."""

    sentence: str
    facts: tuple[Fact, ...]
    comparison: str
    """How this speed compares with this computer's history; empty while another card says it."""
    badge: Badge | None
    failure: str
    progress: Progress | None
    button: str
    """What the button says that measures; empty: no button."""


class CardsState(Struct, frozen=True, kw_only=True):
    """The slider for how many graphics cards train: 1 to `most`, now `used`.

    `sentences` says each choice in words, from 1 on.
    """

    used: int
    most: int
    sentences: tuple[str, ...]
    meaning: str


class OfferState(Struct, frozen=True, kw_only=True):
    """A smaller batch after a round that did not fit into memory; no button without a number."""

    key: str
    sentence: str
    remedy: str
    tone: Tone
    button: str
    batch_size: int | None


class BatchState(Struct, frozen=True, kw_only=True):
    """Steps that are smaller than the plan's, and the way back."""

    sentence: str
    button: str


class ComputerState(Struct, frozen=True, kw_only=True):
    """What the card about this computer draws."""

    estimate: EstimateState
    cards: CardsState | None
    batch: BatchState | None


def present_computer(snapshot: Snapshot | None, *, now: float) -> ComputerState | None:
    """Return what the card draws; None before a study is joined, when there is nothing to tell."""
    if snapshot is None or snapshot.federation.study is None:
        return None
    view = snapshot.training
    return ComputerState(
        estimate=estimate_of(view, now=now),
        cards=cards_of(view.devices),
        batch=batch_of(view.devices),
    )


def estimate_of(view: TrainingView, *, now: float) -> EstimateState:
    """Return what is known of how long the study takes here."""
    known, running = view.calibration, progress_of(view.calibration_job)
    begun = bool(view.round or view.epochs or view.steps)
    speed = speed_of(view.speed)
    compared = known is not None and not begun and view.speed.step_s is not None
    # Training's own pace is the better measure, and stands in the sentence about speed.
    own = view.phase == _TRAINING or (known is not None and known.trained)
    button = "" if running is not None or own else "Measure this computer"
    if button and known is not None:
        button = "Measure again"
    return EstimateState(
        sentence=_estimate_sentence(view, now=now),
        facts=() if known is None else estimate_facts(known, now=now),
        comparison=speed.sentence if compared else "",
        badge=speed.badge if compared else None,
        failure=failure_of(view.calibration_job),
        progress=running,
        button=button,
    )


def _estimate_sentence(view: TrainingView, *, now: float) -> str:
    known = view.calibration
    if known is None:
        return OWN_PACE if view.phase == _TRAINING else UNMEASURED
    if known.trained:
        return "By the pace at which this study trains here:"
    when = moment(known.at, now=now)
    if known.rough:
        return (
            f"Roughly, for the study's network was not measured itself: by a measurement of {when} "
            f"on {device_words(known.device)}."
        )
    return f"By a measurement of {when} on {device_words(known.device)}:"


def estimate_facts(known: CalibrationView, *, now: float) -> tuple[Fact, ...]:
    """Return time per epoch, round and study, and when it would end."""
    about = "about " if known.rough else ""
    return (
        Fact(name="One epoch", value=f"{about}{span(known.seconds_per_epoch)}"),
        Fact(name="One round", value=f"{about}{span(known.seconds_per_round)}"),
        Fact(name="What is left of the study", value=f"{about}{span(known.seconds_of_study)}"),
        Fact(
            name="Ends",
            value=f"{about}{moment(known.finish_at, now=now)}, if it trains without a break; "
            "waiting for other sites comes on top",
        ),
    )


def span(seconds: float) -> str:
    """Return a time span; short ones to the second, so that epochs visibly add up to rounds."""
    if not 60 <= seconds < _TO_THE_SECOND_S:
        return duration(seconds)
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def device_words(device: str) -> str:
    """Return a device as a person calls it."""
    if device == "cpu":
        return "the processor"
    if device.startswith("cuda (") and device.endswith(")"):
        return device[6:-1]
    return {"mps": "the Apple graphics unit", "cuda": "the graphics card"}.get(device, device)


def cards_of(view: DevicesView) -> CardsState | None:
    """Return the choice of graphics cards; None where there is nothing to choose.

    No more cards than patches in a step can share it.
    """
    if view.gpus_here < 2 or view.device not in _SHARED:
        return None
    patches = view.batch_size or view.plan_batch_size
    most = min(view.gpus_here, patches) if patches else view.gpus_here
    meaning = CARDS_MEANING
    if most < view.gpus_here:
        one_step = count(patches, "patch", "patches")
        meaning = (
            f"A step has {one_step}, so at most {most} of the {view.gpus_here} cards can share it. "
            f"{meaning}"
        )
    used = min(view.gpus or most, most)
    sentences = tuple(cards_sentence(number, view.gpus_here) for number in range(1, most + 1))
    return CardsState(used=used, most=most, sentences=sentences, meaning=meaning)


def cards_sentence(used: int, here: int) -> str:
    """Return “2 of 4 graphics cards train”."""
    if used == here:
        return "Both graphics cards train" if here == 2 else f"All {here} graphics cards train"
    return f"{used} of {here} graphics cards {'trains' if used == 1 else 'train'}"


def batch_of(view: DevicesView) -> BatchState | None:
    """Return the smaller batch that was chosen, and the way back to the plan's."""
    chosen, planned = view.batch_size, view.plan_batch_size
    if chosen is None or not planned or chosen == planned:
        return None
    return BatchState(
        sentence=f"Each step takes {count(chosen, 'patch', 'patches')} here; the plan says "
        f"{planned}. That needs less memory and learns a little less evenly."
        if chosen < planned
        else f"Each step takes {count(chosen, 'patch', 'patches')} here; the plan says {planned}.",
        button=f"Back to {planned}",
    )


def offer_of(view: DevicesView) -> OfferState | None:
    """Return the offer of a smaller batch after a round that did not fit into memory."""
    if not view.sentence:
        return None
    offered = view.offered_batch_size
    return OfferState(
        key="smaller-batch",
        sentence=sentence_case(view.sentence),
        remedy=""
        if offered is None
        else "It holds from the next round on, at this site only; you can go back at any time.",
        tone=Tone.WARNING,
        button="" if offered is None else f"Train with steps of {offered}",
        batch_size=offered,
    )
