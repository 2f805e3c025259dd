from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent

from app.ui.widgets.drop_zone import DropZone, dropped_path


def dragged(*urls: str) -> QMimeData:
    data = QMimeData()
    data.setUrls([QUrl(url) for url in urls])
    return data


def test_one_local_folder_is_taken(tmp_path):
    data = dragged(tmp_path.as_uri())
    assert dropped_path(data, Path.is_dir) == tmp_path
    assert dropped_path(data, Path.is_file) is None
    assert dropped_path(dragged(tmp_path.as_uri(), tmp_path.as_uri()), Path.is_dir) is None
    assert dropped_path(dragged("https://localhost/x"), Path.is_dir) is None
    assert dropped_path(QMimeData(), Path.is_dir) is None


def test_dropping_tells_the_path(qtbot, look, tmp_path):
    zone = DropZone(Path.is_dir)
    qtbot.addWidget(zone)
    data = dragged(tmp_path.as_uri())
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPointF(5, 5).toPoint(), Qt.DropAction.CopyAction, data, buttons, keys)
    zone.dragEnterEvent(enter)
    assert enter.isAccepted()
    assert zone.property("over") == "true"
    drop = QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, data, buttons, keys)
    with qtbot.waitSignal(zone.path_dropped) as told:
        zone.dropEvent(drop)
    assert told.args == [str(tmp_path)]
    assert zone.property("over") == "false"
