from __future__ import annotations

import itertools

import pytest
from helpers import snapshots
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QHelpEvent
from PySide6.QtWidgets import QToolTip

from app.ui.models.network import NetworkState
from app.ui.presenters.network import present_network
from app.ui.widgets.network_picture import NetworkPicture

STATE = present_network(snapshots.NETWORK)


@pytest.fixture
def picture(qtbot, look):
    made = NetworkPicture()
    qtbot.addWidget(made)
    made.show()
    made.resize(900, 300)
    made.draw(STATE)
    return made


def test_boxes_stand_in_a_u_and_never_touch(picture):
    for width in (420, 700, 1400):
        picture.resize(width, picture.sizeHint().height())
        areas = [area for area, _ in picture._boxes()]
        assert len(areas) == 9
        assert all(picture.rect().contains(area.toRect()) for area in areas)
        for one, other in itertools.pairwise(areas):
            assert not one.intersects(other)
        lefts, rights = areas[:-1:2], areas[1::2]
        assert [a.width() for a in lefts] == sorted((a.width() for a in lefts), reverse=True)
        for left, right in zip(lefts, rights, strict=True):
            assert left.top() == right.top()
            assert left.center().x() + right.center().x() == pytest.approx(width, abs=1)
        assert areas[-1].center().x() == pytest.approx(width / 2, abs=1)


def test_it_is_told_in_words_too(picture):
    assert picture.accessibleName() == STATE.sentence
    for stage in STATE.stages:
        assert stage.down.hint in picture.accessibleDescription()


def test_shared_and_local_differ_by_pattern(picture):
    """Of the lowest stage nothing is shared: its ground is hatched; of the second all: it is plain."""
    shown = picture.grab().toImage()
    ratio = shown.devicePixelRatio()
    boxes = [area for area, _ in picture._boxes()]

    def colours(area) -> set[str]:
        y = int((area.top() + area.height() * 0.8) * ratio)
        left = int((area.left() + 12) * ratio)
        return {shown.pixelColor(x, y).name() for x in range(left, left + 30)}

    assert len(colours(boxes[2])) == 1
    assert len(colours(boxes[-1])) > 1


def test_pointing_at_a_box_gives_the_numbers(picture, qtbot):
    area, box = next(iter(picture._boxes()))
    point = area.center().toPoint()
    picture.event(QHelpEvent(QHelpEvent.Type.ToolTip, point, picture.mapToGlobal(point)))
    qtbot.waitUntil(lambda: QToolTip.text() == box.hint)
    outside = QPoint(1, picture.height() - 1)
    picture.event(QHelpEvent(QHelpEvent.Type.ToolTip, outside, picture.mapToGlobal(outside)))
    qtbot.waitUntil(lambda: not QToolTip.isVisible())
    assert picture.cursor().shape() is Qt.CursorShape.ArrowCursor


def test_without_a_network_it_is_hidden(picture):
    picture.draw(NetworkState())
    assert picture.isHidden()
    picture.draw(STATE)
    assert picture.isVisible()
