"""Review: cases worst first, three planes, one key per verdict; models by turns or side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QCheckBox,
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
from app.ui.models.pictures import MOST_KEPT, CasePicture, PictureWish, pixmap_of
from app.ui.models.rows import Table
from app.ui.presenters.benefit import BENEFIT_COLUMNS, BenefitState
from app.ui.presenters.review import (
    CASE_COLUMNS,
    SCORE_COLUMNS,
    CaseDetail,
    ReviewState,
    lesion_words,
    neighbour,
)
from app.ui.text import EMPTY_REVIEW, EMPTY_REVIEW_HINT, PURPOSE, Page, Tone
from app.ui.theme import GRID
from app.ui.widgets.card import Card, page_layout, row_of
from app.ui.widgets.case_viewer import CaseViewer
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.labels import BadgeLabel, Button, IconButton, label, show_text
from app.ui.widgets.record_table import RecordTable

if TYPE_CHECKING:
    from PySide6.QtGui import QPixmap

    from app.review.errors import ErrorComponent
    from app.ui.presenters.volumes import LoadedCase
    from app.ui.widgets.volume_view import VolumeView

REASONS: Final = ("Structure missed", "Wrong border", "Extra piece", "Bad image", "Another reason")
_MOST_BADGES: Final = 3
_MOST_STRUCTURES: Final = 12
_PICTURE: Final = 5 * GRID
"""Side of the small pictures, in logical pixels."""

Voxel = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseWish:
    """A case to be read for a viewer, where to look in it, and which one comes after it.

    `voxel` None leaves the place to the scores. `beside` is the serial of the other run whose
    segmentation is wanted for the second viewer; None means the case itself.
    """

    detail: CaseDetail
    voxel: Voxel | None = None
    then: CaseDetail | None = None
    beside: int | None = None


class ReviewPage(QWidget):
    """Draws a `ReviewState`; remembers only which case is on screen and where one looked last."""

    case_wished = Signal(object)
    """A `CaseWish`."""

    judged = Signal(str, object, str, object, str)
    """Case, `Verdict`, comment, the voxel (z, y, x) under the crosshair or None, and the reason."""

    undo_wished = Signal()
    run_wished = Signal(int)
    """The run with this serial is to be shown."""

    report_wished = Signal()
    picture_wished = Signal(object, int)
    """A `PictureWish` and the side of the picture in device pixels."""

    edit_wished = Signal(object)
    """A `CaseDetail` whose segmentation is to be opened elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        layout = page_layout(self, Page.REVIEW.value, PURPOSE[Page.REVIEW])
        self._pages = QStackedWidget()
        self._empty = EmptyState("review", EMPTY_REVIEW, EMPTY_REVIEW_HINT)
        self._pages.addWidget(self._empty)
        split = QSplitter(Qt.Orientation.Horizontal)
        split.setChildrenCollapsible(False)
        split.addWidget(self._left())
        split.addWidget(self._viewers())
        split.setStretchFactor(0, 0)
        split.setStretchFactor(1, 1)
        split.setSizes([420, 640])
        self._pages.addWidget(split)
        self._pages.addWidget(self._benefit_view())
        layout.addWidget(self._pages, 1)
        self._state: ReviewState | None = None
        self._shown: CaseDetail | None = None
        self._loaded: LoadedCase | None = None
        self._lesions: tuple[ErrorComponent, ...] = ()
        self._lesion = -1
        self._comparing = False
        self._pictures: dict[PictureWish, QPixmap | None] = {}
        self._picture_awaited: PictureWish | None = None
        self._linked: set[VolumeView] = set()
        self._make_shortcuts()

    # --- building ------------------------------------------------------------------------------

    def _left(self) -> QWidget:
        left = QWidget()
        left.setMinimumWidth(340)
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, GRID, 0)
        column.setSpacing(GRID)
        self._runs = QComboBox()
        self._runs.setAccessibleName("Segmentations to review")
        self._runs.activated.connect(lambda _index: self.run_wished.emit(self._runs.currentData()))
        # A long name must not widen the page.
        self._runs.setMinimumContentsLength(12)
        column.addWidget(self._runs)
        self._summary = label("", "sentence")
        self._facts = label("", "caption")
        self._report = Button(
            "Report",
            hint="Verdicts and scores as PDF or page, and as a table; all of them stay at this site",
            clicked=self.report_wished.emit,
        )
        self._compare = Button(
            "Benefit", hint=described(Action.COMPARE), clicked=self._toggle_benefit
        )
        column.addWidget(self._summary)
        column.addWidget(self._facts)
        column.addLayout(row_of(self._compare, self._report, None))
        self.cases = RecordTable(
            Table(columns=CASE_COLUMNS),
            "Cases, worst first",
            picture_side=_PICTURE,
            of_cases=True,
        )
        self.cases.row_chosen.connect(self._choose)
        column.addWidget(self.cases, 3)
        column.addWidget(self._detail_card())
        return left

    def _detail_card(self) -> Card:
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
        self._scores.fit_height(4)
        self._detail.body.addWidget(self._scores)
        self._lesion_words = label("", "caption")
        self._earlier = IconButton(
            "previous", described(Action.PREVIOUS_LESION), clicked=lambda: self._go_lesion(-1)
        )
        self._later = IconButton(
            "next", described(Action.NEXT_LESION), clicked=lambda: self._go_lesion(1)
        )
        lesions = QHBoxLayout()
        lesions.addWidget(self._lesion_words, 1)
        lesions.addWidget(self._earlier)
        lesions.addWidget(self._later)
        self._detail.body.addLayout(lesions)
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("Comment (C)")
        self.comment.setAccessibleName("Comment on this case")
        self.comment.setMaxLength(500)
        self.comment.returnPressed.connect(self._keep_comment)
        self._edit = IconButton("edit", described(Action.EDIT), clicked=self._wish_edit)
        self._detail.body.addLayout(row_of(self.comment, self._edit))
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
        self._advance = QCheckBox("Go to the next case after a verdict")
        self._advance.setMinimumHeight(3 * GRID)
        self._advance.setChecked(True)
        self._detail.body.addWidget(self._advance)
        return self._detail

    def _viewers(self) -> QWidget:
        """Two viewers, of which the second shows another model's segmentation when wished."""
        place = QWidget()
        column = QVBoxLayout(place)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GRID // 2)
        self._turn = Button(
            "Next model", "refresh", hint=described(Action.OTHER_MODEL), clicked=self._take_turn
        )
        self._beside_name = label("Beside it", wraps=False)
        self._beside = QComboBox()
        self._beside.setAccessibleName("Model beside the one that is reviewed")
        self._beside.setMinimumContentsLength(16)
        self._beside.activated.connect(lambda _index: self._show_beside())
        self._turns = QWidget()
        line = row_of(self._turn, self._beside_name, self._beside, None)
        line.setContentsMargins(0, 0, 0, 0)
        self._turns.setLayout(line)
        column.addWidget(self._turns)
        pair = QSplitter(Qt.Orientation.Horizontal)
        pair.setChildrenCollapsible(False)
        self.viewer = CaseViewer()
        self.second = CaseViewer()
        self.second.hide()
        pair.addWidget(self.viewer)
        pair.addWidget(self.second)
        column.addWidget(pair, 1)
        return place

    def _benefit_view(self) -> QWidget:
        view = QWidget()
        column = QVBoxLayout(view)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2 * GRID)
        card = Card()
        self._benefit_title = label("", "heading")
        card.body.addWidget(self._benefit_title)
        self._benefit_verdict = label("", "sentence")
        card.body.addWidget(self._benefit_verdict)
        self._benefit_table = RecordTable(Table(columns=BENEFIT_COLUMNS), "Benefit by structure")
        self._benefit_table.fit_height(_MOST_STRUCTURES)
        card.body.addWidget(self._benefit_table)
        self._benefit_warnings = label("")
        card.body.addWidget(self._benefit_warnings)
        self._benefit_missing = label("", "muted")
        card.body.addWidget(self._benefit_missing)
        card.body.addWidget(
            label(
                "Alone is this site's local baseline, together the study's shared model. Cases are "
                "compared one by one: a mean can rise while some structures or cases get worse. "
                "Nothing on this page leaves the site.",
                "caption",
            )
        )
        self._back = Button("Back to the cases", "previous", clicked=self._toggle_benefit)
        card.body.addLayout(row_of(self._back, None))
        card.body.addStretch(1)
        column.addWidget(card, 1)
        return view

    def _make_shortcuts(self) -> None:
        for action, wish in (
            (Action.ACCEPT, self._accept),
            (Action.FLAG, self._ask_reason),
            (Action.COMMENT, self.comment.setFocus),
            (Action.NEXT_CASE, lambda: self._go(1)),
            (Action.PREVIOUS_CASE, lambda: self._go(-1)),
            (Action.NEXT_UNREVIEWED, self._go_unreviewed),
            (Action.NEXT_LESION, lambda: self._go_lesion(1)),
            (Action.PREVIOUS_LESION, lambda: self._go_lesion(-1)),
            (Action.WORST_SLICE, self._go_worst),
            (Action.OTHER_MODEL, self._take_turn),
            (Action.SIDE_BY_SIDE, self._toggle_beside),
            (Action.COMPARE, self._toggle_benefit),
            (Action.EDIT, self._wish_edit),
            (Action.UNDO, self.undo_wished.emit),
        ):
            shortcut = QShortcut(QKeySequence(SHORTCUTS[action].keys), self)
            shortcut.activated.connect(wish)

    # --- drawing -------------------------------------------------------------------------------

    def draw(self, state: ReviewState) -> None:
        """Show a state."""
        if state == self._state:
            return
        before, self._state = self._state, state
        self._draw_runs(state)
        self._draw_others(state)
        self._empty.sentence.setText(state.empty)
        self._empty.hint.setText(state.empty_hint)
        show_text(self._summary, state.summary)
        self._report.setEnabled(state.can_report)
        self._compare.setVisible(state.benefit is not None)
        show_text(self._facts, ".  ".join(f"{fact.name} {fact.value}" for fact in state.facts))
        self._draw_benefit(state.benefit)
        self._place()
        self.cases.show_table(state.cases)
        if before is None or before.shown != state.shown:
            self._show_pictures(state)
        if state.details and not self.cases.current_key():
            self.cases.choose(state.details[0].case)
        elif self._shown is not None:
            self._choose(self._shown.case)
        self._wish_picture()

    def choose_case(self, case: str) -> None:
        """Bring a case to the screen."""
        self.cases.choose(case)

    def show_loaded(self, loaded: LoadedCase) -> None:
        """Show a case that was read for `case_wished`."""
        self._loaded = loaded
        self._forget_lesions()
        self._show(self.viewer, loaded)

    def show_lesions(self, lesions: tuple[ErrorComponent, ...]) -> None:
        """Take the places of the case on screen that one can step through."""
        self._lesions, self._lesion = lesions, -1
        self._say_lesion()

    def _forget_lesions(self) -> None:
        self._lesions, self._lesion = (), -1
        self._say_lesion()

    def show_beside(self, loaded: LoadedCase) -> None:
        """Show the same case by another model in the second viewer, linked to the first."""
        self._show(self.second, loaded)
        if self.viewer.view is not None and self.second.view is not None:
            self.second.view.go_to(self.viewer.view.crosshair)

    def show_picture(self, picture: CasePicture) -> None:
        """Show the small picture of a case that was wished for."""
        if picture.wish != self._picture_awaited:
            return
        self._picture_awaited = None
        pixmap = pixmap_of(picture, _PICTURE)
        self._pictures[picture.wish] = pixmap
        if pixmap is not None:
            self.cases.records.show_picture(picture.wish.case, pixmap)
        while len(self._pictures) > MOST_KEPT:
            self._pictures.pop(next(iter(self._pictures)))
        self._wish_picture()

    @property
    def label_names(self) -> dict[int, str]:
        """Voxel values of the structures and their names."""
        if self._state is None:
            return {}
        return {entry.value: entry.name for entry in self._state.labels}

    def _show(self, viewer: CaseViewer, loaded: LoadedCase) -> None:
        viewer.show_loaded(loaded, self.label_names)
        view = viewer.view
        if view is not None and view not in self._linked:
            # Made with the first case: from now on the two crosshairs go together.
            self._linked.add(view)
            view.crosshair_moved.connect(lambda z, y, x: self._follow(viewer, (z, y, x)))

    def _follow(self, moved: CaseViewer, voxel: Voxel) -> None:
        other = self.second if moved is self.viewer else self.viewer
        if other.view is not None and other.isVisible() and self.second.isVisible():
            other.view.go_to(voxel)

    def _draw_runs(self, state: ReviewState) -> None:
        _fill(self._runs, [(run.title, run.serial) for run in state.runs])
        self._runs.setCurrentIndex(self._runs.findData(state.shown))

    def _draw_others(self, state: ReviewState) -> None:
        chosen = self._beside.currentData()
        wanted = [("Nothing", None), *((run.title, run.serial) for run in state.others)]
        _fill(self._beside, wanted)
        self._beside.setCurrentIndex(max(0, self._beside.findData(chosen)))
        self._turns.setVisible(bool(state.others))
        if self._beside.currentData() is None:
            self.second.hide()

    def _draw_benefit(self, state: BenefitState | None) -> None:
        if state is None:
            self._comparing = False
            return
        self._benefit_title.setText(state.title)
        show_text(self._benefit_verdict, state.verdict)
        self._benefit_table.setVisible(bool(state.table.rows))
        self._benefit_table.show_table(state.table)
        show_text(self._benefit_warnings, "\n".join(f"•  {line}" for line in state.warnings))
        show_text(self._benefit_missing, state.missing)

    def _place(self) -> None:
        """Show what is wished: the comparison, the cases, or that there are none."""
        has_cases = self._state is not None and bool(self._state.details)
        self._pages.setCurrentIndex(2 if self._comparing else 1 if has_cases else 0)

    def _choose(self, case: str) -> None:
        detail = self._state.detail(case) if self._state is not None and case else None
        before, self._shown = self._shown, detail
        self._detail.setVisible(detail is not None)
        if detail is None or self._state is None:
            return
        self._title.setText(detail.title)
        row = self.cases.records.row(self.cases.records.number_of(detail.case) or 0)
        self._verdict.show_badge(row.group, row.cells[2].tone or Tone.NEUTRAL)
        for number, badge in enumerate(self._badges):
            if number < len(detail.badges):
                badge.show_badge(detail.badges[number].text, detail.badges[number].tone)
            else:
                badge.hide()
        said = (f"Flagged: {detail.opinion.reason}",) if detail.opinion.reason else ()
        show_text(self._warnings, "\n".join((*detail.warnings, *said)))
        self._scores.show_table(detail.scores)
        same_case = before is not None and before.case == detail.case
        if not same_case or before is None or before.opinion != detail.opinion:
            self.comment.setText(detail.opinion.comment)
        if same_case and before is not None and before.prediction == detail.prediction:
            return
        view, same_image = self.viewer.view, before is not None and same_case
        voxel = None
        if same_image and before is not None and before.channels == detail.channels and view:
            # Another model's segmentation of the same image: stay where one looked.
            voxel = view.crosshair
        else:
            self.viewer.show_sentence(f"Reading {detail.title}…")
        self._loaded = None
        self._forget_lesions()
        after = neighbour(self.cases.keys(), detail.case, 1)
        then = self._state.detail(after) if after is not None else None
        self.case_wished.emit(CaseWish(detail=detail, voxel=voxel, then=then))
        self._show_beside()

    # --- places --------------------------------------------------------------------------------

    def _go_lesion(self, step: int) -> None:
        if not self._lesions or self.viewer.view is None:
            return
        self._lesion = min(max(self._lesion + step, 0), len(self._lesions) - 1)
        self.viewer.view.go_to(self._lesions[self._lesion].voxel)
        self._say_lesion()

    def _say_lesion(self) -> None:
        lesions = self._lesions
        compared = self._loaded is not None and self._loaded.reference is not None
        self._lesion_words.setText(lesion_words(lesions, self._lesion, compared=compared))
        for button in (self._earlier, self._later):
            button.setVisible(bool(lesions))

    def _go_worst(self) -> None:
        """Look where the case was opened: the worst slice of its worst structure."""
        if self._loaded is not None and self._loaded.voxel is not None and self.viewer.view:
            self.viewer.view.go_to(self._loaded.worst or self._loaded.voxel)

    # --- models --------------------------------------------------------------------------------

    def _take_turn(self) -> None:
        """Show the same case by the next run that has it."""
        state = self._state
        if state is None or not state.others:
            return
        serials = [run.serial for run in state.runs]
        turns = [s for s in serials if s == state.shown or s in {r.serial for r in state.others}]
        place = turns.index(state.shown) if state.shown in turns else -1
        self.run_wished.emit(turns[(place + 1) % len(turns)])

    def _toggle_beside(self) -> None:
        if self._beside.count() > 1:
            self._beside.setCurrentIndex(0 if self._beside.currentIndex() else 1)
            self._show_beside()

    def _show_beside(self) -> None:
        serial = self._beside.currentData()
        self.second.setVisible(serial is not None)
        if serial is None or self._shown is None:
            return
        view = self.viewer.view
        self.case_wished.emit(
            CaseWish(
                detail=self._shown,
                voxel=view.crosshair if view is not None else None,
                beside=serial,
            )
        )

    def _toggle_benefit(self) -> None:
        if self._state is not None and self._state.benefit is not None:
            self._comparing = not self._comparing
            self._place()

    # --- pictures ------------------------------------------------------------------------------

    def _wish_picture(self) -> None:
        """Wish for the next picture that is missing; one at a time, in the order of the list."""
        if self._state is None or self._picture_awaited is not None:
            return
        for detail in self._state.details[:MOST_KEPT]:
            wish = detail.picture
            if wish is not None and wish not in self._pictures:
                self._picture_awaited = wish
                pixels = round(_PICTURE * self.devicePixelRatioF())
                self.picture_wished.emit(wish, pixels)
                return

    def _show_pictures(self, state: ReviewState) -> None:
        """Show the pictures that are known already, as after another run was chosen."""
        for detail in state.details:
            pixmap = self._pictures.get(detail.picture) if detail.picture is not None else None
            if pixmap is not None:
                self.cases.records.show_picture(detail.case, pixmap)

    # --- verdicts ------------------------------------------------------------------------------

    def _judge(self, verdict: Verdict, comment: str, reason: str = "") -> None:
        if self._shown is not None:
            voxel = self.viewer.view.crosshair if self.viewer.view is not None else None
            self.judged.emit(self._shown.case, verdict, comment, voxel, reason)

    def _accept(self) -> None:
        if self._shown is not None and not self._comparing:
            self._judge(Verdict.ACCEPTED, self.comment.text().strip())
            self._advance_if_wished()

    def _ask_reason(self) -> None:
        if self._shown is not None and not self._comparing:
            self._reasons.popup(self.flag.mapToGlobal(self.flag.rect().topLeft()))
            self._reasons.setActiveAction(self._reasons.actions()[0])

    def _flag(self, reason: str) -> None:
        if self._shown is not None:
            self._judge(Verdict.FLAGGED, self.comment.text().strip(), reason)
            self._advance_if_wished()

    def _advance_if_wished(self) -> None:
        if self._advance.isChecked():
            self._go(1)

    def _keep_comment(self) -> None:
        if self._shown is not None:
            self._judge(self._shown.opinion.verdict, self.comment.text().strip())
            self.cases.setFocus()

    def _wish_edit(self) -> None:
        if self._shown is not None:
            self.edit_wished.emit(self._shown)

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


def _fill(box: QComboBox, wanted: list[tuple[str, int | None]]) -> None:
    """Give a box these entries; nothing happens when it has them."""
    if wanted == [(box.itemText(n), box.itemData(n)) for n in range(box.count())]:
        return
    box.clear()
    for title, data in wanted:
        box.addItem(title, data)
        box.setItemData(box.count() - 1, title, Qt.ItemDataRole.ToolTipRole)
