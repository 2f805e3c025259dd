"""The first steps and what stands behind them: this computer's check, the sample case and study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QWidget

from app.domain.errors import FednnunetError
from app.system.clock import SystemClock
from app.ui.messages import Message, of_error, told
from app.ui.models.gpu import GpuState
from app.ui.pages.first_steps import FirstSteps
from app.ui.presenters.first_steps import FirstStep, sample_case
from app.ui.presenters.machine import MachineState
from app.ui.presenters.machine_desk import MachineDesk
from app.ui.presenters.sample_study import SampleStudyStart
from app.ui.presenters.volumes import LoadedCase
from app.ui.widgets.viewer_habits import ViewerHabits

_ELSEWHERE = MachineState(
    sentence="This window shows the site of another computer. Its graphics card is managed there, "
    "with “fednnunet gpu-package status”.",
    lines=(),
    gpu=GpuState(sentence=""),
)


class Questions(Protocol):
    """The part of `window.Asking` that is used here."""

    @property
    def file(self) -> Callable[[QWidget, str, str], str]: ...
    @property
    def sure(self) -> Callable[[QWidget, str, str], bool]: ...


class Welcome(QObject):
    """Opens the first steps, at most one at a time; what runs behind them goes on when they close."""

    case_wished = Signal(object)
    """Carries the `CasePaths` of the sample case; `show_case` shall follow."""
    invitation_wished = Signal()
    keys_wished = Signal()
    message_told = Signal(object)
    """Carries a `Message`."""

    def __init__(
        self,
        window: QWidget,
        *,
        home: Path | None,
        habits: ViewerHabits,
        asking: Questions,
        machine: MachineDesk | None = None,
        start: SampleStudyStart | None = None,
    ) -> None:
        """Make it; `home` is None while the window shows another computer's site.

        `machine` and `start` are made here unless a test brings its own.
        """
        super().__init__(window)
        self._window, self._habits, self._asking = window, habits, asking
        self._machine = machine
        if machine is None and home is not None:
            self._machine = MachineDesk(home, clock=SystemClock())
        if self._machine is not None:
            self._machine.setParent(self)
            self._machine.changed.connect(self._draw_machine)
            # A daemon thread tells nothing to a window that is gone.
            self.destroyed.connect(self._machine.close)
        self._start = start or SampleStudyStart()
        self._start.setParent(self)
        self._start.changed.connect(self._draw_start)
        self._names: dict[int, str] = {}
        self.steps: FirstSteps | None = None
        """The first steps while they are open."""

    def open(self, *, computer: bool = False) -> None:
        """Show the first steps, or that of this computer at once."""
        if self.steps is None:
            self.steps = self._make()
            self._draw_machine()
            self._draw_start()
            self._look()
            self.steps.open()
        if computer:
            self.steps.go_to(FirstStep.COMPUTER)

    def close(self) -> None:
        """Close the first steps if they are open."""
        if self.steps is not None:
            self.steps.accept()

    def show_case(self, loaded: LoadedCase | Message) -> None:
        """Show the sample case, or why it cannot be shown."""
        if self.steps is None:
            return
        if isinstance(loaded, Message):
            self.steps.viewer.show_sentence(f"{loaded.sentence}\n{loaded.remedy}".strip())
        else:
            self.steps.show_case(loaded, self._names)

    # --- private -------------------------------------------------------------------------------

    def _make(self) -> FirstSteps:
        steps = FirstSteps(self._window, profile=self._habits.profile)
        steps.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        steps.profile_chosen.connect(self._habits.choose_profile)
        steps.view_made.connect(self._habits.adopt)
        steps.case_wished.connect(self._read_case)
        steps.look_wished.connect(self._look)
        steps.package_wished.connect(self._install)
        steps.package_stopped.connect(self._stop)
        steps.package_unwished.connect(self._remove)
        steps.invitation_wished.connect(self.invitation_wished)
        steps.sample_wished.connect(self._start.begin)
        steps.keys_wished.connect(self.keys_wished)
        steps.finished.connect(self._forget)
        return steps

    def _forget(self) -> None:
        self.steps = None

    def _read_case(self) -> None:
        try:
            paths, self._names = sample_case()
        except FednnunetError as exc:
            self.show_case(of_error(exc))
            return
        self.case_wished.emit(paths)

    def _look(self) -> None:
        if self._machine is not None:
            self._machine.look()

    def _install(self, sha256: str) -> None:
        if self._machine is None or self.steps is None:
            return
        path = self._asking.file(
            self.steps, "Choose the GPU package", "GPU packages (*.fedgpu);;All files (*)"
        )
        if path:
            self._machine.install(Path(path), sha256)

    def _stop(self) -> None:
        if self._machine is not None:
            self._machine.stop()

    def _remove(self) -> None:
        if self._machine is None or self.steps is None:
            return
        if self._asking.sure(
            self.steps,
            "Remove the GPU package",
            "Remove the GPU package? Training then uses the processor. To have it back, install "
            "the file again.",
        ):
            self._machine.remove()

    def _draw_machine(self) -> None:
        if self.steps is not None:
            state = _ELSEWHERE if self._machine is None else self._machine.state
            self.steps.draw_machine(state)

    def _draw_start(self) -> None:
        state = self._start.state
        if self.steps is not None:
            self.steps.draw_sample(state)
        elif state.problem:
            self.message_told.emit(Message(sentence=state.problem))
        if state.open:
            self.message_told.emit(told(state.sentence))
