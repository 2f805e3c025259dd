"""Keeping this computer from sleeping while a round runs; the screen may go dark.

A closed lid and an update that restarts the computer go their way all the same: training then goes
on from its checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Protocol

logger = logging.getLogger(__name__)

HELD: Final = (
    "This computer is kept from sleeping while a round is trained; its screen may go dark."
)
NOT_HELD: Final = (
    "This computer may fall asleep while a round is trained, because it gives programs no way to "
    "prevent that. Training then goes on when it wakes."
)


class _Mode(Protocol):
    """What is used of a wakepy mode."""

    @property
    def active(self) -> bool: ...


class Wakefulness:
    """Holds sleep off while it is wanted. For one thread at a time.

    `make` gives a new context manager that keeps the computer awake: wakepy's in use, a double in
    tests.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[_Mode]] | None = None) -> None:
        self._make = _wakepy if make is None else make
        self._held: AbstractContextManager[_Mode] | None = None
        self.wanted = False

    @property
    def sentence(self) -> str:
        """What a person should know of it; empty while the computer may sleep."""
        if not self.wanted:
            return ""
        return NOT_HELD if self._held is None else HELD

    def follow(self, wanted: bool) -> None:
        """Hold sleep off, or let the computer sleep again; a computer without a way is told."""
        if wanted and not self.wanted:
            self._hold()
        elif self.wanted and not wanted:
            self._release()
        self.wanted = wanted

    def _hold(self) -> None:
        try:
            mode = self._make()
            if mode.__enter__().active:
                self._held = mode
                logger.info("sleep is held off")
                return
            mode.__exit__(None, None, None)
        except Exception as exc:  # noqa: BLE001 - a desktop's services fail in their own ways
            logger.info("sleep cannot be held off (%s)", type(exc).__name__)
        else:
            logger.info("sleep cannot be held off: this computer offers no way")

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        try:
            held.__exit__(None, None, None)
        except Exception as exc:  # noqa: BLE001 - the same
            logger.info("holding off sleep did not end well (%s)", type(exc).__name__)
        else:
            logger.info("sleep is no longer held off")


def _wakepy() -> AbstractContextManager[_Mode]:
    from wakepy import keep

    mode: AbstractContextManager[_Mode] = keep.running(on_fail="pass")
    return mode
