"""The real Review page over real images and a real verdict store, driven by keys alone.

As a program it judges case after case and says on its standard output what it pressed, before the
key and after it, so that whoever kills it knows what must be on the disk:

    python tests/helpers/review_window.py HOME CASES
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    here = Path(__file__).resolve()
    sys.path[:0] = [str(here.parents[1]), str(here.parents[2])]

from helpers import snapshots
from helpers.window_desk import RecordedService, StillClock
from msgspec import structs
from PySide6.QtCore import QSettings, Qt
from PySide6.QtTest import QTest

from app.control.messages import Snapshot
from app.domain.segmentation import CaseScore, LabelScore
from app.ui.presenters.desk import Desk
from app.ui.presenters.verdicts import SiteVerdicts
from app.ui.text import Page
from app.ui.theme import Look, Theme
from app.ui.window import Window

MODEL = "6" * 64
KEYS = (Qt.Key.Key_A, Qt.Key.Key_F, Qt.Key.Key_A, Qt.Key.Key_C)


def many(count: int) -> Snapshot:
    """A finished study whose held-out cases stand there several times, each a little better."""
    base = snapshots.finished()
    own = base.review.runs[-1]
    results, scores = [], []
    for number in range(count):
        one = own.results[number % len(own.results)]
        case = f"case_{number:03d}"
        results.append(replace(one, case=case, model_digest=MODEL))
        dice = 0.2 + 0.7 * number / count
        label = LabelScore(
            label="anterior", dice=dice, hausdorff95_mm=3.0, surface_dice=dice, reference_ml=1.6,
            prediction_ml=1.5, reference_components=1, prediction_components=1,
        )  # fmt: skip
        scores.append(CaseScore(case=case, labels=(label,)))
    run = structs.replace(
        own,
        results=tuple(results),
        scores=tuple(scores),
        cases=tuple(one.case for one in results),
    )
    return structs.replace(base, review=structs.replace(base.review, runs=(run,)))


class ReviewWindow:
    """A window on many cases; `press` is a key of a person who has no mouse."""

    def __init__(self, look: Look, home: Path, count: int, settings: QSettings) -> None:
        self.book = SiteVerdicts(home, clock=StillClock(snapshots.NOW))
        self.service = RecordedService(many(count))
        self.desk = Desk(self.service, clock=StillClock(snapshots.NOW), verdicts=self.book)
        self.window = Window(look, settings)
        self.window.resize(1280, 820)
        self.window.attach(self.desk)
        self.window.show()
        self.window.activateWindow()
        QTest.qWaitForWindowActive(self.window, 20_000)
        QTest.keyClick(self.window, Qt.Key.Key_7, Qt.KeyboardModifier.ControlModifier)
        self.page = self.window.page_widget(Page.REVIEW)

    def press(
        self, key: Qt.Key, modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
    ) -> None:
        """Press a key wherever the focus is: in a menu, a line to type in, or the page."""
        menu = self.page._reasons
        target = menu if menu.isVisible() else self.window.focusWidget() or self.window
        QTest.keyClick(target, key, modifiers)

    def type(self, words: str) -> None:
        """Type into whatever has the focus."""
        QTest.keyClicks(self.window.focusWidget(), words)

    @property
    def case(self) -> str:
        """The case on screen."""
        return self.page._shown.case

    def close(self) -> None:
        """Close window and store."""
        self.window.close()
        self.book.close()


def main() -> int:
    from app.ui.main import make_application

    home, count = Path(sys.argv[1]), int(sys.argv[2])
    application = make_application()
    settings = QSettings(str(home / "window.ini"), QSettings.Format.IniFormat)
    shown = ReviewWindow(Look(application, Theme.DARK), home, count, settings)

    def say(*words: str) -> None:
        sys.stdout.write(" ".join(words) + "\n")
        sys.stdout.flush()

    say("ready")
    for number in range(count):
        case, key = shown.case, KEYS[number % len(KEYS)]
        say("pressing", case)
        match key:
            case Qt.Key.Key_A:
                shown.press(key)
            case Qt.Key.Key_F:
                shown.press(key)
                shown.press(Qt.Key.Key_2)
            case _:
                shown.press(key)
                shown.type("border unclear")
                shown.press(Qt.Key.Key_Return)
                shown.press(Qt.Key.Key_N)
        say("pressed", case, {Qt.Key.Key_A: "accepted", Qt.Key.Key_F: "flagged"}.get(key, "said"))
    say("done")
    shown.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
