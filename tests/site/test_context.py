from __future__ import annotations

import pytest
from helpers.clock import HandClock
from helpers.site_home import make_membership, study_terms

from app.domain.study import Policy
from app.jobs.events import Progressed
from app.site.context import JobProgress, JoinedStudy
from app.site.service import open_site


def test_the_terms_of_a_study_come_with_its_membership():
    joined = JoinedStudy(membership=make_membership())
    assert joined.terms == study_terms()
    assert joined.labels == ("anterior", "posterior")


@pytest.mark.asyncio
async def test_the_strict_policy_holds_until_a_study_says_otherwise(site):
    context = open_site(site.home, clock=site.clock, runner=site.runner)
    assert (context.study, context.policy) == (None, Policy.MINIMAL)
    context.joined = JoinedStudy(membership=make_membership(policy=Policy.PAPER))
    assert (context.study, context.policy) == ("5" * 32, Policy.PAPER)
    context.store.close()


def test_progress_is_shown_five_times_a_second_at_most():
    clock, views = HandClock(), []
    progress = JobProgress("check", views.append, clock)
    for done in range(1, 100):
        progress.heard(Progressed(done=done, total=100, what="checking"))
        clock.advance(0.02)
    assert 10 <= len(views) <= 13
    progress.heard(Progressed(done=100, total=100, what="checking"))
    assert views[-1].done == 100
    progress.heard(Progressed(done=0, total=5, what="comparing"))
    assert views[-1].what == "comparing"


def test_the_time_left_follows_the_pace_of_the_part_that_runs():
    clock, views = HandClock(), []
    progress = JobProgress("check", views.append, clock)
    progress.heard(Progressed(done=0, total=100, what="checking"))
    clock.advance(1.0)
    progress.heard(Progressed(done=1, total=100, what="checking"))
    assert views[-1].seconds_left is None, "too early to tell"
    clock.advance(9.0)
    progress.heard(Progressed(done=20, total=100, what="checking"))
    assert views[-1].seconds_left == pytest.approx(40.0)
    progress.heard(Progressed(done=1, total=5, what="comparing"))
    assert views[-1].seconds_left is None
    progress.ended("done", failed=False)
    assert views[-1].seconds_left is None
