"""What the window costs while a site trains: opening its live Training page, and at rest.

    python tests/benchmarks/window_beside_training.py [--json] [--seconds N] [--epochs N] [--starts N]

A played service with a history of a thousand epochs takes a step every half second and reads the
computer every second; the real window attaches to it in a process of its own, offscreen.

`opened` is the time from the start of the process until the Training page is live: the status
sentence, progress and time left are the service's, the table of this round has a row per site, and
every plot has painted the whole history that the service holds. `first page` opens on the Training
page, where the window was left; `from Home` opens on Home, shows what the service says there, and then
goes to Training. `bare` is an empty PySide6 window until its first frame, in turns with both. `work` is
processor time of all threads since the start of the process, which a busy machine disturbs less. A ratio
is the median of those of each turn: what else runs comes and goes in seconds, and disturbs a turn's
windows alike (a ratio of medians read 2.7 to 3.6 where this read 2.7 to 2.9).
Both run from compiled bytecode, as installed products do, and from the same warm caches.

`at rest` is the processor time of the window's whole process as a share of the wall clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Seconds on a clock that all processes of this computer share, read when the process was started.
STARTED = "FEDNNUNET_BENCHMARK_STARTED"

BARE = f"""
import json, os, time
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
    opened = time.monotonic() - float(os.environ["{STARTED}"])
    print(json.dumps({{"opened": opened, "work": time.process_time()}}), flush=True)
    application.exit()
application = QApplication([])
window = Window()
window.setCentralWidget(QLabel("bare"))
window.resize(1280, 820)
window.show()
application.exec()
"""

OURS = f"""
import json, os, sys, time
from pathlib import Path
from app.ui.quick_start import begin_start
begin_start()
from app.ui import main
from app.ui.text import Page
from app.ui.window import Window
from PySide6.QtCore import QTimer
SETTLE_S, SECONDS, FIRST, EPOCHS = 8.0, float(sys.argv[2]), Page(sys.argv[3]), int(sys.argv[4])
told, painted = {{}}, {{}}

def spy():
    # Which plots have painted how many points: what a person sees, not what was handed over. The
    # light pictures of curves are what is seen first.
    from app.ui.widgets.first_picture import FirstPicture
    paint = FirstPicture.paintEvent
    def paintEvent(self, event):
        paint(self, event)
        painted[self] = [len(trace.x) for trace in self._traces]
        check()
    FirstPicture.paintEvent = paintEvent

def check():
    if "checking" not in painted and "opened" not in told:
        painted["checking"] = True
        QTimer.singleShot(0, look)

def spy_home():
    # From Home: as soon as it shows what the service said, somebody goes to Training.
    draw = Window._draw
    def _draw(self):
        draw(self)
        if self.page is Page.HOME and self._knew and "home" not in told:
            told["home"] = time.monotonic() - float(os.environ["{STARTED}"])
            if self._painted:
                QTimer.singleShot(0, lambda: self.go_to(Page.TRAINING))
            else:
                self.first_frame_shown.connect(lambda: self.go_to(Page.TRAINING))
    Window._draw = _draw

def is_live(window):
    page = window._pages.get(Page.TRAINING)
    if page is None or page._state is None or not page._state.begun:
        return False
    state, plots = page._state, (page.loss, page.dice, page.rate)
    assert page._sentence.text() == state.sentence != ""
    assert [tile._value.text() for tile in page._tiles] == [tile.value for tile in state.tiles]
    assert len(page.sites.keys()) == len(state.sites.rows) > 1
    assert len(state.loss[0].x) >= EPOCHS
    # Steps come twice a second and are drawn once a second: the newest may be missing.
    return (page.steps._plot is not None or page.steps._first in painted) and all(
        plot._plot is not None or painted.get(plot._first) == [len(line.x) for line in plot.shown()]
        for plot in plots
    )

def look():
    painted.pop("checking", None)
    if "opened" in told:
        return
    window = next(w for w in main.QApplication.topLevelWidgets() if isinstance(w, Window))
    if not is_live(window):
        QTimer.singleShot(500, look)  # should pyqtgraph come first, no picture is painted any more
        return
    told["opened"] = time.monotonic() - float(os.environ["{STARTED}"])
    told["work"] = time.process_time()
    if not SECONDS:
        leave()
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
        leave()
    QTimer.singleShot(int(SECONDS * 1000), done)

def leave():
    print(json.dumps(told), flush=True)
    main.QApplication.exit()

spy()
spy_home()
main.window_settings().setValue("page", FIRST.value)
main.main(Path(sys.argv[1]), theme="dark")
"""


COUNTED = """
import atexit, enum, json
made, make = [], enum.EnumType._create_
def _create_(cls, name, names, **where):
    made.append(name)
    return make(cls, name, names, **where)
enum.EnumType._create_ = _create_
atexit.register(lambda: print(json.dumps(made)))
"""
"""To be put before a script: it then ends with the names of the enumerations that Qt had made."""


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
        # Installed products are compiled; a source tree may forbid it.
        "PYTHONPYCACHEPREFIX": str(settings / "bytecode"),
        "XDG_CONFIG_HOME": str(settings),
        "OMP_NUM_THREADS": "1",
        STARTED: str(time.monotonic()),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def enumerations(*, epochs: int) -> list[str]:
    """Return the enumerations that were made until a live page was there, by opening ours once."""
    with tempfile.TemporaryDirectory(prefix="window-") as scratch:
        home, settings = Path(scratch) / "site", Path(scratch) / "settings"
        with played(home, epochs=epochs):
            made: Any = run(
                COUNTED + OURS, str(home), "0", "Training", str(epochs), settings=settings
            )
    return list(made)


def measure(*, epochs: int, seconds: float, starts: int) -> dict[str, Any]:
    """Open all windows `starts` times in turns, then watch ours for `seconds`."""
    with tempfile.TemporaryDirectory(prefix="window-") as scratch:
        home, settings = Path(scratch) / "site", Path(scratch) / "settings"

        def ours(first: str, *, rest_s: float = 0) -> dict[str, float]:
            return run(OURS, str(home), str(rest_s), first, str(epochs), settings=settings)

        with played(home, epochs=epochs):
            starting: dict[str, Callable[[], dict[str, float]]] = {
                "bare": lambda: run(BARE, settings=settings),
                "first page": lambda: ours("Training"),
                "from Home": lambda: ours("Home"),
            }
            for start in starting.values():
                start()  # all from the same warm caches
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in starting}
            for _ in range(starts):
                for name, start in starting.items():
                    runs[name].append(start())
            resting = ours("Training", rest_s=seconds) if seconds else {}
    figures: dict[str, Any] = {"epochs": epochs}
    for kind in ("opened", "work"):
        medians = {
            name: statistics.median(one[kind] for one in some) for name, some in runs.items()
        }
        figures[f"{kind}, s"] = {name: round(value, 3) for name, value in medians.items()}
        for name in ("first page", "from Home"):
            turns = zip(runs[name], runs["bare"], strict=True)
            ratio = statistics.median(one[kind] / bare[kind] for one, bare in turns)
            figures[f"{name}: {kind} ratio"] = round(ratio, 2)
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
