from __future__ import annotations

import pytest
from helpers import snapshots
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSlider

from app.ui.presenters.computer import offer_of, present_computer
from app.ui.widgets.computer_card import ComputerCard, OfferStrip


@pytest.fixture
def card(qtbot, look):
    made = ComputerCard()
    qtbot.addWidget(made)
    made.resize(600, 500)
    made.show()
    return made


def present(snapshot):
    return present_computer(snapshot, now=snapshots.NOW)


def test_what_a_site_has_no_use_for_is_never_made(card):
    card.draw(present(snapshots.to_measure()))
    assert card.findChildren(QSlider) == []
    assert card.batch is None
    assert card.measure.isVisible()


def test_measuring_and_stopping(card, qtbot):
    card.draw(present(snapshots.to_measure()))
    with qtbot.waitSignal(card.measure_wished):
        card.measure.click()
    card.draw(present(snapshots.measuring()))
    assert not card.measure.isVisible()
    assert card.progress.isVisible()
    with qtbot.waitSignal(card.stop_wished) as stopped:
        card.progress._stop.click()
    assert stopped.args == ["calibrate"]
    card.draw(present(snapshots.measured()))
    assert not card.progress.isVisible()
    assert card.measure.text() == "Measure again"


def test_the_slider_wishes_what_it_says(card, qtbot):
    card.draw(present(snapshots.measured()))
    slider = card.cards.slider
    assert (slider.minimum(), slider.maximum(), slider.value()) == (1, 4, 2)
    with qtbot.waitSignal(card.cards_wished) as wished:
        qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert wished.args == [3]
    assert card.cards._sentence.text() == "3 of 4 graphics cards train"
    # The last place means all, also those that are put in later.
    with qtbot.waitSignal(card.cards_wished) as wished:
        qtbot.keyClick(slider, Qt.Key.Key_End)
    assert wished.args == [None]
    # Drawing what is known already is no wish, and moves nothing.
    with qtbot.assertNotEmitted(card.cards_wished):
        card.draw(present(snapshots.measured()))
        card.draw(present(snapshots.measuring()))
    assert (slider.maximum(), slider.value()) == (2, 2)


def test_a_slider_that_is_held_says_where_it_is_and_wishes_nothing_yet(card, qtbot):
    card.draw(present(snapshots.measured()))
    slider = card.cards.slider
    slider.setSliderDown(True)
    with qtbot.assertNotEmitted(card.cards_wished):
        slider.setSliderPosition(4)
        card.draw(present(snapshots.measuring()))
    assert card.cards._sentence.text() == "All 4 graphics cards train"
    assert slider.sliderPosition() == 4


def test_back_to_the_plans_batch(card, qtbot):
    card.draw(present(snapshots.smaller_batch()))
    assert card.batch.isVisible()
    with qtbot.waitSignal(card.batch_wished) as wished:
        card.batch.back.click()
    assert wished.args == [None]
    card.draw(present(snapshots.measured()))
    assert not card.batch.isVisible()


def test_an_offer_is_taken_with_one_button(qtbot, look):
    strip = OfferStrip()
    qtbot.addWidget(strip)
    strip.draw_offer(offer_of(snapshots.no_memory().training.devices))
    assert not strip.isHidden()
    assert "did not fit into memory" in strip.text
    with qtbot.waitSignal(strip.taken) as taken:
        strip.take.click()
    assert taken.args == [1]
    strip.draw_offer(None)
    assert strip.isHidden()
