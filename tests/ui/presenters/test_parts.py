from __future__ import annotations

from app.control.messages import JobView, LinkState
from app.ui.presenters.parts import LINK_WORDS, Progress, failure_of, progress_of


def test_every_link_state_has_words():
    assert set(LINK_WORDS) == set(LinkState)


def test_running_job_counts():
    job = JobView(kind="check", running=True, done=3, total=12, what="checking cases")
    assert progress_of(job) == Progress(
        sentence="Checking cases: 3 of 12", share=0.25, stops="check"
    )


def test_running_job_of_unknown_length():
    job = JobView(kind="plan", running=True)
    assert progress_of(job) == Progress(sentence="Plan is running…", share=None, stops="plan")


def test_more_done_than_announced_stays_full():
    progress = progress_of(JobView(kind="check", running=True, done=13, total=12))
    assert progress is not None
    assert progress.share == 1.0


def test_ended_jobs_show_no_progress_but_their_failure():
    failed = JobView(kind="check", running=False, failed=True, outcome="the disk is full")
    assert progress_of(None) is None
    assert progress_of(failed) is None
    assert failure_of(failed) == "The disk is full"
    assert failure_of(JobView(kind="check", running=False, outcome="done")) == ""
    assert failure_of(None) == ""


def test_the_time_left_is_told_when_it_is_known():
    job = JobView(kind="check", running=True, done=20, total=100, what="checking", seconds_left=41)
    assert progress_of(job).sentence == "Checking: 20 of 100, about 41 s left"
