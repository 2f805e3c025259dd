from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers.viewer_events import CONTROL, LEFT, MIDDLE, PLAIN, RIGHT, SHIFT, drag, mouse, wheel
from PySide6.QtCore import QEvent, QPointF, QRect, Qt
from PySide6.QtWidgets import QApplication

from app.datasets.geometry import Geometry, Plane, plane_view
from app.ui.widgets.rendering import GreyPaint, OverlayPaint, OverlayStyle
from app.ui.widgets.slice_view import MouseProfile, PlaneScene, SliceContent, SliceView
from app.ui.widgets.viewer_volumes import CodedVolume, Window, label_volumes

SHAPE = (4, 20, 30)
NO_BUTTON = Qt.MouseButton.NoButton


def make_scene(
    *, number=1, crosshair=(10, 15), shape=SHAPE, spacing=(1, 1, 1), labels=None, **more
):
    volume = CodedVolume(more.pop("array", np.full(shape, 100, np.uint8)))
    geometry = Geometry(shape=shape, spacing_mm=spacing)
    view = plane_view(geometry, Plane.AXIAL)
    (coded,) = label_volumes([labels])
    content = SliceContent(
        volume=volume,
        prediction=coded,
        reference=None,
        view=view,
        pixel_mm=view.pixel_mm(geometry),
        number=number,
        slices=shape[0],
        position_mm=float(number),
        grey=GreyPaint(volume, Window(width=200, level=100)),
        overlay=None if coded is None else OverlayPaint(OverlayStyle(), coded.values),
        **more,
    )
    return PlaneScene(content=content, crosshair=crosshair)


@pytest.fixture
def pane(qtbot):
    view = SliceView(Plane.AXIAL)
    qtbot.addWidget(view)
    view.resize(300, 240)
    view.show()
    view.show_scene(make_scene(), "")
    QApplication.processEvents()
    return view


def test_a_pane_without_image_says_its_sentence(qtbot):
    view = SliceView(Plane.AXIAL)
    qtbot.addWidget(view)
    view.resize(200, 150)
    view.show_scene(None, "Nothing here")
    image = view.grab().toImage()
    lit = [image.pixel(x, y) for x in range(200) for y in range(150)]
    assert any(pixel & 0xFF > 100 for pixel in lit)
    assert view.renders == 0


def test_a_moved_crosshair_renders_nothing_and_an_equal_scene_paints_nothing(pane):
    renders, paints = pane.renders, pane.paints
    content = pane.scene.content
    pane.show_scene(PlaneScene(content=content, crosshair=(3, 4)))
    QApplication.processEvents()
    assert (pane.renders, pane.paints) == (renders, paints + 1)
    pane.show_scene(PlaneScene(content=content, crosshair=(3, 4)))
    QApplication.processEvents()
    assert (pane.renders, pane.paints) == (renders, paints + 1)


def test_many_scenes_before_a_paint_are_one_render(pane):
    renders = pane.renders
    for number in (0, 1, 2, 3):
        pane.show_scene(make_scene(number=number))
    QApplication.processEvents()
    assert pane.renders == renders + 1


def test_settling_smooths_without_rendering_again(pane, qtbot):
    renders, paints = pane.renders, pane.paints
    assert pane.moving
    qtbot.waitUntil(lambda: not pane.moving and pane.paints > paints, timeout=2000)
    assert pane.renders == renders
    assert pane._smooth


def test_voxels_keep_their_aspect(pane):
    pane.show_scene(make_scene(spacing=(1, 3.0, 1.0)))
    down = pane.position_of(10, 0).y() - pane.position_of(0, 0).y()
    right = pane.position_of(0, 10).x() - pane.position_of(0, 0).x()
    assert down / right == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize("row", [6, 10, 19])
@pytest.mark.parametrize("column", [0, 13, 29])
def test_the_voxel_under_the_pointer_is_the_one_that_is_drawn_there(pane, qtbot, row, column):
    array = np.zeros(SHAPE, np.uint8)
    array[1, row, column] = 200
    pane.show_scene(make_scene(array=array, crosshair=None))
    image = pane.grab().toImage()
    centre = pane.position_of(row, column)
    assert image.pixel(centre.toPoint()) & 0xFF > 200
    with qtbot.waitSignal(pane.hovered) as hovered:
        mouse(pane, QEvent.Type.MouseMove, NO_BUTTON, centre)
    assert hovered.args == [row, column]


def test_fine_wheels_are_collected(pane):
    steps = []
    pane.scrolled.connect(steps.append)
    for turn in (50, 50, 50, -40, -120, -120, 240):
        wheel(pane, turn)
    assert steps == [1, -1, -1, 1]
    wheel(pane, 10)  # 110 of 120 were left over
    assert steps == [1, -1, -1, 1, 1]


def test_shift_wheel_goes_five_slices_and_control_wheel_zooms_at_the_pointer(pane):
    steps = []
    pane.scrolled.connect(steps.append)
    wheel(pane, -120, SHIFT)
    assert steps == [-5]
    before = pane.position_of(4, 4)
    wheel(pane, 240, CONTROL, before)
    assert steps == [-5]
    assert pane.zoom == pytest.approx(1.15**2)
    after = pane.position_of(4, 4)
    assert (after.x(), after.y()) == pytest.approx((before.x(), before.y()), abs=2)


def collected(pane):
    events = {"pointed": [], "windowed": [], "menu": [], "zoom": pane.zoom}
    pane.pointed.connect(lambda *at: events["pointed"].append(at))
    pane.windowed.connect(lambda *by: events["windowed"].append(by))
    pane.menu_wished.connect(events["menu"].append)
    return events


@pytest.mark.parametrize(
    ("profile", "button", "modifiers", "tool"),
    [
        (MouseProfile.PACS, LEFT, PLAIN, "crosshair"),
        (MouseProfile.PACS, RIGHT, PLAIN, "window"),
        (MouseProfile.PACS, MIDDLE, PLAIN, "pan"),
        (MouseProfile.PACS, LEFT, SHIFT, "pan"),
        (MouseProfile.PACS, RIGHT, SHIFT, "zoom"),
        (MouseProfile.RESEARCH, LEFT, PLAIN, "crosshair"),
        (MouseProfile.RESEARCH, RIGHT, PLAIN, "zoom"),
        (MouseProfile.RESEARCH, MIDDLE, PLAIN, "pan"),
        (MouseProfile.RESEARCH, LEFT, SHIFT, "pan"),
        (MouseProfile.RESEARCH, RIGHT, SHIFT, "window"),
    ],
)
def test_the_profile_says_what_a_button_does(pane, profile, button, modifiers, tool):
    pane.profile = profile
    events = collected(pane)
    origin = pane.position_of(0, 0)
    drag(pane, button, QPointF(150, 120), QPointF(150, 110), QPointF(160, 90), modifiers=modifiers)
    moved = pane.position_of(0, 0) - origin
    done = {
        "crosshair": bool(events["pointed"]),
        "window": bool(events["windowed"]),
        "zoom": pane.zoom != 1,
        "pan": pane.zoom == 1 and (moved.x(), moved.y()) != (0, 0),
    }
    assert [name for name, happened in done.items() if happened] == [tool]
    assert not events["menu"]
    if tool == "pan":
        assert (moved.x(), moved.y()) == (10, -30)
    if tool == "window":
        across, up = (sum(part) for part in zip(*events["windowed"], strict=True))
        assert (across, up) == pytest.approx((10 / 300, 30 / 240))


def test_a_right_click_asks_for_the_menu_and_changes_no_window(pane):
    events = collected(pane)
    drag(pane, RIGHT, QPointF(150, 120), QPointF(151, 121))
    assert len(events["menu"]) == 1
    assert not events["windowed"]


def test_the_crosshair_stays_in_the_image_when_dragged_beyond(pane):
    events = collected(pane)
    drag(pane, LEFT, QPointF(150, 120), QPointF(-500, 5000))
    assert events["pointed"][-1] == (SHAPE[1] - 1, 0)


def test_a_double_click_wishes_the_whole_view(pane, qtbot):
    with qtbot.waitSignal(pane.maximise_wished):
        mouse(pane, QEvent.Type.MouseButtonDblClick, LEFT, QPointF(50, 50))


def test_resetting_fits_the_image_again(pane):
    before = pane.position_of(0, 0)
    pane.zoom_by(3)
    pane.pan_by(20, 20)
    pane.reset_view()
    assert pane.position_of(0, 0) == before


@pytest.mark.parametrize("zoom", [0.0001, 1e6])
def test_any_zoom_can_be_painted(pane, zoom):
    pane.zoom_by(zoom)
    assert not pane.grab().isNull()


def test_large_slices_are_thinned_while_moving(qtbot):
    view = SliceView(Plane.AXIAL)
    qtbot.addWidget(view)
    view.resize(200, 200)
    shape = (1, 2000, 1500)
    view.show_scene(make_scene(number=0, shape=shape, crosshair=None))
    image = view.grab().toImage()
    assert view._last_rendered.pixels.shape[0] <= 250
    corner = view.position_of(1990, 1490).toPoint()
    assert image.pixel(corner) & 0xFF == 127  # level 100 of 0 to 200, to the last row and column


SHARP = """
import sys
sys.path[:0] = {paths!r}
import numpy as np
from PySide6.QtWidgets import QApplication
app = QApplication([])
from ui.widgets.test_slice_view import make_scene
from app.ui.widgets.slice_view import SliceView
from app.datasets.geometry import Plane
labels = np.zeros((4, 20, 30), np.uint8)
labels[1, 5:15, 10:20] = 1
view = SliceView(Plane.AXIAL)
view.resize(300, 240)
view.show_scene(make_scene(labels=labels, crosshair=None))
image = view.grab().toImage()
ratio = view.devicePixelRatioF()
row = round(view.position_of(10, 0).y() * ratio)
left = view.position_of(10, 9), view.position_of(10, 10)
edge = round((left[0].x() + left[1].x()) / 2 * ratio)
print(ratio, image.width(), *[hex(image.pixel(edge + x, row) & 0xFFFFFF) for x in range(-2, 4)])
"""


def test_at_200_percent_lines_are_two_device_pixels_wide(project_root):
    done = subprocess.run(
        [sys.executable, "-c", SHARP.format(paths=[str(project_root), str(project_root / "tests")])],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "QT_SCALE_FACTOR": "2"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    ratio, width, *pixels = done.stdout.split()
    assert (ratio, width) == ("2.0", "600")
    # Image, casing, two of the contour, fill.
    assert pixels[:4] == ["0x7f7f7f", "0x0", "0xe69f00", "0xe69f00"]
    assert pixels[4] == pixels[5]
    assert pixels[4] not in ("0x7f7f7f", "0xe69f00")


class Watched(SliceView):
    """Remembers what it was asked to paint."""

    def __init__(self) -> None:
        super().__init__(Plane.AXIAL)
        self.painted: list[QRect] = []

    def paintEvent(self, event):  # noqa: N802 - Qt's name
        self.painted.append(event.rect())
        super().paintEvent(event)


@pytest.mark.parametrize(
    ("crosshair", "thin"), [((11, 15), "height"), ((10, 25), "width"), ((2, 3), ""), (None, "")]
)
def test_a_moved_crosshair_paints_only_between_its_places(qtbot, crosshair, thin):
    view = Watched()
    qtbot.addWidget(view)
    view.resize(300, 240)
    view.show()
    scene = make_scene()
    view.show_scene(scene)
    QApplication.processEvents()
    view.painted.clear()
    view.show_scene(replace(scene, crosshair=crosshair))
    QApplication.processEvents()
    (rect,) = view.painted
    assert (rect.height() < 40) == (thin == "height")
    assert (rect.width() < 150) == (thin == "width")
    shown = view.screen().grabWindow(view.winId()).toImage()
    whole = view.grab().toImage()
    assert shown.convertToFormat(whole.format()) == whole
