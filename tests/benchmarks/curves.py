"""How fast the Training page's curves are drawn: six curves of a thousand epochs.

    python tests/benchmarks/curves.py [--json] [--epochs N] [--rounds N]

Offscreen, one plot of 800 x 300 pixels. Every round a new epoch ends: our plot gets all curves one
epoch longer and repaints; beside it, in turns, a plot as a tutorial makes one (cleared, six curves
added anew, lines two pixels wide) does the same. Milliseconds until Qt has painted: `median` and
`p95` of the wall clock, `work` of this process's processor time, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication

from app.ui.presenters.parts import Curve
from app.ui.widgets import plotting
from app.ui.widgets.curve_plot import CurvePlot

CURVES = 6
SIZE = (800, 300)
NAMES = tuple(f"Label {number}" for number in range(CURVES))


def curves(epochs: int) -> tuple[Curve, ...]:
    """Return what a presenter would: smooth curves with a little noise."""
    x = tuple(float(epoch) for epoch in range(1, epochs + 1))
    return tuple(
        Curve(
            name=name,
            x=x,
            y=tuple(
                0.9 - 0.8 * math.exp(-epoch / (90 + 30 * number)) + 0.02 * math.sin(epoch * 1.7)
                for epoch in x
            ),
        )
        for number, name in enumerate(NAMES)
    )


class Tutorial:
    """A pyqtgraph plot that is cleared and filled anew."""

    def __init__(self) -> None:
        import pyqtgraph as pg

        self.pg = pg
        self.plot = pg.PlotWidget()
        self.plot.addLegend()
        self.plot.resize(*SIZE)
        self.plot.show()

    def draw(self, lines: tuple[Curve, ...]) -> None:
        self.plot.clear()
        for number, line in enumerate(lines):
            pen = self.pg.mkPen(self.pg.intColor(number), width=2)
            self.plot.plot(list(line.x), list(line.y), pen=pen, name=line.name)


def timed(act: Callable[[], None]) -> tuple[float, float]:
    """Return the milliseconds until all that `act` changed is painted: wall, processor."""
    for _ in range(3):
        QApplication.processEvents()
    start, work = time.perf_counter(), time.process_time()
    act()
    QApplication.processEvents()
    return (time.perf_counter() - start) * 1000, (time.process_time() - work) * 1000


def measure(*, epochs: int, rounds: int) -> dict[str, Any]:
    """Let `rounds` epochs end in both plots; return the figures, milliseconds."""
    plotting.load()
    ours = CurvePlot("Overlap", empty="Nothing yet.", unit_range=True)
    ours.resize(*SIZE)
    ours.show()
    plain = Tutorial()
    ends = [float(end) for end in range(20, epochs, 20)]
    prepared = [curves(epochs + number) for number in range(rounds + 3)]
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}

    def draw_ours(lines: tuple[Curve, ...]) -> None:
        ours.draw(lines, ends)
        ours._draw_now()  # not half a second later, which is what keeps it cheap in real life

    for number, lines in enumerate(prepared):
        one = timed(lambda lines=lines: draw_ours(lines))
        other = timed(lambda lines=lines: plain.draw(lines))
        if number >= 3:  # the first ones build the plots
            times["ours"].append(one)
            times["plain"].append(other)
    figures: dict[str, Any] = {"epochs": epochs, "curves": CURVES}
    for name, values in times.items():
        figures[name] = {
            "median": round(float(np.median(values, axis=0)[0]), 2),
            "p95": round(float(np.percentile(values, 95, axis=0)[0]), 2),
            "work": round(float(np.median(values, axis=0)[1]), 2),
            "work p95": round(float(np.percentile(values, 95, axis=0)[1]), 2),
        }
    for kind in ("median", "work"):
        figures[f"ratio ({kind})"] = round(figures["plain"][kind] / figures["ours"][kind], 1)
    redraws = ours.redraws
    for number in range(20):
        ours.draw(curves(epochs + rounds + 4 + number))
        QApplication.processEvents()
    figures["redraws of 20 changes in a moment"] = ours.redraws - redraws
    for widget in (ours, plain.plot):
        widget.close()
        widget.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    application = QApplication([])
    figures = measure(epochs=arguments.epochs, rounds=arguments.rounds)
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:36} {value}")
    del application
    return 0


if __name__ == "__main__":
    sys.exit(main())
