"""Segment: choose a model, cases and how; watch the run; look at what it made."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QRadioButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from app.control.messages import RunState
from app.domain.segmentation import CaseSource
from app.ui.models.rows import Table
from app.ui.presenters.segment import (
    CASE_COLUMNS,
    RUN_COLUMNS,
    Inspected,
    ModelOption,
    RunDetail,
    SegmentState,
    SegmentWish,
)
from app.ui.text import (
    EMPTY_RUN_CASES,
    EMPTY_RUNS,
    NO_MODELS,
    PURPOSE,
    Page,
)
from app.ui.theme import GRID
from app.ui.widgets.card import Card, page_layout, row_of, scrolling
from app.ui.widgets.labels import Button, label, show_text
from app.ui.widgets.progress_strip import ProgressStrip
from app.ui.widgets.record_table import RecordTable

_MIRRORING = "Mirror each image (test-time augmentation: up to 8 times slower, a little better)"


class SegmentPage(QWidget):
    """Draws a `SegmentState`; remembers what is chosen but not begun yet."""

    segment_wished = Signal(object)
    """A `SegmentWish`."""

    model_file_wished = Signal()
    """A model file from elsewhere is to be chosen; the window asks and has it looked at."""

    folder_wished = Signal()
    """A folder with images is to be chosen; the window asks and calls `choose_folder`."""

    stop_wished = Signal(str)
    review_wished = Signal(int)
    forget_wished = Signal(int)
    baseline_wished = Signal()
    folder_opened = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        layout = page_layout(self, Page.SEGMENT.value, PURPOSE[Page.SEGMENT])
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2 * GRID)
        column.addWidget(self._choice_card())
        column.addWidget(self._runs_card(), 1)
        column.addWidget(self._baseline_card())
        layout.addWidget(scrolling(content), 1)
        self._state: SegmentState | None = None
        self._folder = ""
        self._taken: tuple[tuple[str, str], ...] = ()

    # --- building ------------------------------------------------------------------------------

    def _choice_card(self) -> Card:
        card = Card("New segmentation")
        grid = QGridLayout()
        grid.setHorizontalSpacing(2 * GRID)
        grid.setVerticalSpacing(GRID)
        grid.setColumnStretch(1, 1)
        self._model = QComboBox()
        self._model.setAccessibleName("Model to segment with")
        self._model.setMinimumWidth(320)
        self._model.currentIndexChanged.connect(lambda _index: self._show_choice())
        self._other_model = Button(
            "Open a model file",
            "folder_open",
            hint="Any nnU-Net model zip; it is looked at without running anything in it",
            clicked=self.model_file_wished.emit,
        )
        grid.addWidget(label("Model", wraps=False), 0, 0)
        grid.addLayout(row_of(self._model, self._other_model, None), 0, 1)
        self._model_detail = label("", "caption")
        grid.addWidget(self._model_detail, 1, 1)

        self._source_group = QButtonGroup(self)
        self._sources = {source: QRadioButton() for source in CaseSource}
        line = QHBoxLayout()
        line.setSpacing(2 * GRID)
        for source, button in self._sources.items():
            self._source_group.addButton(button)
            button.setMinimumHeight(3 * GRID)
            line.addWidget(button)
            button.toggled.connect(lambda _on: self._show_choice())
            if source is CaseSource.FOLDER:
                button.clicked.connect(self._folder_clicked)
        self._choose_folder = Button(
            "Choose folder", "folder_open", clicked=self.folder_wished.emit
        )
        line.addWidget(self._choose_folder)
        line.addStretch(1)
        grid.addWidget(label("Cases", wraps=False), 2, 0)
        grid.addLayout(line, 2, 1)
        self._source_hint = label("", "caption")
        grid.addWidget(self._source_hint, 3, 1)

        self._device = QComboBox()
        self._device.setAccessibleName("What to compute on")
        self._device.setMinimumWidth(200)
        self._mirroring = QCheckBox(_MIRRORING)
        grid.addWidget(label("Compute on", wraps=False), 4, 0)
        self._begin = Button("Segment", "play", primary=True, clicked=self._wish)
        self._why_not = label("", "muted", wraps=False)
        grid.addLayout(row_of(self._device, self._mirroring, None), 4, 1)
        grid.addLayout(row_of(self._begin, self._why_not, None), 5, 1)
        card.body.addLayout(grid)
        self._progress = ProgressStrip()
        self._progress.stopped.connect(self.stop_wished)
        card.body.addWidget(self._progress)
        self._failure = label("", "sentence")
        card.body.addWidget(self._failure)
        card.keep_low()
        return card

    def _runs_card(self) -> Card:
        card = Card("Segmentations at this site")
        self.runs = RecordTable(Table(columns=RUN_COLUMNS, empty=EMPTY_RUNS), "Segmentations")
        self.runs.row_chosen.connect(self._choose_run)
        self.cases = RecordTable(
            Table(columns=CASE_COLUMNS, empty=EMPTY_RUN_CASES),
            "Cases of the segmentation",
            of_cases=True,
        )
        split = QSplitter(Qt.Orientation.Horizontal)
        split.setChildrenCollapsible(False)
        split.addWidget(self.runs)
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(GRID, 0, 0, 0)
        column.setSpacing(GRID)
        self._run_facts = label("", "caption")
        self._run_outcome = label("")
        column.addWidget(self._run_facts)
        column.addWidget(self._run_outcome)
        column.addWidget(self.cases, 1)
        self._review = Button("Review", "review", clicked=self._review_run)
        self._go_on = Button(
            "Go on",
            "play",
            hint="Segment what is missing; finished cases are kept",
            clicked=self._resume,
        )
        self._files = Button("Open folder", "folder_open", clicked=self._open_files)
        self._forget = Button(
            "Remove", "close", hint="Remove these segmentations; verdicts stay", clicked=self._drop
        )
        column.addLayout(row_of(self._review, self._go_on, self._files, None, self._forget))
        split.addWidget(right)
        split.setStretchFactor(0, 1)
        split.setStretchFactor(1, 1)
        split.setSizes([540, 500])
        split.setMinimumHeight(224)
        card.body.addWidget(split, 1)
        return card

    def _baseline_card(self) -> Card:
        card = Card("What does the federation bring here?")
        self._baseline_sentence = label("")
        self._baseline = Button(
            "Train the local baseline", "training", clicked=self.baseline_wished.emit
        )
        self._baseline_progress = ProgressStrip()
        self._baseline_progress.stopped.connect(self.stop_wished)
        self._baseline_failure = label("", "sentence")
        card.body.addWidget(self._baseline_sentence)
        card.body.addWidget(self._baseline_progress)
        card.body.addWidget(self._baseline_failure)
        card.body.addLayout(row_of(self._baseline, None))
        card.keep_low()
        return card

    # --- drawing -------------------------------------------------------------------------------

    def draw(self, state: SegmentState) -> None:
        """Show a state."""
        if state == self._state:
            return
        before, self._state = self._state, state
        self._draw_models(state, new=state.inspected if _is_new(before, state) else None)
        self._draw_devices(state)
        for option in state.sources:
            button = self._sources[option.source]
            button.setText(option.title)
            button.setEnabled(option.usable)
            button.setToolTip(option.hint)
        if self._source() is None:
            first = next((one for one in state.sources if one.usable), None)
            if first is not None and first.source is not CaseSource.FOLDER:
                self._sources[first.source].setChecked(True)
        self._progress.show_progress(state.progress)
        show_text(self._failure, state.failure)
        self.runs.show_table(state.runs)
        if state.details and not self.runs.current_key():
            self.runs.choose(str(state.details[0].serial))
        self._choose_run(self.runs.current_key())
        baseline = state.baseline
        self._baseline_sentence.setText(baseline.sentence)
        self._baseline_progress.show_progress(baseline.progress)
        show_text(self._baseline_failure, baseline.failure)
        self._baseline.setVisible(bool(baseline.button))
        self._baseline.setText(baseline.button)
        self._baseline.setEnabled(baseline.enabled)
        self._show_choice()

    def choose_folder(self, folder: str) -> None:
        """Take the images of this folder for the next run."""
        self._folder = folder
        self._sources[CaseSource.FOLDER].setChecked(True)
        self._show_choice()

    def choose_source(self, source: CaseSource) -> None:
        """Take these cases for the next run."""
        self._sources[source].setChecked(True)

    def _draw_models(self, state: SegmentState, *, new: Inspected | None) -> None:
        options = _options(state)
        wanted = tuple((option.title, option.path) for option in options)
        chosen = str(self._model.currentData() or "")
        if wanted != self._taken:
            self._taken = wanted
            self._model.blockSignals(True)
            self._model.clear()
            for title, path in wanted:
                self._model.addItem(title, path)
            self._model.setCurrentIndex(max(0, self._model.findData(chosen)))
            self._model.blockSignals(False)
        if new is not None and new.usable:
            self._model.setCurrentIndex(self._model.findData(new.path))

    def _draw_devices(self, state: SegmentState) -> None:
        wanted = [(option.title, option.device) for option in state.devices]
        have = [
            (self._device.itemText(n), self._device.itemData(n))
            for n in range(self._device.count())
        ]
        if wanted == have:
            return
        chosen = self._device.currentData()
        self._device.clear()
        for title, device in wanted:
            self._device.addItem(title, device)
        self._device.setCurrentIndex(max(0, self._device.findData(chosen)))

    def _show_choice(self) -> None:
        """Say what is chosen, and why it cannot begin where it cannot."""
        state = self._state
        if state is None:
            return
        path = str(self._model.currentData() or "")
        inspected = state.inspected
        option = next((one for one in _options(state) if one.path == path), None)
        detail = option.detail if option is not None else NO_MODELS
        if inspected is not None and not inspected.usable:
            detail = f"{inspected.sentence} {inspected.remedy}"
        show_text(self._model_detail, detail)
        source = self._source()
        chosen = next((one for one in state.sources if one.source is source), None)
        hint = "" if chosen is None else chosen.hint
        if source is CaseSource.FOLDER and self._folder:
            hint = f"{self._folder}  (only read)"
        show_text(self._source_hint, hint)
        self._choose_folder.setVisible(source is CaseSource.FOLDER)
        why_not = ""
        if not state.attached:
            why_not = "The service of this site is not there yet."
        elif not path:
            why_not = "Choose a model first."
        elif source is None:
            why_not = "Choose cases first."
        elif source is CaseSource.FOLDER and not self._folder:
            why_not = "Choose a folder first."
        self._begin.setEnabled(state.ready and not why_not)
        show_text(self._why_not, why_not)

    def _source(self) -> CaseSource | None:
        return next(
            (source for source, button in self._sources.items() if button.isChecked()), None
        )

    def _folder_clicked(self) -> None:
        if not self._folder:
            self.folder_wished.emit()

    # --- a run ---------------------------------------------------------------------------------

    def _choose_run(self, key: str) -> None:
        detail = self._shown(key)
        for button in (self._review, self._go_on, self._files, self._forget):
            button.setVisible(detail is not None)
        show_text(self._run_facts, "" if detail is None else f"{detail.title}. {detail.facts}")
        show_text(self._run_outcome, "" if detail is None else detail.outcome)
        if detail is None:
            self.cases.show_table(Table(columns=CASE_COLUMNS, empty=EMPTY_RUN_CASES))
            return
        self.cases.show_table(detail.cases)
        self._review.setEnabled(detail.reviewable)
        self._files.setEnabled(detail.reviewable)
        ready = self._state is not None and self._state.ready
        self._go_on.setVisible(detail.state is RunState.UNFINISHED)
        self._go_on.setEnabled(ready)
        self._forget.setEnabled(detail.state is not RunState.RUNNING)

    def _shown(self, key: str = "") -> RunDetail | None:
        wanted = key or self.runs.current_key()
        return self._state.detail(wanted) if self._state is not None and wanted else None

    def _review_run(self) -> None:
        if (detail := self._shown()) is not None:
            self.review_wished.emit(detail.serial)

    def _resume(self) -> None:
        if (detail := self._shown()) is not None:
            self.segment_wished.emit(detail.resume)

    def _drop(self) -> None:
        if (detail := self._shown()) is not None:
            self.forget_wished.emit(detail.serial)

    def _open_files(self) -> None:
        if (detail := self._shown()) is not None:
            self.folder_opened.emit(detail.output)

    def _wish(self) -> None:
        source = self._source()
        if source is not None:
            self.segment_wished.emit(
                SegmentWish(
                    model=str(self._model.currentData()),
                    source=source,
                    folder=self._folder if source is CaseSource.FOLDER else "",
                    mirroring=self._mirroring.isChecked(),
                    device=str(self._device.currentData() or ""),
                )
            )


def _options(state: SegmentState) -> tuple[ModelOption, ...]:
    """Return what can be chosen: models of the study, and the file that was looked at last."""
    found = state.inspected
    if found is None or not found.usable or any(one.path == found.path for one in state.models):
        return state.models
    return (*state.models, ModelOption(title=found.title, path=found.path, detail=found.sentence))


def _is_new(before: SegmentState | None, state: SegmentState) -> bool:
    return before is None or before.inspected != state.inspected
