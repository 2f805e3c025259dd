"""Telling outside the window: by the tray where there is one, else by a note on the desktop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from app.control.notices import Notice, NoticeKind
from app.system.desktop_notes import send_note
from app.system.resources import resource
from app.ui import theme
from app.ui.messages import Message
from app.ui.text import NAME, Page, Tone

_SHOWN_MS: Final = 15_000
_TONES: Final = {
    NoticeKind.NEEDS_YOU: Tone.WARNING,
    NoticeKind.FAILED: Tone.DANGER,
    NoticeKind.ROUND_DONE: Tone.GOOD,
    NoticeKind.FINISHED: Tone.GOOD,
}
_PAGES: Final = {
    # Home knows what to do next, whatever it is.
    NoticeKind.NEEDS_YOU: Page.HOME,
    NoticeKind.FAILED: Page.HOME,
    NoticeKind.ROUND_DONE: Page.TRAINING,
    NoticeKind.FINISHED: Page.REVIEW,
}
_ICONS: Final = {
    NoticeKind.NEEDS_YOU: QSystemTrayIcon.MessageIcon.Warning,
    NoticeKind.FAILED: QSystemTrayIcon.MessageIcon.Critical,
    NoticeKind.ROUND_DONE: QSystemTrayIcon.MessageIcon.Information,
    NoticeKind.FINISHED: QSystemTrayIcon.MessageIcon.Information,
}


class SendNote(Protocol):
    """`desktop_notes.send_note`, or a test's own."""

    def __call__(
        self, title: str, body: str, *, program: str, icon: str, urgent: bool = False
    ) -> bool: ...


class Notifier(QObject):
    """Tells of events to a person who does not look at the window. One per program."""

    opened = Signal(object)
    """The person wants the window, on this `Page`; None: on whichever it shows."""

    quit_wished = Signal()
    """End the window's program; the service and training go on."""

    def __init__(
        self,
        *,
        tray: bool | None = None,
        send: SendNote = send_note,
        run: Callable[[Callable[[], object]], object] | None = None,
    ) -> None:
        """Show the tray's icon if there is a tray (`tray` None: look); `run` runs what waits."""
        super().__init__()
        self._send = send
        self._threads: ThreadPoolExecutor | None = None
        self._run = run
        self._page: Page | None = None
        self._icon: QSystemTrayIcon | None = None
        self._menu: QMenu | None = None
        if QSystemTrayIcon.isSystemTrayAvailable() if tray is None else tray:
            self._icon = QSystemTrayIcon(theme.icon("application", size=64), self)
            self._icon.setToolTip(NAME)
            self._menu = QMenu()
            for text, wish in (
                ("Open the window", lambda: self.opened.emit(None)),
                ("Close the program (training goes on)", self.quit_wished.emit),
            ):
                self._menu.addAction(text).triggered.connect(
                    lambda _checked=False, wish=wish: wish()
                )
            self._icon.setContextMenu(self._menu)
            self._icon.activated.connect(self._activated)
            self._icon.messageClicked.connect(lambda: self.opened.emit(self._page))
            self._icon.show()

    @property
    def in_tray(self) -> bool:
        """Whether an icon in the tray stands for the program while its window is closed."""
        return self._icon is not None

    @property
    def tip(self) -> str:
        """What the tray's icon says when pointed at."""
        return "" if self._icon is None else self._icon.toolTip()

    def show_state(self, sentence: str) -> None:
        """Say by the tray's icon how training stands."""
        if self._icon is not None and self._icon.toolTip() != f"{NAME}\n{sentence}":
            self._icon.setToolTip(f"{NAME}\n{sentence}")

    def tell(self, notice: Notice) -> None:
        """Show an event outside the window; returns at once."""
        self._page = _PAGES[notice.kind]
        if self._icon is not None:
            self._icon.showMessage(notice.title, notice.sentence, _ICONS[notice.kind], _SHOWN_MS)
            return

        def send() -> None:
            self._send(
                notice.title,
                notice.sentence,
                program=NAME,
                icon=str(resource("icons", "application.svg")),
                urgent=notice.kind is NoticeKind.FAILED,
            )

        if self._run is not None:
            self._run(send)
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="notes")
        self._threads.submit(send)

    def close(self) -> None:
        """Take the icon away and wait for a note that is being sent."""
        if self._icon is not None:
            self._icon.hide()
            self._icon = None
        if self._menu is not None:
            self._menu.deleteLater()
            self._menu = None
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None

    def _activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason in (
            QSystemTrayIcon.ActivationReason.Trigger,
            QSystemTrayIcon.ActivationReason.DoubleClick,
        ):
            self.opened.emit(None)


def message_of(notice: Notice) -> Message:
    """Return the same event as the window itself shows it."""
    return Message(sentence=notice.title, remedy=notice.sentence, tone=_TONES[notice.kind])
