from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.ui.models.pictures import CasePicture, GalleryItem, PictureWish
from app.ui.widgets.gallery import Gallery

MANY = 500


def items(version: str = "1") -> tuple[GalleryItem, ...]:
    return tuple(
        GalleryItem(wish=PictureWish(case=f"case-{n}", image="/i", label=None, version=version))
        for n in range(MANY)
    )


class Reader:
    """Hears wishes and answers them when told to."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.wished: list[PictureWish] = []
        gallery.picture_wished.connect(self._hear)

    def _hear(self, wish: PictureWish, side: int) -> None:
        self.wished.append(wish)
        self.side = side

    def answer(self) -> None:
        pixels = np.zeros((self.side, self.side), np.uint32)
        self.gallery.show_picture(CasePicture(wish=self.wished[-1], pixels=pixels))


@pytest.fixture
def gallery(qtbot):
    made = Gallery("Pictures")
    qtbot.addWidget(made)
    made.resize(800, 600)
    return made


@pytest.fixture
def reader(gallery):
    return Reader(gallery)


def test_only_what_is_on_screen_is_wished_one_at_a_time(gallery, reader, qtbot):
    gallery.show_items(items())
    QTest.qWait(20)
    assert reader.wished == []  # on a tab that nobody looks at
    gallery.show()
    qtbot.waitUntil(lambda: len(reader.wished) == 1)
    QTest.qWait(20)
    assert len(reader.wished) == 1
    on_screen = len(gallery.on_screen())
    assert 10 <= on_screen <= 40
    for number in range(1, on_screen + 1):
        reader.answer()
        if number < on_screen:
            qtbot.waitUntil(lambda n=number: len(reader.wished) == n + 1)
    QTest.qWait(20)
    assert [wish.case for wish in reader.wished] == [f"case-{n}" for n in range(on_screen)]


def test_on_screen_is_what_the_view_shows(gallery, qtbot):
    gallery.show_items(items())
    gallery.show()
    QTest.qWait(20)
    bar = gallery.verticalScrollBar()
    for place in (0, bar.maximum() // 3, bar.maximum()):
        bar.setValue(place)
        screen = gallery.viewport().rect()
        seen = {
            number
            for number in range(MANY)
            if gallery.visualRect(gallery.pictures.index(number)).intersects(screen)
        }
        assert seen
        assert seen <= set(gallery.on_screen())
        assert len(gallery.on_screen()) <= len(seen) + 20


def test_cases_that_were_scrolled_past_are_not_read(gallery, reader, qtbot):
    gallery.show_items(items())
    gallery.show()
    qtbot.waitUntil(lambda: len(reader.wished) == 1)
    bar = gallery.verticalScrollBar()
    bar.setValue(bar.maximum())
    reader.answer()
    qtbot.waitUntil(lambda: len(reader.wished) == 2)
    assert int(reader.wished[1].case.removeprefix("case-")) > MANY - 60


def test_another_folder_does_not_wait_for_the_last_one(gallery, reader, qtbot):
    gallery.show_items(items())
    gallery.show()
    qtbot.waitUntil(lambda: len(reader.wished) == 1)
    gallery.show_items(items(version="2"))
    qtbot.waitUntil(lambda: len(reader.wished) == 2)
    assert reader.wished[1].version == "2"


def test_click_and_return_open_the_case(gallery, qtbot):
    gallery.show_items(items())
    gallery.show()
    QTest.qWait(20)
    place = gallery.visualRect(gallery.pictures.index(2)).center()
    with qtbot.waitSignal(gallery.case_opened) as told:
        QTest.mouseClick(gallery.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert told.args == ["case-2"]
    with qtbot.waitSignal(gallery.case_opened) as told:
        QTest.keyClick(gallery, Qt.Key.Key_Right)
        QTest.keyClick(gallery, Qt.Key.Key_Return)
    assert told.args == ["case-3"]


def test_without_cases_it_says_what_comes(gallery):
    gallery.show_items(())
    gallery.show()
    assert gallery._empty.isVisible()
    gallery.show_items(items())
    assert not gallery._empty.isVisible()
