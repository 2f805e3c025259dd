"""Fail a test that logs a warning nobody announced.

A log line at WARNING or above is a message to a person. A test that causes one says so beforehand:

    def test_lost_link(expected_log):
        expected_log("app.site.link", "lost the connection")

The announced line must then come, at least once.
"""

from __future__ import annotations

import dataclasses
import logging
import re


@dataclasses.dataclass(slots=True, kw_only=True)
class Announcement:
    """A log line that a test expects: logger (or a parent of it) and a pattern in the message."""

    logger: str
    pattern: re.Pattern[str]
    level: int
    may_be_missing: bool
    seen: bool = False

    def covers(self, record: logging.LogRecord) -> bool:
        below = record.name == self.logger or record.name.startswith(self.logger + ".")
        return below and record.levelno <= self.level and bool(self.pattern.search(text_of(record)))


def text_of(record: logging.LogRecord) -> str:
    """Return the message as a person reads it; a broken format is a finding of its own."""
    try:
        return record.getMessage()
    except (TypeError, ValueError) as error:
        return f"{record.msg!r} does not fit its arguments {record.args!r}: {error}"


class LogWatch(logging.Handler):
    """Collects warnings on the root logger while a test runs."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self._announcements: list[Announcement] = []
        self._records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        # WORKAROUND websockets 17.4: a proxy that hangs up leaves a future with this error behind,
        # which is told whenever it is collected, in any later test. Goes when it is retrieved there.
        if record.name == "asyncio" and "InvalidProxyMessage" in text_of(record):
            return
        self._records.append(record)

    def expect(
        self, logger: str, pattern: str = "", *, level: int = logging.ERROR, optional: bool = False
    ) -> None:
        """Announce log lines of ``logger`` up to ``level`` whose message matches ``pattern``."""
        self._announcements.append(
            Announcement(
                logger=logger, pattern=re.compile(pattern), level=level, may_be_missing=optional
            )
        )

    def complaints(self) -> list[str]:
        """Return a sentence for every unannounced record and every announcement that failed."""
        complaints = []
        for record in self._records:
            covering = [each for each in self._announcements if each.covers(record)]
            for announcement in covering:
                announcement.seen = True
            if not covering:
                complaints.append(
                    f"unexpected log line: {record.levelname} {record.name}: {text_of(record)}"
                )
        complaints += [
            f"announced log line did not come: {each.logger}: {each.pattern.pattern!r}"
            for each in self._announcements
            if not each.seen and not each.may_be_missing
        ]
        return complaints
