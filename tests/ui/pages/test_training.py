from __future__ import annotations

import pytest
from helpers import snapshots
from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel

from app.ui.pages.training import TrainingPage
from app.ui.presenters.training import present_training
from app.ui.text import ESTIMATE
from app.ui.widgets.labels import label


@pytest.fixture
def page(qtbot):
    made = TrainingPage()
    qtbot.addWidget(made)
    made.resize(1000, 900)
    made.show()
    return made


def present(snapshot):
    return present_training(snapshot, now=snapshots.NOW)


def test_nothing_is_styled_before_it_is_to_be_seen(qtbot, look):
    # What is styled too early is styled again with every parent that one of its parents gets.
    made = TrainingPage()
    qtbot.addWidget(made)
    texts = made.area.findChildren(QLabel)
    styled = [one for one in texts if one.testAttribute(Qt.WidgetAttribute.WA_WState_Polished)]
    assert len(texts) > 40
    assert len(styled) < 6, [one.text() for one in styled]


def test_pause_and_resume_are_one_button(page, qtbot):
    page.draw(present(snapshots.training()))
    with qtbot.waitSignal(page.pause_wished):
        page.pause.click()
    page.draw(present(snapshots.paused()))
    assert page.pause.text() == "Resume"
    with qtbot.waitSignal(page.resume_wished):
        page.pause.click()


def test_nothing_to_pause_before_training(page, qtbot):
    page.draw(present(snapshots.joined()))
    assert page.pause.isHidden()
    with qtbot.assertNotEmitted(page.pause_wished), qtbot.assertNotEmitted(page.resume_wished):
        page.toggle_pause()


def test_pseudo_dice_is_called_an_estimate(page):
    page.draw(present(snapshots.training()))
    said = [text.text() for text in page.dice.findChildren(type(label()))]
    assert ESTIMATE in said


def test_curves_redraw_at_most_twice_a_second(page, qtbot):
    page.draw(present(snapshots.training()))
    qtbot.waitUntil(lambda: page.steps.redraws == 1)
    base = snapshots.training()
    for number in range(1, 20):
        training = replace(base.training, steps=snapshots.steps(6, number), step=number)
        page.draw(present(replace(base, training=training)))
    assert page.steps.redraws == 1
    qtbot.waitUntil(lambda: page.steps.redraws == 2, timeout=2000)
    assert len(page.steps._lines[0].x) == 19


def test_hidden_curves_are_not_drawn(page, qtbot):
    page.draw(present(snapshots.training()))
    qtbot.waitUntil(lambda: page.loss.redraws == 1)
    page.hide()
    page.draw(present(snapshots.finished()))
    qtbot.wait(700)
    assert page.loss.redraws == 1
    page.show()
    qtbot.waitUntil(lambda: page.loss.redraws == 2)


def test_tabs_are_filled_when_somebody_looks_at_them(page):
    first, later = snapshots.training(), snapshots.finished()
    page.draw(present(first))
    assert (page.rounds, page.log) == (None, None)
    page.tabs.setCurrentIndex(1)
    assert page.rounds.isVisible()
    assert len(page.rounds.keys()) == len(first.federation.rounds)
    page.draw(present(later))
    assert len(page.rounds.keys()) == len(later.federation.rounds)
    page.tabs.setCurrentIndex(2)
    assert page.log.isVisible()
    assert page.log.text.toPlainText().count("\n") == len(later.training.log) - 1


def test_the_log_grows_only_while_it_is_seen(page):
    def more(number):
        log = (*snapshots.LOG, *[snapshots.log_line("more")] * number)
        base = snapshots.training()
        return present(replace(base, training=replace(base.training, log=log)))

    page.tabs.setCurrentIndex(2)
    page.draw(more(1))
    assert page.log.text.toPlainText().count("More") == 1
    page.tabs.setCurrentIndex(0)
    page.draw(more(5))
    assert page.log.text.toPlainText().count("More") == 1
    page.tabs.setCurrentIndex(2)
    assert page.log.text.toPlainText().count("More") == 5


def test_troubles_and_losses_are_told_above_all_figures(page):
    page.draw(present(snapshots.troubled()))
    first, second = page.alarms.texts
    assert first.startswith("No step has ended for 4 minutes")
    assert second.endswith("Let air in: check fans, filters and the room.")
    assert "41 steps" in page.lost.text
    page.lost.closed.emit(page._state.lost.key)
    assert page.lost.text == ""
    page.draw(present(snapshots.training()))
    assert page.alarms.texts == ()


def test_a_new_loss_is_told_though_the_last_was_put_away(page):
    page.draw(present(snapshots.troubled()))
    page.lost.closed.emit(page._state.lost.key)
    base = snapshots.troubled()
    newer = replace(base.training.interruptions[0], at=snapshots.NOW - 10, sentence="again")
    page.draw(present(replace(base, training=replace(base.training, interruptions=(newer,)))))
    assert page.lost.text == "Again"


def test_curves_are_saved_as_picture_and_table(page, qtbot):
    page.draw(present(snapshots.training()))
    with qtbot.waitSignal(page.save_wished) as saved:
        page.dice.save_wished.emit("csv")
    name, data = saved.args
    assert name == "overlap-(pseudo-dice).csv"
    assert ESTIMATE.lower().encode() in data
    assert data.count(b"\r\n") == 6
    with qtbot.waitSignal(page.save_wished) as saved:
        page.loss.save_wished.emit("png")
    assert saved.args[0] == "loss.png"
    assert saved.args[1].startswith(b"\x89PNG")


def test_the_card_about_this_computer_is_made_when_there_is_something_to_tell(page, qtbot):
    page.draw(present(snapshots.checked()))
    assert (page.computer, page.offer) == (None, None)
    page.draw(present(snapshots.to_measure()))
    assert page.computer.isVisible(), "also before training, when measuring is of use"
    with qtbot.waitSignal(page.measure_wished):
        page.computer.measure.click()
    page.draw(present(snapshots.smaller_batch()))
    assert page.computer.isVisible()
    assert page.computer.parent() is page.speed.parent()
    with qtbot.waitSignal(page.batch_wished) as wished:
        page.computer.batch.back.click()
    assert wished.args == [None]
    page.draw(present(snapshots.checked()))
    assert page.computer.isHidden()


def test_the_offer_of_a_smaller_batch_stands_on_top_until_it_is_taken(page, qtbot):
    page.draw(present(snapshots.no_memory()))
    with qtbot.waitSignal(page.batch_wished) as wished:
        page.offer.take.click()
    assert wished.args == [1]
    page.draw(present(snapshots.smaller_batch()))
    assert page.offer.isHidden()
