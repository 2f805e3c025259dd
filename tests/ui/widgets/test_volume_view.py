from __future__ import annotations

import itertools
import logging
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from helpers.viewer_events import LEFT, RIGHT, drag, wheel
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMessageBox

from app.datasets.geometry import Convention, Geometry, Plane
from app.datasets.images import Volume
from app.ui.widgets.rendering import label_colour
from app.ui.widgets.viewer_keys import MouseProfile
from app.ui.widgets.viewer_volumes import Window
from app.ui.widgets.volume_view import VIEWER_SHORTCUTS, VolumeView

SHAPE = (12, 14, 16)
NAMES = {0: "background", 1: "Front", 2: "Back"}
ORIENTATIONS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]


def make_volume(array=None, **geometry) -> Volume:
    if array is None:
        array = np.random.default_rng(1).integers(0, 1000, SHAPE).astype(np.int16)
    geometry.setdefault("spacing_mm", (1.0, 1.0, 1.0))
    return Volume(array=array, geometry=Geometry(shape=array.shape, **geometry))


def make_labels(value=1) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:9, 4:10, 5:12] = value
    return labels


@pytest.fixture
def view(qtbot):
    made = VolumeView()
    qtbot.addWidget(made)
    made.resize(620, 640)
    made.show()
    QApplication.processEvents()
    return made


@pytest.fixture
def filled(view):
    view.set_volume(make_volume())
    view.set_labels(make_labels(1), np.roll(make_labels(1), 2, axis=2), NAMES)
    QApplication.processEvents()
    return view


def press(view, key, modifiers=Qt.KeyboardModifier.NoModifier):
    QTest.keyClick(view.panes[Plane.AXIAL], key, modifiers)


def renders(view):
    return {plane: pane.renders for plane, pane in view.panes.items()}


def brightest(pane) -> QPointF:
    """Return the middle of the brightest pixels on the screen, in logical pixels."""
    image = pane.grab().toImage().convertToFormat(pane.grab().toImage().Format.Format_Grayscale8)
    pixels = np.frombuffer(image.constBits(), np.uint8).reshape(
        image.height(), image.bytesPerLine()
    )[:, : image.width()]
    rows, columns = np.nonzero(pixels == 255)
    return QPointF(float(columns.mean()), float(rows.mean()))


# Sides


@pytest.mark.parametrize("convention", list(Convention))
@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_sides_on_the_screen_are_those_of_the_patient(view, axes, signs, convention):
    matrix = np.zeros((3, 3))
    for index_axis, (patient_axis, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[patient_axis, index_axis] = sign
    array = np.zeros((9, 11, 13), np.uint8)
    image = SimpleITK.GetImageFromArray(array)
    image.SetDirection(matrix.ravel().tolist())
    image.SetSpacing((1.0, 1.5, 2.0))
    middle = (6, 5, 4)
    here = np.array(image.TransformIndexToPhysicalPoint(middle))
    view.set_convention(convention)
    for plane, radiological_right, to_bottom in (
        # LPS directions: patient's left is +x, posterior +y, superior +z.
        (Plane.AXIAL, (1, 0, 0), (0, 1, 0)),
        (Plane.CORONAL, (1, 0, 0), (0, 0, -1)),
        (Plane.SAGITTAL, (0, 1, 0), (0, 0, -1)),
    ):
        mirrored = convention is Convention.NEUROLOGICAL and plane is not Plane.SAGITTAL
        to_right = (-1, 0, 0) if mirrored else radiological_right
        # A spot towards what should be the right, and closer towards the bottom, in mm.
        index = image.TransformPhysicalPointToIndex(
            (here + 5.0 * np.array(to_right) + 3.0 * np.array(to_bottom)).tolist()
        )
        array = np.zeros((9, 11, 13), np.uint8)
        array[index[::-1]] = 255
        geometry = Geometry(
            shape=array.shape,
            spacing_mm=(2.0, 1.5, 1.0),
            direction=tuple(tuple(row) for row in matrix.tolist()),
        )
        view.set_volume(Volume(array=array, geometry=geometry))
        view.set_window(Window(width=400, level=200))  # text on the screen is darker than the spot
        view.set_window(Window(width=255, level=127))
        press(view, Qt.Key.Key_X) if view._crosshair_shown else None
        view.go_to(middle[::-1])
        pane = view.panes[plane]
        content = pane.scene.content
        right = {(1, 0, 0): "L", (-1, 0, 0): "R", (0, 1, 0): "P"}[to_right]
        bottom = {(0, 1, 0): "P", (0, 0, -1): "I"}[to_bottom]
        opposite = {"L": "R", "R": "L", "P": "A", "I": "S"}
        assert (content.view.right, content.view.bottom) == (right, bottom)
        assert (content.view.left, content.view.top) == (opposite[right], opposite[bottom])
        spot, centre = brightest(pane), QPointF(pane.width() / 2, pane.height() / 2)
        assert spot.x() > centre.x(), plane
        assert spot.y() > centre.y(), plane
        # The hover line names the voxel that SimpleITK has there.
        pixel = pane._pixel_at(spot, clamp=False)
        number = content.number
        assert content.view.voxel_at(array.shape, number, *pixel) == index[::-1]


def test_unknown_orientation_has_no_letters_and_a_banner(view):
    view.set_volume(make_volume(known=False))
    for plane, pane in view.panes.items():
        content = pane.scene.content
        assert content.view.plane is plane
        assert {content.view.left, content.view.right, content.view.top, content.view.bottom} == {
            ""
        }
        assert "unknown" in content.banner
        assert content.corner == ""


def test_oblique_images_have_two_letters_and_say_so(view):
    turn = np.radians(20)
    direction = (
        (float(np.cos(turn)), float(-np.sin(turn)), 0.0),
        (float(np.sin(turn)), float(np.cos(turn)), 0.0),
        (0.0, 0.0, 1.0),
    )
    view.set_volume(make_volume(direction=direction))
    content = view.panes[Plane.AXIAL].scene.content
    assert (content.view.left, content.view.right) == ("RA", "LP")
    assert content.corner == "radiological, oblique"
    assert view.panes[Plane.SAGITTAL].scene.content.corner == "oblique"


def test_a_switch_of_the_convention_is_shown_and_logged(filled, caplog, qtbot):
    with caplog.at_level(logging.INFO), qtbot.waitSignal(filled.convention_changed):
        filled.set_convention(Convention.NEUROLOGICAL)
    assert "neurological" in caplog.text
    content = filled.panes[Plane.AXIAL].scene.content
    assert (content.view.left, content.corner) == ("L", "neurological")


# Images


@pytest.mark.parametrize("sure", [True, False])
def test_the_menu_asks_before_it_changes_sides(filled, monkeypatch, sure):
    asked = []
    answer = QMessageBox.StandardButton.Yes if sure else QMessageBox.StandardButton.No

    def question(_parent, title, sentence):
        asked.append((title, sentence))
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)
    sides = next(
        action.menu() for action in filled.make_menu().actions() if action.text() == "Sides"
    )
    radiological, neurological = sides.actions()
    radiological.trigger()
    assert asked == []
    neurological.trigger()
    assert asked == [("Change sides", "Show the patient's right on the right of the screen?")]
    wanted = Convention.NEUROLOGICAL if sure else Convention.RADIOLOGICAL
    assert filled.convention is wanted
    assert wanted.value in filled.panes[Plane.AXIAL].scene.content.corner


def test_an_empty_view_says_what_to_do_and_draws_nothing(view):
    assert not view.panes[Plane.AXIAL].isHidden()
    assert view.panes[Plane.CORONAL].isHidden()
    assert view._side_area.isHidden()
    view.set_volume(None, empty_text="The case cannot be read.")
    assert view.panes[Plane.AXIAL]._empty_text == "The case cannot be read."
    for key in (Qt.Key.Key_Up, Qt.Key.Key_0, Qt.Key.Key_M, Qt.Key.Key_Comma):
        press(view, key)
    assert sum(renders(view).values()) == 0


def test_emptying_takes_image_and_labels_away(filled):
    filled.set_volume(None)
    assert filled.panes[Plane.AXIAL].scene is None
    filled.set_volume(make_volume())
    assert filled.panes[Plane.AXIAL].scene.content.prediction is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_has_the_view_for_itself(view, axis):
    shape = list(SHAPE)
    shape[axis] = 1
    view.set_volume(make_volume(np.zeros(shape, np.float32)))
    wanted = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)[axis]
    assert [plane for plane, pane in view.panes.items() if not pane.isHidden()] == [wanted]
    press(view, Qt.Key.Key_M)
    assert [plane for plane, pane in view.panes.items() if not pane.isHidden()] == [wanted]


def test_a_planar_image_is_shown_as_it_lies(view):
    array = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    view.set_volume(make_volume(array, planar=True, known=False))
    content = view.panes[Plane.AXIAL].scene.content
    assert content.view.cut(array, 0).tolist() == array[0].tolist()


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_constant_and_empty_images_are_shown(view, value):
    view.set_volume(make_volume(np.full(SHAPE, value, np.float32)))
    view.go_to((1, 2, 3))
    assert not view.grab().isNull()
    assert ("value" in view.describe((1, 2, 3))) is True


def test_channels_have_windows_of_their_own(view):
    first, second = make_volume(), make_volume(make_volume().array * np.int16(3) - np.int16(500))
    view.set_volumes([first, second], ["T1", "T2"])
    view.set_window(Window(width=77, level=5))
    view.choose_channel(1)
    assert view.window_level != Window(width=77, level=5)
    assert f"value {second.array[1, 2, 3]}" in view.describe((1, 2, 3))
    view.choose_channel(0)
    assert view.window_level == Window(width=77, level=5)


def test_channels_of_different_shapes_are_refused(view):
    with pytest.raises(ValueError, match="one shape"):
        view.set_volumes([make_volume(), make_volume(np.zeros((2, 3, 4)))])


def test_the_line_under_the_image_tells_voxel_value_and_labels(filled):
    array = make_volume().array
    text = filled.describe((5, 6, 6))
    assert text == f"voxel 6, 6, 5   value {array[5, 6, 6]}   prediction Front   reference –"
    assert "not for diagnosis" in filled._caution.text()


# Labels


def test_labels_of_another_shape_are_refused(filled):
    with pytest.raises(ValueError, match="another image"):
        filled.set_labels(np.zeros((2, 2, 2), np.uint8), None)


def test_labels_without_a_name_are_shown_too(view):
    view.set_volume(make_volume())
    view.set_labels(None, make_labels(7), {1: "Front"})
    assert view._label_values() == [1, 7]
    assert view._name(7) == "label 7"


def test_volumes_are_in_millilitres(view):
    view.set_volume(make_volume(spacing_mm=(2.0, 5.0, 10.0)))
    view.set_labels(make_labels(1), None, NAMES)
    assert view._side._legend.topLevelItem(0).text(1) == f"{6 * 6 * 7 * 0.1:.2f}"


def test_a_label_is_hidden_and_shown_on_the_screen(filled):
    colour = label_colour(1)
    filled.go_to((5, 6, 6))

    def coloured() -> int:
        image = filled.panes[Plane.AXIAL].grab().toImage()
        return sum(
            image.pixel(x, y) & 0xFFFFFF == colour
            for x in range(image.width())
            for y in range(0, image.height(), 3)
        )

    assert coloured() > 20
    press(filled, Qt.Key.Key_1, Qt.KeyboardModifier.AltModifier)
    assert filled.style_in_force.hidden == {1}
    assert coloured() == 0
    press(filled, Qt.Key.Key_1, Qt.KeyboardModifier.AltModifier)
    assert coloured() > 20


def test_the_style_outlives_the_case(filled):
    filled.set_style(replace(filled.style_in_force, opacity=0.8, fill=False))
    filled.set_volume(make_volume())
    filled.set_labels(make_labels(), None, NAMES)
    assert (filled.style_in_force.opacity, filled.style_in_force.fill) == (0.8, False)
    assert not filled._side._boxes["fill"].isChecked()


def test_a_reference_alone_is_filled(view):
    view.set_volume(make_volume())
    view.set_labels(None, make_labels(), NAMES)
    pane = view.panes[Plane.AXIAL]
    view.go_to((5, 6, 6))
    pane.grab()
    pixel = int(pane._last_rendered.pixels[6, 8])
    assert pixel >> 16 & 0xFF != pixel & 0xFF


# Keys


@pytest.mark.parametrize(
    ("key", "modifiers", "change"),
    [
        (Qt.Key.Key_Up, None, (1, 0, 0)),
        (Qt.Key.Key_Down, None, (-1, 0, 0)),
        (Qt.Key.Key_PageUp, None, (5, 0, 0)),
        (Qt.Key.Key_PageDown, None, (-5, 0, 0)),
        (Qt.Key.Key_Home, None, (-6, 0, 0)),
        (Qt.Key.Key_End, None, (5, 0, 0)),
        (Qt.Key.Key_Left, "ctrl", (0, 0, -1)),
        (Qt.Key.Key_Right, "ctrl", (0, 0, 1)),
        (Qt.Key.Key_Up, "ctrl", (0, -1, 0)),
        (Qt.Key.Key_Down, "ctrl", (0, 1, 0)),
    ],
)
def test_keys_move_the_crosshair(filled, key, modifiers, change):
    start = (6, 7, 8)
    filled.go_to(start)
    held = Qt.KeyboardModifier.ControlModifier if modifiers else Qt.KeyboardModifier.NoModifier
    press(filled, key, held)
    assert tuple(np.subtract(filled.crosshair, start)) == change


def test_keys_work_on_the_plane_that_has_them(filled):
    filled.go_to((6, 7, 8))
    filled.panes[Plane.CORONAL].setFocus()
    QTest.keyClick(filled.panes[Plane.CORONAL], Qt.Key.Key_Up)
    assert filled.crosshair == (6, 6, 8)  # one slice towards anterior


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (Qt.Key.Key_O, "fill"),
        (Qt.Key.Key_H, "prediction"),
        (Qt.Key.Key_G, "reference"),
        (Qt.Key.Key_E, "errors"),
    ],
)
def test_keys_toggle_the_style_and_its_box(filled, key, name):
    before = getattr(filled.style_in_force, name)
    press(filled, key)
    assert getattr(filled.style_in_force, name) is not before
    assert filled._side._boxes[name].isChecked() is not before
    press(filled, key)
    assert getattr(filled.style_in_force, name) is before


def test_hiding_and_peeking(filled):
    def shown():
        return filled.panes[Plane.AXIAL].scene.content.overlay is not None

    for key, expected in (
        (Qt.Key.Key_Left, False),
        (Qt.Key.Key_Right, True),
        (Qt.Key.Key_S, False),
    ):
        press(filled, key)
        assert shown() is expected
    # Space brings back what was: hidden labels stay hidden.
    press(filled, Qt.Key.Key_Space)
    assert not shown()
    press(filled, Qt.Key.Key_S)
    QTest.keyPress(filled, Qt.Key.Key_Space)
    assert not shown()
    QTest.keyRelease(filled, Qt.Key.Key_Space)
    assert shown()


def test_a_lost_release_of_space_does_not_hide_the_labels_for_good(filled):
    QTest.keyPress(filled, Qt.Key.Key_Space)
    filled.hide()
    filled.changeEvent(QEvent(QEvent.Type.ActivationChange))
    filled.show()
    assert filled.panes[Plane.AXIAL].scene.content.overlay is not None


def test_opacity_keys_stop_at_the_ends(filled):
    for _ in range(9):
        press(filled, Qt.Key.Key_Minus)
    assert filled.style_in_force.opacity == 0
    for _ in range(12):
        press(filled, Qt.Key.Key_Equal)
    assert filled.style_in_force.opacity == 1
    assert filled._side._opacity.value() == 100


def test_window_keys(filled):
    automatic = filled.window_level
    press(filled, Qt.Key.Key_2)
    assert filled.window_level == Window(width=1500, level=-600)
    press(filled, Qt.Key.Key_I)
    assert filled.window_level.inverted
    press(filled, Qt.Key.Key_0)
    assert filled.window_level == replace(automatic, inverted=True)
    press(filled, Qt.Key.Key_I)
    press(filled, Qt.Key.Key_BracketRight)
    assert filled.window_level.width == pytest.approx(automatic.width * 1.1)
    press(filled, Qt.Key.Key_BracketLeft)
    press(filled, Qt.Key.Key_Semicolon)
    assert filled.window_level.level > automatic.level  # darker
    press(filled, Qt.Key.Key_Apostrophe)
    assert filled.window_level.level == pytest.approx(automatic.level)


def test_zoom_pan_reset_and_crosshair_keys(filled):
    pane = filled.panes[Plane.AXIAL]
    home = pane.position_of(0, 0)
    press(filled, Qt.Key.Key_Z)
    assert pane.zoom == 1.25
    press(filled, Qt.Key.Key_Z, Qt.KeyboardModifier.ShiftModifier)
    assert pane.zoom == 1
    press(filled, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    press(filled, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    moved = pane.position_of(0, 0) - home
    assert (moved.x(), moved.y()) == (24, 24)
    press(filled, Qt.Key.Key_R)
    assert pane.position_of(0, 0) == home
    press(filled, Qt.Key.Key_X)
    assert pane.scene.crosshair is None
    press(filled, Qt.Key.Key_X)
    assert pane.scene.crosshair is not None


def test_channel_keys_go_round(view):
    view.set_volumes([make_volume()] * 3)
    for key, chosen in ((Qt.Key.Key_Period, 1), (Qt.Key.Key_Comma, 0), (Qt.Key.Key_Comma, 2)):
        press(view, key)
        assert view._chosen == chosen


def test_maximising_and_back(filled):
    pane = filled.panes[Plane.CORONAL]
    pane.setFocus()
    QTest.keyClick(pane, Qt.Key.Key_M)
    assert [plane for plane, each in filled.panes.items() if not each.isHidden()] == [Plane.CORONAL]
    QApplication.processEvents()
    assert pane.height() > 500
    # The keys follow, and M gives all three back wherever the focus is.
    before = filled.crosshair
    QTest.keyClick(filled, Qt.Key.Key_Up)
    assert filled.crosshair[1] == before[1] - 1
    QTest.keyClick(filled, Qt.Key.Key_M)
    assert not any(each.isHidden() for each in filled.panes.values())


def test_unknown_keys_are_left_to_the_window(filled):
    event = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_A, Qt.KeyboardModifier.NoModifier)
    event.setAccepted(True)
    filled.keyPressEvent(event)
    assert not event.isAccepted()


def test_one_label_has_another_colour_and_gets_its_own_back(filled):
    pane = filled.panes[Plane.AXIAL]
    filled.set_label_colour(1, 0x123456)
    assert pane.scene.content.overlay.lines[1] == 0xFF123456
    filled.set_label_colour(1, None)
    assert pane.scene.content.overlay.lines[1] == 0xFF000000 | label_colour(1)


def test_only_one_label_and_all_again(view):
    view.set_volume(make_volume())
    labels = make_labels(1)
    labels[3, 4, 5], labels[3, 4, 6] = 2, 3
    view.set_labels(labels, None, {1: "A", 2: "B", 3: "C"})
    view.show_only(2)
    assert view.style_in_force.hidden == {1, 3}
    view.show_only(0)
    assert view.style_in_force.hidden == set()


def test_a_reduced_image_counts_in_voxels_of_the_file(view, qtbot):
    view.set_volumes([make_volume()], step=3)
    assert view.crosshair == (18, 21, 24)
    with qtbot.waitSignal(view.crosshair_moved) as moved:
        view.go_to((9, 10, 11))
    assert moved.args == [9, 9, 9]
    assert view._crosshair == (3, 3, 3)
    assert view.describe((3, 3, 3)).startswith("voxel 9, 9, 9 ")
    view.set_volume(make_volume())
    assert view.crosshair == (6, 7, 8)


def test_the_sheet_of_keys_is_exported():
    assert ("M", "One plane only, or all three") in VIEWER_SHORTCUTS


# Mouse


def test_dragging_moves_the_crosshair_in_the_plane(filled, qtbot):
    pane = filled.panes[Plane.AXIAL]
    with qtbot.waitSignal(filled.crosshair_moved) as moved:
        drag(pane, LEFT, pane.position_of(3, 4))
    assert moved.args == [6, 3, 4]


def test_a_right_drag_widens_and_brightens(filled):
    pane = filled.panes[Plane.AXIAL]
    before = filled.window_level
    drag(pane, RIGHT, QPointF(100, 100), QPointF(130, 100))
    wider = filled.window_level
    assert wider.width == pytest.approx(before.width * (1 + 2 * 30 / pane.width()))
    assert wider.level == before.level
    drag(pane, RIGHT, QPointF(100, 100), QPointF(100, 70))
    assert filled.window_level.level < before.level
    assert filled.window_level.width == wider.width


def test_the_window_never_closes(filled):
    pane = filled.panes[Plane.AXIAL]
    for _ in range(4):
        drag(pane, RIGHT, QPointF(300, 100), QPointF(-300, 100))
    assert filled.window_level.width > 0


def test_the_menu_sets_windows_and_the_mouse(filled):
    menu = filled.make_menu()
    lung = next(action for action in menu.actions() if "lung" in action.text())
    lung.trigger()
    assert filled.window_level == Window(width=1500, level=-600)
    mouse = next(action.menu() for action in menu.actions() if action.text() == "Mouse")
    assert [action.isChecked() for action in mouse.actions()] == [True, False]
    mouse.actions()[1].trigger()
    assert {pane.profile for pane in filled.panes.values()} == {MouseProfile.RESEARCH}
    menu.close()


# Work


def test_a_wheel_event_renders_one_pane_and_a_queue_renders_once(filled):
    QApplication.processEvents()
    before = renders(filled)
    for turn in (120, 120, 120):
        wheel(filled.panes[Plane.AXIAL], turn)
    QApplication.processEvents()
    after = renders(filled)
    assert {plane: after[plane] - before[plane] for plane in Plane} == {
        Plane.AXIAL: 1,
        Plane.CORONAL: 0,
        Plane.SAGITTAL: 0,
    }
    assert filled.crosshair[0] == 9


def test_hidden_panes_render_nothing_and_are_right_when_shown(filled):
    filled.maximise(Plane.AXIAL)
    QApplication.processEvents()
    before = renders(filled)
    filled.go_to((2, 3, 4))
    filled.automatic_window()
    QApplication.processEvents()
    after = renders(filled)
    assert after[Plane.CORONAL] == before[Plane.CORONAL]
    assert after[Plane.SAGITTAL] == before[Plane.SAGITTAL]
    filled.maximise(Plane.AXIAL)
    QApplication.processEvents()
    assert filled.panes[Plane.SAGITTAL].scene.crosshair == (SHAPE[0] - 1 - 2, 3)


def test_a_new_window_renders_each_pane_once(filled):
    QApplication.processEvents()
    before = renders(filled)
    for width in (10, 20, 30):
        filled.set_window(Window(width=width, level=3))
    QApplication.processEvents()
    assert {plane: count - before[plane] for plane, count in renders(filled).items()} == dict.fromkeys(Plane, 1)  # fmt: skip


def test_nothing_is_done_for_the_place_where_it_is(filled):
    QApplication.processEvents()
    paints = {plane: pane.paints for plane, pane in filled.panes.items()}
    filled.go_to(filled.crosshair)
    QApplication.processEvents()
    assert {plane: pane.paints for plane, pane in filled.panes.items()} == paints


def test_large_images_get_their_copies_when_idle(view, qtbot, monkeypatch):
    monkeypatch.setattr("app.ui.widgets.volume_view._AT_ONCE", 0)
    view.set_volume(make_volume())
    view.set_labels(make_labels(), None, NAMES)
    assert not any(source.ready for source in view._sources())
    assert view._side._legend.topLevelItem(0).text(1) == ""
    qtbot.waitUntil(lambda: all(source.ready for source in view._sources()), timeout=3000)
    qtbot.waitUntil(lambda: view._side._legend.topLevelItem(0).text(1) != "", timeout=1000)
    assert not view._preparing.isActive()
    assert view.bytes_held == 2 * (2 + 1) * int(np.prod(SHAPE))


def test_mapped_images_are_not_copied(view, qtbot, monkeypatch):
    monkeypatch.setattr("app.ui.widgets.volume_view._AT_ONCE", 0)
    view.set_volume(replace(make_volume(), mapped=True))
    qtbot.waitUntil(lambda: not view._preparing.isActive(), timeout=3000)
    assert not any(source.ready for source in view._sources())
