"""The worker's two pipes: events out, commands in, and nothing else on either."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO, Final

import msgspec

from app.jobs.events import AnyEvent
from app.jobs.spec import AnyCommand

_log = logging.getLogger(__name__)

ORPHAN_GRACE_S: Final = 60.0
_DECODER: Final = msgspec.json.Decoder(AnyCommand)


def claim_streams() -> tuple[BinaryIO, BinaryIO]:
    """Return (commands, events) and point descriptors 0 and 1 elsewhere, for good.

    nnU-Net, its children and C libraries print to descriptor 1; from now on that is the log
    (descriptor 2), so that the event stream carries events only. The two copies are not inherited
    by programs that this process starts.
    """
    commands = os.fdopen(os.dup(0), "rb", buffering=0)
    events = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, events


class EventStream:
    """Writes events as JSON lines; may be used from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._encoder = msgspec.json.Encoder()

    def tell(self, event: AnyEvent) -> None:
        """Write one event. Does nothing once the parent is gone: the inbox then stops the job."""
        line = self._encoder.encode(event) + b"\n"
        with self._lock:
            try:
                self._stream.write(line)
                self._stream.flush()
            except BrokenPipeError:
                _log.info("nobody listens any more")


class Inbox:
    """Reads commands in a thread of its own; the end of the stream is the request to stop.

    A job that does not end within `grace_s` after that is ended by `end_everything`, because
    nobody may be left who could.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        grace_s: float = ORPHAN_GRACE_S,
        end_everything: Callable[[], None] | None = None,
    ) -> None:
        self._stream = stream
        self._grace_s = grace_s
        self._end_everything = _end_own_group if end_everything is None else end_everything
        self._commands: queue.SimpleQueue[AnyCommand | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._job_ended = threading.Event()
        # A daemon: a blocking read cannot be woken when the job ends first.
        self._thread = threading.Thread(target=self._read, name="worker inbox", daemon=True)
        self._thread.start()

    def stopped(self) -> bool:
        """True once the parent asked to stop or is gone."""
        return self._stop.is_set()

    def next_command(self) -> AnyCommand | None:
        """Wait for the next command; None means stop. Commands before the stop still come."""
        command = self._commands.get()
        if command is None:
            self._commands.put(None)
        return command

    def job_ended(self) -> None:
        """Tell that the job is over and needs no ending by force."""
        self._job_ended.set()

    def _read(self) -> None:
        try:
            for line in self._stream:
                try:
                    self._commands.put(_DECODER.decode(line))
                except msgspec.MsgspecError:
                    _log.exception("a command could not be read")
        finally:
            self._stop.set()
            self._commands.put(None)
        if not self._job_ended.wait(self._grace_s):
            _log.error("still at work %.0f s after the request to stop", self._grace_s)
            self._end_everything()


def _end_own_group() -> None:
    """End this process and what it started; only itself where it leads no group."""
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)
