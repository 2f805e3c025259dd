"""The slice viewer's budget against plain image views, in the same run on the same machine.

Processor time, not the clock, because tests share the machine. The limits are for a small volume,
where the plain views are at their best; `viewer.py` measures the large one.
"""

from __future__ import annotations

import pytest

pytest.importorskip("PySide6")

from benchmarks.viewer import measure


@pytest.mark.window
@pytest.mark.qt_log_ignore("This plugin does not support propagateSizeHints")
@pytest.mark.filterwarnings("ignore")  # pyqtgraph's, not ours
def test_slices_are_shown_many_times_faster_than_by_plain_views(qapp):
    figures = measure(slices=96, side=384, rounds=20)
    assert figures["linked ratio (work)"] >= 8, figures
    assert figures["linked, no contours ratio (work)"] >= 9, figures
    assert figures["scroll ratio (work)"] >= 4.5, figures
    assert figures["memory ratio"] <= 4.5, figures
    # A case that was read ahead costs the window less than six events of the plain views.
    assert figures["next prefetched case"]["work"] <= 6 * figures["plain linked"]["work"], figures
    assert figures["renders per 30 queued wheel events"] == 1, figures
    assert figures["renders per wheel event"] <= 1.1, figures
    assert figures["renders per linked move"] <= 3.2, figures
