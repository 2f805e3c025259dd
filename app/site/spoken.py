"""Spans and points of time as a person says them, in the words of this site's sentences."""

from __future__ import annotations

from datetime import UTC, datetime


def span(seconds: float) -> str:
    """Return “40 seconds”, “2 minutes”, “3 hours”, “2 days”."""
    if seconds < 0.95:
        return "less than a second"
    for size, noun, below in ((1, "second", 90), (60, "minute", 90), (3600, "hour", 48)):
        number = round(seconds / size)
        if number < below:
            return _count(number, noun)
    return _count(round(seconds / 86_400), "day")


def ago(seconds: float) -> str:
    """Return “just now” or “3 minutes ago”."""
    return "just now" if seconds < 5 else f"{span(seconds)} ago"


def time_of_day(seconds: float, *, now: float) -> str:
    """Return a point in time in this computer's zone; with its day when that is not today."""
    then, today = (datetime.fromtimestamp(at, UTC).astimezone() for at in (seconds, now))
    if then.date() == today.date():
        return then.strftime("%H:%M")
    return f"{then.strftime('%H:%M')} on {then.day} {then.strftime('%b')}"


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
