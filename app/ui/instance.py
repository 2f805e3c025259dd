"""One window per site: a second start hands its invitation to the first and leaves.

A local socket in the site's home (a named pipe on Windows), open to this user only. What arrives is
treated like a command line: bounded, and an invitation is read and shown, never joined by itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import Final

from PySide6.QtCore import QObject, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

from app.system.paths import WINDOW_SOCKET

logger = logging.getLogger(__name__)

_LONGEST_PATH: Final = 100
"""Bytes of a socket's path; systems take 104 to 108."""
_LARGEST: Final = 16 << 10
_CONNECT_MS: Final = 300
_ANSWER_MS: Final = 2000
_HEARD: Final = b"ok\n"


class WindowInstance(QObject):
    """The one window of a home, or a start that finds that there is one already."""

    called = Signal(object)
    """Somebody started the program again; carries the path of an invitation, or None."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._home = home
        self._name = _server_name(home)
        self._server: QLocalServer | None = None

    def hand_over(self, invitation: Path | None) -> bool:
        """Call the running window to the front; False when there is none that answers."""
        socket = QLocalSocket()
        socket.connectToServer(self._name)
        if not socket.waitForConnected(_CONNECT_MS):
            return False
        path = None if invitation is None else str(invitation.absolute())
        _allow_foreground()
        socket.write(json.dumps({"invitation": path}).encode() + b"\n")
        heard = socket.waitForReadyRead(_ANSWER_MS) and bytes(socket.readAll().data()) == _HEARD
        socket.disconnectFromServer()
        return heard

    def listen(self) -> bool:
        """Wait for later starts; a socket that a crash left behind is taken away.

        False when that is not possible: the window then works, only not as the only one.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        server = QLocalServer(self)
        server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        server.setMaxPendingConnections(4)
        if not server.listen(self._name):
            QLocalServer.removeServer(self._name)
            if not server.listen(self._name):
                logger.info("another start of the window cannot be noticed")
                return False
        server.newConnection.connect(self._welcome)
        self._server = server
        return True

    def close(self) -> None:
        """Stop waiting for later starts."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _welcome(self) -> None:
        while self._server is not None and self._server.hasPendingConnections():
            socket = self._server.nextPendingConnection()
            socket.setParent(self)
            socket.disconnected.connect(socket.deleteLater)
            socket.readyRead.connect(lambda socket=socket: self._read(socket))
            if socket.canReadLine():
                self._read(socket)

    def _read(self, socket: QLocalSocket) -> None:
        if socket.bytesAvailable() > _LARGEST:
            socket.abort()
            return
        if not socket.canReadLine():
            return
        try:
            told = json.loads(bytes(socket.readLine().data()))
            path = told["invitation"]
        except (ValueError, KeyError, TypeError):
            socket.abort()
            return
        socket.write(_HEARD)
        socket.flush()
        self.called.emit(Path(path) if isinstance(path, str) and path else None)


def _server_name(home: Path) -> str:
    in_home = str(home.absolute() / WINDOW_SOCKET)
    if sys.platform != "win32" and len(in_home.encode()) <= _LONGEST_PATH:
        return in_home
    return f"fednnunet-{hashlib.sha256(in_home.encode()).hexdigest()[:24]}"


def _allow_foreground() -> None:
    """Let the running window come to the front: Windows asks the program that was just started."""
    if sys.platform == "win32":
        import ctypes

        any_process = -1
        ctypes.windll.user32.AllowSetForegroundWindow(any_process)
