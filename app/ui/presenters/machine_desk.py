"""Looking at this computer and installing its GPU package, beside the window."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from PySide6.QtCore import QObject, Qt, Signal

from app.domain.errors import ErrorCode, FednnunetError, OurMistake
from app.system import gpu_package
from app.system.clock import Clock
from app.system.machine_check import MachineFacts, NvidiaLibrary, read_machine
from app.ui.messages import of_error
from app.ui.models.gpu import Unpacking
from app.ui.presenters.machine import MachineState, present_machine
from app.ui.text import Tone, sentence_case

logger = logging.getLogger(__name__)

_TOLD_EVERY_S: Final = 0.1
_SMALL: Final = 10_000_000
"""Bytes below which sizes are told in MB."""

Result = TypeVar("Result")


class MachineDesk(QObject):
    """One thing at a time, each in a thread that dies with the window: what it left is gone on with.

    Signals come in the Qt thread. `nvml` and `try_out` are doubles in tests.
    """

    changed = Signal()

    _delivered = Signal(object)

    def __init__(
        self,
        home: Path,
        *,
        clock: Clock,
        nvml: NvidiaLibrary | None = None,
        try_out: Callable[[Path], str] | None = None,
    ) -> None:
        super().__init__()
        self._home, self._clock, self._nvml, self._try_out = home, clock, nvml, try_out
        self._facts: MachineFacts | None = None
        self._running: Unpacking | None = None
        self._result, self._tone = "", Tone.NEUTRAL
        self._stopped = threading.Event()
        self._told_at = -_TOLD_EVERY_S
        self._thread: threading.Thread | None = None
        self._closed = False
        self._delivered.connect(self._take, Qt.ConnectionType.QueuedConnection)

    @property
    def state(self) -> MachineState:
        """What there is to show now."""
        return present_machine(
            self._facts,
            busy=self.busy,
            running=self._running,
            result=self._result,
            result_tone=self._tone,
        )

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return self._thread is not None

    def look(self) -> None:
        """Look at this computer, unless something is under way."""
        self._begin(self._read, lambda facts: self._end(facts, "", Tone.NEUTRAL))

    def install(self, archive: Path, sha256: str = "") -> None:
        """Install a package file; goes on where an earlier try was stopped."""

        def work() -> tuple[str, MachineFacts]:
            from app.jobs.gpu_install import install_package

            sentence = install_package(
                archive,
                gpu_package.gpu_folder(),
                driver=gpu_package.find_driver(self._nvml),
                sha256=sha256,
                progress=self._progress,
                stopped=self._stopped.is_set,
                try_out=self._try_out,
            )
            return sentence, self._read()

        def done(found: tuple[str, MachineFacts]) -> None:
            sentence, facts = found
            self._end(facts, f"The GPU package works: {sentence}.", Tone.GOOD)

        self._show_running("Checking the file…", None)
        self._begin(work, done)

    def stop(self) -> None:
        """Stop an installation; the next one with the same file goes on from there."""
        self._stopped.set()

    def remove(self) -> None:
        """Go back to computing on the processor."""

        def work() -> tuple[bool, MachineFacts]:
            return gpu_package.remove(gpu_package.gpu_folder()), self._read()

        def done(found: tuple[bool, MachineFacts]) -> None:
            _, facts = found
            self._end(
                facts,
                "The GPU package is removed; training that starts from now on uses the processor.",
                Tone.GOOD,
            )

        self._show_running("Removing the GPU package…", None, stops="")
        self._begin(work, done)

    def close(self) -> None:
        """Stop what runs and tell nothing any more."""
        self._closed = True
        self._stopped.set()

    # --- private -------------------------------------------------------------------------------

    def _read(self) -> MachineFacts:
        return read_machine(self._home, clock=self._clock, nvml=self._nvml)

    def _begin(self, work: Callable[[], Result], done: Callable[[Result], None]) -> None:
        if self._thread is not None:
            return
        self._stopped.clear()

        def run() -> None:
            try:
                result = work()
            except FednnunetError as exc:
                problem: FednnunetError = exc
                self._deliver(lambda: self._fail(problem))
            except Exception:  # end of a thread: whatever it is, the window must learn of it
                logger.exception("work on this computer's check failed")
                self._deliver(
                    lambda: self._fail(OurMistake("this could not be done; the log says why"))
                )
            else:
                self._deliver(lambda: done(result))

        # A daemon: leaving the program does not wait for gigabytes, and nothing is lost by it.
        self._thread = threading.Thread(target=run, name="machine", daemon=True)
        self._thread.start()
        self.changed.emit()

    def _progress(self, done: int, total: int, what: str) -> None:
        """Tell from the working thread how far it is, ten times a second at most."""
        now = self._clock.monotonic()
        if now - self._told_at < _TOLD_EVERY_S and total:
            return
        self._told_at = now
        if not total:
            self._deliver(lambda: self._show_running(f"{sentence_case(what)}…", None, stops=""))
            return
        unit, divisor = ("MB", 1e6) if total < _SMALL else ("GB", 1e9)
        sentence = f"{sentence_case(what)}: {done / divisor:.1f} of {total / divisor:.1f} {unit}"
        self._deliver(lambda: self._show_running(sentence, done / total))

    def _show_running(self, sentence: str, share: float | None, *, stops: str = "gpu") -> None:
        self._running = Unpacking(sentence=sentence, share=share, stops=stops)
        self.changed.emit()

    def _end(self, facts: MachineFacts, result: str, tone: Tone) -> None:
        self._thread, self._running, self._facts = None, None, facts
        self._result, self._tone = result, tone
        self.changed.emit()

    def _fail(self, error: FednnunetError) -> None:
        self._thread, self._running = None, None
        if error.code is ErrorCode.JOB_STOPPED:
            self._result = "Stopped. Choose the same file again to go on where it was."
            self._tone = Tone.INFO
        else:
            told = of_error(error)
            self._result = f"{told.sentence}.\n{told.remedy}".strip()
            self._tone = Tone.DANGER
        self.changed.emit()

    def _take(self, action: Callable[[], None]) -> None:
        if not self._closed:
            action()

    def _deliver(self, action: Callable[[], None]) -> None:
        try:
            self._delivered.emit(action)
        except RuntimeError:
            logger.info("the window was gone before its work ended")
