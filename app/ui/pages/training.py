"""Training: is it working, how long still, is anyone waiting for me, may I switch this off."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.ui.actions import SHORTCUTS, Action, described
from app.ui.models.rows import Table
from app.ui.presenters.computer import ComputerState, OfferState
from app.ui.presenters.curves import curves_table
from app.ui.presenters.parts import Curve
from app.ui.presenters.speed import SpeedState
from app.ui.presenters.study_tables import SITE_COLUMNS
from app.ui.presenters.training import Tile, TrainingState
from app.ui.text import EMPTY_TRAINING, EMPTY_TRAINING_HINT, ESTIMATE, PURPOSE, Page, Tone
from app.ui.theme import GRID
from app.ui.widgets.card import Card, FactGrid, page_layout, scrolling
from app.ui.widgets.curve_plot import CurvePlot
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.labels import BadgeLabel, Button, label, show_text
from app.ui.widgets.meters import MeterGrid
from app.ui.widgets.notice import NoticeList, NoticeStrip
from app.ui.widgets.progress_strip import ProgressStrip, bar, show_share
from app.ui.widgets.record_table import RecordTable
from app.ui.widgets.schedule_form import ScheduleForm

if TYPE_CHECKING:
    from app.ui.pages.training_log import TrainingLog
    from app.ui.widgets.computer_card import ComputerCard, OfferStrip

_TILES: Final = 4
_ROUNDS, _LOG = 1, 2
"""The tabs after that of the sites."""
_STEPS_REDRAW_MS: Final = 1000
"""Steps may come many times a second, all day long."""
_BEST_LOSS: Final = -1.0
"""nnU-Net's loss adds cross entropy (at least 0) and minus the soft Dice (at least -1)."""


class TrainingPage(QWidget):
    """Draws a `TrainingState`."""

    pause_wished = Signal()
    """The operator wants to pause; the costs are to be told before it is done."""

    resume_wished = Signal()
    stop_wished = Signal(str)

    save_wished = Signal(str, bytes)
    """A file to save: its suggested name and its bytes."""

    schedule_wished = Signal(object, object, bool, bool)
    """When to train; see `ScheduleForm.wished`."""

    measure_wished = Signal()
    cards_wished = Signal(object)
    """How many graphics cards train; None: all that can."""
    batch_wished = Signal(object)
    """How many patches a step takes; None: as the plan says."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.computer: ComputerCard | None = None
        self.offer: OfferStrip | None = None
        content = QWidget()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        self.area = scrolling(content)
        outer.addWidget(self.area)
        layout = page_layout(content, Page.TRAINING.value, PURPOSE[Page.TRAINING])
        top = Card()
        self._sentence = label("", "sentence")
        self.pause = Button(
            "Pause", "pause", hint=described(Action.PAUSE), clicked=self.toggle_pause
        )
        line = QHBoxLayout()
        line.setSpacing(2 * GRID)
        line.addWidget(self._sentence, 1)
        line.addWidget(self.pause)
        top.body.addLayout(line)
        self._failure = label("", "sentence")
        self._costs = label("", "caption")
        self._progress = ProgressStrip()
        self._progress.stopped.connect(self.stop_wished)
        for widget in (self._failure, self._progress, self._costs):
            top.body.addWidget(widget)
        top.keep_low()
        layout.addWidget(top)
        self.alarms = NoticeList()
        layout.addWidget(self.alarms)
        self._offers = QVBoxLayout()
        layout.addLayout(self._offers)
        self.lost = NoticeStrip(closable=True)
        self.lost.closed.connect(self._put_away)
        self._put_away_key = ""
        layout.addWidget(self.lost)
        shortcut = QShortcut(QKeySequence(SHORTCUTS[Action.PAUSE].keys), self)
        shortcut.activated.connect(self.toggle_pause)

        # Not a stack: that would make the empty page as high as the full one.
        self._empty = EmptyState("training", EMPTY_TRAINING, EMPTY_TRAINING_HINT)
        self._running = QWidget()
        self._running.hide()
        layout.addWidget(self._empty, 1)
        layout.addWidget(self._running, 1)
        self._build_running(self._running)
        self._before_training = QVBoxLayout()
        layout.addLayout(self._before_training)
        self._state: TrainingState | None = None

    # --- building ------------------------------------------------------------------------------

    def _build_running(self, running: QWidget) -> None:
        column = QVBoxLayout(running)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2 * GRID)
        tiles = QHBoxLayout()
        tiles.setSpacing(2 * GRID)
        self._tiles = [TileCard() for _ in range(_TILES)]
        for tile in self._tiles:
            tiles.addWidget(tile, 1)
        column.addLayout(tiles)

        self.loss = CurvePlot("Loss", empty="The first epoch is still running.", floor=_BEST_LOSS)
        self.dice = CurvePlot(
            "Overlap (pseudo-Dice)",
            empty="The first epoch is still running.",
            hint=ESTIMATE,
            unit_range=True,
        )
        self.steps = CurvePlot(
            "Loss of each step",
            bottom="Step",
            empty="No step yet.",
            floor=_BEST_LOSS,
            redraw_ms=_STEPS_REDRAW_MS,
        )
        self.rate = CurvePlot("Learning rate", empty="The first epoch is still running.")
        grid = QGridLayout()
        grid.setSpacing(2 * GRID)
        for number, plot in enumerate((self.loss, self.dice, self.steps, self.rate)):
            plot.save_wished.connect(partial(self._save, plot))
            card = Card()
            card.body.addWidget(plot)
            card.setFixedHeight(288 if number < 2 else 224)
            grid.addWidget(card, number // 2, number % 2)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        column.addLayout(grid)

        self._meters = MeterGrid()
        load = Card("This computer")
        load.body.addWidget(self._meters)
        column.addWidget(load)

        self.speed = SpeedCard()
        self.schedule = ScheduleForm()
        self.schedule.wished.connect(self.schedule_wished)
        hours = Card("When to train")
        hours.body.addWidget(self.schedule)
        pair = QHBoxLayout()
        pair.setSpacing(2 * GRID)
        self._beside_hours = QVBoxLayout()
        self._beside_hours.setSpacing(2 * GRID)
        self._beside_hours.addWidget(self.speed)
        pair.addLayout(self._beside_hours, 1)
        pair.addWidget(hours, 1)
        column.addLayout(pair)

        self.tabs = QTabWidget()
        self.sites = RecordTable(Table(columns=SITE_COLUMNS), "Sites in this round")
        self.tabs.addTab(self.sites, "Sites in this round")
        # What the others hold is made when somebody looks at it, and joined only while they do.
        self.rounds: RecordTable | None = None
        self.log: TrainingLog | None = None
        self._later: dict[int, QVBoxLayout] = {}
        for name in ("Closed rounds", "Log"):
            tab = QWidget()
            room = QVBoxLayout(tab)
            room.setContentsMargins(0, 0, 0, 0)
            self._later[self.tabs.addTab(tab, name)] = room
        self.tabs.currentChanged.connect(self._draw_tab)
        # As high as the highest of them, so that nothing moves when that is made.
        self.tabs.setMinimumHeight(35 * GRID)
        column.addWidget(self.tabs)

    def _save(self, plot: CurvePlot, kind: str) -> None:
        name = "-".join(plot.accessibleName().casefold().replace(",", "").split())
        if kind == "png":
            data = plot.picture()
        else:
            data = curves_table(self._curves_of(plot), plot.bottom, estimate=plot is self.dice)
        self.save_wished.emit(f"{name}.{kind}", data)

    def _curves_of(self, plot: CurvePlot) -> tuple[Curve, ...]:
        if (state := self._state) is None:
            return ()
        return {
            self.loss: state.loss,
            self.dice: state.dice,
            self.steps: state.step_loss,
            self.rate: state.learning_rate,
        }[plot]

    # --- drawing -------------------------------------------------------------------------------

    def draw(self, state: TrainingState) -> None:
        """Show a state; plots redraw at most twice a second by themselves."""
        if state == self._state:
            return
        self._state = state
        self._sentence.setText(
            state.sentence
            or ("Training runs by itself." if state.begun else "Nothing to do here yet.")
        )
        show_text(self._failure, state.failure)
        show_text(self._costs, state.costs)
        self.alarms.draw(state.alarms)
        self._draw_lost()
        self._progress.show_progress(state.progress)
        self._draw_pause(state)
        self._empty.setVisible(not state.begun)
        for number, card in enumerate(self._tiles):
            card.setVisible(number < len(state.tiles))
            if number < len(state.tiles):
                card.draw(state.tiles[number])
        self.loss.draw(state.loss, state.round_ends)
        self.dice.draw(state.dice, state.round_ends)
        self.steps.draw(state.step_loss)
        self.steps.retitle(state.step_title)
        self.rate.draw(state.learning_rate, state.round_ends)
        self._meters.draw(state.meters)
        self.speed.draw(state.speed)
        self._draw_computer(state.computer, begun=state.begun)
        self._draw_offer(state.offer)
        self.schedule.draw(state.schedule)
        self.sites.show_table(state.sites)
        self._draw_tab()
        # Last: to show is to style, which what changes a badge would do again.
        self._running.setVisible(state.begun)

    def toggle_pause(self) -> None:
        """Pause what runs, resume what is paused."""
        if self._state is None:
            return
        if self._state.can_resume:
            self.resume_wished.emit()
        elif self._state.can_pause:
            self.pause_wished.emit()

    def _draw_pause(self, state: TrainingState) -> None:
        self.pause.setVisible(state.can_pause or state.can_resume)
        self.pause.setText(state.resume_text if state.can_resume else "Pause…")
        self.pause.show_icon("play" if state.can_resume else "pause")

    def _draw_computer(self, state: ComputerState | None, *, begun: bool) -> None:
        """Show the card where it belongs: beside the hours, or below the empty page."""
        if state is None:
            if self.computer is not None:
                self.computer.hide()
            return
        if self.computer is None:
            from app.ui.widgets.computer_card import ComputerCard

            card = self.computer = ComputerCard()
            card.measure_wished.connect(self.measure_wished)
            card.stop_wished.connect(self.stop_wished)
            card.cards_wished.connect(self.cards_wished)
            card.batch_wished.connect(self.batch_wished)
        place = self._beside_hours if begun else self._before_training
        if place.indexOf(self.computer) < 0:
            place.addWidget(self.computer)
        self.computer.draw(state)
        self.computer.show()

    def _draw_offer(self, state: OfferState | None) -> None:
        if state is not None and self.offer is None:
            from app.ui.widgets.computer_card import OfferStrip

            self.offer = OfferStrip()
            self.offer.taken.connect(self.batch_wished)
            self._offers.addWidget(self.offer)
        if self.offer is not None:
            self.offer.draw_offer(state)

    def _draw_lost(self) -> None:
        lost = self._state.lost if self._state is not None else None
        self.lost.draw(lost if lost is not None and lost.key != self._put_away_key else None)

    def _put_away(self, key: str) -> None:
        self._put_away_key = key
        self._draw_lost()

    def _draw_tab(self, *_what: object) -> None:
        tab = self.tabs.currentIndex()
        if self._state is None:
            return
        if tab == _ROUNDS:
            if self.rounds is None:
                self.rounds = RecordTable(self._state.rounds, "Closed rounds")
                self._later[tab].addWidget(self.rounds)
                self.rounds.show()  # in this turn of the loop
            self.rounds.show_table(self._state.rounds)
        elif tab == _LOG:
            if self.log is None:
                from app.ui.pages.training_log import TrainingLog

                self.log = TrainingLog()
                self._later[tab].addWidget(self.log)
                self.log.show()
            self.log.draw(self._state.log)


class SpeedCard(Card):
    """Whether this speed is normal for this computer."""

    def __init__(self) -> None:
        super().__init__("Is this speed normal?")
        self._badge = BadgeLabel()
        self.tools.addWidget(self._badge)
        self._sentence = label()
        self._facts = FactGrid()
        self.body.addWidget(self._sentence)
        self.body.addWidget(self._facts)
        self.body.addStretch(1)

    def draw(self, state: SpeedState) -> None:
        """Show the verdict and what it rests on."""
        badge = state.badge
        self._badge.show_badge(badge.text if badge else "", badge.tone if badge else Tone.NEUTRAL)
        self._sentence.setText(state.sentence)
        self._facts.show_facts(state.facts)


class TileCard(Card):
    """One figure, large, with a bar where it is a share."""

    def __init__(self) -> None:
        super().__init__()
        self._name = label("", "caption")
        self._value = label("", "figure", wraps=False)
        self._bar = bar("")
        self._detail = label("", "caption")
        for widget in (self._name, self._value, self._bar, self._detail):
            self.body.addWidget(widget)
        self.body.addStretch(1)
        self.body.setSpacing(GRID // 2)

    def draw(self, tile: Tile) -> None:
        """Show a figure."""
        self._name.setText(tile.name)
        self._value.setText(tile.value)
        self._detail.setText(tile.detail)
        self.setAccessibleName(f"{tile.name}: {tile.value}. {tile.detail}")
        self._bar.setVisible(tile.share is not None)
        if tile.share is not None:
            self._bar.setAccessibleName(tile.name)
            show_share(self._bar, tile.share)
