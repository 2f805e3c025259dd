from __future__ import annotations

import pytest
from PySide6.QtWidgets import QWidget

from app.ui.messages import Message
from app.ui.text import Tone
from app.ui.widgets import toasts as toasts_module
from app.ui.widgets.labels import IconButton
from app.ui.widgets.toasts import ToastStack


@pytest.fixture
def stack(qtbot, look):
    window = QWidget()
    qtbot.addWidget(window)
    window.resize(900, 600)
    window.show()
    made = ToastStack(window)
    made.window_kept = window
    return made


def told(sentence: str, tone: Tone = Tone.WARNING) -> Message:
    return Message(sentence=sentence, tone=tone)


def sentences(stack) -> list[str]:
    return [toast.message.sentence for toast in stack.toasts()]


def test_the_same_message_is_not_stacked(stack):
    stack.tell(told("a"))
    stack.tell(told("a"))
    assert sentences(stack) == ["a"]


def test_at_most_four_the_oldest_goes(stack):
    for sentence in "abcdef":
        stack.tell(told(sentence))
    assert sentences(stack) == ["c", "d", "e", "f"]


def test_closing_takes_it_away(stack):
    stack.tell(told("a"))
    stack.toasts()[0].findChild(IconButton).click()
    assert sentences(stack) == []


def test_good_news_leave_by_themselves_trouble_stays(stack, qtbot, monkeypatch):
    monkeypatch.setattr(toasts_module, "_SHOWN_MS", 50)
    stack.tell(told("done", Tone.GOOD))
    stack.tell(told("trouble", Tone.DANGER))
    qtbot.waitUntil(lambda: sentences(stack) == ["trouble"])


def test_moves_with_the_window(stack, qtbot):
    stack.tell(told("a long sentence that needs several lines " * 4))
    stack.window_kept.resize(700, 500)
    qtbot.waitUntil(lambda: stack.window_kept.rect().contains(stack.geometry()))
