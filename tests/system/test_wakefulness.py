from __future__ import annotations

import logging

import pytest
from helpers.site_home import Awake

from app.system.wakefulness import HELD, NOT_HELD, Wakefulness


def test_sleep_is_held_off_once_and_given_back_once():
    awake = Awake()
    wakefulness = Wakefulness(awake)
    assert wakefulness.sentence == ""
    for wanted in (True, True, False, False):
        wakefulness.follow(wanted)
        assert wakefulness.sentence == (HELD if wanted else "")
    assert (awake.held, awake.given_back) == (1, 1)
    wakefulness.follow(True)
    assert awake.held == 2


def test_a_computer_that_cannot_be_kept_awake_is_told():
    awake = Awake(active=False)
    wakefulness = Wakefulness(awake)
    wakefulness.follow(True)
    assert wakefulness.sentence == NOT_HELD
    assert (awake.held, awake.given_back) == (1, 1)
    wakefulness.follow(False)
    assert wakefulness.sentence == ""


@pytest.mark.parametrize("error", [ImportError("wakepy"), OSError("no bus")])
def test_a_way_that_fails_costs_nothing(error, caplog):
    wakefulness = Wakefulness(Awake(error=error))
    with caplog.at_level(logging.INFO, "app.system.wakefulness"):
        wakefulness.follow(True)
    assert wakefulness.sentence == NOT_HELD
    assert type(error).__name__ in caplog.text
    wakefulness.follow(False)


def test_giving_back_may_fail():
    class Stubborn(Awake):
        def __exit__(self, *_):
            raise OSError("gone")

    wakefulness = Wakefulness(Stubborn())
    wakefulness.follow(True)
    wakefulness.follow(False)
    assert wakefulness.sentence == ""


def test_the_real_library_is_entered_and_left_without_a_desktop(monkeypatch):
    pytest.importorskip("wakepy")
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "yes")
    wakefulness = Wakefulness()
    wakefulness.follow(True)
    assert wakefulness.sentence == HELD
    wakefulness.follow(False)
    assert wakefulness.sentence == ""
