"""The real window for one frame: does it come up on this computer, and how soon?"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from PySide6.QtCore import QEventLoop, QSettings, Qt, QTimer, Signal, SignalInstance
from PySide6.QtGui import QGuiApplication, QPixmap
from PySide6.QtWidgets import QMainWindow, QWidget

from app.domain.errors import ErrorCode, SetupProblem
from app.system.clock import SystemClock
from app.ui.main import make_application
from app.ui.theme import Look, Theme
from app.ui.window import Window

_PATIENCE_MS: Final = 60_000
_LATE: Final = 1
_FEWEST_COLOURS: Final = 8
_LOOKED_AT: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstFrame:
    """A window that came up: `seconds` since this process was started, `platform` as Qt names it."""

    seconds: float
    platform: str
    width: int
    height: int
    colours: int


def show_once() -> FirstFrame:
    """Show the real window, attached to nothing, until its first frame is on the screen.

    Raises:
        SetupProblem: no frame came, or the frame is empty.
    """
    application = make_application()
    with tempfile.TemporaryDirectory(prefix="fednnunet-window-") as scratch:
        settings = QSettings(str(Path(scratch) / "window.ini"), QSettings.Format.IniFormat)
        window = Window(Look(application, Theme.LIGHT), settings, sites=["Self-test"])
        frame = _frame_of(window, window.first_frame_shown)
        window.close()
    if frame.colours < _FEWEST_COLOURS:
        raise SetupProblem(
            "the window came up empty: fonts or pictures are missing",
            code=ErrorCode.MISSING_LIBRARY,
        )
    return frame


def show_bare() -> FirstFrame:
    """Show an empty window of Qt instead: what this computer needs at least."""
    make_application()

    class Bare(QMainWindow):
        painted = Signal()

        def paintEvent(self, event: object) -> None:  # noqa: ARG002
            QTimer.singleShot(0, self, self.painted.emit)

    window = Bare()
    window.resize(1280, 800)
    return _frame_of(window, window.painted)


def _frame_of(window: QWidget, shown: SignalInstance) -> FirstFrame:
    """Show `window` until `shown` is emitted.

    The loop is its own: a late second request to quit the application's would be remembered by
    Qt and end every other loop of this process at once.
    """
    loop = QEventLoop()
    shown.connect(loop.quit)
    patience = QTimer()
    patience.setSingleShot(True)
    patience.timeout.connect(lambda: loop.exit(_LATE))
    patience.start(_PATIENCE_MS)
    window.show()
    late = loop.exec() == _LATE
    patience.stop()
    seconds = SystemClock().now() - psutil.Process().create_time()
    if late:
        raise SetupProblem(
            f"the window did not come up within {_PATIENCE_MS // 1000} seconds",
            code=ErrorCode.MISSING_LIBRARY,
        )
    return FirstFrame(
        seconds=round(seconds, 3),
        platform=QGuiApplication.platformName(),
        width=window.width(),
        height=window.height(),
        colours=_colours(window.grab()),
    )


def _colours(picture: QPixmap) -> int:
    """How many colours a small copy of `picture` has."""
    small = picture.scaled(
        _LOOKED_AT,
        _LOOKED_AT,
        Qt.AspectRatioMode.IgnoreAspectRatio,
        Qt.TransformationMode.FastTransformation,
    ).toImage()
    return len({small.pixel(x, y) for x in range(small.width()) for y in range(small.height())})
