from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QColorDialog

from app.ui.widgets.rendering import OverlayStyle
from app.ui.widgets.viewer_side import LegendRow, ViewerSide
from app.ui.widgets.viewer_volumes import Window


@pytest.fixture
def side(qtbot):
    widget = ViewerSide()
    qtbot.addWidget(widget)
    return widget


def test_the_legend_shows_volumes_and_reports_ticks(side, qtbot):
    side.show_labels(
        [
            LegendRow(value=1, name="Liver", colour=0xFF, shown=True, prediction_ml=1502.4),
            LegendRow(value=4, name="Lesion", colour=0xFF00, shown=False, reference_ml=0.125),
        ]
    )
    liver, lesion = (side._legend.topLevelItem(row) for row in (0, 1))
    assert [liver.text(place) for place in range(3)] == ["Liver", "1502", ""]
    assert [lesion.text(place) for place in range(3)] == ["Lesion", "", "0.12"]
    assert lesion.checkState(0) is Qt.CheckState.Unchecked
    with qtbot.waitSignal(side.label_toggled) as toggled:
        lesion.setCheckState(0, Qt.CheckState.Checked)
    assert toggled.args == [4]


def test_names_of_labels_come_before_their_volumes(side, qtbot):
    names = ("Anterior", "Posterior")
    side.show_style(OverlayStyle(), prediction=True, reference=True)
    side.show_labels(
        [
            LegendRow(
                value=value,
                name=name,
                colour=0xFF,
                shown=True,
                prediction_ml=1.37,
                reference_ml=1.62,
            )
            for value, name in enumerate(names, start=1)
        ]
    )
    side.show()
    legend, shown = side._legend, []
    for width in (420, 232, 420):
        side.resize(width, 500)
        side.show_style(OverlayStyle(), prediction=True, reference=True)
        longest = max(legend.fontMetrics().horizontalAdvance(name) for name in names)
        assert legend.columnWidth(0) > longest + legend.iconSize().width()
        shown.append([not legend.isColumnHidden(place) for place in (1, 2)])
    assert shown == [[True, True], [False, False], [True, True]]
    told = legend.topLevelItem(0).toolTip(0)
    assert told == "Anterior (label 1), 1.37 ml in the prediction, 1.62 ml in the reference"


def test_without_labels_it_says_so(side):
    side.show_labels([])
    assert not side._no_labels.isHidden()
    assert side._legend.isHidden()


def test_showing_a_style_wishes_nothing_and_a_click_keeps_the_rest(side, qtbot):
    style = OverlayStyle(opacity=0.3, hidden=frozenset({2}), colours={1: 5}, contour=False)
    with qtbot.assertNotEmitted(side.style_wished):
        side.show_style(style, prediction=True, reference=True)
    with qtbot.waitSignal(side.style_wished) as wished:
        side._boxes["errors"].click()
    expected = OverlayStyle(
        opacity=0.3, hidden=frozenset({2}), colours={1: 5}, contour=False, errors=True
    )
    assert wished.args == [expected]


def test_errors_need_two_maps(side):
    side.show_style(OverlayStyle(), prediction=True, reference=False)
    assert not side._boxes["errors"].isEnabled()
    side.show_style(OverlayStyle(errors=True), prediction=True, reference=True)
    assert side._boxes["errors"].isEnabled()
    assert "Orange" in side._lines.text()


def test_the_window_can_be_typed(side, qtbot):
    with qtbot.assertNotEmitted(side.window_wished):
        side.show_window(Window(width=400, level=40, inverted=True), 1.0)
    with qtbot.waitSignal(side.window_wished) as wished:
        side._level.setValue(-600)
    assert wished.args == [Window(width=400, level=-600, inverted=True)]


def test_channels_are_offered_when_there_are_several(side, qtbot):
    side.show_channels(["T1"], 0)
    assert side._channel.isHidden()
    side.show_channels(["T1", "T2"], 0)
    assert not side._channel.isHidden()
    with qtbot.waitSignal(side.channel_wished) as wished:
        side._channel.setCurrentIndex(1)
    assert wished.args == [1]


def test_a_label_has_a_menu_with_its_colour(side, qtbot):
    side.show_labels([LegendRow(value=2, name="Liver", colour=0x112233, shown=True)])
    menu = side.label_menu(2, "Liver")
    only, every, colour, palette = menu.actions()
    assert only.text() == "Only Liver"
    for action, signal, values in (
        (only, side.only_wished, [2]),
        (every, side.only_wished, [0]),
        (palette, side.colour_wished, [2, None]),
    ):
        with qtbot.waitSignal(signal) as wished:
            action.trigger()
        assert wished.args == values
    colour.trigger()
    (dialog,) = side.findChildren(QColorDialog)
    dialog.setCurrentColor(QColor(0xFF445566))
    with qtbot.waitSignal(side.colour_wished) as wished:
        dialog.accept()
    assert wished.args == [2, 0x445566]


def test_tooltips_name_the_keys_of_the_table(side):
    assert side._boxes["errors"].toolTip().endswith("(E)")
    assert side._opacity.toolTip() == "Opacity of the labels (- / =)"
