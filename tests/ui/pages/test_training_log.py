from __future__ import annotations

import pytest
from helpers import snapshots

from app.ui.pages.training_log import TrainingLog


@pytest.fixture
def log(qtbot, look):
    made = TrainingLog()
    qtbot.addWidget(made)
    made.resize(600, 240)
    made.show()
    return made


def test_words_and_troubles_narrow_what_is_shown(log):
    log.draw(snapshots.LOG)
    assert log.text.toPlainText().count("\n") == len(snapshots.LOG) - 1
    log.words.setText("update delivered")
    assert log.text.toPlainText().count("delivered") == 2
    log.words.clear()
    log.troubles.setChecked(True)
    assert log.text.toPlainText().count("\n") == 0
    assert "Warning" in log.text.toPlainText()


def test_at_its_end_the_log_follows_and_where_somebody_reads_it_stays(log):
    bar = log.text.verticalScrollBar()
    for lines, place in ((40, None), (41, 0)):
        log.draw((*snapshots.LOG, *[snapshots.log_line("more")] * lines))
        assert log.text.toPlainText().count("More") == lines
        assert bar.value() == (bar.maximum() if place is None else place)
        bar.setValue(0)
