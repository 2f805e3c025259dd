"""Opening the window: the first frame at once, then the service of the site."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import (
    QCoreApplication,
    QEvent,
    QObject,
    QSettings,
    Qt,
    QTimer,
)
from PySide6.QtGui import QFileOpenEvent, QGuiApplication
from PySide6.QtWidgets import QApplication

from app.system.paths import SITE_DATABASE, WINDOW_SOCKET
from app.ui.qt_log import logging_qt
from app.ui.quick_start import end_start
from app.ui.text import NAME, site_title
from app.ui.theme import Look, Theme
from app.ui.window import Window

if TYPE_CHECKING:
    from app.control.address import ForwardedService
    from app.control.messages import Snapshot
    from app.system.problem_report import ReportText
    from app.ui.bridge import ServiceBridge
    from app.ui.instance import WindowInstance
    from app.ui.notifier import Notifier
    from app.ui.presenters.verdicts import SiteVerdicts

logger = logging.getLogger(__name__)


_WAKE_MS: Final = 500
_SETTLE_MS: Final = 250
"""After the first frame, or the page that somebody went on to: what is not seen comes when that is."""
_START_MS: Final = 10_000
_FIRST_WORD_S: Final = 0.5
"""How long the first frame may wait for a service; one that runs answers within a fraction of this."""


def main(
    home: Path,
    *,
    homes: Sequence[Path] = (),
    invitation: Path | None = None,
    theme: str = Theme.SYSTEM.value,
    forwarded: ForwardedService | None = None,
    remove: Callable[[], None] | None = None,
) -> int:
    """Show the site of `home` until the window is closed; its service and training go on.

    With several `homes` (the sample study) the header offers them all. An `invitation` is read
    and shown, never joined by itself. `theme` is "system", "light" or "dark". With `forwarded`
    the window shows another computer's site; `home` then keeps this window's own things only.
    With `remove` the window offers to remove what it shows: that is called, and the window ends.
    """
    application = make_application()
    if _handed_over(home, invitation):
        return 0
    settings = window_settings()
    look = Look(application, chosen_theme(theme, settings))
    offered = tuple(homes) or (home,)
    number = offered.index(home) if home in offered else 0
    new = is_new(offered, invitation=invitation, forwarded=forwarded)
    # While the window is made its service is attached to: the first frame can show a live page.
    bridge = begin_attaching(offered[number], forwarded)
    window = Window(look, settings, sites=[site_title(folder.name) for folder in offered])
    window.header.sites.setCurrentIndex(number)
    sites = Sites(
        window, offered, bridge=bridge, invitation=invitation, forwarded=forwarded, new=new
    )
    if remove is not None:

        def end() -> None:
            remove()
            application.exit()

        window.offer_removal(end)
    sites.open()
    bridge.await_first(_FIRST_WORD_S)
    # Whether or not the window is ever painted (it may come up hidden).
    QTimer.singleShot(_START_MS, end_start)
    settle_when_seen(window, lambda: sites.settle(home))
    if sys.platform == "darwin":
        # Elsewhere nobody sends files, and a filter is called for thousands of events.
        application.installEventFilter(sites)
    window.show()
    try:
        with logging_qt(), closing_on_interrupt(application):
            return application.exec()
    finally:
        window.remember_place()
        sites.close()


def settle_when_seen(window: Window, settle: Callable[[], None]) -> QTimer:
    """Call `settle` once, a while after the first frame or the page that somebody went on to."""
    settling = QTimer(window)
    settling.setSingleShot(True)
    settling.setInterval(_SETTLE_MS)
    settling.timeout.connect(settle)

    def wait_again() -> None:
        if settling.isActive():
            settling.start()

    window.first_frame_shown.connect(settling.start)
    window.page_opened.connect(wait_again)
    return settling


def _handed_over(home: Path, invitation: Path | None) -> bool:
    """Return whether a window of `home` runs already and has taken this start over."""
    # Most starts find nobody: they should not load the network library before the first frame.
    if sys.platform != "win32" and not (home / WINDOW_SOCKET).exists():
        return False
    from app.ui.instance import WindowInstance

    return WindowInstance(home).hand_over(invitation)


@contextmanager
def closing_on_interrupt(application: QApplication) -> Iterator[None]:
    """Let Ctrl+C in the terminal close the window; the service and training go on.

    Python runs signal handlers between its own instructions only, so a timer wakes it twice a
    second: without one, Qt's loop could sleep on an interrupt for as long as nothing happens.
    """
    awake = QTimer()
    awake.timeout.connect(lambda: None)
    awake.start(_WAKE_MS)
    before = signal.signal(signal.SIGINT, lambda *_: application.exit())
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
    # By its arguments: asking for the style as an object prepares hundreds of enumerations.
    application = QApplication([*sys.argv[:1], "-style", "Fusion"])
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
        bridge: ServiceBridge | None = None,
        invitation: Path | None = None,
        forwarded: ForwardedService | None = None,
        new: bool = False,
    ) -> None:
        """Offer these sites; `bridge` attaches to the first that is opened already.

        `new`: see `is_new`.
        """
        super().__init__(window)
        self._new = new
        self._forwarded, self._begun = forwarded, bridge
        self._window, self._homes, self._invitation = window, tuple(homes), invitation
        self._bridge: ServiceBridge | None = None
        self._verdicts: SiteVerdicts | None = None
        self._notifier: Notifier | None = None
        self._instance: WindowInstance | None = None
        self._before: Snapshot | None = None
        # Who is led through the first steps reads of the card there.
        self._card_seen = new or forwarded is not None
        window.site_chosen.connect(self._attach)

    def open(self) -> None:
        """Attach to the site that the header names."""
        self._attach(max(0, self._window.header.sites.currentIndex()))

    def settle(self, home: Path) -> None:
        """Do what can wait until the window is on the screen.

        Tell what happens to somebody who does not look, wait for later starts of the program for
        `home`, lead somebody who is new here.
        """
        from app.ui.notifier import Notifier

        end_start()
        self._notifier = Notifier()
        self._notifier.opened.connect(self._window.come_forward)
        self._notifier.quit_wished.connect(lambda: QCoreApplication.exit(0))
        self._window.in_tray = self._notifier.in_tray
        if self._before is not None:
            self._show_outside(self._before)
        self._listen(home)
        if self._new:
            self._window.welcome()

    def _listen(self, home: Path) -> None:
        from app.ui.instance import WindowInstance

        self._instance = WindowInstance(home)
        self._instance.called.connect(self.take_call)
        self._instance.listen()

    def close(self) -> None:
        """Detach; the service goes on."""
        self._detach()
        if self._instance is not None:
            self._instance.close()
            self._instance = None
        if self._notifier is not None:
            self._notifier.close()
            self._notifier = None

    def take_call(self, invitation: Path | None) -> None:
        """Come to the front; show an invitation that a second start was given."""
        self._window.come_forward()
        if invitation is not None:
            self._invitation = invitation
            if self._bridge is not None and self._bridge.snapshot is not None:
                self._read_invitation()

    def _detach(self) -> None:
        self._before = None
        if self._bridge is not None:
            self._bridge.close()
            self._bridge = None
        if self._verdicts is not None:
            self._verdicts.close()
            self._verdicts = None

    def _attach(self, number: int) -> None:
        from app.system.clock import SystemClock
        from app.ui.presenters.desk import Desk
        from app.ui.presenters.verdicts import SiteVerdicts

        self._detach()
        home = self._homes[number]
        bridge, self._begun = self._begun, None
        if bridge is None:
            bridge = begin_attaching(home, self._forwarded)
        self._verdicts = SiteVerdicts(home, clock=SystemClock())
        desk = Desk(
            bridge,
            clock=SystemClock(),
            verdicts=self._verdicts,
            collect=lambda: _report_of(home),
        )
        desk.setParent(self)
        bridge.snapshot_changed.connect(lambda _snapshot: desk.changed.emit())
        bridge.away_changed.connect(lambda _sentence: desk.changed.emit())
        bridge.snapshot_changed.connect(self._read_invitation)
        bridge.snapshot_changed.connect(self._tell_events)
        bridge.snapshot_changed.connect(self._tell_of_card)
        self._bridge = bridge
        # Another computer's site says nothing about this computer.
        self._window.home = home if self._forwarded is None else None
        self._window.attach(desk)

    def _read_invitation(self) -> None:
        """Show the invitation that waits, once, when a service can read it."""
        path, self._invitation = self._invitation, None
        if path is not None:
            self._window.read_invitation(str(path.absolute()))

    def _tell_events(self, snapshot: Snapshot) -> None:
        """Tell outside the window what happened, or inside while a person looks at it."""
        before, self._before = self._before, snapshot
        if self._notifier is None:
            return
        from app.control.notices import notices
        from app.ui.notifier import message_of

        for notice in notices(before, snapshot):
            if not self._window.isActiveWindow():
                self._notifier.tell(notice)
            self._window.toasts.tell(message_of(notice))
        self._show_outside(snapshot)

    def _show_outside(self, snapshot: Snapshot) -> None:
        """Let the icon in the tray tell the state, and stay as long as there is one to tell."""
        from app.ui.presenters.home import is_finished
        from app.ui.presenters.training import training_brief

        if self._notifier is None:
            return
        self._notifier.show_state(training_brief(snapshot.training))
        # With nothing to wait for, an icon that stays would only be in the way.
        waits = snapshot.federation.study is not None and not is_finished(snapshot)
        QGuiApplication.setQuitOnLastWindowClosed(not (self._notifier.in_tray and waits))

    def _tell_of_card(self, snapshot: Snapshot) -> None:
        """Say once that a graphics card lies idle for want of its package."""
        devices = snapshot.training.devices
        if self._card_seen or self._bridge is None or not devices.gpus_here:
            return
        self._card_seen = True
        if devices.device == "cpu":
            return
        from app.system.gpu_package import is_wanted

        self._bridge.compute(
            is_wanted,
            lambda wanted: self._window.tell_of_card() if wanted else None,
            # A card that cannot be looked at is no reason to trouble anybody.
            lambda _error: None,
        )

    # Qt overrides

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take a file that macOS hands over: there a double-click is an event, not an argument."""
        if isinstance(event, QFileOpenEvent) and event.file():
            self._invitation = Path(event.file())
            if self._bridge is not None and self._bridge.snapshot is not None:
                self._read_invitation()
            return True
        return super().eventFilter(watched, event)


def is_new(
    homes: Sequence[Path], *, invitation: Path | None, forwarded: ForwardedService | None
) -> bool:
    """Whether somebody opens the program for the first time, and not for an invitation.

    To be asked before a service is started: it makes what is looked for.
    """
    return (
        forwarded is None
        and invitation is None
        and not any((home / SITE_DATABASE).exists() for home in homes)
    )


def begin_attaching(home: Path, forwarded: ForwardedService | None) -> ServiceBridge:
    """Begin to attach to a site's service, which is started if need be."""
    from app.ui.bridge import ServiceBridge

    bridge = ServiceBridge(home, start_service=start_service, forwarded=forwarded)
    bridge.open()
    return bridge


def _report_of(home: Path) -> tuple[ReportText, ...]:
    from app.system.problem_report import texts_of

    return texts_of(home)


def start_service(home: Path) -> int:
    """Start the service of `home` so that it outlives this window; return its process id."""
    from app.jobs.detached import fednnunet_command, start_detached

    command = (*fednnunet_command(), "site", "run", "--home", str(home))
    return start_detached(command, log=home / "logs" / "service-output.log")
