from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from app.ui.models.axis import Span, padded, ticks

FINITE = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


def texts(span: Span, most: int, *, whole: bool = False) -> list[str]:
    return [tick.text for tick in ticks(span, most, whole=whole)]


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0.0, 1.0, 5, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.35, 0.38, 4, ["-0.2", "0.0", "0.2"]),
        (0.0011, 0.0102, 3, ["0.005", "0.010"]),
        (1.0, 1000.0, 8, ["200", "400", "600", "800", "1000"]),
        (0.0, 0.00001, 2, ["0", "5e-06", "1e-05"]),
        (0.0, 4e6, 2, ["0", "2e+06", "4e+06"]),
    ],
)
def test_ticks_are_round_numbers_with_the_digits_they_need(low, high, most, expected):
    assert texts(Span(low=low, high=high), most) == expected


def test_no_epoch_lies_between_two_epochs():
    assert texts(Span(low=0.9, high=3.1), 8, whole=True) == ["1", "2", "3"]
    assert "1.5" in texts(Span(low=0.9, high=3.1), 8)


@given(FINITE, FINITE, st.integers(0, 12))
def test_ticks_are_seen_apart_and_not_too_many(one, other, most):
    span = padded(min(one, other), max(one, other), 0.02)
    places = [tick.place for tick in ticks(span, most)]
    assert len(places) <= max(1, most) + 1
    room = 1e-6 * span.width
    assert all(span.low - room <= place <= span.high + room for place in places)
    assert places == sorted(set(places))


@pytest.mark.parametrize("value", [0.0, -0.4, 7.0])
def test_one_value_has_room_around_it(value):
    span = padded(value, value, 0.05)
    assert span.low < value < span.high
