from __future__ import annotations

from dataclasses import replace

import pytest

from app.control.messages import SpeedView
from app.site.speed import SpeedFacts, speed_view, with_epoch
from app.site.state import PaceEntry, PaceHistory

FACTS = SpeedFacts(key="plan cpu 2", step_s=2.0, steps=20, began_at=100.0)
A100 = replace(
    FACTS,
    card="NVIDIA A100-PCIE-40GB",
    planner="ExperimentPlanner",
    configuration="3d_fullres",
    step_s=0.13,
)


def entries(*seconds, key=FACTS.key, at=50.0):
    return PaceHistory(items=tuple(PaceEntry(key=key, step_s=one, at=at) for one in seconds))


@pytest.mark.parametrize(
    ("step_s", "verdict"), [(2.0, "usual"), (2.4, "usual"), (2.6, "slow"), (1.7, "usual"), (1.5, "fast")]
)  # fmt: skip
def test_the_own_history_judges(step_s, verdict):
    view = speed_view(replace(FACTS, step_s=step_s), entries(1.9, 2.0, 9.0))
    assert (view.verdict, view.usual_s, view.step_s) == (verdict, 2.0, step_s)
    assert f"A step takes {step_s:.2g} s; usual on this computer are 2 s" in view.sentence
    assert ("slows it down" in view.sentence) == (verdict == "slow")


@pytest.mark.parametrize(
    "history",
    [
        entries(2.0, 2.0),
        entries(1.0, 1.0, 1.0, key="plan cuda 2"),
        entries(1.0, 1.0, 1.0, at=200.0),
    ],
    ids=["too few", "another device", "this very session"],
)
def test_what_cannot_be_compared_is_not(history):
    view = speed_view(FACTS, history)
    assert (view.verdict, view.usual_s) == ("unknown", None)
    assert "After some epochs" in view.sentence


def test_nothing_is_said_of_the_first_steps():
    assert speed_view(replace(FACTS, steps=4), entries(1.0, 1.0, 1.0)) == SpeedView()


@pytest.mark.parametrize(
    ("card", "planner", "expected"),
    [
        ("NVIDIA A100-PCIE-40GB", "ExperimentPlanner", 0.12),
        ("NVIDIA A100-SXM4-80GB", "nnUNetPlannerResEncL", 0.12 * 35 / 9),
        ("NVIDIA GeForce RTX 2080 Ti", "ExperimentPlanner", 0.12 * 2.71),
        ("Tesla V100-SXM2-32GB", "ExperimentPlanner", 0.12 * 1.67),
        ("Tesla V100-PCIE-16GB", "ExperimentPlanner", 0.12 * 1.9),
        ("NVIDIA GeForce GTX 1050", "ExperimentPlanner", None),
        ("NVIDIA A100-PCIE-40GB", "AnotherPlanner", None),
        ("", "ExperimentPlanner", None),
    ],
)
def test_the_table_knows_cards_and_planners(card, planner, expected):
    view = speed_view(replace(A100, card=card, planner=planner), PaceHistory(items=()))
    assert view.table_s == (None if expected is None else pytest.approx(expected))


def test_a_card_that_is_far_slower_than_its_like_is_told():
    view = speed_view(replace(A100, step_s=0.5), PaceHistory(items=()))
    assert view.verdict == "slow"
    assert view.sentence.startswith(
        "A step takes 0.5 s; nnU-Net's makers needed about 0.12 s on such a card."
    )
    assert speed_view(A100, PaceHistory(items=())).verdict == "unknown"
    # What this computer itself has shown counts more.
    assert speed_view(replace(A100, step_s=0.5), entries(0.5, 0.5, 0.5)).verdict == "usual"
    assert speed_view(replace(A100, configuration="2d"), PaceHistory(items=())).table_s is None


def test_the_history_is_bounded_by_kind_and_as_a_whole():
    history = PaceHistory(items=())
    for number in range(60):
        history = with_epoch(history, PaceEntry(key="one", step_s=float(number), at=0.0))
    assert [item.step_s for item in history.items] == [float(n) for n in range(10, 60)]
    for number in range(600):
        history = with_epoch(history, PaceEntry(key=str(number), step_s=1.0, at=0.0))
    assert len(history.items) == 500
