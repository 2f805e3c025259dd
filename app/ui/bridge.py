"""Between Qt and asyncio: one thread with one loop that stays attached to a site service.

Everything that waits is done there; what it brings arrives in the Qt thread as signals and
callbacks. The window keeps no truth of its own: `snapshot` is the service's, kept true by events.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from PySide6.QtCore import QObject, Qt, Signal

from app.control.messages import AnyCommand, AnyReply, Refused, Snapshot
from app.domain.errors import ErrorCode, FednnunetError, LinkProblem, OurMistake

if TYPE_CHECKING:
    from app.control.address import ForwardedService
    from app.control.client import ControlClient

logger = logging.getLogger(__name__)

COALESCE_S: Final = 0.1
"""Events that arrive within this time reach the window as one snapshot."""
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 5.0
START_AGAIN_S: Final = 30.0
"""A service that does not come up is not started more often than this."""
CLOSE_S: Final = 5.0

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
        self._client: ControlClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._main: asyncio.Task[None] | None = None
        self._closed = False
        # One at a time: a person looks at one image, and the last wish wins.
        self._readers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)
        self._delivered.connect(self._take, Qt.ConnectionType.QueuedConnection)

    def open(self) -> None:
        """Begin to attach; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Detach. The service and its training go on."""
        self._closed = True
        self._readers.shutdown(wait=False, cancel_futures=True)
        if not self._thread.is_alive():
            return
        self._ready.wait(CLOSE_S)
        loop, task = self._loop, self._main
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended by itself
                loop.call_soon_threadsafe(task.cancel)
        self._thread.join(CLOSE_S)

    def request(self, command: AnyCommand, on_reply: Callable[[Reply], None]) -> None:
        """Send a command; `on_reply` gets the answer, or a `Refused` when the service is away."""
        loop = self._loop
        if loop is None or self._closed:
            on_reply(_away(self.away or "the service of this site is not attached yet"))
            return
        asyncio.run_coroutine_threadsafe(self._request(command, on_reply), loop)

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

        self._readers.submit(run)

    # --- in the Qt thread ----------------------------------------------------------------------

    def _take(self, action: Callable[[], None]) -> None:
        if not self._closed:
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
            asyncio.run(self._live())
        except Exception:  # end of the thread
            logger.exception("the bridge to the service ended")
            self._deliver(
                lambda: self._show_away("this window lost its service; close and open it again")
            )
        finally:
            self._loop = None
            self._ready.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        self._ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self._stay_attached()

    async def _stay_attached(self) -> None:
        # Imported here: the first frame is on the screen before the network library loads.
        from app.control.client import ControlClient

        wait_s, started_at = FIRST_WAIT_S, -START_AGAIN_S
        while True:
            try:
                self._client = await ControlClient.connect(self._where)
            except FednnunetError as exc:
                sentence = str(exc)
                now = self._loop_time()
                if exc.code is ErrorCode.SERVICE_NOT_RUNNING:
                    sentence = "starting the service of this site…"
                    if now - started_at >= START_AGAIN_S:
                        started_at = now
                        sentence = await self._start() or sentence
                self._deliver(partial(self._show_away, sentence))
                await asyncio.sleep(wait_s)
                wait_s = min(LONGEST_WAIT_S, wait_s * 1.5)
                continue
            wait_s = FIRST_WAIT_S
            self._deliver(lambda: self._show_away(""))
            try:
                await self._follow(self._client)
            finally:
                client, self._client = self._client, None
                await client.close()
            self._deliver(
                lambda: self._show_away("the service of this site went away; attaching again…")
            )

    async def _start(self) -> str:
        """Start the service; return a sentence when that failed, else nothing."""
        try:
            await asyncio.to_thread(self._start_service, self.home)
        except (OSError, FednnunetError) as exc:
            return f"the service of this site cannot be started: {exc}"
        return ""

    async def _follow(self, client: ControlClient) -> None:
        """Hand every state of the mirror to Qt until the connection ends."""
        self._deliver(partial(self._show, client.snapshot))
        changed = asyncio.Event()

        async def hand_over() -> None:
            while True:
                await changed.wait()
                changed.clear()
                self._deliver(partial(self._show, client.snapshot))
                await asyncio.sleep(COALESCE_S)

        teller = asyncio.create_task(hand_over())
        try:
            async for _ in client.events():
                changed.set()
        finally:
            teller.cancel()
            await asyncio.gather(teller, return_exceptions=True)

    async def _request(self, command: AnyCommand, on_reply: Callable[[Reply], None]) -> None:
        reply: Reply
        client = self._client
        try:
            if client is None:
                raise LinkProblem("the service of this site is not attached")
            reply = await client.request(command)
        except FednnunetError as exc:
            reply = _away(str(exc))
        self._deliver(lambda: on_reply(reply))

    def _loop_time(self) -> float:
        return asyncio.get_running_loop().time()


def _away(sentence: str) -> Refused:
    return Refused(
        code=ErrorCode.UNREACHABLE.value,
        sentence=sentence,
        remedy="Wait a moment; the window attaches again by itself. Then try once more.",
    )
