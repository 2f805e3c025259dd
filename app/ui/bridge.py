"""Between Qt and a site service: one thread that stays attached to it.

Everything that waits is done there; what it brings arrives in the Qt thread as signals and
callbacks. The window keeps no truth of its own: `snapshot` is the service's, kept true by events.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from PySide6.QtCore import QCoreApplication, QEvent, QObject, Qt, Signal

from app.control.messages import Answer, AnyCommand, AnyReply, Refused, Snapshot
from app.domain.errors import ErrorCode, FednnunetError, OurMistake

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from app.control.address import ForwardedService
    from app.control.blocking import BlockingClient

logger = logging.getLogger(__name__)

COALESCE_S: Final = 0.1
"""Events that arrive within this time reach the window as one snapshot."""
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 5.0
START_AGAIN_S: Final = 30.0
"""A service that does not come up is not started more often than this."""
ANSWER_S: Final = 30.0
"""A command that is not answered within this time may or may not be done."""
CLOSE_S: Final = 5.0
_LOOK_S: Final = 1.0

Reply = AnyReply
Result = TypeVar("Result")


class ServiceBridge(QObject):
    """Attached to the service of one home from `open` until `close`; finds it again by itself.

    Signals and callbacks come in the Qt thread. `start_service` starts a service that outlives
    this process; it is called when none runs. A `forwarded` service is another computer's: it is
    attached to and never started from here.
    """

    snapshot_changed = Signal(object)
    """A `Snapshot`, at most ten times a second."""

    away_changed = Signal(str)
    """Why no service is attached; empty when one is."""

    _delivered = Signal(object)

    def __init__(
        self,
        home: Path,
        *,
        start_service: Callable[[Path], object],
        forwarded: ForwardedService | None = None,
    ) -> None:
        super().__init__()
        self.home = home
        self._where = home if forwarded is None else forwarded
        self.snapshot: Snapshot | None = None
        self.away = ""
        self._start_service = start_service
        self._client: BlockingClient | None = None
        self._wishes: list[tuple[AnyCommand, Callable[[Reply], None]]] = []
        self._lock = threading.Lock()
        """Around `_client` and `_wishes`: what the Qt thread hands to the bridge's."""
        self._waiting: dict[int, tuple[float, Callable[[Reply], None]]] = {}
        self._closing = threading.Event()
        self._spoke = threading.Event()
        """A snapshot, or why there is none, was delivered."""
        self._readers: ThreadPoolExecutor | None = None
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)
        self._delivered.connect(self._take, Qt.ConnectionType.QueuedConnection)

    def open(self) -> None:
        """Begin to attach; returns at once."""
        self._thread.start()

    def await_first(self, longest_s: float) -> None:
        """Wait a moment for the service's first word, and show it before this returns.

        For the Qt thread before its loop runs: one picture is painted instead of two.
        """
        if self._spoke.wait(longest_s):
            QCoreApplication.sendPostedEvents(self, QEvent.Type.MetaCall.value)

    def close(self) -> None:
        """Detach. The service and its training go on."""
        self._closing.set()
        if self._readers is not None:
            self._readers.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._client is not None:
                self._client.wake()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def request(self, command: AnyCommand, on_reply: Callable[[Reply], None]) -> None:
        """Send a command; `on_reply` gets the answer, or a `Refused` when the service is away."""
        with self._lock:
            client = self._client
            if client is not None and not self._closing.is_set():
                self._wishes.append((command, on_reply))
                client.wake()
                return
        on_reply(_away(self.away or "the service of this site is not attached yet"))

    def compute(
        self,
        work: Callable[[], Result],
        on_result: Callable[[Result], None],
        on_problem: Callable[[FednnunetError], None],
    ) -> None:
        """Run `work` beside the window (reading an image); only for calls that let go of the GIL."""

        def run() -> None:
            try:
                result = work()
            except FednnunetError as exc:
                problem = exc
                self._deliver(lambda: on_problem(problem))
            except Exception:  # end of a task: whatever it is, the window must learn of it
                logger.exception("work beside the window failed")
                self._deliver(
                    lambda: on_problem(OurMistake("this could not be done; the log says why"))
                )
            else:
                self._deliver(lambda: on_result(result))

        if self._closing.is_set():
            return
        if self._readers is None:
            from concurrent.futures import ThreadPoolExecutor

            # One at a time: a person looks at one image, and the last wish wins.
            self._readers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._readers.submit(run)

    # --- in the Qt thread ----------------------------------------------------------------------

    def _take(self, action: Callable[[], None]) -> None:
        if not self._closing.is_set():
            action()

    def _deliver(self, action: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # Qt's side of this object is gone already
            self._delivered.emit(action)

    def _show(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.snapshot_changed.emit(snapshot)

    def _show_away(self, sentence: str) -> None:
        if sentence != self.away:
            self.away = sentence
            self.away_changed.emit(sentence)

    # --- in the bridge's thread ----------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._stay_attached()
        except Exception:  # end of the thread
            logger.exception("the bridge to the service ended")
            self._deliver(
                lambda: self._show_away("this window lost its service; close and open it again")
            )

    def _stay_attached(self) -> None:
        # Imported here: a window whose service is away is on the screen before the network library.
        from app.control.blocking import BlockingClient

        wait_s, started_at = FIRST_WAIT_S, -START_AGAIN_S
        while not self._closing.is_set():
            try:
                client, snapshot = BlockingClient.connect(self._where)
            except FednnunetError as exc:
                sentence, now = str(exc), time.monotonic()
                if exc.code is ErrorCode.SERVICE_NOT_RUNNING:
                    sentence = "starting the service of this site…"
                    if now - started_at >= START_AGAIN_S:
                        started_at = now
                        sentence = self._start() or sentence
                self._deliver(partial(self._show_away, sentence))
                self._spoke.set()
                self._closing.wait(wait_s)
                wait_s = min(LONGEST_WAIT_S, wait_s * 1.5)
                continue
            wait_s = FIRST_WAIT_S
            self._deliver(lambda: self._show_away(""))
            with self._lock:
                self._client = client
            try:
                self._follow(client, snapshot)
            except FednnunetError as exc:
                logger.info("the service is not attached any more: %s", exc)
            finally:
                with self._lock:
                    self._client = None
                client.close()
                self._give_up("the service has gone away")
            self._deliver(
                lambda: self._show_away("the service of this site went away; attaching again…")
            )

    def _start(self) -> str:
        """Start the service; return a sentence when that failed, else nothing."""
        try:
            self._start_service(self.home)
        except (OSError, FednnunetError) as exc:
            return f"the service of this site cannot be started: {exc}"
        return ""

    def _follow(self, client: BlockingClient, snapshot: Snapshot) -> None:
        """Hand every state of the service to Qt, and wishes to it, until the connection ends."""
        from app.control.mirror import apply

        told, told_at = None, 0.0
        while not self._closing.is_set():
            now = time.monotonic()
            if snapshot is not told and now - told_at >= COALESCE_S:
                self._deliver(partial(self._show, snapshot))
                self._spoke.set()
                told, told_at = snapshot, now
            self._send_wishes(client, now)
            for message in client.receive(_LOOK_S if snapshot is told else COALESCE_S):
                if isinstance(message, Answer):
                    _, on_reply = self._waiting.pop(message.number, (0.0, None))
                    if on_reply is not None:
                        self._deliver(partial(on_reply, message.answer))
                else:
                    snapshot = apply(snapshot, message)

    def _send_wishes(self, client: BlockingClient, now: float) -> None:
        """Send what the Qt thread wished; tell it of what was not answered in time."""
        with self._lock:
            wishes, self._wishes = self._wishes, []
        for command, on_reply in wishes:
            self._waiting[client.send(command)] = (now + ANSWER_S, on_reply)
        for number, (ends, on_reply) in tuple(self._waiting.items()):
            if now > ends:
                del self._waiting[number]
                late = _away(f"the service did not answer within {ANSWER_S:.0f} s")
                self._deliver(partial(on_reply, late))

    def _give_up(self, sentence: str) -> None:
        """Tell everybody who still waits for an answer that none will come."""
        with self._lock:
            left, self._wishes = [on_reply for _, on_reply in self._wishes], []
        left += [on_reply for _, on_reply in self._waiting.values()]
        self._waiting.clear()
        for on_reply in left:
            self._deliver(partial(on_reply, _away(sentence)))


def _away(sentence: str) -> Refused:
    return Refused(
        code=ErrorCode.UNREACHABLE.value,
        sentence=sentence,
        remedy="Wait a moment; the window attaches again by itself. Then try once more.",
    )
