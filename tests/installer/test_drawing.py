import struct

import pytest

from installer.drawing import draw, icon, main

pytestmark = pytest.mark.window
PNG = b"\x89PNG\r\n\x1a\n"


def test_a_picture_is_drawn_in_any_size(project_root, qapp):
    for size in (16, 256):
        picture = draw(project_root / "resources/icons/application.svg", size)
        assert picture.startswith(PNG)
        assert struct.unpack(">II", picture[16:24]) == (size, size)


def test_an_icon_holds_every_size(project_root, tmp_path, qapp):
    target = tmp_path / "a.ico"
    assert (
        main([str(project_root / "resources/icons/application.svg"), str(target), "16", "256"]) == 0
    )
    data = target.read_bytes()
    assert struct.unpack("<HHH", data[:6]) == (0, 1, 2)
    for number, side in enumerate((16, 0)):
        entry = struct.unpack("<BBBBHHII", data[6 + 16 * number : 22 + 16 * number])
        assert entry[:2] == (side, side)
        assert data[entry[7] : entry[7] + 8] == PNG
    assert entry[7] + entry[6] == len(data)


def test_an_icon_without_pictures_is_a_header():
    assert icon([]) == struct.pack("<HHH", 0, 1, 0)
