"""What a study costs here, in the words that a person reads before joining."""

from __future__ import annotations

import dataclasses

import pytest
from helpers.studies import TERMS

from app.domain.study import Transfer
from app.site.estimates import seconds, size, span, traffic_view
from app.site.state import MeasuredPace

STUDY = dataclasses.replace(
    TERMS, rounds=50, channel_names=("MRI",), transfer=Transfer.INT8, configuration="3d_fullres",
    planner="ExperimentPlanner", epochs_per_round=1, iterations_per_epoch=250,
    validation_iterations=50,
)  # fmt: skip
PACE = MeasuredPace(
    at=0.0, device="cuda", step_s=0.3, validation_step_s=0.1, configuration="3d_fullres",
    planner="ExperimentPlanner", scaled=False, planned=False,
)  # fmt: skip


def test_size_and_end_are_told_before_joining():
    view = traffic_view(STUDY, tensors=None, pace=PACE, now=1_000_000.0)
    assert view.estimated
    assert view.finish_at == pytest.approx(1_000_000.0 + 50 * (250 * 0.3 + 50 * 0.1))
    assert view.sentence.startswith(
        "Each round sends up to 31 MB and receives up to 31 MB (changes, 1 byte a weight). "
        "All 50 rounds move up to 3.3 GB. At this computer's measured pace its training takes "
        "67 minutes: until "
    )


def test_all_folds_are_counted_before_joining():
    five = dataclasses.replace(STUDY, fold="0-4")
    view = traffic_view(five, tensors=None, pace=PACE, now=1_000_000.0)
    assert view.finish_at == pytest.approx(1_000_000.0 + 5 * 50 * (250 * 0.3 + 50 * 0.1))
    assert "All 5 folds of 50 rounds move up to 17 GB." in view.sentence


def test_both_passes_of_a_cascade_are_counted_before_joining():
    cascade = dataclasses.replace(STUDY, fold="0-4", configuration="3d_cascade_fullres")
    pace = changed(PACE, configuration="3d_cascade_fullres")
    view = traffic_view(cascade, tensors=None, pace=pace, now=1_000_000.0)
    assert view.finish_at == pytest.approx(1_000_000.0 + 10 * 50 * (250 * 0.3 + 50 * 0.1))
    assert "All 2 passes of 5 folds of 50 rounds move up to 33 GB." in view.sentence


def test_without_a_measurement_no_date_is_invented():
    for pace in (None, changed(PACE, configuration="2d")):
        view = traffic_view(STUDY, tensors=None, pace=pace, now=0.0)
        assert view.finish_at is None
        assert view.sentence.endswith("How long it takes here can be measured before joining.")


def changed(pace, **changes):
    import msgspec

    return msgspec.structs.replace(pace, **changes)


@pytest.mark.parametrize(("count", "text"), [(0.123, "0.12 s"), (12.3, "12 s")])
def test_seconds_are_words(count, text):
    assert seconds(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (31_300_000, "31 MB"), (5e12, "5.0 TB")],
)
def test_sizes_are_words(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59, "59 seconds"), (150, "2 minutes"), (9000, "2 hours"), (3e5, "3 days")],
)
def test_times_are_words(seconds, text):
    assert span(seconds) == text
