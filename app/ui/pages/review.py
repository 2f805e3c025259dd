"""Review: cases worst first, three planes, one key per verdict."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app.domain.segmentation import Verdict
from app.ui.actions import SHORTCUTS, Action, described
from app.ui.models.rows import Table
from app.ui.presenters.review import (
    CASE_COLUMNS,
    SCORE_COLUMNS,
    CaseDetail,
    ReviewState,
    neighbour,
)
from app.ui.text import EMPTY_REVIEW, EMPTY_REVIEW_HINT, PURPOSE, Page, Tone
from app.ui.theme import GRID
from app.ui.widgets.card import Card, page_layout
from app.ui.widgets.case_viewer import CaseViewer
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.labels import BadgeLabel, Button, label, show_text
from app.ui.widgets.record_table import RecordTable

REASONS = ("Structure missed", "Wrong border", "Extra piece", "Bad image", "Another reason")
_MOST_BADGES = 3


class ReviewPage(QWidget):
    """Draws a `ReviewState`; remembers only which case is on screen."""

    case_wished = Signal(object)
    """A `CaseDetail` to be read for the viewer."""

    judged = Signal(str, object, str, object)
    """Case, `Verdict`, comment, and the voxel (z, y, x) under the crosshair or None."""

    undo_wished = Signal()
    run_wished = Signal(int)
    """The run with this serial is to be shown."""

    report_wished = Signal()

    def __init__(self) -> None:
        super().__init__()
        layout = page_layout(self, Page.REVIEW.value, PURPOSE[Page.REVIEW])
        self._pages = QStackedWidget()
        self._empty = EmptyState("review", EMPTY_REVIEW, EMPTY_REVIEW_HINT)
        self._pages.addWidget(self._empty)
        split = QSplitter(Qt.Orientation.Horizontal)
        split.setChildrenCollapsible(False)
        split.addWidget(self._left())
        self.viewer = CaseViewer()
        split.addWidget(self.viewer)
        split.setStretchFactor(0, 0)
        split.setStretchFactor(1, 1)
        split.setSizes([350, 700])
        self._pages.addWidget(split)
        layout.addWidget(self._pages, 1)
        self._state: ReviewState | None = None
        self._shown: CaseDetail | None = None
        self._make_shortcuts()

    # --- building ------------------------------------------------------------------------------

    def _left(self) -> QWidget:
        left = QWidget()
        left.setMinimumWidth(300)
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, GRID, 0)
        column.setSpacing(GRID)
        self._summary = label("", "sentence")
        self._runs = QComboBox()
        self._runs.setAccessibleName("Segmentations to review")
        self._runs.activated.connect(lambda _index: self.run_wished.emit(self._runs.currentData()))
        # A long name must not widen the page.
        self._runs.setMinimumContentsLength(12)
        self._facts = label("", "caption")
        self._report = Button(
            "Save report",
            hint="Verdicts and scores as a page to read and as a table; both stay at this site",
            clicked=self.report_wished.emit,
        )
        top = QHBoxLayout()
        top.setSpacing(GRID)
        top.addWidget(self._summary, 1)
        top.addWidget(self._report)
        column.addWidget(self._runs)
        column.addLayout(top)
        column.addWidget(self._facts)
        self.cases = RecordTable(Table(columns=CASE_COLUMNS), "Cases, worst first")
        self.cases.row_chosen.connect(self._choose)
        column.addWidget(self.cases, 3)

        self._detail = Card()
        self._title = label("", "heading")
        self._verdict = BadgeLabel()
        line = QHBoxLayout()
        line.addWidget(self._title, 1)
        line.addWidget(self._verdict)
        self._detail.body.addLayout(line)
        badges = QVBoxLayout()
        badges.setSpacing(GRID // 2)
        self._badges = [BadgeLabel() for _ in range(_MOST_BADGES)]
        for badge in self._badges:
            badges.addWidget(badge, 0, Qt.AlignmentFlag.AlignLeft)
        self._detail.body.addLayout(badges)
        self._warnings = label("", "caption")
        self._detail.body.addWidget(self._warnings)
        self._scores = RecordTable(Table(columns=SCORE_COLUMNS), "Scores of this case")
        self._scores.fit_height(5)
        self._detail.body.addWidget(self._scores)
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("Comment (C)")
        self.comment.setAccessibleName("Comment on this case")
        self.comment.setMaxLength(500)
        self.comment.returnPressed.connect(self._keep_comment)
        self._detail.body.addWidget(self.comment)
        self.accept = Button(
            "Accept", "check", primary=True, hint=described(Action.ACCEPT), clicked=self._accept
        )
        self.flag = Button("Flag", "flag", hint=described(Action.FLAG), clicked=self._ask_reason)
        self._reasons = QMenu(self)
        for number, reason in enumerate(REASONS, start=1):
            action = self._reasons.addAction(f"&{number}  {reason}")
            action.triggered.connect(lambda _checked=False, why=reason: self._flag(why))
        buttons = QHBoxLayout()
        buttons.setSpacing(GRID)
        buttons.addWidget(self.accept, 1)
        buttons.addWidget(self.flag, 1)
        self._detail.body.addLayout(buttons)
        column.addWidget(self._detail, 0)
        return left

    def _make_shortcuts(self) -> None:
        for action, wish in (
            (Action.ACCEPT, self._accept),
            (Action.FLAG, self._ask_reason),
            (Action.COMMENT, self.comment.setFocus),
            (Action.NEXT_CASE, lambda: self._go(1)),
            (Action.PREVIOUS_CASE, lambda: self._go(-1)),
            (Action.NEXT_UNREVIEWED, self._go_unreviewed),
            (Action.UNDO, self.undo_wished.emit),
        ):
            shortcut = QShortcut(QKeySequence(SHORTCUTS[action].keys), self)
            shortcut.activated.connect(wish)

    # --- drawing -------------------------------------------------------------------------------

    def draw(self, state: ReviewState) -> None:
        """Show a state."""
        if state == self._state:
            return
        self._state = state
        self._draw_runs(state)
        self._empty.sentence.setText(state.empty)
        self._empty.hint.setText(state.empty_hint)
        self._pages.setCurrentIndex(1 if state.details else 0)
        show_text(self._summary, state.summary)
        self._report.setEnabled(state.can_report)
        show_text(self._facts, ".  ".join(f"{fact.name} {fact.value}" for fact in state.facts))
        self.cases.show_table(state.cases)
        if state.details and not self.cases.current_key():
            self.cases.choose(state.details[0].case)
        elif self._shown is not None:
            self._choose(self._shown.case)

    def choose_case(self, case: str) -> None:
        """Bring a case to the screen."""
        self.cases.choose(case)

    @property
    def label_names(self) -> dict[int, str]:
        """Voxel values of the structures and their names."""
        if self._state is None:
            return {}
        return {entry.value: entry.name for entry in self._state.labels}

    def _draw_runs(self, state: ReviewState) -> None:
        wanted = [(run.title, run.serial) for run in state.runs]
        have = [(self._runs.itemText(n), self._runs.itemData(n)) for n in range(self._runs.count())]
        if wanted != have:
            self._runs.clear()
            for title, serial in wanted:
                self._runs.addItem(title, serial)
                self._runs.setItemData(self._runs.count() - 1, title, Qt.ItemDataRole.ToolTipRole)
        self._runs.setCurrentIndex(self._runs.findData(state.shown))

    def _choose(self, case: str) -> None:
        detail = self._state.detail(case) if self._state is not None and case else None
        before, self._shown = self._shown, detail
        self._detail.setVisible(detail is not None)
        if detail is None:
            return
        self._title.setText(detail.title)
        row = self.cases.records.row(self.cases.records.number_of(detail.case) or 0)
        self._verdict.show_badge(row.group, row.cells[2].tone or Tone.NEUTRAL)
        for number, badge in enumerate(self._badges):
            if number < len(detail.badges):
                badge.show_badge(detail.badges[number].text, detail.badges[number].tone)
            else:
                badge.hide()
        show_text(self._warnings, "\n".join(detail.warnings))
        self._scores.show_table(detail.scores)
        same_case = before is not None and before.case == detail.case
        if not same_case or before is None or before.opinion != detail.opinion:
            self.comment.setText(detail.opinion.comment)
        if not same_case or before is None or before.prediction != detail.prediction:
            self.viewer.show_sentence(f"Reading {detail.title}…")
            self.case_wished.emit(detail)

    # --- verdicts ------------------------------------------------------------------------------

    def _judge(self, verdict: Verdict, comment: str) -> None:
        if self._shown is not None:
            voxel = self.viewer.view.crosshair if self.viewer.view is not None else None
            self.judged.emit(self._shown.case, verdict, comment, voxel)

    def _accept(self) -> None:
        if self._shown is not None:
            self._judge(Verdict.ACCEPTED, self.comment.text().strip())
            self._go(1)

    def _ask_reason(self) -> None:
        if self._shown is not None:
            self._reasons.popup(self.flag.mapToGlobal(self.flag.rect().topLeft()))
            self._reasons.setActiveAction(self._reasons.actions()[0])

    def _flag(self, reason: str) -> None:
        if self._shown is not None:
            comment = self.comment.text().strip() or reason
            self._judge(Verdict.FLAGGED, comment)
            self._go(1)

    def _keep_comment(self) -> None:
        if self._shown is not None:
            self._judge(self._shown.opinion.verdict, self.comment.text().strip())
            self.cases.setFocus()

    def _go(self, step: int, *, without: frozenset[str] = frozenset()) -> None:
        current = self._shown.case if self._shown is not None else ""
        case = neighbour(self.cases.keys(), current, step, without=without)
        if case is not None:
            self.cases.choose(case)

    def _go_unreviewed(self) -> None:
        if self._state is not None:
            done = (
                d.case for d in self._state.details if d.opinion.verdict is not Verdict.UNREVIEWED
            )
            self._go(1, without=frozenset(done))
