"""How smooth the slice viewer stays while training saturates every core.

    python tests/benchmarks/viewer_beside_training.py [--json] [--slices N] [--side N] [--rounds N]

As many processes as this computer has cores multiply matrices without a pause, at the priority that
`app.jobs` gives its workers; the viewer of three planes scrolls and jumps, offscreen. Each event is
timed until Qt has painted all that it changed. The same events are timed in turns while the hogs are
stopped (SIGSTOP): `ratio` compares both, so it tells what training costs the viewer on this computer
whatever else runs on it. `equal priority` is the same with hogs that are as important as the viewer.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from benchmarks.viewer import Ours, phantom, timed
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication

from app.jobs.process_group import process_group

HOG = """
import os
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
import numpy
block = numpy.random.default_rng(1).random((400, 400))
print("working", flush=True)
while True:
    block = block @ block
    block /= block.max()
"""


class Hogs:
    """One busy process for each core, which can be held still."""

    def __init__(self, *, lowered: bool) -> None:
        self.processes = []
        for _ in range(os.cpu_count() or 1):
            process = subprocess.Popen(
                [sys.executable, "-c", HOG],
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # as the runner starts its workers
            )
            if lowered:
                process_group(process.pid).lower_priority()
            self.processes.append(process)
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "working"

    def hold(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def hogs(*, lowered: bool) -> Iterator[Hogs]:
    made = Hogs(lowered=lowered)
    try:
        yield made
    finally:
        made.end()


def measure(*, slices: int, side: int, rounds: int) -> dict[str, Any]:
    """Scroll and jump `rounds` times beside hogs and without; return the figures, milliseconds."""
    volume, prediction, _ = phantom(slices, side)
    ours = Ours(volume, prediction, np.zeros_like(prediction))
    figures: dict[str, Any] = {"shape": list(volume.array.shape), "hogs": os.cpu_count()}
    random = np.random.default_rng(3)

    def events(note: list[tuple[float, float]]) -> None:
        z, y, x = (int(random.integers(count // 4, 3 * count // 4)) for count in volume.array.shape)
        note.append(timed(lambda: ours.view.go_to((z, y, x))))
        note.extend(timed(lambda turn=turn: ours.wheel(turn)) for turn in (120, 120, -120))

    for lowered in (True, False):
        beside: list[tuple[float, float]] = []
        alone: list[tuple[float, float]] = []
        with hogs(lowered=lowered) as busy:
            for _ in range(rounds):
                busy.go_on()
                events(beside)
                busy.hold()
                events(alone)
        name = "lowered priority" if lowered else "equal priority"
        for kind, values in (("beside training", beside), ("alone", alone)):
            figures[f"{kind}, {name}"] = {
                "median": round(float(np.median(values, axis=0)[0]), 2),
                "p95": round(float(np.percentile(values, 95, axis=0)[0]), 2),
            }
        for figure in ("median", "p95"):
            figures[f"ratio, {name} ({figure})"] = round(
                figures[f"beside training, {name}"][figure] / figures[f"alone, {name}"][figure], 2
            )
    ours.view.close()
    ours.view.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=60)
    asked = parser.parse_args()
    application = QApplication([])
    figures = measure(slices=asked.slices, side=asked.side, rounds=asked.rounds)
    if asked.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:40} {value}")
    del application
    return 0


if __name__ == "__main__":
    sys.exit(main())
