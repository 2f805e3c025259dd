"""Fingerprint: everything that would leave, the exact bytes, Allow, and what came back."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtGui import QFontDatabase, QGuiApplication
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.ui.models.rows import Table
from app.ui.presenters.fingerprint import CASE_COLUMNS, FIELD_COLUMNS, FingerprintState
from app.ui.presenters.parts import Histogram
from app.ui.text import (
    EMPTY_FINGERPRINT,
    EMPTY_FINGERPRINT_HINT,
    EMPTY_RETURNED,
    PURPOSE,
    Page,
)
from app.ui.theme import GRID
from app.ui.widgets.card import Card, FactGrid, page_layout, row_of, scrolling
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.labels import BadgeLabel, Button, IconLabel, label, show_text
from app.ui.widgets.plots import HistogramPlot
from app.ui.widgets.progress_strip import ProgressStrip
from app.ui.widgets.record_table import RecordTable


class FingerprintPage(QWidget):
    """Draws a `FingerprintState`."""

    compute_wished = Signal()
    stop_wished = Signal(str)
    allow_wished = Signal(str, str)
    """The operator's name and the digest of the bytes on screen."""
    withdraw_wished = Signal()
    export_wished = Signal(str)
    """The receipt shall be saved: as "pdf" or as "json"."""
    case_switched = Signal(str, bool)
    """A case was taken in (True) or left out (False)."""

    def __init__(self) -> None:
        super().__init__()
        layout = page_layout(self, Page.FINGERPRINT.value, PURPOSE[Page.FINGERPRINT])
        top = Card()
        self._badge = BadgeLabel()
        self._headline = label("", "sentence")
        self._compute_again = Button("Compute again", "refresh", clicked=self.compute_wished.emit)
        line = QHBoxLayout()
        line.setSpacing(GRID)
        line.addWidget(self._badge)
        line.addWidget(self._headline, 1)
        line.addWidget(self._compute_again)
        top.body.addLayout(line)
        self._failure = label("", "sentence")
        self._outliers = label("", "muted")
        self._progress = ProgressStrip()
        self._progress.stopped.connect(self.stop_wished)
        top.body.addWidget(self._failure)
        top.body.addWidget(self._outliers)
        top.body.addWidget(self._progress)
        top.keep_low()
        layout.addWidget(top)

        self._pages = QStackedWidget()
        layout.addWidget(self._pages, 1)
        self._compute_first = Button(
            "Compute fingerprint",
            "fingerprint",
            primary=True,
            large=True,
            clicked=self.compute_wished.emit,
        )
        self._pages.addWidget(
            EmptyState(
                "fingerprint", EMPTY_FINGERPRINT, EMPTY_FINGERPRINT_HINT, self._compute_first
            )
        )
        full = QWidget()
        column = QVBoxLayout(full)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2 * GRID)
        self._tabs = QTabWidget()
        self._tabs.addTab(self._leaving_tab(), "What leaves")
        self._tabs.addTab(self._pictures_tab(), "Pictures")
        self._tabs.addTab(self._bytes_tab(), "The exact bytes")
        self._tabs.addTab(self._cases_tab(), "Your cases (stay here)")
        self._tabs.addTab(self._returned_tab(), "What came back")
        column.addWidget(self._tabs, 1)
        column.addWidget(self._allow_card())
        self._pages.addWidget(full)
        self._state: FingerprintState | None = None

    # --- building ------------------------------------------------------------------------------

    def _leaving_tab(self) -> QWidget:
        tab = QWidget()
        layout = QVBoxLayout(tab)
        layout.setContentsMargins(0, GRID, 0, 0)
        layout.setSpacing(GRID)
        self._policy_icon = IconLabel("shield")
        self._policy = label("")
        line = QHBoxLayout()
        line.setSpacing(GRID)
        line.addWidget(self._policy_icon)
        line.addWidget(self._policy, 1)
        layout.addLayout(line)
        self.fields = RecordTable(Table(columns=FIELD_COLUMNS), "What leaves")
        layout.addWidget(self.fields, 1)
        return tab

    def _pictures_tab(self) -> QWidget:
        content = QWidget()
        content.setObjectName("page")
        column = QVBoxLayout(content)
        column.setContentsMargins(0, GRID, 0, 0)
        column.setSpacing(GRID)
        column.addWidget(
            label(
                "Drawn from the bytes that would leave, never from the images. Each bar counts "
                "cases, or how common an intensity is.",
                "muted",
            )
        )
        self._pictures = PictureGrid()
        column.addWidget(self._pictures)
        column.addStretch(1)
        return scrolling(content)

    def _bytes_tab(self) -> QWidget:
        tab = QWidget()
        layout = QVBoxLayout(tab)
        layout.setContentsMargins(0, GRID, 0, 0)
        layout.setSpacing(GRID)
        self._size = label("", "muted", wraps=False)
        self._digest = label("", selectable=True)
        self._digest.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        copy = Button(
            "Copy",
            "copy",
            hint="Copy the exact bytes",
            clicked=lambda: QGuiApplication.clipboard().setText(self._bytes.toPlainText()),
        )
        line = QHBoxLayout()
        line.setSpacing(2 * GRID)
        line.addWidget(self._size)
        line.addWidget(self._digest, 1)
        line.addWidget(copy)
        layout.addLayout(line)
        self._bytes = QPlainTextEdit()
        self._bytes.setReadOnly(True)
        self._bytes.setAccessibleName("The exact bytes that would leave")
        self._bytes.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self._bytes.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        # One line of JSON has no spaces to break at.
        option = self._bytes.document().defaultTextOption()
        option.setWrapMode(option.WrapMode.WrapAnywhere)
        self._bytes.document().setDefaultTextOption(option)
        layout.addWidget(self._bytes, 1)
        return tab

    def _cases_tab(self) -> QWidget:
        tab = QWidget()
        layout = QVBoxLayout(tab)
        layout.setContentsMargins(0, GRID, 0, 0)
        layout.setSpacing(GRID)
        layout.addWidget(
            label(
                "These values never leave this computer. A case without its tick is left out of "
                "the fingerprint when you compute it again.",
                "muted",
            )
        )
        self.cases = RecordTable(
            Table(columns=CASE_COLUMNS), "Cases of the local fingerprint", of_cases=True
        )
        self.cases.checked_changed.connect(self.case_switched)
        layout.addWidget(self.cases, 1)
        return tab

    def _returned_tab(self) -> QWidget:
        content = QWidget()
        content.setObjectName("page")
        layout = QVBoxLayout(content)
        layout.setContentsMargins(0, GRID, 0, 0)
        layout.setSpacing(2 * GRID)
        self._returned_sentence = label("", "sentence")
        layout.addWidget(self._returned_sentence)
        self._plan_card = Card("The plan all sites use")
        self._plan = FactGrid()
        self._plan_card.body.addWidget(self._plan)
        layout.addWidget(self._plan_card)
        self._compared = PictureGrid()
        layout.addWidget(self._compared)
        layout.addStretch(1)
        return scrolling(content)

    def _allow_card(self) -> Card:
        card = Card()
        self._asking = QWidget()
        line = QHBoxLayout(self._asking)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(2 * GRID)
        line.addWidget(IconLabel("shield", size=28))
        line.addWidget(
            label(
                "I have looked at what leaves and allow sharing exactly these bytes with the study."
            ),
            1,
        )
        self._name = QLineEdit()
        self._name.setPlaceholderText("Your name")
        self._name.setAccessibleName("Your name, for the receipt")
        self._name.setMaxLength(120)
        self._name.setFixedWidth(220)
        self._allow = Button("Allow", "check", primary=True, clicked=self._wish_allow)
        self._name.returnPressed.connect(self._wish_allow)
        self._name.textChanged.connect(self._enable_allow)
        line.addWidget(self._name)
        line.addWidget(self._allow)
        card.body.addWidget(self._asking)

        self._allowed = QWidget()
        column = QHBoxLayout(self._allowed)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2 * GRID)
        self._receipt = FactGrid()
        column.addWidget(self._receipt, 1)
        self._withdraw = Button(
            "Take back",
            hint="Nothing more is shared. What was sent already cannot be called back.",
            clicked=self.withdraw_wished.emit,
        )
        self._export_menu = QMenu(self)
        for words, kind in (("As a page to read (PDF)", "pdf"), ("With the bytes (JSON)", "json")):
            action = self._export_menu.addAction(words)
            action.triggered.connect(lambda _checked=False, k=kind: self.export_wished.emit(k))
        self._export = Button(
            "Save receipt", hint="For your data-protection officer: what was allowed, and by whom"
        )
        self._export.setMenu(self._export_menu)
        column.addLayout(row_of(self._export, self._withdraw))
        card.body.addWidget(self._allowed)
        self._allow_frame = card
        return card

    # --- drawing -------------------------------------------------------------------------------

    def draw(self, state: FingerprintState) -> None:
        """Show a state."""
        if state == self._state:
            return
        self._state = state
        if state.badge is None:
            self._badge.hide()
        else:
            self._badge.show_badge(state.badge.text, state.badge.tone)
        show_text(self._headline, state.headline)
        show_text(self._failure, state.failure)
        show_text(self._outliers, "  ".join(state.outliers))
        self._progress.show_progress(state.progress)
        self._compute_again.setVisible(state.computed)
        self._compute_again.setEnabled(state.can_compute)
        self._compute_first.setEnabled(state.can_compute)
        self._pages.setCurrentIndex(1 if state.computed or state.cases.rows else 0)
        show_text(self._policy, state.policy_sentence)
        self.fields.show_table(state.fields)
        self._pictures.draw(state.pictures)
        self._size.setText(state.outgoing_size)
        self._digest.setText(f"SHA-256 {state.digest}" if state.digest else "")
        if self._bytes.toPlainText() != state.outgoing:
            self._bytes.setPlainText(state.outgoing)
        self.cases.show_table(state.cases)
        show_text(self._returned_sentence, state.returned_sentence or EMPTY_RETURNED)
        self._plan_card.setVisible(bool(state.plan))
        self._plan.show_facts(state.plan)
        self._compared.draw(state.returned_pictures)
        self._asking.setVisible(state.can_allow)
        self._allowed.setVisible(bool(state.receipt))
        self._receipt.show_facts(state.receipt)
        self._withdraw.setEnabled(state.can_withdraw)
        self._export.setEnabled(state.can_export)
        self._allow_frame.setVisible(state.can_allow or bool(state.receipt))
        self._enable_allow()

    def _enable_allow(self) -> None:
        allowed = self._state is not None and self._state.can_allow
        self._allow.setEnabled(allowed and bool(self._name.text().strip()))

    def _wish_allow(self) -> None:
        if self._allow.isEnabled() and self._state is not None:
            self.allow_wished.emit(self._name.text().strip(), self._state.digest)


class PictureGrid(QWidget):
    """Histograms, three in a row."""

    COLUMNS = 3

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("page")
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, GRID, 0)
        self._grid.setSpacing(2 * GRID)
        self._cards: list[tuple[Card, HistogramPlot]] = []

    def draw(self, pictures: Sequence[Histogram]) -> None:
        """Show these histograms and no others."""
        while len(self._cards) < len(pictures):
            number = len(self._cards)
            plot = HistogramPlot(pictures[number])
            card = Card()
            card.body.addWidget(plot)
            self._grid.addWidget(card, number // self.COLUMNS, number % self.COLUMNS)
            self._cards.append((card, plot))
        for number, (card, plot) in enumerate(self._cards):
            card.setVisible(number < len(pictures))
            if number < len(pictures):
                plot.draw(pictures[number])
