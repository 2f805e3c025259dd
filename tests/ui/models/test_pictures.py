from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPixmap

from app.ui.models import pictures
from app.ui.models.pictures import (
    CASE_ROLE,
    CasePicture,
    GalleryItem,
    PictureModel,
    PictureWish,
)


def item(number: int, version: str = "1", hint: str = "") -> GalleryItem:
    return GalleryItem(
        wish=PictureWish(case=f"case-{number}", image="/i", label=None, version=version), hint=hint
    )


def picture(of: GalleryItem, colour: int = 0xFF112233) -> CasePicture:
    pixels = np.full((20, 20), colour, np.uint32)
    return CasePicture(wish=of.wish, pixels=pixels, remark="A remark.")


@pytest.fixture
def model(qapp, qtmodeltester):
    made = PictureModel(10, 2.0)
    made.show(tuple(map(item, range(3))))
    yield made
    qtmodeltester.check(made)


def test_an_item_misses_its_picture_until_it_is_kept(model, qtbot):
    assert model.missing(1) == item(1).wish
    with qtbot.waitSignal(model.dataChanged) as told:
        model.keep(picture(item(1)))
    assert told.args[0].row() == 1
    assert model.missing(1) is None
    assert model.missing(0) == item(0).wish
    shown = model.index(1).data(Qt.ItemDataRole.DecorationRole)
    assert isinstance(shown, QPixmap)
    assert shown.toImage().pixelColor(3, 3) == QColor(0x11, 0x22, 0x33)
    # Sharp: 20 device pixels stand on 10 logical ones.
    assert shown.devicePixelRatio() == 2
    assert model.index(1).data(CASE_ROLE) == "case-1"
    assert model.index(1).data(Qt.ItemDataRole.ToolTipRole) == "case-1\nA remark."


def test_a_case_that_cannot_be_read_is_not_asked_for_again(model):
    model.keep(CasePicture(wish=item(0).wish, pixels=None, remark="Cut off"))
    assert model.missing(0) is None
    assert "Cut off" in model.index(0).data(Qt.ItemDataRole.ToolTipRole)


def test_a_changed_folder_is_read_anew_and_late_pictures_are_dropped(model):
    model.keep(picture(item(0)))
    model.show(tuple(item(number, version="2") for number in range(3)))
    assert model.missing(0) == item(0, version="2").wish
    model.keep(picture(item(1)))
    assert model.missing(1) is not None


def test_the_oldest_pictures_go(model, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_KEPT", 2)
    model.keep(picture(item(0)))
    model.keep(picture(item(1)))
    assert model.missing(0) is None  # looked at: now the younger one
    model.keep(picture(item(2)))
    assert [model.missing(number) is None for number in range(3)] == [True, False, True]
