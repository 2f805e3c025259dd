"""The first steps: how one works, this computer, a first look at a case, and where to begin."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QMouseEvent, QShortcut
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app.ui.actions import SHORTCUTS, Action, described
from app.ui.presenters.first_steps import (
    DRAGS,
    PURPOSE,
    WISHES,
    FirstStep,
    Gesture,
    region_sentence,
    things_to_try,
    tool_of,
)
from app.ui.presenters.sample_study import COST, SampleState
from app.ui.text import NAME, Tone
from app.ui.theme import GRID
from app.ui.widgets.card import Card, row_of, scrolling
from app.ui.widgets.case_viewer import CaseViewer
from app.ui.widgets.check_lines import CheckLines
from app.ui.widgets.gpu_card import GpuCard
from app.ui.widgets.labels import Button, IconLabel, label, show_text
from app.ui.widgets.mouse_picture import MouseChoice
from app.ui.widgets.progress_strip import ProgressStrip
from app.ui.widgets.steps import StepRow
from app.ui.widgets.viewer_keys import MouseProfile, wish_of

if TYPE_CHECKING:
    from app.ui.presenters.machine import MachineState
    from app.ui.presenters.volumes import LoadedCase
    from app.ui.widgets.volume_view import VolumeView

_STEPS: Final = tuple(FirstStep)
_SIZE: Final = (1060, 760)
_MARGIN: Final = 5 * GRID
_INVITED: Final = (
    "The coordinator of a study sent you a file that ends in .fedjoin. You see who invites you and "
    "what would be shared; joining is a second step."
)


class FirstSteps(QDialog):
    """Leads through the steps; every one can be skipped, and Escape leaves them all."""

    profile_chosen = Signal(object)
    """Carries a `MouseProfile`."""
    look_wished = Signal()
    """This computer shall be looked at."""
    case_wished = Signal()
    """The sample case shall be read."""
    view_made = Signal(object)
    """The viewer, once."""
    package_wished = Signal(str)
    """A GPU package file shall be chosen; carries its sum, may be empty."""
    package_stopped = Signal()
    package_unwished = Signal()
    invitation_wished = Signal()
    sample_wished = Signal()
    keys_wished = Signal()
    """The sheet of keys shall be shown; keys of the window behind do not reach it from here."""

    def __init__(self, parent: QWidget, *, profile: MouseProfile) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"First steps with {NAME}")
        self.resize(
            min(_SIZE[0], parent.width() - _MARGIN), min(_SIZE[1], parent.height() - _MARGIN)
        )
        self._profile = profile
        self._done: set[Gesture] = set()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(3 * GRID, 2 * GRID, 3 * GRID, 2 * GRID)
        layout.setSpacing(GRID + GRID // 2)
        self.row = StepRow([step.value for step in _STEPS])
        self.row.step_chosen.connect(lambda number: self.go_to(_STEPS[number]))
        layout.addWidget(self.row)
        self._title = label("", "title", wraps=False)
        self._purpose = label("", "muted")
        layout.addWidget(self._title)
        layout.addWidget(self._purpose)
        self._pages = QStackedWidget()
        for page in (self._habits(), self._computer(), self._first_look(), self._begin()):
            self._pages.addWidget(page)
        layout.addWidget(self._pages, 1)
        layout.addLayout(self._buttons())
        for keys in SHORTCUTS[Action.KEYS].every:
            QShortcut(QKeySequence(keys), self).activated.connect(self.keys_wished)
        self.step = FirstStep.HABITS
        self.go_to(FirstStep.HABITS)

    # --- building ------------------------------------------------------------------------------

    def _habits(self) -> QWidget:
        page, column = _page_of_cards()
        region = Card("Language and region")
        region.body.addWidget(label(region_sentence(datetime.now(UTC).astimezone())))
        region.keep_low()
        column.addWidget(region)
        mouse = Card(
            "Mouse on images",
            "Reading rooms and research tools differ. Every viewer shows the choice beside its "
            "images, where it can be changed at any time.",
        )
        self.choices = [MouseChoice(profile) for profile in MouseProfile]
        pair = QHBoxLayout()
        pair.setSpacing(2 * GRID)
        for choice in self.choices:
            choice.setChecked(choice.profile is self._profile)
            choice.chosen.connect(self._choose)
            pair.addWidget(choice, 1)
        mouse.body.addLayout(pair)
        mouse.keep_low()
        column.addWidget(mouse)
        column.addStretch(1)
        return scrolling(page)

    def _computer(self) -> QWidget:
        page, column = _page_of_cards()
        check = Card("Check of this computer")
        self._again = Button("Check again", "refresh", clicked=self.look_wished.emit)
        check.tools.addWidget(self._again)
        self._summary = label("", "sentence")
        check.body.addWidget(self._summary)
        self.lines = CheckLines()
        check.body.addWidget(self.lines)
        check.keep_low()
        column.addWidget(check)
        self.gpu = GpuCard()
        self.gpu.file_wished.connect(self.package_wished)
        self.gpu.stop_wished.connect(self.package_stopped)
        self.gpu.remove_wished.connect(self.package_unwished)
        self.gpu.keep_low()
        column.addWidget(self.gpu)
        column.addStretch(1)
        return scrolling(page)

    def _first_look(self) -> QWidget:
        page = QWidget()
        line = QHBoxLayout(page)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(2 * GRID)
        self.viewer = CaseViewer("Reading the sample case…")
        self.viewer.view_made.connect(self._watch)
        line.addWidget(self.viewer, 1)
        card = Card("Try it")
        card.setFixedWidth(250)
        self._tries: dict[Gesture, tuple[IconLabel, QLabel, QLabel]] = {}
        for one in things_to_try(self._profile):
            sign, text, keys = IconLabel("next", size=16), label(""), label("", "caption")
            self._tries[one.gesture] = (sign, text, keys)
            words = QVBoxLayout()
            words.setSpacing(0)
            words.addWidget(text)
            words.addWidget(keys)
            row = QHBoxLayout()
            row.setSpacing(GRID)
            row.addWidget(sign, 0, Qt.AlignmentFlag.AlignTop)
            row.addLayout(words, 1)
            card.body.addLayout(row)
        card.body.addStretch(1)
        card.body.addWidget(label(described(Action.KEYS), "caption"))
        line.addWidget(card)
        self._say_tries()
        return page

    def _begin(self) -> QWidget:
        page = QWidget()
        page.setObjectName("page")
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2 * GRID)
        self.invitation = Button(
            "Open invitation…", "invitation", primary=True, large=True,
            clicked=self.invitation_wished.emit,
        )  # fmt: skip
        self.sample = Button(
            "Try the sample study", "play", primary=True, large=True,
            clicked=self.sample_wished.emit,
        )  # fmt: skip
        pair = QHBoxLayout()
        pair.setSpacing(2 * GRID)
        for heading, words, button in (
            (
                "You were invited",
                _INVITED,
                self.invitation,
            ),
            ("You want to see how it works", COST, self.sample),
        ):
            button.setAutoDefault(True)
            button.setAccessibleDescription(words)
            card = Card(heading)
            card.body.addWidget(label(words))
            card.body.addStretch(1)
            card.body.addWidget(button)
            pair.addWidget(card, 1)
        column.addLayout(pair)
        self.progress = ProgressStrip()
        column.addWidget(self.progress)
        self._sample_sign = IconLabel("problem", Tone.DANGER)
        self._sample_said = label("", "sentence", selectable=True)
        trouble = row_of(self._sample_sign)
        trouble.addWidget(self._sample_said, 1)
        column.addLayout(trouble)
        column.addWidget(
            label(
                "Or neither: Home tells the next step at any time, from your own images on.",
                "muted",
            )
        )
        column.addStretch(1)
        return scrolling(page)

    def _buttons(self) -> QHBoxLayout:
        self.skip = Button(
            "&Skip all", hint="The menu shows these steps again", clicked=self.reject
        )
        self.back = Button("&Back", "previous", clicked=lambda: self._go(-1))
        self.next = Button("&Next", primary=True, clicked=lambda: self._go(1))
        self.next.setDefault(True)
        return row_of(self.skip, None, self.back, self.next)

    # --- going through -------------------------------------------------------------------------

    def go_to(self, step: FirstStep) -> None:
        """Show a step."""
        self.step = step
        number = _STEPS.index(step)
        self._title.setText(step.value)
        self._purpose.setText(PURPOSE[step])
        marks = ["done" if n < number else "now" if n == number else "to do" for n in range(4)]
        self.row.draw([(mark, "") for mark in marks])
        self._pages.setCurrentIndex(number)
        self.back.setEnabled(number > 0)
        last = step is _STEPS[-1]
        self.next.setText("&To Home" if last else "&Next")
        self.skip.setVisible(not last)
        if step is FirstStep.LOOK and self.viewer.view is None:
            self.case_wished.emit()
        self._focus()

    def _focus(self) -> None:
        """Put the keys where they are wanted on this step."""
        match self.step:
            case FirstStep.HABITS:
                next(one for one in self.choices if one.isChecked()).setFocus()
            case FirstStep.LOOK if self.viewer.view is not None:
                next(iter(self.viewer.view.panes.values())).setFocus()
            case FirstStep.BEGIN:
                self.invitation.setFocus()
            case _:
                self.next.setFocus()

    def _go(self, way: int) -> None:
        number = _STEPS.index(self.step) + way
        if number == len(_STEPS):
            self.accept()
        else:
            self.go_to(_STEPS[number])

    def _choose(self, profile: MouseProfile) -> None:
        self._profile = profile
        self._say_tries()
        self.profile_chosen.emit(profile)

    # --- drawing -------------------------------------------------------------------------------

    def draw_machine(self, state: MachineState) -> None:
        """Show the check of this computer."""
        self._summary.setText(state.sentence)
        self.lines.draw(state.lines)
        self.gpu.draw(state.gpu)
        self._again.setEnabled(not state.busy)
        self.gpu.setVisible(bool(state.gpu.sentence))

    def draw_sample(self, state: SampleState) -> None:
        """Show how far the sample study is; once it is open, these steps have done their work."""
        self.progress.show_progress(state if state.running else None)
        self.sample.setEnabled(not state.running)
        show_text(self._sample_said, state.problem)
        self._sample_sign.setVisible(bool(state.problem))
        if state.open:
            self.accept()

    def show_case(self, loaded: LoadedCase, names: Mapping[int, str]) -> None:
        """Show the sample case in the viewer."""
        self.viewer.show_loaded(loaded, names)
        if self.step is FirstStep.LOOK:
            self._focus()

    def _say_tries(self) -> None:
        for one in things_to_try(self._profile):
            sign, text, keys = self._tries[one.gesture]
            done = one.gesture in self._done
            sign.show_icon("check" if done else "next", Tone.GOOD if done else Tone.NEUTRAL)
            text.setText(one.text)
            text.setAccessibleName(f"{'Done: ' if done else ''}{one.text}")
            keys.setText(f"Keys: {one.keys}")

    # --- what is tried in the viewer -----------------------------------------------------------

    def _watch(self, view: VolumeView) -> None:
        """Take note of what is tried; the viewer itself does it."""
        self.view_made.emit(view)
        for watched in (view, *view.panes.values()):
            watched.installEventFilter(self)

    def _tried(self, gesture: Gesture | None) -> None:
        if gesture is not None and gesture not in self._done:
            self._done.add(gesture)
            self._say_tries()

    # Qt overrides

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() is QEvent.Type.Wheel:
            self._tried(Gesture.SCROLL)
        elif event.type() is QEvent.Type.MouseButtonDblClick:
            self._tried(Gesture.PLANE)
        elif isinstance(event, QKeyEvent) and event.type() is QEvent.Type.KeyPress:
            wish = wish_of(event)
            self._tried(WISHES.get(wish[0]) if wish is not None else None)
        elif isinstance(event, QMouseEvent) and event.type() is QEvent.Type.MouseMove:
            shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            for button in (Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton):
                if event.buttons() & button:
                    tool = tool_of(self._profile, button, shift=shift)
                    self._tried(DRAGS.get(tool) if tool is not None else None)
        return super().eventFilter(watched, event)


def _page_of_cards() -> tuple[QWidget, QVBoxLayout]:
    """Return an empty page and the column for its cards."""
    page = QWidget()
    page.setObjectName("page")
    column = QVBoxLayout(page)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(2 * GRID)
    return page, column
