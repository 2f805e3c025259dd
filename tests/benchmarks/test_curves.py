"""The budget of the curves against a plot as a tutorial makes one, in the same run.

Processor time, not the clock, because tests share the machine; `curves.py` prints milliseconds.
"""

from __future__ import annotations

import pytest

pytest.importorskip("PySide6")

from benchmarks.curves import measure


@pytest.mark.window
@pytest.mark.qt_log_ignore("This plugin does not support propagateSizeHints")
@pytest.mark.filterwarnings("ignore")  # pyqtgraph's, not ours
def test_a_thousand_epochs_are_redrawn_several_times_faster_than_by_a_plain_plot(qapp):
    figures = measure(epochs=1000, rounds=20)
    assert figures["ratio (work)"] >= 4, figures
    # Half a second lies between two redraws; these changes take less.
    assert figures["redraws of 20 changes in a moment"] <= 2, figures
