"""Home: the next step, the five steps, the study and the training at a glance."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.ui.presenters.home import HomeState, NextStep
from app.ui.text import PURPOSE, Page
from app.ui.theme import GRID
from app.ui.widgets.card import Card, FactGrid, page_layout, row_of, scrolling
from app.ui.widgets.labels import Button, label, show_text
from app.ui.widgets.progress_strip import bar, show_share
from app.ui.widgets.steps import StepRow

# Segmenting is a tool on the way to Review, no step that must be done.
_STEP_PAGES = tuple(page for page in Page if page not in (Page.HOME, Page.SEGMENT))


class HomePage(QWidget):
    """Draws a `HomeState`."""

    step_wished = Signal(object)
    """The button of the next step; carries the `NextStep`."""

    page_wished = Signal(object)
    """Carries a `Page`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        content = QWidget()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scrolling(content))
        layout = page_layout(content, Page.HOME.value, PURPOSE[Page.HOME])

        self._next = Card()
        self._next.setProperty("tone", "accent")
        self._sentence = label("", "title")
        self._detail = label("", "muted")
        self.button = Button("", primary=True, large=True, clicked=self._wish)
        column = QVBoxLayout()
        column.setSpacing(GRID)
        column.addWidget(label("What to do next", "caption"))
        column.addWidget(self._sentence)
        column.addWidget(self._detail)
        line = QHBoxLayout()
        line.setSpacing(3 * GRID)
        line.addLayout(column, 1)
        line.addWidget(self.button, 0, Qt.AlignmentFlag.AlignVCenter)
        self._next.body.addLayout(line)
        layout.addWidget(self._next)

        steps = Card("The way through a study")
        self.steps = StepRow([page.value for page in _STEP_PAGES])
        self.steps.step_chosen.connect(lambda n: self.page_wished.emit(_STEP_PAGES[n]))
        steps.body.addWidget(self.steps)
        layout.addWidget(steps)

        self._study = Card("Study")
        self._study_title = label("", "sentence")
        self._study_empty = label("", "muted")
        self._facts = FactGrid()
        self._study.body.addWidget(self._study_title)
        self._study.body.addWidget(self._study_empty)
        self._study.body.addWidget(self._facts)
        self._study.body.addStretch(1)

        self._training = Card("Training")
        self._training_sentence = label("", "sentence")
        self._training_empty = label(
            "How far the training is stands here once it has begun.", "muted"
        )
        self._bar = bar("Epochs of the study done at this site")
        self._left = label("", "muted")
        self._watch = Button(
            "Watch the training", clicked=lambda: self.page_wished.emit(Page.TRAINING)
        )
        for widget in (self._training_sentence, self._training_empty, self._bar, self._left):
            self._training.body.addWidget(widget)
        self._training.body.addStretch(1)
        self._training.body.addLayout(row_of(None, self._watch))

        pair = QHBoxLayout()
        pair.setSpacing(2 * GRID)
        pair.addWidget(self._study, 3)
        pair.addWidget(self._training, 2)
        layout.addLayout(pair)
        layout.addStretch(1)

        self._state: HomeState | None = None

    def draw(self, state: HomeState) -> None:
        """Show a state."""
        if state == self._state:
            return
        self._state = state
        self._draw_step(state.step)
        self.steps.draw([(step.mark.value, step.detail) for step in state.steps])
        show_text(self._study_title, state.study_title)
        show_text(self._study_empty, state.study_empty)
        self._facts.show_facts(state.study)
        begun = state.training_share is not None
        show_text(self._training_sentence, state.training_sentence)
        self._training_empty.setVisible(not begun and not state.training_sentence)
        self._bar.setVisible(begun)
        if state.training_share is not None:
            show_share(self._bar, state.training_share)
        show_text(self._left, state.time_left)
        self._watch.setVisible(begun and state.step.page is not Page.TRAINING)

    def _draw_step(self, step: NextStep) -> None:
        self._sentence.setText(step.sentence)
        show_text(self._detail, step.detail)
        self.button.setText(step.button)
        self.button.setVisible(bool(step.button))
        self.button.setAccessibleDescription(step.sentence)

    def _wish(self) -> None:
        if self._state is not None:
            self.step_wished.emit(self._state.step)
