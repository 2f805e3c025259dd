"""What tests of the window share: the look, a window on a recorded service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers import snapshots
from helpers.window_desk import MemoryBook, RecordedService, StillClock
from PySide6.QtCore import QCoreApplication, QEvent, QSettings
from PySide6.QtWidgets import QApplication, QWidget

from app.control.messages import Snapshot
from app.ui.main import make_application
from app.ui.presenters.desk import Desk
from app.ui.text import Page
from app.ui.theme import Look, Theme
from app.ui.widgets import plotting
from app.ui.window import Asking, Window


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The offscreen platform says so of smallest sizes, of windows that come to the front, and of a
    # tray that it has not.
    quiet = pytest.mark.qt_log_ignore(
        r"This plugin does not support (propagateSizeHints|raise|grabbing)",
        r"No such signal QPlatformNativeInterface::systemTrayWindowChanged",
    )
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(quiet)


@pytest.fixture(scope="session")
def qapp() -> QApplication:
    """The application as `main` makes it, so that tests see the real scale policy and style."""
    # Else the first plot of a session would be a first picture for a moment.
    plotting.load()
    return make_application()


@pytest.fixture(scope="session")
def _one_look(qapp: QApplication) -> Look:
    return Look(qapp, Theme.DARK)


@pytest.fixture
def look(_one_look: Look) -> Look:
    """The look, dark at first."""
    _one_look.choose(Theme.DARK)
    return _one_look


@pytest.fixture(autouse=True)
def _widgets_gone(qapp: QApplication) -> Iterator[None]:
    """Delete what pytest-qt closed: without a loop, deleteLater waits for ever."""
    yield
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@dataclass(kw_only=True)
class Answers:
    """What a test's operator answers when the window asks."""

    folder: str = ""
    file: str = ""
    save: str = ""
    sure: bool = True
    choice: str = ""
    closing: tuple[bool, bool] = (True, False)
    asked: list[str] = field(default_factory=list)
    """Sentences and costs that were shown before an answer."""


@dataclass(kw_only=True)
class Shown:
    """A window with everything behind it."""

    window: Window
    desk: Desk
    service: RecordedService
    book: MemoryBook
    answers: Answers
    settings: QSettings

    def show(self, snapshot: Snapshot | None, *, away: str = "") -> None:
        """Let the service tell another snapshot and draw it at once."""
        self.service.snapshot, self.service.away = snapshot, away
        self.window._draw()

    def page(self, page: Page) -> QWidget:
        self.window.go_to(page)
        return self.window.page_widget(page)


@pytest.fixture
def open_window(qtbot, look, tmp_path) -> Callable[..., Shown]:
    """Open windows on recorded snapshots: ``open_window(snapshot)``."""

    def opened(
        snapshot: Snapshot | None = None, *, away: str = "", sites: tuple[str, ...] = ("North",)
    ) -> Shown:
        settings = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
        answers = Answers()
        asking = Asking(
            folder=lambda _parent, _title: answers.folder,
            file=lambda _parent, _title, _kinds: answers.file,
            save=lambda _parent, _title, _suggested, _kinds: answers.save,
            sure=lambda _parent, _title, sentence: answers.asked.append(sentence) or answers.sure,
            closing=lambda _parent, sentence: answers.asked.append(sentence) or answers.closing,
            choice=lambda _parent, _title, options: (
                answers.asked.extend(cost for _, _, cost in options) or answers.choice
            ),
        )
        service = RecordedService(snapshot, away)
        book = MemoryBook()
        window = Window(look, settings, sites=sites, asking=asking)
        qtbot.addWidget(window)
        desk = Desk(service, clock=StillClock(snapshots.NOW), verdicts=book)
        desk.setParent(window)
        window.attach(desk)
        window.show()
        return Shown(
            window=window,
            desk=desk,
            service=service,
            book=book,
            answers=answers,
            settings=settings,
        )

    return opened
