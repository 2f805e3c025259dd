from __future__ import annotations

import logging

import pytest
from PySide6.QtCore import qDebug, qWarning

from app.ui.qt_log import logging_qt


@pytest.mark.qt_no_exception_capture
def test_what_qt_says_is_logged_and_the_handler_given_back(caplog, expected_log):
    expected_log("app.ui.qt_log", "QPainter")
    with caplog.at_level(logging.DEBUG, "app.ui.qt_log"), logging_qt():
        qWarning("QPainter::begin: paint device returned engine == 0")
        qDebug("a detail")
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told == [
        ("WARNING", "QPainter::begin: paint device returned engine == 0"),
        ("DEBUG", "a detail"),
    ]
