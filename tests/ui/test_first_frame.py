import pytest
from PySide6.QtGui import QColor, QPixmap
from PySide6.QtWidgets import QMainWindow

from app.domain.errors import SetupProblem
from app.ui import first_frame
from app.ui.first_frame import show_bare, show_once


def test_the_real_window_comes_up_with_something_in_it(qapp):
    frame = show_once()
    assert frame.platform == qapp.platformName()
    assert frame.width > 600
    assert frame.colours > 20
    assert frame.seconds > 0


def test_an_empty_window_has_nothing_in_it(qapp):
    assert show_bare().colours < 8


def test_a_window_that_comes_up_empty_is_a_finding(qapp, monkeypatch):
    monkeypatch.setattr(first_frame, "_colours", lambda _: 1)
    with pytest.raises(SetupProblem, match="came up empty"):
        show_once()


def test_a_window_that_never_comes_is_a_finding(qapp, monkeypatch):
    monkeypatch.setattr(first_frame, "_PATIENCE_MS", 1)
    window = QMainWindow()
    with pytest.raises(SetupProblem, match="did not come up within"):
        first_frame._frame_of(window, window.windowTitleChanged)  # which never changes


def test_colours_are_counted(qapp):
    picture = QPixmap(50, 50)
    picture.fill(QColor("red"))
    assert first_frame._colours(picture) == 1
