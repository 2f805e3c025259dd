from __future__ import annotations

import pytest
from helpers.clock import HandClock
from helpers.scripted_runner import step_record

from app.domain.errors import ErrorCode, SetupProblem
from app.site.interruptions import (
    COMPUTER_LOST,
    KEPT,
    SERVICE_LOST,
    WORKER_LOST,
    WorkAtRisk,
)
from app.site.spoken import time_of_day
from app.site.state import SiteStore


class Site:
    """A store and a file that live on over any number of services."""

    def __init__(self, folder):
        self.folder, self.clock = folder, HandClock()
        self.store = SiteStore(folder / "site.sqlite")
        self.booted = 0.0

    def service(self, **start):
        risk = WorkAtRisk(
            self.store,
            self.folder / "at-work.json",
            clock=self.clock,
            boot_time=lambda: self.booted,
        )
        risk.service_starts(**({"unclean": True, "delivering": False} | start))
        return risk

    @property
    def now(self):
        return time_of_day(self.clock.now(), now=self.clock.now())


@pytest.fixture
def place(tmp_path):
    site = Site(tmp_path)
    yield site
    site.store.close()


def steps(risk, number, *, epoch=7):
    for step in range(1, number + 1):
        risk.stepped(step_record(4, epoch, step))


def test_work_at_risk_is_what_was_done_since_the_checkpoint(place):
    risk = place.service(unclean=False)
    steps(risk, 3)
    assert risk.lost_s == 1.5
    risk.checkpointed(7)
    assert risk.lost_s == 0.0
    steps(risk, 2, epoch=8)
    assert risk.lost_s == 1.0
    risk.ended()
    assert (risk.lost_s, risk.account) == (0.0, ())
    assert not (place.folder / "at-work.json").exists()


@pytest.mark.parametrize(
    ("booted", "what", "sentence"),
    [
        (0.0, SERVICE_LOST, "This site's service ended unexpectedly at {when}"),
        (2e9, COMPUTER_LOST, "The computer went off at about {when}"),
    ],
)
def test_a_lost_service_and_a_lost_computer_are_told_apart(place, booted, what, sentence):
    steps(place.service(unclean=False), 3)
    when = place.now
    place.clock.advance(600)
    place.booted = booted
    (entry,) = place.service().account
    assert (entry.what, entry.epoch, entry.lost_steps, entry.lost_s) == (what, 7, 3, 1.5)
    assert entry.sentence == (
        f"{sentence.format(when=when)}. 3 steps (2 seconds) of epoch 7 are trained again; "
        "finished epochs are kept and count once."
    )
    assert place.service(unclean=False).account == (entry,), "told once"


def test_a_lost_worker_is_told_at_once(place):
    risk = place.service(unclean=False)
    steps(risk, 1)
    risk.worker_lost()
    (entry,) = risk.account
    assert (entry.what, entry.lost_steps) == (WORKER_LOST, 1)
    assert "1 step (less than a second) of epoch 7 is" in entry.sentence
    assert risk.lost_s == 0.0


def test_after_a_checkpoint_nothing_is_lost(place):
    risk = place.service(unclean=False)
    steps(risk, 3)
    risk.checkpointed(7)
    (entry,) = place.service().account
    assert entry.lost_steps == 0
    assert entry.sentence.endswith("Nothing is lost: epoch 7 had just been saved.")


def test_an_epoch_that_the_worker_saved_unheard_is_not_lost(place):
    steps(place.service(unclean=False), 3)
    risk = place.service()
    risk.session_ready(7)
    (entry,) = risk.account
    assert (entry.lost_steps, entry.lost_s) == (0, 0.0)
    assert entry.sentence.endswith("Nothing is lost: epoch 7 had just been saved.")


def test_a_later_session_does_not_rewrite_the_account(place):
    steps(place.service(unclean=False), 3)
    risk = place.service()
    risk.session_ready(6)
    risk.session_ready(7)
    assert risk.account[0].lost_steps == 3


@pytest.mark.parametrize(
    ("delivering", "told"),
    [(True, "its update is trained and is sent on now"), (False, "no training ran")],
)
def test_an_unclean_end_without_training_has_lost_nothing(place, delivering, told):
    (entry,) = place.service(delivering=delivering).account
    assert entry.sentence == (
        f"This site's service had ended unexpectedly. Nothing is lost: {told}."
    )
    assert (entry.lost_steps, entry.epoch) == (0, 0)


def test_a_clean_start_enters_nothing(place):
    assert place.service(unclean=False).account == ()


def test_a_torn_file_is_told_without_numbers(place):
    (place.folder / "at-work.json").write_bytes(b'{"at": 1')
    (entry,) = place.service().account
    assert "At most the unfinished epoch is trained again" in entry.sentence


def test_the_account_is_bounded(place):
    for _ in range(KEPT + 3):
        place.service()
    assert len(place.service(unclean=False).account) == KEPT


def test_a_full_disk_does_not_keep_the_service_from_starting(place, monkeypatch, expected_log):
    def full(*_records):
        raise SetupProblem("the disk is full", code=ErrorCode.DISK_FULL)

    steps(place.service(unclean=False), 3)
    monkeypatch.setattr(place.store, "put", full)
    expected_log("app.site.interruptions", "the disk is full")
    assert place.service().account == ()


def test_a_full_disk_does_not_stop_the_bookkeeping(place):
    risk = place.service(unclean=False)
    (place.folder / "at-work.json").mkdir()
    steps(risk, 2)
    assert risk.lost_s == 1.0
