"""How long the study takes on this computer, how many graphics cards train, how large a step is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QSlider, QVBoxLayout, QWidget

from app.ui.text import Tone
from app.ui.theme import GRID
from app.ui.widgets.card import Card, FactGrid, NamedValue, row_of
from app.ui.widgets.labels import BadgeLabel, Button, label, show_text
from app.ui.widgets.notice import NoticeStrip, Told
from app.ui.widgets.progress_strip import ProgressStrip, Running

_SLIDER_WIDTH: Final = 360


class Word(Protocol):
    """A badge."""

    @property
    def text(self) -> str: ...
    @property
    def tone(self) -> Tone: ...


class Estimate(Protocol):
    """What is known of the time that the study takes here."""

    @property
    def sentence(self) -> str: ...
    @property
    def facts(self) -> Sequence[NamedValue]: ...
    @property
    def comparison(self) -> str: ...
    @property
    def badge(self) -> Word | None: ...
    @property
    def failure(self) -> str: ...
    @property
    def progress(self) -> Running | None: ...
    @property
    def button(self) -> str: ...


class Cards(Protocol):
    """How many graphics cards train."""

    @property
    def used(self) -> int: ...
    @property
    def most(self) -> int: ...
    @property
    def sentences(self) -> Sequence[str]: ...
    @property
    def meaning(self) -> str: ...


class Batch(Protocol):
    """A batch that is not the plan's."""

    @property
    def sentence(self) -> str: ...
    @property
    def button(self) -> str: ...


class Computer(Protocol):
    """What the card shows."""

    @property
    def estimate(self) -> Estimate: ...
    @property
    def cards(self) -> Cards | None: ...
    @property
    def batch(self) -> Batch | None: ...


class Offer(Told, Protocol):
    """A notice with one button; no text, no button."""

    @property
    def button(self) -> str: ...
    @property
    def batch_size(self) -> int | None: ...


class ComputerCard(Card):
    """Draws a `Computer`; the parts that a site has no use for are never made."""

    measure_wished = Signal()
    stop_wished = Signal(str)
    cards_wished = Signal(object)
    """How many graphics cards train; None: all that can."""
    batch_wished = Signal(object)
    """How many patches a step takes; None: as the plan says."""

    def __init__(self) -> None:
        super().__init__("How long it takes here")
        self._badge = BadgeLabel()
        self.tools.addWidget(self._badge)
        self.measure = Button("", "refresh", clicked=self.measure_wished.emit)
        self._sentence = label()
        self._facts = FactGrid()
        self._comparison = label()
        self._failure = label("", "sentence")
        self.progress = ProgressStrip()
        self.progress.stopped.connect(self.stop_wished)
        for widget in (
            self._sentence,
            self._facts,
            self._comparison,
            self._failure,
            self.progress,
        ):
            self.body.addWidget(widget)
        self.body.addLayout(row_of(self.measure, None))
        self.batch: BatchLine | None = None
        self.cards: CardsSlider | None = None
        self.body.addStretch(1)

    def draw(self, state: Computer) -> None:
        """Show what is known, and what can be chosen."""
        estimate = state.estimate
        self._sentence.setText(estimate.sentence)
        self._facts.setVisible(bool(estimate.facts))
        self._facts.show_facts(estimate.facts)
        show_text(self._comparison, estimate.comparison)
        show_text(self._failure, estimate.failure)
        badge = estimate.badge
        self._badge.show_badge(badge.text if badge else "", badge.tone if badge else Tone.NEUTRAL)
        self.progress.show_progress(estimate.progress)
        self.measure.setVisible(bool(estimate.button))
        self.measure.setText(estimate.button)
        self._draw_batch(state.batch)
        self._draw_cards(state.cards)

    def _draw_batch(self, batch: Batch | None) -> None:
        if batch is not None and self.batch is None:
            self.batch = BatchLine()
            self.batch.back.clicked.connect(lambda: self.batch_wished.emit(None))
            self.body.insertWidget(self.body.count() - 1, self.batch)
        if self.batch is not None:
            self.batch.draw(batch)

    def _draw_cards(self, cards: Cards | None) -> None:
        if cards is not None and self.cards is None:
            self.cards = CardsSlider()
            self.cards.wished.connect(self.cards_wished)
            self.body.insertWidget(self.body.count() - 1, self.cards)
        if self.cards is not None:
            self.cards.draw(cards)


class BatchLine(QWidget):
    """Says that steps are not the plan's, with the way back."""

    def __init__(self) -> None:
        super().__init__()
        self._sentence = label()
        self.back = Button("")
        line = row_of(self._sentence, self.back, spacing=2 * GRID)
        line.setStretch(0, 1)
        line.setContentsMargins(0, GRID, 0, 0)
        self.setLayout(line)

    def draw(self, batch: Batch | None) -> None:
        """Show a batch, or hide."""
        self.setVisible(batch is not None)
        if batch is not None:
            self._sentence.setText(batch.sentence)
            self.back.setText(batch.button)


class CardsSlider(QWidget):
    """A slider; what it says is wished when it is let go or moved by keys."""

    wished = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._shown: Cards | None = None
        self._sentence = label("", "sentence", wraps=False)
        self._meaning = label("", "caption")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(1, 1)
        self.slider.setPageStep(1)
        self.slider.setTickInterval(1)
        self.slider.setMaximumWidth(_SLIDER_WIDTH)
        self.slider.setTickPosition(QSlider.TickPosition.TicksBelow)
        self.slider.setAccessibleName("How many graphics cards train")
        self.slider.setTracking(False)  # a card more or less on the way is no wish
        self.slider.valueChanged.connect(self._moved)
        self.slider.sliderMoved.connect(self._say)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, GRID, 0, 0)
        layout.setSpacing(GRID)
        for widget in (self._sentence, self.slider, self._meaning):
            layout.addWidget(widget)

    def draw(self, cards: Cards | None) -> None:
        """Show how many train, or hide; a slider that is being held stays where it is held."""
        self.setVisible(cards is not None)
        if cards is None or cards == self._shown:
            return
        self._shown = cards
        self._meaning.setText(cards.meaning)
        self.slider.setEnabled(cards.most > 1)
        if not self.slider.isSliderDown():
            self._say(cards.used)
            self.slider.blockSignals(True)
            self.slider.setRange(1, cards.most)
            self.slider.setValue(cards.used)
            self.slider.blockSignals(False)

    def _say(self, value: int) -> None:
        shown = self._shown
        if shown is not None and value <= len(shown.sentences):
            self._sentence.setText(shown.sentences[value - 1])

    def _moved(self, value: int) -> None:
        shown = self._shown
        if shown is not None and value != shown.used:
            self._say(value)
            self.wished.emit(None if value == shown.most else value)


class OfferStrip(NoticeStrip):
    """A notice with one button that takes up its offer."""

    taken = Signal(object)
    """How many patches a step takes."""

    def __init__(self) -> None:
        super().__init__()
        self._offer: Offer | None = None
        self.take = Button("", "check", primary=True, clicked=self._take)
        layout = self.layout()
        if layout is not None:
            layout.addWidget(self.take)

    def draw_offer(self, offer: Offer | None) -> None:
        """Show an offer, or nothing."""
        self._offer = offer
        self.draw(offer)
        self.take.setVisible(offer is not None and bool(offer.button))
        self.take.setText(offer.button if offer is not None else "")

    def _take(self) -> None:
        if self._offer is not None and self._offer.batch_size is not None:
            self.taken.emit(self._offer.batch_size)
