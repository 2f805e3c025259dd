"""What the window costs while a site trains: opening its live Training page, and at rest.

    python tests/benchmarks/window_beside_training.py [--json] [--seconds N] [--epochs N] [--starts N]

A played service with a history of a thousand epochs takes a step every half second and reads the
computer every second; the real window attaches to it in a process of its own, offscreen. `opened` is
the time from the first line of Python until the Training page shows the live figures and its curves
are painted; `bare` that of an empty PySide6 window in turns with it. `work` is processor time, which
a busy machine disturbs less. `at rest` is the processor time of the window's whole process, with all
its threads, as a share of the wall clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

BARE = """
import time; begun = time.perf_counter()
import json
from PySide6.QtCore import QEvent, QTimer
from PySide6.QtWidgets import QApplication, QLabel, QMainWindow
class Window(QMainWindow):
    painted = False
    def event(self, event):
        done = super().event(event)
        if event.type() is QEvent.Type.Paint and not self.painted:
            self.painted = True
            QTimer.singleShot(0, self, leave)
        return done
def leave():
    print(json.dumps({"opened": time.perf_counter() - begun, "work": time.process_time()}))
    application.exit()
application = QApplication([])
window = Window()
window.setCentralWidget(QLabel("bare"))
window.resize(1280, 820)
window.show()
application.exec()
"""

OURS = """
import time; begun = time.perf_counter()
import json, os, sys
from pathlib import Path
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from app.ui import main
from app.ui.text import Page
from app.ui.window import Window
SETTLE_S, SECONDS = 4.0, float(sys.argv[2])
told = {}
def find():
    window = next(w for w in QApplication.topLevelWidgets() if isinstance(w, Window))
    window.go_to(Page.TRAINING)
    look(window)
def look(window):
    page = window.page_widget(Page.TRAINING)
    if page._state is None or not page._state.begun or not page.loss.redraws:
        QTimer.singleShot(2, lambda: look(window))
        return
    window.repaint()
    told["opened"], told["work"] = time.perf_counter() - begun, time.process_time()
    if not SECONDS:
        leave(window)
        return
    QTimer.singleShot(int(SETTLE_S * 1000), lambda: rest(window))
def rest(window):
    page = window.page_widget(Page.TRAINING)
    plots = (page.loss, page.dice, page.steps, page.rate)
    before = [plot.redraws for plot in plots]
    start, work = time.perf_counter(), time.process_time()
    def done():
        took, cost = time.perf_counter() - start, time.process_time() - work
        told["at rest"] = cost / took
        told["redraws a second"] = sum(
            plot.redraws - was for plot, was in zip(plots, before)
        ) / took
        leave(window)
    QTimer.singleShot(int(SECONDS * 1000), done)
def leave(window):
    print(json.dumps(told), flush=True)
    QApplication.exit()
application = main.make_application()
main.Sites_open = main.Sites.open
def opened(self):
    main.Sites_open(self)
    QTimer.singleShot(0, find)
main.Sites.open = opened
main.main(Path(sys.argv[1]), theme="dark")
"""


@contextmanager
def played(home: Path, *, epochs: int) -> Iterator[None]:
    """Play a service in `home` while the block runs."""
    process = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "tests" / "helpers" / "played_service.py"),
            str(home),
            f"--epochs={epochs}",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline().strip() == "listening"
        yield
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def run(script: str, *arguments: str, settings: Path) -> dict[str, float]:
    """Run a script apart from this process and return what it prints."""
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(settings),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(*, epochs: int, seconds: float, starts: int) -> dict[str, Any]:
    """Open both windows `starts` times in turns, then watch ours for `seconds`."""
    with tempfile.TemporaryDirectory(prefix="window-") as scratch:
        home, settings = Path(scratch) / "site", Path(scratch) / "settings"
        with played(home, epochs=epochs):
            run(BARE, settings=settings)
            run(OURS, str(home), "0", settings=settings)  # both from the same warm caches
            bare, ours = [], []
            for _ in range(starts):
                bare.append(run(BARE, settings=settings))
                ours.append(run(OURS, str(home), "0", settings=settings))
            resting = run(OURS, str(home), str(seconds), settings=settings) if seconds else {}
    figures: dict[str, Any] = {"epochs": epochs}
    for kind in ("opened", "work"):
        slow, quick = (statistics.median(one[kind] for one in runs) for runs in (ours, bare))
        figures[f"{kind}, s"] = {"ours": round(slow, 2), "bare": round(quick, 2)}
        figures[f"{kind} ratio"] = round(slow / quick, 2)
    if resting:
        figures["at rest, % of a core"] = round(100 * resting["at rest"], 2)
        figures["redraws a second"] = round(resting["redraws a second"], 2)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--starts", type=int, default=7)
    asked = parser.parse_args()
    figures = measure(epochs=asked.epochs, seconds=asked.seconds, starts=asked.starts)
    if asked.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:24} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
