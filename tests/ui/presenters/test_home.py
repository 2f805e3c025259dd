from __future__ import annotations

import pytest
from helpers import snapshots
from msgspec.structs import replace

from app.control.messages import JobView, LinkState
from app.ui.presenters.home import (
    StepMark,
    Wish,
    five_steps,
    is_finished,
    next_step,
    present_home,
)
from app.ui.text import Page


def pending():
    base = snapshots.joined()
    return replace(base, federation=replace(base.federation, link=LinkState.PENDING))


def refused():
    base = snapshots.joined()
    federation = replace(
        base.federation, link=LinkState.REFUSED, link_sentence="the coordinator revoked this site"
    )
    return replace(base, federation=federation)


def troubled():
    base = snapshots.training()
    service = replace(base.service, problem="the disk is full", remedy="Free disk space.")
    return replace(base, service=service)


def check_failed():
    base = snapshots.checking()
    job = JobView(kind="check", running=False, failed=True, outcome="the folder is not readable")
    return replace(base, data=replace(base.data, job=job))


def too_few():
    base = snapshots.to_allow()
    fingerprint = replace(base.fingerprint, blocked="the study asks for at least 30 cases")
    return replace(base, fingerprint=fingerprint)


def waiting():
    base = snapshots.to_allow()
    return replace(base, fingerprint=snapshots.allowed(sent=False))


def no_results():
    base = snapshots.finished()
    return replace(base, review=replace(base.review, results=(), scores=(), runs=()))


@pytest.mark.parametrize(
    ("snapshot", "sentence", "page", "wish", "is_waiting"),
    [
        (None, "Connecting to the service of this site…", None, Wish.OPEN, True),
        (troubled(), "The disk is full", None, Wish.OPEN, False),
        (
            snapshots.empty(),
            "Choose the folder with your images and labels.",
            Page.DATA,
            Wish.CHOOSE_FOLDER,
            False,
        ),
        (snapshots.checking(), "Your folder is being checked.", Page.DATA, Wish.OPEN, True),
        (check_failed(), "The folder is not readable", Page.DATA, Wish.OPEN, False),
        (
            snapshots.blocked(),
            "1 finding blocks the training. Mend what the list names and check again.",
            Page.DATA,
            Wish.OPEN,
            False,
        ),
        (
            snapshots.checked(),
            "Open the invitation that the coordinator sent you.",
            Page.FEDERATION,
            Wish.OPEN_INVITATION,
            False,
        ),
        (pending(), "The coordinator has to approve this site.", Page.FEDERATION, Wish.OPEN, True),
        (refused(), "The coordinator revoked this site", Page.FEDERATION, Wish.OPEN, False),
        (
            snapshots.joined(),
            "Compute the fingerprint of your images.",
            Page.FINGERPRINT,
            Wish.COMPUTE_FINGERPRINT,
            False,
        ),
        (
            snapshots.fingerprinting(),
            "The fingerprint of your images is being computed.",
            Page.FINGERPRINT,
            Wish.OPEN,
            True,
        ),
        (too_few(), "The study asks for at least 30 cases", Page.FINGERPRINT, Wish.OPEN, False),
        (
            snapshots.to_allow(),
            "Look at what would be shared, and allow it.",
            Page.FINGERPRINT,
            Wish.OPEN,
            False,
        ),
        (
            waiting(),
            "Waiting for the fingerprints of 3 of 3 sites",
            Page.FEDERATION,
            Wish.OPEN,
            True,
        ),
        (
            snapshots.training(),
            "Round 3 of 6: this site trains, about 40 s left; waiting for 2 of 3 sites.",
            Page.TRAINING,
            Wish.OPEN,
            True,
        ),
        (
            snapshots.paused(),
            "Training is paused; the other sites go on without you for now.",
            Page.TRAINING,
            Wish.RESUME,
            False,
        ),
        (
            no_results(),
            "The study has its model. Try it on cases that no site trained on.",
            Page.SEGMENT,
            Wish.OPEN,
            False,
        ),
        (
            snapshots.segmenting(),
            "The model is segmenting your cases.",
            Page.SEGMENT,
            Wish.OPEN,
            True,
        ),
        (
            snapshots.finished(),
            "The study has its model. Review the segmentations, worst first.",
            Page.REVIEW,
            Wish.OPEN,
            False,
        ),
    ],
)
def test_there_is_always_one_next_step(snapshot, sentence, page, wish, is_waiting):
    step = next_step(snapshot)
    assert (step.sentence, step.page, step.wish, step.waiting) == (sentence, page, wish, is_waiting)
    assert bool(step.button) == (page is not None)


def marks(snapshot) -> list[str]:
    return [step.mark.value for step in five_steps(snapshot)]


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (None, ["to do"] * 5),
        (snapshots.empty(), ["now", "to do", "to do", "to do", "to do"]),
        (snapshots.blocked(), ["needs you", "to do", "to do", "to do", "to do"]),
        (snapshots.checked(), ["done", "to do", "now", "to do", "to do"]),
        (snapshots.joined(), ["done", "now", "done", "to do", "to do"]),
        (too_few(), ["done", "needs you", "done", "to do", "to do"]),
        (snapshots.training(), ["done", "done", "done", "now", "to do"]),
        (no_results(), ["done", "done", "done", "done", "now"]),
        (snapshots.finished(), ["done", "done", "done", "done", "now"]),
    ],
)
def test_steps_are_marked_in_the_order_of_the_work(snapshot, expected):
    assert marks(snapshot) == expected
    assert marks(snapshot).count(StepMark.CURRENT.value) <= 1


def test_a_study_is_finished_by_its_word_or_its_last_round():
    assert not is_finished(snapshots.empty())
    assert not is_finished(snapshots.training())
    closed = snapshots.finished()
    assert is_finished(closed)
    unsaid = replace(closed, federation=replace(closed.federation, study_state="training"))
    assert is_finished(unsaid)


def test_home_tells_study_and_training():
    state = present_home(snapshots.training())
    assert state.study_title == "Hippocampus sample study"
    assert {fact.name: fact.value for fact in state.study}["Sites"] == "Harbour, North and Valley"
    # Five epochs and 12 of 20 steps of the sixth.
    assert state.training_share == pytest.approx(5.6 / 12)
    assert state.time_left == "About 38 s left in this round"
    assert present_home(snapshots.paused()).time_left == ""


def test_home_without_a_study_says_what_comes_there():
    state = present_home(snapshots.empty())
    assert state.study == ()
    assert state.study_empty
    assert state.training_share is None


def test_the_last_step_is_done_when_every_case_has_a_verdict():
    snapshot = snapshots.finished()
    some = five_steps(snapshot, reviewed=2)[-1]
    assert (some.mark, some.detail) == (StepMark.CURRENT, "2 of 5 cases reviewed")
    assert next_step(snapshot, reviewed=2).detail == "3 cases to look at."
    assert five_steps(snapshot, reviewed=5)[-1].mark is StepMark.DONE
    assert next_step(snapshot, reviewed=5).sentence == "All segmentations are reviewed."


def test_in_a_study_of_folds_the_step_names_fold_and_round():
    state = present_home(snapshots.folds())
    assert {fact.name: fact.value for fact in state.study}["Length"].startswith(
        "3 folds of 2 rounds of "
    )
    [step] = [step for step in state.steps if step.page is Page.TRAINING]
    assert step.detail == "Fold 2 of 3, round 1 of 2"


def test_in_a_cascade_the_step_names_the_pass():
    state = present_home(snapshots.cascade())
    assert {fact.name: fact.value for fact in state.study}["Length"].startswith(
        "2 passes of 3 folds of 1 round of "
    )
    [step] = [step for step in state.steps if step.page is Page.TRAINING]
    assert step.detail == "First pass, fold 3 of 3, round 1 of 1"
