"""Parts that several view states share."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from app.control.messages import JobView, LinkState
from app.ui.text import Tone, duration, sentence_case

LINK_WORDS: Final = {
    LinkState.NONE: ("No study", Tone.NEUTRAL),
    LinkState.CONNECTING: ("Connecting", Tone.INFO),
    LinkState.PENDING: ("Waits for approval", Tone.WARNING),
    LinkState.CONNECTED: ("Connected", Tone.GOOD),
    LinkState.OFFLINE: ("Offline, trying again", Tone.WARNING),
    LinkState.REFUSED: ("Refused", Tone.DANGER),
}


class Fact(Struct, frozen=True, kw_only=True):
    """A name and what it is, as one line of a card."""

    name: str
    value: str
    hint: str = ""


class Badge(Struct, frozen=True, kw_only=True):
    """A word with a tone."""

    text: str
    tone: Tone = Tone.NEUTRAL


class Progress(Struct, frozen=True, kw_only=True):
    """Something that runs: a sentence, its share done (None: not known), and how to stop it."""

    sentence: str
    share: float | None
    stops: str = ""
    """Kind of job that its Stop button stops; empty: no button."""


class Curve(Struct, frozen=True, kw_only=True):
    """One line of a plot; `x` ascends. `points` marks single values instead of joining them.

    `like` names the line of the same plot whose colour this one shares.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    dashed: bool = False
    points: bool = False
    like: str = ""


class Histogram(Struct, frozen=True, kw_only=True):
    """Bars: `edges` has one entry more than `counts`."""

    label: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[float, ...]


def progress_of(job: JobView | None) -> Progress | None:
    """Return the progress of a running job, None when nothing runs."""
    if job is None or not job.running:
        return None
    what = sentence_case(job.what or f"{job.kind} is running")
    if job.total > 0:
        share = min(1.0, job.done / job.total)
        left = "" if job.seconds_left is None else f", about {duration(job.seconds_left)} left"
        sentence = f"{what}: {job.done} of {job.total}{left}"
        return Progress(sentence=sentence, share=share, stops=job.kind)
    return Progress(sentence=f"{what}…", share=None, stops=job.kind)


def failure_of(job: JobView | None) -> str:
    """Return how the last job failed, empty when it did not."""
    if job is None or job.running or not job.failed:
        return ""
    return sentence_case(job.outcome)
