"""The real window on a running service, used through its pages as a person does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from app.control.messages import Snapshot
from app.domain.segmentation import CaseSource
from app.system.clock import SystemClock
from app.ui.bridge import ServiceBridge
from app.ui.main import make_application
from app.ui.presenters.desk import Desk
from app.ui.text import Page
from app.ui.theme import Look, Theme
from app.ui.window import Window

WITHIN_S = 300.0


class LiveWindow:
    """A window attached to the service of `home`, which must run and is left running."""

    def __init__(self, home: Path, settings: Path) -> None:
        self._bridge = ServiceBridge(home, start_service=lambda _home: None)
        self._desk = Desk(self._bridge, clock=SystemClock())
        self._bridge.snapshot_changed.connect(lambda _snapshot: self._desk.changed.emit())
        self.window = Window(
            Look(make_application(), Theme.DARK),
            QSettings(str(settings), QSettings.Format.IniFormat),
        )
        self.window.attach(self._desk)
        self.window.show()
        self._bridge.open()
        self.until(lambda: self._bridge.snapshot is not None, "attached")

    @property
    def snapshot(self) -> Snapshot:
        """What the window knows of the site."""
        assert self._bridge.snapshot is not None
        return self._bridge.snapshot

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Let the window live until something holds."""
        last = time.monotonic() + WITHIN_S
        while not holds():
            assert time.monotonic() < last, f"not {what} within {WITHIN_S:g} s"
            QApplication.processEvents()
            time.sleep(0.02)

    def train_baseline(self) -> None:
        """Press the button of the Segment page and wait until the model is there."""
        self.window.go_to(Page.SEGMENT)
        page = self.window.page_widget(Page.SEGMENT)
        self.until(page._baseline.isEnabled, "offered the local baseline")
        page._baseline.click()
        self.until(lambda: self.snapshot.review.baseline.done, "trained")

    def segment_held_out(self, model: str) -> None:
        """Choose a model by what the Segment page calls it, and wait for the scores of its cases."""
        self.window.go_to(Page.SEGMENT)
        page = self.window.page_widget(Page.SEGMENT)

        def place() -> int:
            titles = [page._model.itemText(row) for row in range(page._model.count())]
            return next((row for row, title in enumerate(titles) if model in title), -1)

        self.until(lambda: place() >= 0, f"offered {model!r}")
        page._model.setCurrentIndex(place())
        page.choose_source(CaseSource.HELD_OUT)
        page._mirroring.setChecked(False)
        self.until(page._begin.isEnabled, "ready to segment")
        before = len(self.snapshot.review.runs)
        page._begin.click()
        self.until(
            lambda: (
                len(runs := self.snapshot.review.runs) > before
                and len(runs[-1].scores) == len(runs[-1].cases) > 0
                and not (self.snapshot.review.job and self.snapshot.review.job.running)
            ),
            "segmented and scored",
        )

    def benefit(self) -> list[list[str]]:
        """Open the comparison on the Review page and return what its table says."""
        self.window.go_to(Page.REVIEW)
        page = self.window.page_widget(Page.REVIEW)
        self.until(lambda: not page._compare.isHidden(), "able to compare")
        page._compare.click()
        table = page._benefit_table
        self.until(table.isVisible, "shown the comparison")
        model = table.model()
        return [
            [str(model.index(row, column).data()) for column in range(model.columnCount())]
            for row in range(model.rowCount())
        ]

    def close(self) -> None:
        """Close window and bridge; the service goes on."""
        self.window.close()
        self._bridge.close()
        self.window.deleteLater()
        QApplication.processEvents()
