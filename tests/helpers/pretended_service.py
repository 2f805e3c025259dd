"""A real control server with a recorded snapshot, in a loop of its own thread."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec

from app.control.messages import Accepted, Answer, Request, Snapshot
from app.control.mirror import apply
from app.control.server import ControlServer


class PretendedService:
    """Starts and stops like a service, tells what it is given, and says yes to everything."""

    def __init__(self, home: Path, snapshot: Snapshot) -> None:
        self.held = snapshot
        self.requests: list[Request] = []
        self.server = ControlServer(home=home, handler=self)
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pretended service")

    def _run(self) -> None:
        self._loop.run_until_complete(self.server.start())
        self._up.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self.server.stop())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(10)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def tell(self, event: msgspec.Struct) -> None:
        def telling() -> None:
            self.held = apply(self.held, event)
            self.server.broadcast(event)

        self._loop.call_soon_threadsafe(telling)

    def snapshot(self) -> msgspec.Struct:
        return self.held

    async def answer(self, frame: bytes) -> msgspec.Struct:
        request = msgspec.json.decode(frame, type=Request)
        self.requests.append(request)
        return Answer(number=request.number, answer=Accepted())
