from __future__ import annotations

from datetime import datetime

import pytest

from app.site.spoken import ago, span, time_of_day


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "less than a second"),
        (1, "1 second"),
        (89, "89 seconds"),
        (95, "2 minutes"),
        (60 * 89, "89 minutes"),
        (3600 * 3, "3 hours"),
        (86_400 * 3, "3 days"),
    ],
)
def test_spans_are_rounded_as_people_round_them(seconds, words):
    assert span(seconds) == words


def test_what_has_just_been_is_just_now():
    assert ago(3) == "just now"
    assert ago(180) == "3 minutes ago"


def test_a_day_is_named_only_when_it_is_another():
    now = datetime(2026, 11, 24, 12, 0).astimezone().timestamp()
    assert time_of_day(now - 3600, now=now) == "11:00"
    assert time_of_day(now - 24 * 3600, now=now) == "12:00 on 23 Nov"
