from __future__ import annotations

import pytest

from app.ui import text
from app.ui.text import Page


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (-3, "–"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3570, "1 h"),
        (5400, "1 h 30 min"),
        (200_000, "2 days 7 h"),
        (6 * 86_400, "6 days"),
    ],
)
def test_duration_is_said_as_a_person_says_it(seconds, said):
    assert text.duration(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "no cases"), (1, "1 case"), (24, "24 cases"), (12_345, "12\u00a0345 cases")],
)
def test_count_bends_its_noun(number, said):
    assert text.count(number, "case") == said


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (22_400_000, "22.4 MB"),
        (7 * 10**12, "7000.0 GB"),
    ],
)
def test_size_uses_decimal_units(amount, said):
    assert text.size(amount) == said


def test_undefined_figures_are_a_dash():
    assert text.figure(None) == "–"
    assert text.figure(0.12345, 2) == "0.12"


def test_triple():
    assert text.triple((1.0, 1.0, 1.2), 2) == "1.00 × 1.00 × 1.20"
    assert text.triple((40, 56, 40)) == "40 × 56 × 40"


def test_moment_tells_the_day_only_when_it_is_another_one(monkeypatch):
    noon = 1_795_435_200.0
    assert ":" in text.moment(noon, now=noon + 60)
    assert len(text.moment(noon, now=noon + 60)) == 5
    assert "2026" in text.moment(noon, now=noon + 3 * 86_400)
    assert "2026" in text.moment(noon)


def test_lists_and_titles():
    assert text.listed(()) == ""
    assert text.listed(("a",)) == "a"
    assert text.listed(("a", "b", "c")) == "a, b and c"
    assert text.site_title("north-hospital") == "North hospital"
    assert text.sentence_case("") == ""


def test_every_page_has_a_purpose_in_a_sentence():
    assert set(text.PURPOSE) == set(Page)
    assert all(sentence.endswith(".") for sentence in text.PURPOSE.values())


def test_no_jargon_and_no_promise_of_diagnosis():
    said = " ".join(
        value.casefold()
        for name, value in vars(text).items()
        if isinstance(value, str) and name.isupper()
    )
    for word in ("diagnos", "tensor", "websocket", "json", "null", "epoch", "sha-"):
        assert word not in said, word


def test_a_length_names_passes_and_folds_where_there_are_several():
    assert text.length(1, 1) == "1 round"
    assert text.length(50, 5) == "5 folds of 10 rounds"
    assert text.length(100, 5, 2) == "2 passes of 5 folds of 10 rounds"
