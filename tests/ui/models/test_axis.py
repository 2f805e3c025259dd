from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from app.ui.models.axis import Span, decade_ticks, even_ticks

FINITE = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


def texts(ticks):
    return [tick.text for tick in ticks]


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
def test_even_ticks_are_round_numbers_with_the_digits_they_need(low, high, most, expected):
    assert texts(even_ticks(Span(low=low, high=high), most)) == expected


def test_no_epoch_lies_between_two_epochs():
    assert texts(even_ticks(Span(low=0.9, high=3.1), 8, whole=True)) == ["1", "2", "3"]
    assert "1.5" in texts(even_ticks(Span(low=0.9, high=3.1), 8))


@given(FINITE, FINITE, st.integers(1, 12))
def test_even_ticks_are_seen_apart_and_not_too_many(one, other, most):
    span = Span(low=min(one, other), high=max(one, other)).padded(0.02)
    places = [tick.place for tick in even_ticks(span, most)]
    assert len(places) <= most + 1
    assert all(span.low - 1e-6 * span.width <= place <= span.high * (1 + 1e-6) + 1e-6 * span.width
               for place in places)  # fmt: skip
    assert places == sorted(set(places))


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0.0, 3.0, 8, ["1", "2", "5", "10", "20", "50", "100", "200", "500", "1000"]),
        (-3.0, 3.0, 3, ["0.001", "1", "1000"]),
        (0.1, 0.9, 4, ["2", "4", "6"]),
    ],
)
def test_ticks_of_a_logarithmic_axis(low, high, most, expected):
    ticks = decade_ticks(Span(low=low, high=high), most)
    assert texts(ticks) == expected
    assert [10**tick.place for tick in ticks] == pytest.approx([float(text) for text in expected])


def test_zoom_keeps_its_place_and_moves_stay_within_the_whole():
    whole = Span(low=0.0, high=100.0)
    near = whole.zoomed(4, about=20.0)
    assert (near.low, near.high) == (15.0, 40.0)
    assert near.share(20.0) == whole.share(20.0)
    assert Span(low=-10.0, high=15.0).within(whole) == Span(low=0.0, high=25.0)
    assert Span(low=90.0, high=115.0).within(whole) == Span(low=75.0, high=100.0)
    assert Span(low=-10.0, high=200.0).within(whole) == whole


def test_one_value_has_room_around_it():
    for value in (0.0, -0.4, 7.0):
        span = Span(low=value, high=value).padded(0.05)
        assert span.low < value < span.high
