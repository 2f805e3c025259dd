from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from PySide6.QtCore import Qt

from app.datasets.images import read_volume
from app.ui.presenters.first_steps import (
    DRAGS,
    PURPOSE,
    WISHES,
    FirstStep,
    Gesture,
    region_sentence,
    sample_case,
    things_to_try,
    tool_of,
)
from app.ui.widgets.viewer_keys import BINDINGS, MouseProfile, Tool


def test_every_step_says_what_it_is_for():
    assert set(PURPOSE) == set(FirstStep)


def test_the_sample_case_ships_with_the_program_and_has_its_label():
    paths, names = sample_case()
    assert names == {1: "anterior", 2: "posterior"}
    image, label = read_volume(Path(paths.image)), read_volume(Path(paths.reference))
    assert image.array.shape == label.array.shape
    assert {1, 2} <= set(label.array.ravel().tolist())
    assert paths.channel_names == ("MRI",)


@pytest.mark.parametrize("profile", MouseProfile)
def test_everything_can_be_tried_by_mouse_and_by_keys(profile):
    tries = things_to_try(profile)
    assert {one.gesture for one in tries} == set(Gesture)
    assert set(WISHES.values()) == set(Gesture)
    shown = {binding.shown for binding in BINDINGS}
    for one in tries:
        named = [part for part in shown if part and part in one.keys]
        assert named, one


def test_the_words_follow_the_profile():
    pacs, research = (
        {one.gesture: one.text for one in things_to_try(profile)} for profile in MouseProfile
    )
    assert pacs[Gesture.GREYS] == "Drag with the right button: brightness and contrast"
    assert research[Gesture.GREYS].startswith("Shift and drag with the right button")


def test_a_drag_is_what_the_profile_makes_of_it():
    right, left = Qt.MouseButton.RightButton, Qt.MouseButton.LeftButton
    assert tool_of(MouseProfile.PACS, right, shift=False) is Tool.WINDOW
    assert tool_of(MouseProfile.RESEARCH, right, shift=False) is Tool.ZOOM
    assert tool_of(MouseProfile.RESEARCH, right, shift=True) is Tool.WINDOW
    assert DRAGS[tool_of(MouseProfile.PACS, left, shift=False)] is Gesture.CROSSHAIR
    assert tool_of(MouseProfile.PACS, Qt.MouseButton.BackButton, shift=False) is None


@pytest.mark.parametrize(
    ("hours", "said"), [(1, "(UTC+01:00)"), (-3.5, "(UTC-03:30)"), (0, "(UTC+00:00)")]
)
def test_the_region_is_told_as_it_is(hours, said):
    now = datetime(2026, 11, 24, tzinfo=timezone(timedelta(hours=hours)))
    assert said in region_sentence(now)
    assert region_sentence(now).startswith("The window is in English.")
