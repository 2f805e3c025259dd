"""How fast the slice viewer is on a whole-body CT, beside three plain `pg.ImageView`s.

    python tests/benchmarks/viewer.py [--json] [--slices N] [--side N] [--rounds N]

Offscreen, three planes of 600 pixels, 512 x 512 x 600 int16 voxels of 0.8 x 0.8 x 1.5 mm. A time is from
the event (wheel, mouse, key) until Qt has painted everything that it changed: `median` and `p95` of
the wall clock, `work` of this process's processor time, which a busy machine disturbs less.

What is compared: on both sides one label map lies as a coloured fill over the image, a crosshair of two
lines over that, voxels have their true proportions, and the event changes the same planes. Ours
writes letters, scale, slice number and position on top; the plain views have the histogram that an
`ImageView` has. They are called as their manual does, `setImage(slice)` for every event, with automatic
levels, range and histogram; over them lies `table[labels]`. They show float64 slices, which is what
readers for NIfTI hand out, and int16 slices for comparison. With contours ours draws more than the
plain views do: those figures stand beside the others.

The viewers take turns every `BLOCK` events, so that their ratio holds on a busy machine, but each
has the processor's caches for itself as under a hand that turns a wheel. Neither visits a slice
that the other has just read. Everything else is measured with two label maps, prediction over reference.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt, QTimer
from PySide6.QtGui import QKeyEvent, QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QApplication, QHBoxLayout, QWidget

from app.datasets.geometry import Geometry, Plane
from app.datasets.images import Volume
from app.ui.widgets.rendering import OverlayStyle
from app.ui.widgets.viewer_volumes import CodedVolume, label_volumes
from app.ui.widgets.volume_view import VolumeView

PANE_PIXELS = 600
BLOCK = 10
"""Events of one viewer in a row."""
NO_MODIFIER = Qt.KeyboardModifier.NoModifier


def phantom(slices: int, side: int) -> tuple[Volume, np.ndarray, np.ndarray]:
    """Return a body of noise with organs: (image, prediction, reference), axes (z, y, x)."""
    random = np.random.default_rng(7)
    noise = random.integers(-60, 60, (side, side), dtype=np.int16)
    image = np.empty((slices, side, side), np.int16)
    reference = np.zeros(image.shape, np.uint8)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
    body = (rows / 0.75) ** 2 + (columns / 0.95) ** 2 < 1
    organs = (  # label, centre (z, y, x), radii: liver, spleen, two kidneys, spine, a lesion
        (1, (0.1, -0.1, -0.4), (0.25, 0.4, 0.4)),
        (2, (0.1, 0.1, 0.55), (0.15, 0.25, 0.2)),
        (3, (-0.15, 0.3, -0.35), (0.15, 0.15, 0.12)),
        (4, (-0.15, 0.3, 0.35), (0.15, 0.15, 0.12)),
        (5, (0.0, 0.55, 0.0), (0.95, 0.12, 0.12)),
        (6, (0.12, -0.15, -0.35), (0.06, 0.1, 0.1)),
    )
    for z, height in enumerate(np.linspace(-1, 1, slices, dtype=np.float32)):
        image[z] = np.where(body, 40, -1000) + np.roll(noise, 37 * z, axis=z % 2)
        for label, (cz, cy, cx), (rz, ry, rx) in organs:
            left = 1 - ((height - cz) / rz) ** 2
            if left > 0:
                inside = ((rows - cy) / ry) ** 2 + ((columns - cx) / rx) ** 2 < left
                reference[z][inside] = label
                image[z][inside] += np.int16(30 * label)
    prediction = np.roll(reference, (2, 5, -4), axis=(0, 1, 2))
    geometry = Geometry(shape=image.shape, spacing_mm=(1.5, 0.8, 0.8))
    return Volume(array=image, geometry=geometry), prediction, reference


class Ours:
    """The viewer with three planes of `PANE_PIXELS`."""

    def __init__(self, volume: Volume, prediction: np.ndarray, reference: np.ndarray) -> None:
        self.view = VolumeView()
        for pane in self.view.panes.values():
            # On a busy machine panes would smooth their pictures between two events.
            pane.findChild(QTimer).setInterval(600_000)
        self.view.resize(2 * PANE_PIXELS + 2, 2 * PANE_PIXELS + 30)
        self.view.show()
        self.view.set_volume(volume)
        self.view.set_labels(
            prediction, reference, {value: f"organ {value}" for value in range(1, 7)}
        )
        self.view.prepare()
        QApplication.processEvents()
        self.axial = self.view.panes[Plane.AXIAL]

    def renders(self) -> int:
        return sum(pane.renders for pane in self.view.panes.values())

    def wheel(self, turn: int) -> None:
        centre = QPointF(self.axial.rect().center())
        event = QWheelEvent(
            centre, self.axial.mapToGlobal(centre), QPoint(), QPoint(0, turn),
            Qt.MouseButton.NoButton, NO_MODIFIER, Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(self.axial, event)

    def mouse(self, kind: QEvent.Type, button: Qt.MouseButton, x: float, y: float) -> None:
        at = QPointF(x, y)
        pressed = Qt.MouseButton.NoButton if kind is QEvent.Type.MouseButtonRelease else button
        QApplication.sendEvent(
            self.axial,
            QMouseEvent(kind, at, self.axial.mapToGlobal(at), button, pressed, NO_MODIFIER),
        )

    def key(self, key: Qt.Key, modifiers: Qt.KeyboardModifier = NO_MODIFIER) -> None:
        QApplication.sendEvent(self.view, QKeyEvent(QEvent.Type.KeyPress, key, modifiers))


class Plain:
    """Three `pg.ImageView`s as a tutorial makes them, with a coloured overlay on each."""

    dtype: type = np.float64

    def __init__(self, volume: Volume, labels: np.ndarray) -> None:
        import pyqtgraph as pg

        pg.setConfigOptions(imageAxisOrder="row-major")
        self.image, self.labels = volume.array, labels
        self.spacing_mm = volume.geometry.spacing_mm
        self.window = QWidget()
        row = QHBoxLayout(self.window)
        self.table = np.zeros((256, 4), np.uint8)
        self.table[1:7] = [
            (230, 159, 0, 115), (86, 180, 233, 115), (0, 158, 115, 115),
            (240, 228, 66, 115), (204, 121, 167, 115), (213, 94, 0, 115),
        ]  # fmt: skip
        self.views = [pg.ImageView() for _ in range(3)]
        self.overlays = [pg.ImageItem() for _ in range(3)]
        self.lines = []
        for view, overlay in zip(self.views, self.overlays, strict=True):
            view.addItem(overlay)
            cross = [pg.InfiniteLine(angle=angle) for angle in (0, 90)]
            for line in cross:
                view.addItem(line)
            self.lines.append(cross)
            row.addWidget(view)
            view.ui.graphicsView.setFixedSize(PANE_PIXELS, PANE_PIXELS)
        self.window.show()
        self.at = [count // 2 for count in self.image.shape]
        for axis in range(3):
            self._show(axis)
        QApplication.processEvents()

    def go_to(self, z: int, y: int, x: int) -> None:
        last, self.at = self.at, [z, y, x]
        for axis in range(3):
            if last[axis] != self.at[axis]:
                self._show(axis)
            down, across = [
                (place + 0.5) * self.spacing_mm[other]
                for other, place in enumerate(self.at)
                if other != axis
            ]
            self.lines[axis][0].setValue(down)
            self.lines[axis][1].setValue(across)

    def _show(self, axis: int) -> None:
        selected: list[Any] = [slice(None)] * 3
        selected[axis] = self.at[axis]
        cut = self.image[tuple(selected)].astype(self.dtype, copy=False)
        down, across = [length for other, length in enumerate(self.spacing_mm) if other != axis]
        self.views[axis].setImage(cut, scale=(across, down))
        self.overlays[axis].setImage(self.table[self.labels[tuple(selected)]])
        self.overlays[axis].setTransform(self.views[axis].imageItem.transform())


def timed(act: Callable[[], None]) -> tuple[float, float]:
    """Return the milliseconds from an event until all it changed is painted: wall, processor."""
    for _ in range(4):  # what the other viewer left undone
        QApplication.processEvents()
    start, work = time.perf_counter(), time.process_time()
    act()
    QApplication.processEvents()
    return (time.perf_counter() - start) * 1000, (time.process_time() - work) * 1000


def measure(*, slices: int, side: int, rounds: int) -> dict[str, Any]:
    """Run every kind of event `rounds` times and return the figures, milliseconds."""
    volume, prediction, reference = phantom(slices, side)
    ours, plain = Ours(volume, prediction, reference), Plain(volume, prediction)
    times: dict[str, list[tuple[float, float]]] = {}
    figures: dict[str, Any] = {"shape": list(volume.array.shape), "rounds": rounds}
    random = np.random.default_rng(3)

    def note(name: str, act: Callable[[], None]) -> None:
        times.setdefault(name, []).append(timed(act))

    def anywhere() -> tuple[int, int, int]:
        z, y, x = (int(random.integers(count // 4, 3 * count // 4)) for count in volume.array.shape)
        return z, y, x

    def in_turn(acts: dict[str, tuple[OverlayStyle, Callable[[int], None]]]) -> None:
        for first in range(0, rounds, BLOCK):
            for name, (style, act) in acts.items():
                if ours.view.style_in_force != style:
                    ours.view.set_style(style)
                for number in range(first, min(first + BLOCK, rounds)):
                    note(name, lambda act=act, number=number: act(number))

    def turn(number: int) -> int:
        return 1 if number // (4 * BLOCK) % 2 == 0 else -1

    def scroll_plain(number: int) -> None:
        z, y, x = plain.at
        plain.go_to(z + turn(number), y, x)

    # A slab of its own, or the plain views would find slices in the cache that ours has read.
    plain.go_to(slices // 4, side // 2, side // 2)
    ours.view.set_labels(prediction, None)
    ours.view.prepare()
    QApplication.processEvents()
    outlined = ours.view.style_in_force
    filled = replace(outlined, contour=False)
    before = ours.renders()
    for _ in range(rounds):  # downwards, so that later turns upwards do not end at the last slice
        ours.wheel(-120)
        QApplication.processEvents()
    figures["renders per wheel event"] = (ours.renders() - before) / rounds
    in_turn(
        {
            "scroll": (filled, lambda number: ours.wheel(120 * turn(number))),
            "plain scroll": (filled, scroll_plain),
            "scroll, contours": (outlined, lambda number: ours.wheel(120 * turn(number))),
        }
    )
    for kind in (np.int16, np.float64):
        plain.dtype = kind
        in_turn(
            {
                "linked": (filled, lambda number: ours.view.go_to(anywhere())),
                f"plain linked {kind.__name__}": (filled, lambda number: plain.go_to(*anywhere())),
                "linked, contours": (outlined, lambda number: ours.view.go_to(anywhere())),
            }
        )

    ours.view.set_labels(prediction, reference)
    ours.view.prepare()
    QApplication.processEvents()
    before = ours.renders()
    in_turn({"linked, two maps": (outlined, lambda number: ours.view.go_to(anywhere()))})
    figures["renders per linked move"] = (ours.renders() - before) / rounds

    left, right = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
    ours.mouse(QEvent.Type.MouseButtonPress, left, 300, 300)
    for number in range(rounds):
        x, y = 300 + 150 * np.cos(number / 9), 300 + 150 * np.sin(number / 9)
        note(
            "crosshair drag",
            lambda x=x, y=y: ours.mouse(QEvent.Type.MouseMove, left, float(x), float(y)),
        )
    ours.mouse(QEvent.Type.MouseButtonRelease, left, 300, 300)
    ours.mouse(QEvent.Type.MouseButtonPress, right, 300, 300)
    for number in range(rounds):
        x, y = 300 + 40 * np.sin(number / 5), 300 + 40 * np.cos(number / 7)
        note(
            "window and level",
            lambda x=x, y=y: ours.mouse(QEvent.Type.MouseMove, right, float(x), float(y)),
        )
    ours.mouse(QEvent.Type.MouseButtonRelease, right, 200, 200)
    for _ in range(rounds):
        note("label toggle", lambda: ours.key(Qt.Key.Key_1, Qt.KeyboardModifier.AltModifier))
        note("errors toggle", lambda: ours.key(Qt.Key.Key_E))
        note("overlay toggle", lambda: ours.key(Qt.Key.Key_S))
    # What the reader's thread makes of the next case; the window only has to show it.
    coded = CodedVolume(volume.array)
    maps = label_volumes([prediction, reference])
    for source in (coded, *maps):
        if source is not None:
            source.prepare()
    names = {value: f"organ {value}" for value in range(1, 7)}

    def next_case() -> None:
        ours.view.set_volumes([volume], coded=[coded])
        ours.view.set_labels(*maps, names)

    for _ in range(max(3, rounds // 20)):
        note("next prefetched case", next_case)
    before = ours.renders()
    for _ in range(30):
        ours.wheel(120)
    QApplication.processEvents()
    figures["renders per 30 queued wheel events"] = ours.renders() - before
    for name, values in times.items():
        figures[name] = {
            "median": round(float(np.median(values, axis=0)[0]), 2),
            "p95": round(float(np.percentile(values, 95, axis=0)[0]), 2),
            "work": round(float(np.median(values, axis=0)[1]), 2),
            "work p95": round(float(np.percentile(values, 95, axis=0)[1]), 2),
        }
    for name, pair in {
        "scroll": ("plain scroll", "scroll"),
        "scroll, contours": ("plain scroll", "scroll, contours"),
        "linked": ("plain linked float64", "linked"),
        "linked int16": ("plain linked int16", "linked"),
        "linked, contours": ("plain linked float64", "linked, contours"),
    }.items():
        for measure in ("median", "work"):
            slow, quick = (figures[part][measure] for part in pair)
            figures[f"{name} ratio ({measure})"] = round(slow / quick, 1)
    figures["memory ratio"] = round(ours.view.bytes_held / volume.array.nbytes, 2)
    for window in (ours.view, plain.window):
        window.close()
        window.deleteLater()
    for view in plain.views:
        view.close()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    application = QApplication([])
    figures = measure(slices=arguments.slices, side=arguments.side, rounds=arguments.rounds)
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:36} {value}")
    del application
    return 0


if __name__ == "__main__":
    sys.exit(main())
