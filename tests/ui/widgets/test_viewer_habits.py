from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QSettings

from app.datasets.geometry import Convention
from app.ui.widgets.viewer_habits import ViewerHabits
from app.ui.widgets.viewer_keys import MouseProfile
from app.ui.widgets.volume_view import VolumeView


def test_habits_are_alike_in_all_viewers_and_the_next_time(qtbot, tmp_path):
    settings = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    first, second, third = (VolumeView() for _ in range(3))
    for made in (first, second, third):
        qtbot.addWidget(made)
    habits = ViewerHabits(settings)
    habits.adopt(first)
    habits.adopt(second)
    first.set_profile(MouseProfile.RESEARCH)
    second.set_convention(Convention.NEUROLOGICAL)
    first.set_style(replace(first.style_in_force, opacity=0.3, fill=False))
    assert second.profile is MouseProfile.RESEARCH
    assert first.convention is Convention.NEUROLOGICAL
    ViewerHabits(settings).adopt(third)
    assert third.profile is MouseProfile.RESEARCH
    assert third.convention is Convention.NEUROLOGICAL
    assert (third.style_in_force.opacity, third.style_in_force.fill) == (0.3, False)


def test_habits_that_nobody_understands_are_left_out(qtbot, tmp_path):
    view = VolumeView()
    qtbot.addWidget(view)
    settings = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    for key in ("mouse", "sides", "opacity", "fill"):
        settings.setValue(f"viewer/{key}", "900")
    style = view.style_in_force
    ViewerHabits(settings).adopt(view)
    assert view.profile is MouseProfile.PACS
    assert view.convention is Convention.RADIOLOGICAL
    assert view.style_in_force == style
