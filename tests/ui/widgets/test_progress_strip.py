from __future__ import annotations

from app.ui.presenters.parts import Progress
from app.ui.widgets.progress_strip import ProgressStrip, bar, show_share


def test_hidden_while_nothing_runs(qtbot):
    strip = ProgressStrip()
    qtbot.addWidget(strip)
    strip.show_progress(None)
    assert strip.isHidden()


def test_stop_names_the_job(qtbot):
    strip = ProgressStrip()
    qtbot.addWidget(strip)
    strip.show_progress(Progress(sentence="Checking: 3 of 12", share=0.25, stops="check"))
    assert strip._bar.value() / strip._bar.maximum() == 0.25
    assert strip._bar.accessibleName() == "Checking: 3 of 12"
    with qtbot.waitSignal(strip.stopped) as told:
        strip._stop.click()
    assert told.args == ["check"]


def test_a_job_that_cannot_be_stopped_has_no_button(qtbot):
    strip = ProgressStrip()
    qtbot.addWidget(strip)
    strip.show_progress(Progress(sentence="Sending…", share=None))
    assert strip._stop.isHidden()
    assert strip._bar.maximum() == 0  # moves without an end


def test_a_share_leaves_the_endless_state(qtbot):
    made = bar("x")
    qtbot.addWidget(made)
    show_share(made, None)
    show_share(made, 1.0)
    assert made.value() == made.maximum() > 0
