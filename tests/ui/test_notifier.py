from __future__ import annotations

import pytest
from PySide6.QtWidgets import QSystemTrayIcon

from app.control.notices import Notice, NoticeKind
from app.ui.notifier import Notifier, message_of
from app.ui.text import NAME, Page, Tone


def event(kind: NoticeKind = NoticeKind.ROUND_DONE) -> Notice:
    return Notice(kind=kind, title="Round 3 of 6 is done", sentence="It goes on.")


@pytest.fixture
def sent():
    return []


@pytest.fixture
def notifier(qtbot, look, sent):
    def send(title, body, *, program, icon, urgent=False):
        sent.append((title, body, program, urgent))
        return True

    made: list[Notifier] = []

    def make(*, tray: bool) -> Notifier:
        made.append(Notifier(tray=tray, send=send, run=lambda work: work()))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_without_a_tray_a_note_is_sent(notifier, sent):
    plain = notifier(tray=False)
    assert not plain.in_tray
    plain.tell(event())
    plain.tell(event(NoticeKind.FAILED))
    assert sent == [
        ("Round 3 of 6 is done", "It goes on.", NAME, False),
        ("Round 3 of 6 is done", "It goes on.", NAME, True),
    ]


def test_in_a_tray_the_icon_tells_and_opens_the_page(notifier, sent, qtbot, monkeypatch):
    shown = []
    monkeypatch.setattr(QSystemTrayIcon, "showMessage", lambda _self, *what: shown.append(what[:2]))
    icon = notifier(tray=True)
    icon.show_state("Training round 3 of 6")
    assert icon.tip.endswith("Training round 3 of 6")
    icon.tell(event())
    assert shown == [("Round 3 of 6 is done", "It goes on.")]
    assert sent == []
    with qtbot.waitSignal(icon.opened) as opened:
        icon._icon.messageClicked.emit()
    assert opened.args == [Page.TRAINING]
    with qtbot.waitSignal(icon.opened) as opened:
        icon._icon.activated.emit(QSystemTrayIcon.ActivationReason.Trigger)
    assert opened.args == [None]


def test_the_tray_closes_the_program_and_says_that_training_goes_on(notifier, qtbot):
    icon = notifier(tray=True)
    close = icon._menu.actions()[-1]
    assert "training goes on" in close.text()
    with qtbot.waitSignal(icon.quit_wished):
        close.trigger()


def test_sending_does_not_hold_the_window_up(qtbot, look):
    import threading

    asked, go_on = threading.Event(), threading.Event()

    def slow(*_what, **_how):
        asked.set()
        return go_on.wait(10)

    one = Notifier(tray=False, send=slow)
    one.tell(event())  # returns although the note is not taken yet
    assert asked.wait(10)
    go_on.set()
    one.close()


def test_the_window_shows_the_same_event():
    message = message_of(event(NoticeKind.FAILED))
    assert (message.sentence, message.remedy) == ("Round 3 of 6 is done", "It goes on.")
    assert message.tone is Tone.DANGER
