"""Data: choose the folder, see every finding, open any case."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QMenu,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.ui.actions import SHORTCUTS, Action, described
from app.ui.models.layout import LayoutState
from app.ui.models.rows import Table
from app.ui.presenters.data import (
    CASE_COLUMNS,
    FINDING_COLUMNS,
    SEVERITY_WORDS,
    DataState,
)
from app.ui.text import EMPTY_DATA, EMPTY_DATA_HINT, GALLERY_HINT, PURPOSE, Page
from app.ui.theme import GRID
from app.ui.widgets.card import Card, FactGrid, page_layout, row_of
from app.ui.widgets.drop_zone import DropZone
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.filter_field import filter_field
from app.ui.widgets.gallery import Gallery
from app.ui.widgets.labels import BadgeLabel, Button, label, show_text
from app.ui.widgets.layout_form import LayoutForm
from app.ui.widgets.progress_strip import ProgressStrip
from app.ui.widgets.record_table import RecordTable

_ALL = "All findings"


class DataPage(QWidget):
    """Draws a `DataState`."""

    choose_wished = Signal()
    folder_wished = Signal(str)
    check_wished = Signal()
    stop_wished = Signal(str)
    finding_opened = Signal(str)
    """Key of a finding whose case shall be shown."""
    case_opened = Signal(str)
    layout_confirmed = Signal(object)
    """Carries `LayoutAnswers`."""
    layout_wished = Signal()
    """The confirmed layout shall be forgotten and the folder looked at anew."""
    picture_wished = Signal(object, int)
    """A `PictureWish` and the side of the picture in device pixels."""

    def __init__(self) -> None:
        super().__init__()
        layout = page_layout(self, Page.DATA.value, PURPOSE[Page.DATA])
        self._pages = QStackedWidget()
        layout.addWidget(self._pages, 1)
        self._recent: tuple[str, ...] = ()

        self._empty = DropZone(Path.is_dir)
        empty_layout = QVBoxLayout(self._empty)
        self._first_choice = Button(
            "Choose folder",
            "folder_open",
            primary=True,
            large=True,
            hint=described(Action.CHOOSE_FOLDER),
            clicked=self.choose_wished.emit,
        )
        empty_layout.addWidget(EmptyState("data", EMPTY_DATA, EMPTY_DATA_HINT, self._first_choice))
        self._recent_menu = QMenu(self)
        self._recent_button = Button("Recent folders")
        self._recent_button.setMenu(self._recent_menu)
        empty_layout.addLayout(row_of(None, self._recent_button, None))
        empty_layout.addSpacing(3 * GRID)
        self._empty.path_dropped.connect(self.folder_wished)
        self._pages.addWidget(self._empty)

        self._full = DropZone(Path.is_dir, framed=False)
        self._full.path_dropped.connect(self.folder_wished)
        full = QVBoxLayout(self._full)
        full.setContentsMargins(0, 0, 0, 0)
        full.setSpacing(2 * GRID)
        full.addWidget(self._folder_card())
        self._tabs = QTabWidget()
        self._tabs.addTab(self._findings_tab(), "Findings")
        self._tabs.addTab(self._cases_tab(), "Cases")
        self._tabs.addTab(self._gallery_tab(), "Gallery")
        self.layout_form = LayoutForm()
        self.layout_form.confirmed.connect(self.layout_confirmed)
        self._tabs.addTab(self.layout_form, "Confirm the layout")
        self._tabs.setTabVisible(self._tabs.indexOf(self.layout_form), False)
        self._proposed = ""
        full.addWidget(self._tabs, 1)
        self._pages.addWidget(self._full)
        self._state: DataState | None = None

    # --- building ------------------------------------------------------------------------------

    def _folder_card(self) -> Card:
        card = Card("Folder")
        self._choose = Button(
            "Choose another",
            "folder_open",
            hint=described(Action.CHOOSE_FOLDER),
            clicked=self.choose_wished.emit,
        )
        self._check = Button(
            "Check again",
            "refresh",
            hint=described(Action.CHECK_AGAIN),
            clicked=self.check_wished.emit,
        )
        self._recent_full = Button("Recent")
        self._recent_full.setMenu(self._recent_menu)
        self._anew = Button(
            "Change layout",
            hint="Look at the folder anew and say again which file is what",
            clicked=self.layout_wished.emit,
        )
        for button in (self._anew, self._check, self._recent_full, self._choose):
            card.tools.addWidget(button)
        shortcut = QShortcut(QKeySequence(SHORTCUTS[Action.CHECK_AGAIN].keys), self)
        shortcut.activated.connect(self.check_wished)

        self._path = label("", selectable=True)
        card.body.addWidget(self._path)
        self._summary = label("", "sentence")
        self._badge = BadgeLabel()
        verdict = QHBoxLayout()
        verdict.setSpacing(GRID)
        verdict.addWidget(self._badge)
        verdict.addWidget(self._summary, 1)
        card.body.addLayout(verdict)
        self._failure = label("", "sentence")
        card.body.addWidget(self._failure)
        self._progress = ProgressStrip()
        self._progress.stopped.connect(self.stop_wished)
        card.body.addWidget(self._progress)
        self._layout_facts = FactGrid()
        card.body.addWidget(self._layout_facts)
        card.keep_low()
        return card

    def _findings_tab(self) -> QWidget:
        tab = QWidget()
        layout = QVBoxLayout(tab)
        layout.setContentsMargins(0, GRID, 0, 0)
        layout.setSpacing(GRID)
        self._words = filter_field("Filter by words, e.g. a case", "Filter findings by words")
        self._severity = QComboBox()
        self._severity.setAccessibleName("Filter findings by severity")
        self._severity.addItems([_ALL, *SEVERITY_WORDS.values()])
        self._show = Button(
            "Show",
            "review",
            hint=described(Action.SHOW_CASE),
            clicked=lambda: self.finding_opened.emit(self.findings.current_key()),
        )
        layout.addLayout(row_of(self._words, self._severity, self._show))
        self.findings = RecordTable(Table(columns=FINDING_COLUMNS), "Findings")
        self.findings.row_opened.connect(self.finding_opened)
        self.findings.row_chosen.connect(self._draw_chosen)
        layout.addWidget(self.findings, 1)
        self._chosen = Card()
        self._chosen_sentence = label("", selectable=True)
        self._chosen_remedy = label("", "muted", selectable=True)
        self._chosen.body.addWidget(self._chosen_sentence)
        self._chosen.body.addWidget(self._chosen_remedy)
        self._chosen.hide()
        layout.addWidget(self._chosen)
        self._words.textChanged.connect(self._narrow)
        self._severity.currentTextChanged.connect(self._narrow)
        return tab

    def _cases_tab(self) -> QWidget:
        tab = QWidget()
        layout = QVBoxLayout(tab)
        layout.setContentsMargins(0, GRID, 0, 0)
        layout.setSpacing(GRID)
        self._case_words = filter_field("Filter by words", "Filter cases by words")
        show = Button(
            "Show",
            "review",
            hint=described(Action.SHOW_CASE),
            clicked=lambda: self.case_opened.emit(self.cases.current_key()),
        )
        layout.addLayout(row_of(self._case_words, show))
        self.cases = RecordTable(Table(columns=CASE_COLUMNS), "Cases", of_cases=True)
        self.cases.row_opened.connect(self.case_opened)
        self._case_words.textChanged.connect(self.cases.narrow)
        layout.addWidget(self.cases, 1)
        return tab

    def _gallery_tab(self) -> QWidget:
        tab = QWidget()
        layout = QVBoxLayout(tab)
        layout.setContentsMargins(0, GRID, 0, 0)
        layout.setSpacing(GRID)
        layout.addWidget(label(GALLERY_HINT, "muted"))
        self.gallery = Gallery("Pictures of the cases")
        self.gallery.picture_wished.connect(self.picture_wished)
        self.gallery.case_opened.connect(self.case_opened)
        layout.addWidget(self.gallery, 1)
        return tab

    # --- drawing -------------------------------------------------------------------------------

    def draw(self, state: DataState) -> None:
        """Show a state."""
        if state == self._state:
            return
        self._state = state
        self._first_choice.setEnabled(state.attached)
        if state.folder is None:
            self._pages.setCurrentWidget(self._empty)
            return
        self._pages.setCurrentWidget(self._full)
        self._path.setText(state.folder)
        show_text(self._summary, state.summary)
        if state.badge is None:
            self._badge.hide()
        else:
            self._badge.show_badge(state.badge.text, state.badge.tone)
        show_text(self._failure, state.failure)
        self._progress.show_progress(state.progress)
        self._layout_facts.show_facts(state.layout)
        self._layout_facts.setVisible(bool(state.layout))
        self._check.setEnabled(state.can_check)
        self._anew.setVisible(state.confirmed)
        self._anew.setEnabled(state.can_check)
        self.findings.show_table(state.findings)
        self.cases.show_table(state.cases)
        self.gallery.show_items(state.gallery)
        self._tabs.setTabText(0, f"Findings ({len(state.findings.rows)})")
        self._tabs.setTabText(1, f"Cases ({len(state.cases.rows)})")
        self._draw_chosen(self.findings.current_key())

    def draw_layout(self, layout: LayoutState | None) -> None:
        """Show a proposed layout, in front when it is a new one; None when there is none."""
        place = self._tabs.indexOf(self.layout_form)
        self._tabs.setTabVisible(place, layout is not None)
        self.layout_form.draw(layout)
        digest = layout.digest if layout is not None else ""
        if digest and digest != self._proposed:
            self._tabs.setCurrentIndex(place)
        self._proposed = digest

    def show_recent(self, folders: tuple[str, ...]) -> None:
        """Offer folders that were chosen before, newest first."""
        self._recent = folders
        self._recent_menu.clear()
        for folder in folders:
            action = self._recent_menu.addAction(folder)
            action.triggered.connect(
                lambda _checked=False, path=folder: self.folder_wished.emit(path)
            )
        self._recent_button.setVisible(bool(folders))
        self._recent_full.setVisible(bool(folders))

    def show_cases(self) -> None:
        """Bring the list of cases to the front."""
        self._tabs.setCurrentIndex(1)

    def show_gallery(self) -> None:
        """Bring the pictures of the cases to the front."""
        self._tabs.setCurrentIndex(2)

    def _draw_chosen(self, key: str) -> None:
        number = self.findings.records.number_of(key) if key else None
        self._chosen.setVisible(number is not None)
        self._show.setEnabled(False)
        if number is None:
            return
        row = self.findings.records.row(number)
        _, case, sentence, remedy = (cell.text for cell in row.cells)
        self._chosen_sentence.setText(f"{case}: {sentence}")
        self._chosen_remedy.setText(remedy)
        cases = {listed.key for listed in self.cases.records.table.rows}
        self._show.setEnabled(case in cases)

    def _narrow(self) -> None:
        group = self._severity.currentText()
        self.findings.narrow(self._words.text(), "" if group == _ALL else group)
