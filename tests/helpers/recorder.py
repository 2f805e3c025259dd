"""Collects what happens, and waits until something has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recorder(Generic[T]):
    """A callable that keeps what it is told, in order."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self._changed = asyncio.Event()

    def __call__(self, item: T) -> None:
        self.items.append(item)
        self._changed.set()

    async def until(self, holds: Callable[[list[T]], bool], *, timeout_s: float = 20.0) -> None:
        """Wait until `holds` is true of the items; fails the test with the items otherwise."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds(self.items):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"never happened; told so far: {self.items}") from None


async def eventually(holds: Callable[[], bool], *, timeout_s: float = 20.0, what: str = "") -> None:
    """Wait until `holds` is true; for conditions that nothing announces."""
    try:
        async with asyncio.timeout(timeout_s):
            while not holds():  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never became true: {what}") from None
