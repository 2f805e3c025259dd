"""Starting the sample study: a process of its own with a window of its own; this one says how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import psutil
from msgspec import Struct
from PySide6.QtCore import QObject, QTimer, Signal

from app.domain.errors import FednnunetError
from app.jobs.detached import fednnunet_command, start_detached
from app.system.sample_study import (
    DISK_GB,
    MINUTES,
    forget_beginning,
    read_beginning,
    sample_study_home,
)
from app.ui.text import sentence_case

LOOK_MS: Final = 300
COST: Final = (
    f"Three invented hospitals and a coordinator train on real MR images, all on this computer: "
    f"about {MINUTES} minutes on two processor cores, less than {DISK_GB} GB of disk. Nothing is sent "
    "anywhere, and your own site is not touched. It opens in a window of its own."
)
_LOG: Final = ("logs", "start.log")


class SampleState(Struct, frozen=True, kw_only=True):
    """How far it is: `share` 0..1 while it begins (`running`); `open` once its window is there."""

    sentence: str = ""
    share: float | None = None
    stops: str = ""
    running: bool = False
    open: bool = False
    problem: str = ""


class SampleStudyStart(QObject):
    """Starts `fednnunet demo` so that it outlives this window, and reads what it notes."""

    changed = Signal()

    def __init__(
        self,
        home: Path | None = None,
        *,
        start: Callable[[Sequence[str], Path], int] | None = None,
    ) -> None:
        """Prepare to start it; `start` (command, log) returns a process id: a double in tests."""
        super().__init__()
        self._home = sample_study_home() if home is None else home
        self._start = start or (lambda command, log: start_detached(command, log=log))
        self._pid = 0
        self.state = SampleState()
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)

    def begin(self) -> None:
        """Start it, or bring the window that shows it to the front."""
        if self.state.running:
            return
        log = self._home.joinpath(*_LOG)
        try:
            forget_beginning(self._home)
            command = (*fednnunet_command(), "demo", "--home", str(self._home))
            self._pid = self._start(command, log)
        except (OSError, FednnunetError) as exc:
            self._show(SampleState(problem=f"It cannot be started: {exc}."))
            return
        self._show(SampleState(running=True, sentence="The sample study begins…"))
        self._timer.start()

    def _look(self) -> None:
        note = read_beginning(self._home)
        if note is not None and note.problem:
            self._stop(SampleState(problem=f"The sample study cannot begin: {note.problem}."))
        elif note is not None and note.open:
            self._stop(
                SampleState(open=True, sentence="The sample study is open in a window of its own.")
            )
        elif not _lives(self._pid):
            log = self._home.joinpath(*_LOG)
            self._stop(SampleState(problem=f"The sample study ended at once; {log} says why."))
        elif note is not None:
            self._show(
                SampleState(
                    running=True,
                    sentence=f"{sentence_case(note.sentence)}…",
                    share=note.step / max(1, note.steps),
                )
            )

    def _stop(self, state: SampleState) -> None:
        self._timer.stop()
        self._show(state)

    def _show(self, state: SampleState) -> None:
        if state != self.state:
            self.state = state
            self.changed.emit()


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
