"""Taking everything out of a text that might name a patient: what is not known is removed.

The rule is an allow-list. A word stays when this program itself uses it, letter for letter: in its
sentences, its log lines, the names of its functions. A file name, a case, a name of a person, a
date of birth is none of these and becomes ``[…]``. On top, words known to be private here (the
cases' names, the operator's name) go even where they are words that the program uses.
"""

from __future__ import annotations

import builtins
import errno
import importlib.util
import os
import pkgutil
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from types import CodeType
from typing import Final

import app
from app.system.logs import redact

REMOVED: Final = "[…]"
_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|_*[^\W\d]\w*")
_SPLIT: Final = re.compile(r"[^\w.…]+|(?<=\D)\.|\.(?=\D|$)")
_NUMBER: Final = re.compile(r"(?:0|[1-9]\d{0,4})(?:\.\d{1,6})?")
_JOB: Final = re.compile(r"job \d{4}-[a-z-]+")
_OWN_LINE: Final = re.compile(
    r"(?P<stamp>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) "
    r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<source>[\w.]+): (?P<text>.*)"
)
_PLACE: Final = re.compile(
    r'\s*File "(?P<place>(?:app|site-packages|lib[/\\]python[\d.]+)[/\\][\w./\\-]+\.py)", '
    r"line (?P<line>\d+)(?:, in (?P<name>[\w<>.]+))?"
)
_THREAD: Final = re.compile(r"(?:Current t|T)hread 0x[0-9a-f]+.* \(most recent call first\):")
_SHORTEST_PRIVATE: Final = 3


class Stripper:
    """Strips texts, with `private` words that never stay.

    A private word of several parts (``case-0017``) needs no naming: the program has no such word.
    """

    def __init__(self, private: Iterable[str] = ()) -> None:
        self._private = frozenset(
            word.casefold() for word in private if len(word) >= _SHORTEST_PRIVATE
        )
        self._words = vocabulary()

    def own(self, text: str) -> str:
        """Return the lines of one of this program's own logs, stripped.

        Its lines carry no case and no path by rule, so that their small numbers may stay: rounds,
        epochs, sizes. What follows a line of its own (a traceback) is treated as foreign.
        """
        return "".join(f"{line}\n" for line in self._lines(text))

    def foreign(self, text: str) -> str:
        """Return what libraries printed, stripped; of numbers only lines of code stay."""
        return "".join(f"{line}\n" for line in self._lines(text, own=False))

    def sentence(self, text: str, *, numbers: bool = True) -> str:
        """Return one line with everything replaced that is not known."""
        told: list[str] = []
        for token in redact(text).split():
            kept = token if self._known(token, numbers=numbers) else REMOVED
            if kept != REMOVED or told[-1:] != [REMOVED]:
                told.append(kept)
        return " ".join(told)

    def _lines(self, text: str, *, own: bool = True) -> Iterator[str]:
        of_code = False
        for line in text.splitlines():
            match = _OWN_LINE.fullmatch(line) if own else None
            if match is not None:
                of_code = False
                source = match["source"] if self._known(match["source"], numbers=False) else REMOVED
                told = self._own_text(match["text"])
                yield f"{match['stamp']} {match['level']} {source}: {told}"
                continue
            place = _PLACE.match(redact(line))
            if place is not None:
                of_code = True
                yield self._place(place)
            elif of_code and line.startswith("    "):
                continue  # the source line of a place: the place says it
            elif _THREAD.fullmatch(line):
                of_code = False
                yield "Thread (most recent call first):"
            else:
                of_code = False
                yield self.sentence(line, numbers=False)

    def _own_text(self, text: str) -> str:
        # The numbers of jobs begin with zeros, which else only names of cases do.
        job = _JOB.match(text)
        if job is None or not self._known(job.group()[9:], numbers=False):
            return self.sentence(text)
        rest = self.sentence(text[job.end() :])
        return job.group() + ("" if rest.startswith(":") else " ") + rest

    def _place(self, place: re.Match[str]) -> str:
        parts = [part for part in re.split(r"[/\\]", place["place"].removesuffix(".py")) if part]
        name = place["name"] or ""
        private = any(part.casefold() in self._private for part in (*parts, name))
        inside = place["place"].startswith("app") and not all(p in self._words for p in parts)
        where = REMOVED if private or inside else place["place"]
        return f'  File "{where}", line {place["line"]}' + (f", in {name}" if name else "")

    def _known(self, token: str, *, numbers: bool) -> bool:
        parts = [part for part in _SPLIT.split(token) if part]
        return all(
            part == "…" or (numbers and _NUMBER.fullmatch(part) is not None) or part in self._words
            for part in parts
        ) and not any(part.casefold() in self._private for part in parts)


@cache
def vocabulary() -> frozenset[str]:
    """Return every word of this program's own code, and those of Python's and the system's errors.

    Read from the compiled modules without running them: a frozen program has no sources.
    """
    words: set[str] = {name for name in dir(builtins) if not name.startswith("_")}
    for number in errno.errorcode:
        words.update(_WORD.findall(os.strerror(number)))
    for number in signal.valid_signals():
        words.update(_WORD.findall(signal.strsignal(number) or ""))
    words.update(("Errno", "Traceback", "most", "recent", "call", "last", "first", "asyncio"))
    words.update(("Fatal", "Python", "error", "Current", "thread", "Extension", "modules"))
    for module in pkgutil.walk_packages(app.__path__, "app."):
        words.update(module.name.split("."))
        code = _code_of(module.name)
        if code is not None:
            words.update(_words_of(code))
    # Single letters are initials of people more often than words.
    return frozenset(word for word in words if len(word) > 1 or word in ("a", "s"))


def _code_of(name: str) -> CodeType | None:
    specification = importlib.util.find_spec(name)
    loader = None if specification is None else specification.loader
    get_code = getattr(loader, "get_code", None)
    code = None if get_code is None else get_code(name)
    return code if isinstance(code, CodeType) else None


def _words_of(code: CodeType) -> Iterator[str]:
    yield code.co_name
    yield from code.co_names
    yield from code.co_varnames
    # The first constant is the docstring, whose examples may name somebody; no log ever says it.
    first, *others = code.co_consts or (None,)
    for constant in others if isinstance(first, str) else code.co_consts:
        yield from _words_in(constant)


def _words_in(constant: object) -> Iterator[str]:
    if isinstance(constant, CodeType):
        yield from _words_of(constant)
    elif isinstance(constant, str):
        yield from _WORD.findall(constant)
    elif isinstance(constant, tuple | frozenset):
        for item in constant:
            yield from _words_in(item)


def private_words_here() -> tuple[str, ...]:
    """Return what names this computer's user and the computer itself."""
    names = [os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "COMPUTERNAME")]
    if sys.platform != "win32":
        names.append(os.uname().nodename)
    return tuple(name for name in names if name)
