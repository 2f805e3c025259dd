from __future__ import annotations

import pytest
from helpers.scripted_runner import step_record
from helpers.site_home import make_membership

from app.control.messages import FederationView, LinkState
from app.site.agenda import Work, WorkKind
from app.site.context import JoinedStudy
from app.site.rounds import RoundState, RoundTask
from app.site.views import federation_view, round_expected_at, study_view, training_sentence
from app.wire.messages import Directive, SitePhase, SiteSummary, Step

JOINED = JoinedStudy(membership=make_membership())


def peer(name, state="ready", **changes):
    facts = {
        "name": name, "state": state, "connected": True, "cases": 5, "round": 1, "epoch": 1,
        "step": 2, "steps": 3, "silent_s": 4,
    }  # fmt: skip
    return SiteSummary(**(facts | changes))


def directive(step, sentence="", sites=()):
    return Directive(
        serial=1, step=step, study_state="open", sentence=sentence, sites=sites, closed_rounds=()
    )


def task(state):
    return RoundTask(round=2, attempt=1, base="b", base_size=1, start_epoch=2, state=state)


def sentence(**changes):
    facts = {
        "joined": JOINED, "phase": SitePhase.WAITING, "work": None, "directive": None,
        "task": None, "step": None, "seconds_left": None, "paused": False,
        "link": LinkState.CONNECTED, "problem": "", "blocked": "",
    }  # fmt: skip
    return training_sentence(**(facts | changes))


TRAIN = Work(kind=WorkKind.TRAIN)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"joined": None}, "No study is joined."),
        ({"problem": "the disk is full"}, "Stopped: the disk is full."),
        ({"work": TRAIN, "task": task(RoundState.TRAINING)}, "Round 2 of 3: training."),
        (
            {
                "work": TRAIN,
                "task": task(RoundState.TRAINING),
                "step": step_record(2, 3, 1),
                "seconds_left": 240.0,
            },
            "Round 2 of 3: training, 1 of 3 iterations, 4 min left.",
        ),
        # A step of the round before says nothing about this one.
        (
            {"work": TRAIN, "task": task(RoundState.TRAINING), "step": step_record(1, 1, 1)},
            "Round 2 of 3: training.",
        ),
        ({"work": Work(kind=WorkKind.DELIVER)}, "Sending this site's update."),
        ({"paused": True}, "Training is paused at this site; resume it when you are ready."),
        ({}, "Waiting for the coordinator."),
        ({"link": LinkState.PENDING}, "Waiting for the coordinator to approve this site."),
        (
            {
                "phase": SitePhase.AWAITING_CONSENT,
                "directive": directive(Step.SEND_FINGERPRINT),
            },
            "Waiting for you: look at the fingerprint and allow it to be shared.",
        ),
        (
            {
                "phase": SitePhase.AWAITING_CONSENT,
                "directive": directive(Step.SEND_FINGERPRINT),
                "blocked": "too few cases",
            },
            "The fingerprint cannot be shared yet: too few cases.",
        ),
        (
            {"directive": directive(Step.FINISH)},
            "The study is finished; its model is ready for review.",
        ),
        ({"directive": directive(Step.STOP, "by hand")}, "The study has ended: by hand"),
        ({"directive": directive(Step.PAUSE)}, "The coordinator has paused the study."),
        ({"directive": directive(Step.WAIT, "2 sites missing")}, "2 sites missing"),
        (
            {
                "directive": directive(
                    Step.WAIT, sites=(peer("alpha", "delivered"), peer("beta", "working"))
                ),
                "task": task(RoundState.DELIVERED),
            },
            "Round 2 of 3: your part is done, waiting for 1 of 2 sites.",
        ),
        (
            {"directive": directive(Step.TRAIN), "task": task(RoundState.DELIVERED)},
            "Round 2 of 3: your part is done, waiting for the average.",
        ),
        (
            {"directive": directive(Step.TRAIN), "task": task(RoundState.TOLD)},
            "Round 2 of 3: this site gave no update; it goes on with the next.",
        ),
    ],
)
def test_the_one_sentence(facts, expected):
    assert sentence(**facts) == expected


def test_every_work_that_takes_time_has_words():
    silent = {
        WorkKind.CHECK, WorkKind.CONVERT, WorkKind.FINGERPRINT, WorkKind.SHARE, WorkKind.ALLOW, WorkKind.TRAIN,
        WorkKind.OPEN_SESSION, WorkKind.CLOSE_SESSION, WorkKind.TELL_REFUSED,
    }  # fmt: skip
    for kind in set(WorkKind) - silent:
        assert sentence(work=Work(kind=kind)) != "Waiting for the coordinator.", kind


def test_the_study_is_shown_as_it_was_agreed_to():
    view = study_view(JOINED)
    assert (view.site, view.labels, view.rounds) == ("alpha", ("anterior", "posterior"), 3)
    assert len(view.words.split()) == 6
    assert view.coordinator == "wss://localhost:1"


def test_sites_are_shown_and_a_peers_words_made_safe():
    view = federation_view(
        joined=JOINED,
        link=LinkState.CONNECTED,
        link_sentence="Connected.",
        directive=directive(Step.WAIT, "a\u202eb", (peer("alpha", "x\x00"), peer("beta"))),
        rounds=(),
        plan=None,
        summary=None,
        transfer=None,
    )
    assert view.sentence == "a\N{REPLACEMENT CHARACTER}b"
    assert [(site.name, site.here) for site in view.sites] == [("alpha", True), ("beta", False)]
    assert view.sites[0].state == "x\N{REPLACEMENT CHARACTER}"


def test_without_a_study_there_is_nothing_to_show():
    view = federation_view(
        joined=None, link=LinkState.NONE, link_sentence="", directive=None, rounds=(), plan=None,
        summary=None, transfer=None,
    )  # fmt: skip
    assert view == FederationView()


@pytest.mark.parametrize(
    ("state", "phase", "doing"),
    [
        ("joined", "", "joined"),
        ("ready", "waiting", "ready"),
        ("joined", "preparing", "preparing"),
        ("working", "training", "training"),
        ("working", "waiting", "training"),
        ("working", "uploading", "uploading"),
        ("working", "paused", "paused"),
        ("working", "failed", "failed"),
        ("delivered", "uploading", "delivered"),
        ("absent", "training", "absent"),
        ("withdrawn", "", "left"),
    ],
)
def test_one_word_says_what_a_site_does(state, phase, doing):
    assert row(peer("beta", state, phase=phase)).doing == doing


def test_a_site_that_is_not_heard_has_a_time_since_when():
    assert row(peer("beta", "working", silent_s=30)).absent_since is None
    assert row(peer("beta", "working", connected=False, silent_s=30)).absent_since == 70.0
    assert row(peer("beta", "absent", silent_s=30)).absent_since == 70.0
    assert row(peer("beta", "absent", silent_s=30), heard_at=None).absent_since is None
    assert row(peer("beta", "joined", connected=False, silent_s=0)).absent_since is None


def row(site, *, heard_at=100.0):
    (shown,) = federation_view(
        joined=JOINED, link=LinkState.CONNECTED, link_sentence="", rounds=(), plan=None,
        directive=directive(Step.WAIT, "", (site,)), summary=None, transfer=None, heard_at=heard_at,
    ).sites  # fmt: skip
    return shown


def expected(*sites, **facts):
    known = {"here": "alpha", "epochs_per_round": 2, "began_at": 1000.0, "heard_at": 1100.0}
    return round_expected_at(directive(Step.TRAIN, "", sites), own_end=None, **(known | facts))


def half_done(name, **changes):
    # Round 3 holds epochs 5 and 6: the first is done, none of the second.
    return peer(
        name, **({"state": "working", "round": 3, "epoch": 5, "step": 3, "steps": 3} | changes)
    )


def test_a_round_is_expected_when_its_slowest_site_is_done():
    assert expected(half_done("beta")) == 1200.0
    quarter = half_done("gamma", epoch=5, step=3, steps=6)
    assert expected(half_done("beta"), quarter) == 1400.0
    assert (
        expected(half_done("beta"), peer("gamma", "delivered"), peer("delta", "absent")) == 1200.0
    )
    assert expected(peer("beta", "delivered")) is None


def test_this_site_knows_its_own_pace_best():
    sites = (half_done("alpha"), half_done("beta"))
    known = {"here": "alpha", "epochs_per_round": 2, "began_at": 1000.0, "heard_at": 1100.0}
    wish = directive(Step.TRAIN, "", sites)
    assert round_expected_at(wish, own_end=1900.0, **known) == 1900.0


@pytest.mark.parametrize(
    ("site", "facts"),
    [
        (half_done("beta", connected=False), {}),
        (half_done("beta"), {"began_at": None}),
        (half_done("beta"), {"heard_at": None}),
        (half_done("beta", epoch=5, step=0), {}),
        (half_done("beta", steps=0), {}),
        (half_done("beta", round=0), {}),
    ],
)
def test_nothing_is_expected_of_a_site_whose_pace_is_unknown(site, facts):
    assert expected(half_done("gamma"), site, **facts) is None


def test_a_study_that_is_paused_or_over_expects_nothing():
    for step in (Step.PAUSE, Step.FINISH, Step.STOP):
        wish = directive(step, "", (half_done("beta"),))
        assert (
            round_expected_at(
                wish, here="alpha", epochs_per_round=2, began_at=1.0, heard_at=2.0, own_end=None
            )
            is None
        )


def test_the_sentence_says_when_the_round_is_expected():
    waiting = sentence(
        directive=directive(Step.WAIT, "", (peer("beta", "working"), peer("alpha", "delivered"))),
        task=task(RoundState.DELIVERED),
        expected="14:20",
    )
    assert waiting == ("Round 2 of 3: your part is done, waiting for 1 of 2 sites, expected 14:20.")
