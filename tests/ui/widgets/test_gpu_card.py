from __future__ import annotations

import pytest

from app.ui.models.gpu import GpuState, Unpacking
from app.ui.text import Tone
from app.ui.widgets.gpu_card import GpuCard


@pytest.fixture
def card(qtbot):
    made = GpuCard()
    qtbot.addWidget(made)
    made.show()
    return made


def test_it_offers_only_what_can_be_done(card):
    card.draw(GpuState(sentence="Training uses the processor."))
    assert not card.install.isVisible()
    assert not card.sum.isVisible()
    assert not card.remove.isVisible()
    card.draw(GpuState(sentence="There is a card.", can_install=True))
    assert card.install.isVisible()
    assert card.sum.isVisible()
    card.draw(GpuState(sentence="In use.", can_remove=True))
    assert card.remove.isVisible()
    assert not card.install.isVisible()


def test_the_sum_goes_along_with_the_wish_for_a_file(card, qtbot):
    card.draw(GpuState(sentence="There is a card.", can_install=True))
    card.sum.setText(" abc ")
    with qtbot.waitSignal(card.file_wished) as wished:
        card.install.click()
    assert wished.args == ["abc"]


def test_while_it_runs_it_can_only_be_stopped(card, qtbot):
    running = Unpacking(sentence="Unpacking: 1.0 of 5.0 GB", share=0.2)
    card.draw(
        GpuState(sentence="A card.", can_install=True, can_remove=True, running=running, result="x")
    )
    assert card.progress.isVisible()
    assert not any(part.isVisible() for part in (card.install, card.remove, card._result))
    with qtbot.waitSignal(card.stop_wished):
        card.progress._stop.click()


def test_the_end_is_told_in_a_sentence(card):
    card.draw(GpuState(sentence="A card.", result="It is in use.", result_tone=Tone.GOOD))
    assert card._result.isVisible()
    assert card._result.text() == "It is in use."
