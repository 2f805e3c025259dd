"""Logs on disk and for the window: a line per change of state, without names or paths of files.

Redaction is by allow-list: a traceback keeps the places in this program's and its libraries'
code, and every other absolute path becomes ``[path]``, because a path in a hospital often names a
patient.
"""

from __future__ import annotations

import logging
import logging.handlers
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from app.system.atomic import make_folder

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LARGEST: Final = 2 << 20
_KEPT_FILES: Final = 5
_TEMPLATES: Final = 200
_ABSOLUTE: Final = re.compile(
    r"""(?:[A-Za-z]:\\|\\\\|(?<![\w.:/])/)[^\s"'<>|:]*[^\s"'<>|:.,;)\]]"""
)
_CODE: Final = re.compile(r"(?:^|[/\\])((?:app|site-packages|lib[/\\]python[\d.]+)[/\\].*\.py)$")


def stamp(at: float) -> str:
    """Return a point in time as every line of a log begins with it: this computer's zone."""
    local = datetime.fromtimestamp(at, UTC).astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S},{local.microsecond // 1000:03d}"


def redact(text: str) -> str:
    """Return `text` with absolute paths replaced by ``[path]``; places in code stay, shortened."""

    def replaced(match: re.Match[str]) -> str:
        code = _CODE.search(match.group())
        return code.group(1) if code else "[path]"

    return _ABSOLUTE.sub(replaced, text)


class RedactingFormatter(logging.Formatter):
    """A formatter whose every line, tracebacks included, has passed `redact`."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedLine:
    """One line as a window shows it; `level` is info, warning or error, `at` since the epoch."""

    at: float
    level: str
    source: str
    text: str


class LineHandler(logging.Handler):
    """Hands each line, redacted, to `take`, e.g. for the window; `take` is called in any thread."""

    def __init__(self, take: Callable[[LoggedLine], None]) -> None:
        super().__init__(logging.INFO)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info is not None:
                # The file has the traceback; a person at the window wants to know what it was.
                kind, error, _ = record.exc_info
                text += f": {kind.__name__}: {error}" if kind is not None else ""
            self._take(
                LoggedLine(
                    at=record.created,
                    level=_level_of(record.levelno),
                    source=record.name.removeprefix("app."),
                    text=redact(text),
                )
            )
        except Exception:  # noqa: BLE001 - logging must never end the program
            self.handleError(record)


def _level_of(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    return "warning" if number >= logging.WARNING else "info"


class FewOfEach(logging.Filter):
    """Lets a library say the same thing a few times a minute and no more.

    asyncio writes "socket.send() raised exception" for every piece of data that is written to a
    connection whose other end is dead: 11,000 lines in three runs of a test that killed its peers.
    """

    def __init__(self, most: int = 3, window_s: float = 60.0) -> None:
        super().__init__()
        self._most, self._window_s = most, window_s
        self._said: dict[str, list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if len(self._said) >= _TEMPLATES:
            self._said.clear()
        recent = self._said.setdefault(str(record.msg), [])
        recent[:] = [at for at in recent if at > record.created - self._window_s]
        if len(recent) >= self._most:
            return False
        recent.append(record.created)
        return True


def start_logging(folder: Path, name: str) -> logging.Handler:
    """Write the logs of package `app` to ``folder/name.log``, rotated; return the handler.

    Raises:
        SetupProblem: the folder cannot be made.
    """
    make_folder(folder)
    handler = logging.handlers.RotatingFileHandler(
        folder / f"{name}.log",
        maxBytes=_LARGEST,
        backupCount=_KEPT_FILES,
        encoding="utf-8",
        delay=True,
    )
    handler.setFormatter(RedactingFormatter())
    handler.addFilter(_only_few_of_asyncio())
    logger = logging.getLogger("app")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    # Exceptions of tasks that nobody awaited end there.
    logging.getLogger("asyncio").addHandler(handler)
    return handler


def _only_few_of_asyncio() -> Callable[[logging.LogRecord], bool]:
    few = FewOfEach()
    return lambda record: record.name != "asyncio" or few.filter(record)


def stop_logging(handler: logging.Handler) -> None:
    """Close a handler of `start_logging`."""
    logging.getLogger("app").removeHandler(handler)
    logging.getLogger("asyncio").removeHandler(handler)
    handler.close()
