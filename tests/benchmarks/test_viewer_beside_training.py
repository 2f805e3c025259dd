"""What training at its lowered priority costs the viewer, in turns with the same events without it.

At equal priority, two hogs on two idle cores make the viewer three to four times slower; the limit
lies between. `viewer_beside_training.py` prints milliseconds.
"""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("PySide6")

from benchmarks.viewer_beside_training import measure


@pytest.mark.window
@pytest.mark.skipif(sys.platform == "win32", reason="hogs are held by POSIX signals")
@pytest.mark.qt_log_ignore("This plugin does not support propagateSizeHints")
def test_the_viewer_stays_smooth_beside_training(qapp):
    figures = measure(slices=64, side=256, rounds=25)
    assert figures["ratio, lowered priority (median)"] <= 2, figures
