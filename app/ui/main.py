"""Opening the window: the first frame at once, then the service of the site."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QEvent, QObject, QSettings, Qt, QTimer
from PySide6.QtGui import QFileOpenEvent, QGuiApplication
from PySide6.QtWidgets import QApplication

from app.ui.qt_log import logging_qt
from app.ui.text import NAME, site_title
from app.ui.theme import Look, Theme
from app.ui.window import Window

if TYPE_CHECKING:
    from app.control.address import ForwardedService
    from app.ui.bridge import ServiceBridge
    from app.ui.presenters.verdicts import SiteVerdicts

_WAKE_MS: Final = 500


def main(
    home: Path,
    *,
    homes: Sequence[Path] = (),
    invitation: Path | None = None,
    theme: str = Theme.SYSTEM.value,
    forwarded: ForwardedService | None = None,
) -> int:
    """Show the site of `home` until the window is closed; its service and training go on.

    With several `homes` (the sample study) the header offers them all. An `invitation` is read
    and shown, never joined by itself. `theme` is "system", "light" or "dark". With `forwarded`
    the window shows another computer's site; `home` then keeps this window's own things only.
    """
    application = make_application()
    settings = window_settings()
    look = Look(application, chosen_theme(theme, settings))
    offered = tuple(homes) or (home,)
    window = Window(look, settings, sites=[site_title(folder.name) for folder in offered])
    sites = Sites(window, offered, invitation=invitation, forwarded=forwarded)
    if home in offered:
        window.header.sites.setCurrentIndex(offered.index(home))
    window.first_frame_shown.connect(sites.open)
    application.installEventFilter(sites)
    window.show()
    try:
        with logging_qt(), closing_on_interrupt(application):
            return application.exec()
    finally:
        sites.close()


@contextmanager
def closing_on_interrupt(application: QApplication) -> Iterator[None]:
    """Let Ctrl+C in the terminal close the window; the service and training go on.

    Python runs signal handlers between its own instructions only, so a timer wakes it twice a
    second: without one, Qt's loop could sleep on an interrupt for as long as nothing happens.
    """
    awake = QTimer()
    awake.timeout.connect(lambda: None)
    awake.start(_WAKE_MS)
    before = signal.signal(signal.SIGINT, lambda *_: application.quit())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        awake.stop()


def make_application() -> QApplication:
    """Return the application; images stay sharp at every scale."""
    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        return existing
    QGuiApplication.setHighDpiScaleFactorRoundingPolicy(
        Qt.HighDpiScaleFactorRoundingPolicy.PassThrough
    )
    application = QApplication(sys.argv[:1])
    application.setApplicationName("fednnunet")
    application.setApplicationDisplayName(NAME)
    application.setDesktopFileName("fednnunet")
    return application


def window_settings() -> QSettings:
    """Return where the window remembers its place, its look and recent folders; no secrets."""
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "fednnunet", "window")


def chosen_theme(asked: str, settings: QSettings) -> Theme:
    """Return the look asked for on the command line, else the remembered one."""
    if asked != Theme.SYSTEM.value:
        return Theme(asked)
    saved = str(settings.value("theme") or "")
    return Theme(saved) if saved in {each.value for each in Theme} else Theme.SYSTEM


class Sites(QObject):
    """The sites that the window may show; one is attached at a time."""

    def __init__(
        self,
        window: Window,
        homes: Sequence[Path],
        *,
        invitation: Path | None = None,
        forwarded: ForwardedService | None = None,
    ) -> None:
        super().__init__(window)
        self._forwarded = forwarded
        self._window, self._homes, self._invitation = window, tuple(homes), invitation
        self._bridge: ServiceBridge | None = None
        self._verdicts: SiteVerdicts | None = None
        window.site_chosen.connect(self._attach)

    def open(self) -> None:
        """Attach to the site that the header names."""
        self._attach(max(0, self._window.header.sites.currentIndex()))

    def close(self) -> None:
        """Detach; the service goes on."""
        if self._bridge is not None:
            self._bridge.close()
            self._bridge = None
        if self._verdicts is not None:
            self._verdicts.close()
            self._verdicts = None

    def _attach(self, number: int) -> None:
        from app.system.clock import SystemClock
        from app.ui.bridge import ServiceBridge
        from app.ui.presenters.desk import Desk
        from app.ui.presenters.verdicts import SiteVerdicts

        self.close()
        home = self._homes[number]
        bridge = ServiceBridge(home, start_service=start_service, forwarded=self._forwarded)
        self._verdicts = SiteVerdicts(home, clock=SystemClock())
        desk = Desk(bridge, clock=SystemClock(), verdicts=self._verdicts)
        desk.setParent(self)
        bridge.snapshot_changed.connect(lambda _snapshot: desk.changed.emit())
        bridge.away_changed.connect(lambda _sentence: desk.changed.emit())
        bridge.snapshot_changed.connect(self._read_invitation)
        self._bridge = bridge
        self._window.attach(desk)
        bridge.open()

    def _read_invitation(self) -> None:
        """Show the invitation that waits, once, when a service can read it."""
        path, self._invitation = self._invitation, None
        if path is not None:
            self._window.read_invitation(str(path.absolute()))

    # Qt overrides

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take a file that macOS hands over: there a double-click is an event, not an argument."""
        if isinstance(event, QFileOpenEvent) and event.file():
            self._invitation = Path(event.file())
            if self._bridge is not None and self._bridge.snapshot is not None:
                self._read_invitation()
            return True
        return super().eventFilter(watched, event)


def start_service(home: Path) -> int:
    """Start the service of `home` so that it outlives this window; return its process id."""
    from app.jobs.detached import fednnunet_command, start_detached

    command = (*fednnunet_command(), "site", "run", "--home", str(home))
    return start_detached(command, log=home / "logs" / "service-output.log")
