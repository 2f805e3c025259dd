import math
from dataclasses import replace

import pytest
from helpers.studies import (
    DEADLINE_S,
    FIRST,
    MERGED,
    PLAN,
    TERMS,
    Bench,
    average_of,
    blob,
    first_of,
    later_firsts,
    only,
    planned,
    refusals,
)

from app.domain.errors import ErrorCode
from app.domain.folds import CASCADE
from app.domain.ids import SiteName
from app.domain.rounds import BlobRef, GlobalModel
from app.domain.study import Method
from app.federation.study_events import (
    AlignSites,
    AverageRound,
    AveragingFailed,
    Begin,
    DropSession,
    FingerprintArrived,
    Left,
    MergeAndPlan,
    Pause,
    PlanAccepted,
    PlanMade,
    PlanningFailed,
    PlanRefused,
    Refused,
    Resume,
    Revoked,
    RoundAveraged,
    SiteConnected,
    SiteDisconnected,
    SitesAligned,
    SiteShare,
    Stop,
    StudyFinished,
    TellSites,
    Tick,
    UpdateArrived,
    UpdateFailed,
    UploadProgressed,
)
from app.federation.study_machine import StudyState
from app.federation.study_turn import MAXIMUM_TRIES, UnexpectedStudyEvent
from app.federation.study_views import Step, best_of_folds

# --- enrolment and planning --------------------------------------------------------------------


def test_a_site_is_asked_for_its_fingerprint_as_soon_as_it_is_admitted():
    bench = Bench()
    bench.join("north")
    told = bench.told("north")
    assert told.step is Step.SEND_FINGERPRINT
    assert told.study_state == "enrolling"
    assert told.sentence == "Sites are joining: 0 of 1 site sent a fingerprint."


def test_planning_waits_for_begin_and_for_every_site():
    bench = Bench()
    bench.join("north", "harbour", "valley")
    assert not [e for e in bench.share("north", "harbour") if isinstance(e, MergeAndPlan)]
    assert not [e for e in bench.tell(Begin()) if isinstance(e, MergeAndPlan)]
    assert bench.told("north").step is Step.WAIT
    assert bench.told("valley").step is Step.SEND_FINGERPRINT
    assert bench.told("north").sentence == (
        "Waiting for fingerprints: 2 of 3 sites sent a fingerprint."
    )
    effects = bench.share("valley")
    assert planned(effects) == ["harbour", "north", "valley"]
    assert bench.told("valley").sentence == (
        "Planning from 3 sites and their images' fingerprints."
    )


def test_the_coordinator_may_go_on_without_the_missing_ones():
    bench = Bench()
    bench.join("north", "harbour", "valley")
    bench.share("north", "harbour")
    bench.tell(Begin())
    assert planned(bench.tell(Begin(without_missing=True))) == ["harbour", "north"]


def test_planning_needs_the_minimum_of_sites():
    bench = Bench(replace(TERMS, minimum_sites=3))
    bench.join("north", "harbour")
    bench.share("north", "harbour")
    bench.tell(Begin(without_missing=True))
    assert bench.study.record.state is StudyState.FINGERPRINTING
    assert "the study needs 3 sites" in bench.told("north").sentence
    bench.join("valley")
    assert planned(bench.share("valley")) == ["harbour", "north", "valley"]


def test_a_fingerprint_is_kept_once():
    bench = Bench()
    bench.join("north")
    bench.share("north")
    before = bench.study.record
    assert bench.share("north") == ()
    effects = bench.tell(FingerprintArrived(site="north", fingerprint=blob("other"), cases=10))
    assert refusals(effects) == [
        "another fingerprint of this site is kept already; one is used per study"
    ]
    assert bench.study.record == before


def test_a_fingerprint_of_too_few_cases_is_refused():
    bench = Bench()
    bench.join("north")
    effects = bench.tell(FingerprintArrived(site="north", fingerprint=blob("f"), cases=4))
    assert only(effects, Refused).code is ErrorCode.TOO_FEW_CASES
    assert bench.told("north").step is Step.SEND_FINGERPRINT


def test_a_fingerprint_that_does_not_fit_is_asked_for_again_but_never_taken_again():
    bench = Bench()
    bench.join("north", "harbour")
    bench.share("north", "harbour")
    bench.tell(Begin())
    effects = bench.tell(PlanningFailed(attempt=1, sentence="its channels differ", site="north"))
    assert refusals(effects) == ["its channels differ"]
    assert bench.told("north").step is Step.SEND_FINGERPRINT
    status = next(s for s in bench.study.view(0).sites if s.summary.name == "north")
    assert (status.problem, status.problem_sentence) == (
        "fingerprint-refused",
        "its channels differ",
    )
    assert refusals(bench.share("north")) == ["its channels differ"]
    effects = bench.tell(FingerprintArrived(site="north", fingerprint=blob("new"), cases=10))
    assert only(effects, MergeAndPlan).attempt == 2


def test_failed_planning_says_why_and_can_be_tried_again():
    bench = Bench()
    bench.join("north", "harbour")
    bench.share("north", "harbour")
    bench.tell(Begin())
    bench.tell(PlanningFailed(attempt=1, sentence="out of memory"))
    assert bench.told("north").study_state == "failed"
    assert bench.told("north").sentence == "Planning failed: out of memory"
    assert bench.told("north").step is Step.WAIT
    assert only(bench.tell(Resume()), MergeAndPlan).attempt == 2


def test_a_plan_goes_to_every_site_and_refusing_it_is_visible():
    bench = Bench()
    bench.join("north", "harbour", "valley")
    bench.share("north", "harbour", "valley")
    bench.tell(Begin())
    bench.plan()
    told = bench.told("valley")
    assert (told.step, told.plan, told.merged) == (Step.PREPARE, PLAN, MERGED)
    bench.accept("north", "harbour")
    assert bench.told("north").sentence == "Round 1 of 3 opens soon: 2 of 3 sites ready."
    bench.tell(
        PlanRefused(site="valley", plan=PLAN.sha256, code="disk-full", sentence="no room\u202e")
    )
    status = next(s for s in bench.study.view(0).sites if s.summary.name == "valley")
    assert (status.problem, status.problem_sentence) == ("disk-full", "no room�")
    assert bench.told("valley").step is Step.WAIT
    assert bench.told("valley").sentence.startswith(
        "This site waits and takes part in no round: no room"
    )
    # The two others begin without it; it may think better of it.
    assert bench.told("north").step is Step.TRAIN
    bench.accept("valley")
    assert bench.state_of("valley") == "ready"


def test_another_plan_cannot_be_accepted():
    bench = Bench()
    bench.join("north", "harbour")
    bench.share("north", "harbour")
    bench.tell(Begin())
    bench.plan()
    effects = bench.tell(PlanAccepted(site="north", plan=blob("x").sha256, cases=3))
    assert only(effects, Refused).code is ErrorCode.PLANS_REFUSED
    effects = bench.tell(PlanAccepted(site="north", plan=PLAN.sha256, cases=0))
    assert only(effects, Refused).code is ErrorCode.TOO_FEW_CASES
    assert bench.state_of("north") == "joined"


def test_a_report_makes_good_a_lost_acceptance():
    bench = Bench()
    bench.join("north", "harbour")
    bench.share("north", "harbour")
    bench.tell(Begin())
    bench.plan()
    bench.report("north", phase="preparing", plan=PLAN.sha256, training_cases=8)
    assert bench.state_of("north") == "joined"
    bench.report("north", phase="waiting", plan=PLAN.sha256, training_cases=8)
    assert bench.state_of("north") == "ready"
    summary = next(s for s in bench.told("north").sites if s.name == "north")
    assert summary.cases == 8


# --- rounds ------------------------------------------------------------------------------------


def test_a_healthy_study_runs_to_its_end():
    bench = Bench()
    bench.train("north", "harbour", "valley")
    base = FIRST
    for number in (1, 2, 3):
        for site in ("north", "harbour", "valley"):
            told = bench.told(site)
            assert (told.step, told.round, told.attempt) == (Step.TRAIN, number, 1)
            assert (told.base, told.rounds) == (base, 3)
            assert told.start_epoch == (number - 1) * TERMS.epochs_per_round
        effects = bench.deliver("valley", "north")
        assert bench.told("north").step is Step.WAIT
        assert bench.told("north").sentence == (f"Round {number} of 3: waiting for 1 of 3 sites.")
        effects = bench.deliver("harbour")
        asked = only(effects, AverageRound)
        assert [update.site for update in asked.updates] == ["harbour", "north", "valley"]
        assert asked.base == base
        assert bench.told("north").sentence == (
            f"Round {number} of 3: averaging the updates of 3 sites."
        )
        base = average_of(asked.updates)
        effects = bench.average(effects)
    model = GlobalModel(
        round=3, weights=base, contributors=(("harbour", 20), ("north", 10), ("valley", 30))
    )
    assert only(effects, StudyFinished).model == model
    told = bench.told("north")
    assert (told.step, told.model) == (Step.FINISH, base)
    assert told.sentence == "The study is finished: 3 rounds are closed."
    view = bench.study.view(0)
    assert [one.round for one in view.models] == [1, 2, 3]
    assert view.models[-1] == model


def test_figures_of_a_round_are_weighted_by_cases_over_who_has_them():
    bench = Bench()
    bench.train("a", "b", "c")  # 10, 20, 30 cases
    figures = {
        "a": {"train_loss": 1.0, "validation_loss": 3.0, "pseudo_dice": (0.5, None)},
        "b": {"train_loss": 2.0, "validation_loss": None, "pseudo_dice": (0.8, None)},
        "c": {"train_loss": 4.0, "validation_loss": 6.0, "pseudo_dice": (None, 0.25)},
    }
    effects = ()
    for site, values in figures.items():
        effects += bench.tell(UpdateArrived(update=bench.update(site, **values)))
    bench.average(effects)
    (closed,) = bench.told("a").closed_rounds
    assert closed.train_loss == pytest.approx((10 * 1 + 20 * 2 + 30 * 4) / 60)
    assert closed.validation_loss == pytest.approx((10 * 3 + 30 * 6) / 40)
    assert closed.pseudo_dice == (pytest.approx((10 * 0.5 + 20 * 0.8) / 30), 0.25)
    assert closed.contributors == ("a", "b", "c")


def test_a_doubled_update_counts_once_and_another_one_is_refused():
    bench = Bench()
    bench.train("a", "b")
    update = bench.update("a")
    bench.tell(UpdateArrived(update=update))
    before = bench.study.record
    assert bench.tell(UpdateArrived(update=update)) == ()
    other = replace(update, weights=blob("other"))
    assert refusals(bench.tell(UpdateArrived(update=other))) == [
        "another update of this site is kept for round 1 already"
    ]
    assert bench.study.record == before
    bench.average(bench.deliver("b"))
    # Doubled again after the round: what was counted stays silent, another one does not count.
    before = bench.study.record
    assert bench.tell(UpdateArrived(update=update)) == ()
    assert refusals(bench.tell(UpdateArrived(update=other))) == ["round 1 is not open"]
    assert bench.study.record == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"round": 2}, "round 2 is not open"),
        ({"round": 0}, "round 0 is not open"),
        ({"attempt": 2}, "trained for another attempt or model"),
        ({"base": blob("old").sha256}, "trained for another attempt or model"),
    ],
)
def test_an_update_for_something_else_is_refused_and_disturbs_nothing(changes, reason):
    bench = Bench()
    bench.train("a", "b")
    before = bench.study.record
    effects = bench.tell(UpdateArrived(update=bench.update("a", **changes)))
    assert reason in only(effects, Refused).sentence
    assert TellSites(sites=("a",)) in effects
    assert bench.study.record == before
    assert bench.told("a").step is Step.TRAIN


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"train_loss": math.nan}, ErrorCode.NOT_FINITE),
        ({"validation_loss": math.inf}, ErrorCode.NOT_FINITE),
        ({"pseudo_dice": (math.nan,)}, ErrorCode.NOT_FINITE),
        ({"cases": 1000}, ErrorCode.PROTOCOL),
    ],
)
def test_an_update_whose_figures_cannot_be_counts_as_failed(changes, code):
    bench = Bench()
    bench.train("a", "b", "c")
    effects = bench.tell(UpdateArrived(update=bench.update("a", **changes)))
    assert only(effects, Refused).code is code
    assert bench.told("a").step is Step.WAIT
    assert bench.state_of("a") == "ready"
    asked = only(bench.deliver("b", "c"), AverageRound)
    assert [update.site for update in asked.updates] == ["b", "c"]


def test_a_site_that_failed_is_not_counted_and_asked_again_next_round():
    bench = Bench()
    bench.train("a", "b", "c")
    bench.tell(UpdateFailed(site="a", round=1, attempt=1, code="gpu-memory"))
    status = next(s for s in bench.study.view(0).sites if s.summary.name == "a")
    assert status.problem == "gpu-memory"
    assert bench.told("a").step is Step.WAIT
    bench.average(bench.deliver("b", "c"))
    told = bench.told("a")
    assert (told.step, told.round, told.start_epoch) == (Step.TRAIN, 2, 2)
    bench.average(bench.deliver("a", "b", "c"))
    status = next(s for s in bench.study.view(0).sites if s.summary.name == "a")
    assert status.problem == ""
    assert [len(m.contributors) for m in bench.study.view(0).models] == [2, 3]


def test_without_quorum_a_failed_site_is_asked_again_and_what_is_kept_stays():
    bench = Bench()
    bench.train("a", "b")
    bench.deliver("b")
    bench.tell(UpdateFailed(site="a", round=1, attempt=1, code="not-finite"))
    told = bench.told("a")
    assert (told.step, told.round, told.attempt) == (Step.TRAIN, 1, 2)
    assert bench.told("b").step is Step.WAIT
    # The first failure comes once more, late: it speaks of another attempt.
    bench.tell(UpdateFailed(site="a", round=1, attempt=1, code="not-finite"))
    assert bench.told("a").attempt == 2
    asked = only(bench.deliver("a"), AverageRound)
    assert [update.site for update in asked.updates] == ["a", "b"]


def test_a_round_that_cannot_get_quorum_pauses_the_study_and_says_who_fails():
    bench = Bench()
    bench.train("a", "b")
    bench.deliver("b")
    for attempt in range(1, MAXIMUM_TRIES + 1):
        assert bench.told("a").attempt == attempt
        bench.tell(UpdateFailed(site="a", round=1, attempt=attempt, code="gpu-memory"))
    assert bench.told("a").step is Step.PAUSE
    assert bench.told("b").sentence == (
        "Round 1 is short of updates, for these sites failed 3 times: a (gpu-memory)."
    )
    bench.tell(Resume())
    told = bench.told("a")
    assert (told.step, told.attempt) == (Step.TRAIN, MAXIMUM_TRIES + 1)
    only(bench.deliver("a"), AverageRound)


def test_a_refused_update_is_left_out_and_the_average_goes_on():
    bench = Bench()
    bench.train("a", "b", "c")
    bench.deliver("a", "b", "c")
    effects = bench.tell(AveragingFailed(round=1, attempt=1, site="b", sentence="tensor x is NaN"))
    asked = only(effects, AverageRound)
    assert asked.attempt == 2
    assert [update.site for update in asked.updates] == ["a", "c"]
    assert only(effects, Refused) == Refused(
        site="b", code=ErrorCode.TENSORS_REFUSED, sentence="tensor x is NaN"
    )
    # Answers of the first averaging are stale.
    assert bench.tell(RoundAveraged(round=1, attempt=1, model=blob("x"))) == ()
    assert bench.tell(AveragingFailed(round=1, attempt=1, site="a", sentence="x")) == ()
    bench.average(effects)
    assert bench.study.view(0).models[0].contributors == (("a", 10), ("c", 30))
    assert bench.told("b").round == 2


def test_a_refused_update_without_quorum_is_trained_again():
    bench = Bench()
    bench.train("a", "b")
    bench.deliver("a", "b")
    bench.tell(AveragingFailed(round=1, attempt=1, site="b", sentence="x"))
    told = bench.told("b")
    assert (told.step, told.round, told.attempt) == (Step.TRAIN, 1, 2)
    asked = only(bench.deliver("b"), AverageRound)
    assert (asked.attempt, len(asked.updates)) == (2, 2)


def test_averaging_that_fails_by_itself_pauses_and_can_be_resumed():
    bench = Bench()
    bench.train("a", "b")
    bench.deliver("a", "b")
    bench.tell(AveragingFailed(round=1, attempt=1, sentence="the disk is full"))
    assert bench.told("a").sentence == "Round 1 paused: the disk is full"
    effects = bench.tell(Resume())
    assert only(effects, AverageRound).attempt == 2
    bench.average(effects)
    assert bench.told("a").round == 2


# --- absence -----------------------------------------------------------------------------------


def test_a_silent_site_becomes_absent_and_the_round_closes_without_it():
    bench = Bench()
    bench.train("a", "b", "c")
    bench.deliver("a", "b")
    bench.now += DEADLINE_S - 1
    assert bench.tell(Tick()) == ()
    bench.now += 1
    effects = bench.tell(Tick())
    asked = only(effects, AverageRound)
    assert [update.site for update in asked.updates] == ["a", "b"]
    assert bench.state_of("c") == "absent"
    assert TellSites() in effects


@pytest.mark.parametrize("sign", ["step", "bytes"])
def test_any_progress_puts_the_deadline_off(sign):
    bench = Bench()
    bench.train("a", "b", "c")
    bench.deliver("a", "b")
    for step in range(5):
        bench.now += DEADLINE_S - 1
        if sign == "bytes":
            bench.tell(UploadProgressed(site="c"))
        else:
            bench.report("c", step=step)
        bench.tell(Tick())
    assert bench.state_of("c") == "working"
    # The same report over and over is no progress.
    for _ in range(3):
        bench.now += DEADLINE_S / 2
        bench.report("c", step=4)
        bench.tell(Tick())
    assert bench.state_of("c") == "absent"


def test_below_quorum_a_round_waits_for_absent_sites_and_takes_them_back():
    bench = Bench()
    bench.train("a", "b")
    bench.deliver("a")
    bench.now += DEADLINE_S
    bench.tell(Tick())
    assert bench.told("a").sentence == "Round 1 of 3: 1 site more needed to go on; 1 absent."
    bench.tell(SiteConnected(site="b"))
    told = bench.told("b")
    assert (told.step, told.round, told.attempt) == (Step.TRAIN, 1, 1)
    only(bench.deliver("b"), AverageRound)


def test_a_returning_site_joins_the_present_round_with_its_schedule_aligned():
    bench = Bench()
    bench.train("a", "b", "c")
    late = bench.update("c")
    bench.deliver("a", "b")
    bench.now += DEADLINE_S
    effects = bench.tell(Tick())
    bench.average(effects)
    bench.average(bench.deliver("a", "b"))
    # It comes back with what it trained for round 1: that does not count any more.
    effects = bench.tell(UpdateArrived(update=late))
    assert refusals(effects) == ["round 1 is not open"]
    told = bench.told("c")
    assert (told.step, told.round, told.start_epoch) == (Step.TRAIN, 3, 4)
    assert told.base == bench.study.view(0).models[1].weights
    only(bench.deliver("a", "b", "c"), AverageRound)


def test_an_absent_site_that_delivers_in_time_still_counts():
    bench = Bench(replace(TERMS, minimum_sites=3))
    bench.train("a", "b", "c")
    bench.deliver("a", "b")
    update = bench.update("c")
    bench.now += DEADLINE_S
    bench.tell(Tick())
    assert bench.state_of("c") == "absent"
    asked = only(bench.tell(UpdateArrived(update=update)), AverageRound)
    assert len(asked.updates) == 3


def test_a_site_admitted_late_prepares_and_joins_the_next_round():
    bench = Bench()
    bench.train("a", "b")
    bench.join("late", cases=7)
    assert bench.told("late").step is Step.PREPARE
    effects = bench.tell(FingerprintArrived(site="late", fingerprint=blob("l"), cases=9))
    assert only(effects, Refused).code is ErrorCode.STUDY_STATE
    bench.accept("late")
    assert bench.told("late").step is Step.WAIT
    bench.average(bench.deliver("a", "b"))
    assert bench.told("late").step is Step.TRAIN
    assert bench.told("late").start_epoch == 2
    asked = only(bench.deliver("a", "b", "late"), AverageRound)
    assert [update.cases for update in asked.updates] == [10, 20, 7]


def test_a_late_site_helps_out_a_round_that_is_short():
    bench = Bench()
    bench.train("a", "b")
    bench.deliver("a")
    bench.tell(Left(site="b"))
    bench.join("c", cases=5)
    bench.accept("c")
    assert bench.told("c").step is Step.TRAIN
    assert [u.site for u in only(bench.deliver("c"), AverageRound).updates] == ["a", "c"]


def test_the_first_round_waits_for_who_still_prepares_but_not_for_ever():
    bench = Bench()
    bench.join("a", "b", "slow")
    bench.share("a", "b", "slow")
    bench.tell(Begin())
    bench.plan()
    bench.accept("a", "b")
    assert bench.told("a").step is Step.WAIT
    bench.now += DEADLINE_S - 1
    bench.report("slow", phase="preparing", step=1)
    bench.now += 1
    bench.tell(Tick())
    assert bench.told("a").step is Step.WAIT
    bench.now += DEADLINE_S
    bench.tell(Tick())
    assert bench.state_of("slow") == "absent"
    assert bench.told("a").step is Step.TRAIN
    assert bench.told("slow").step is Step.PREPARE
    bench.accept("slow")
    assert bench.told("slow").step is Step.WAIT  # the next round


def test_the_first_round_does_not_wait_long_for_a_lost_line():
    bench = Bench()
    bench.join("a", "b", "gone")
    bench.share("a", "b", "gone")
    bench.tell(Begin())
    bench.plan()
    bench.tell(SiteDisconnected(site="gone"))
    bench.accept("a", "b")
    bench.now += 599
    bench.tell(Tick())
    assert bench.told("a").step is Step.WAIT
    bench.now += 1
    bench.tell(Tick())
    assert bench.told("a").step is Step.TRAIN


# --- the coordinator's hand --------------------------------------------------------------------


def test_a_pause_stops_work_keeps_what_arrives_and_resumes():
    bench = Bench()
    bench.train("a", "b")
    update = bench.update("a")
    bench.tell(Pause())
    assert bench.tell(Pause()) == ()
    assert bench.told("a").step is Step.PAUSE
    assert bench.told("a").study_state == "paused"
    assert bench.told("a").sentence == "The coordinator has paused the study."
    bench.tell(UpdateArrived(update=update))
    bench.now += 10 * DEADLINE_S
    bench.tell(Tick())
    assert bench.state_of("b") == "working"
    bench.tell(Resume())
    assert bench.told("a").step is Step.WAIT
    assert bench.state_of("a") == "delivered"
    assert bench.told("b").step is Step.TRAIN
    bench.now += 1
    bench.tell(Tick())
    assert bench.state_of("b") == "working"


def test_an_average_that_comes_during_a_pause_closes_the_round_but_opens_none():
    bench = Bench()
    bench.train("a", "b")
    effects = bench.deliver("a", "b")
    bench.tell(Pause())
    bench.average(effects)
    assert bench.told("a").step is Step.PAUSE
    assert len(bench.study.view(0).models) == 1
    bench.tell(Resume())
    assert (bench.told("a").step, bench.told("a").round) == (Step.TRAIN, 2)


def test_stopping_ends_the_study_for_good():
    bench = Bench()
    bench.train("a", "b")
    update = bench.update("a")
    bench.tell(Stop())
    assert bench.told("a").step is Step.STOP
    before = bench.study.record
    for event in (Stop(), Pause(), Resume(), Begin(), UpdateArrived(update=update), Tick()):
        bench.tell(event)
        assert bench.study.record == before


def test_revoking_drops_the_session_and_the_pending_update():
    bench = Bench()
    bench.train("a", "b", "c")
    bench.deliver("a", "b")
    effects = bench.tell(Revoked(site="b"))
    assert only(effects, DropSession).site == "b"
    assert only(effects, DropSession).code is ErrorCode.REVOKED
    assert bench.told("b").step is Step.STOP
    assert bench.told("b").sites == ()
    asked = only(bench.deliver("c"), AverageRound)
    assert [update.site for update in asked.updates] == ["a", "c"]


def test_revoking_during_averaging_averages_anew_without_the_site():
    bench = Bench()
    bench.train("a", "b", "c")
    bench.deliver("a", "b", "c")
    effects = bench.tell(Revoked(site="b"))
    asked = only(effects, AverageRound)
    assert asked.attempt == 2
    assert [update.site for update in asked.updates] == ["a", "c"]
    assert bench.tell(RoundAveraged(round=1, attempt=1, model=blob("with b"))) == ()


def test_revoking_during_planning_plans_anew_without_the_site():
    bench = Bench()
    bench.join("a", "b", "c")
    bench.share("a", "b", "c")
    bench.tell(Begin())
    effects = bench.tell(Revoked(site="b"))
    assert planned(effects) == ["a", "c"]
    stale = PlanMade(attempt=1, plan=blob("old"), merged=MERGED, base=FIRST)
    assert bench.tell(stale) == ()
    bench.plan()
    assert bench.told("a").plan == PLAN


def test_who_left_may_be_admitted_again_and_begins_anew():
    bench = Bench()
    bench.train("a", "b", "c")
    bench.tell(Left(site="c"))
    assert bench.state_of("c") == "withdrawn"
    effects = bench.tell(SiteConnected(site="c"))
    assert only(effects, Refused).code is ErrorCode.REVOKED
    bench.join("c", cases=4)
    assert bench.told("c").step is Step.PREPARE
    bench.accept("c")
    bench.average(bench.deliver("a", "b"))
    assert bench.told("c").step is Step.TRAIN


# --- asymmetric averaging ----------------------------------------------------------------------


def share(site: str, model: BlobRef, network: BlobRef | None = None) -> SiteShare:
    return SiteShare(
        site=SiteName(site),
        network=network or blob(f"fingerprint of {site}"),
        part=blob(f"part of {site}"),
        base=blob(f"{model.sha256} for {site}"),
    )


class Asymmetric(Bench):
    """A study in which every site has its own plan, at its first round."""

    def __init__(self, *sites: str) -> None:
        super().__init__(replace(TERMS, method=Method.ASYM))
        self.join(*sites)
        self.share(*sites)
        self.tell(Begin())
        shares = tuple(share(site, FIRST) for site in sites)
        self.tell(PlanMade(attempt=1, plan=PLAN, merged=PLAN, base=FIRST, shares=shares))
        for site in sites:
            self.take(site)

    def take(self, site: str) -> None:
        statement = blob(f"fingerprint of {site}").sha256
        self.tell(PlanAccepted(site=SiteName(site), plan=statement, cases=self.cases[site]))


def test_every_site_goes_by_its_own_plan_and_base():
    bench = Asymmetric("north", "valley")
    for site in ("north", "valley"):
        told = bench.told(site)
        assert told.step is Step.TRAIN
        assert told.plan == blob(f"fingerprint of {site}")
        assert told.merged == share(site, FIRST).part
        assert told.base == share(site, FIRST).base
    foreign = bench.update("north", base=share("valley", FIRST).base.sha256)
    assert "another attempt or model" in refusals(bench.tell(UpdateArrived(update=foreign)))[0]
    effects = bench.deliver("north", "valley")
    asked = only(effects, AverageRound)
    assert asked.base == FIRST
    assert [name for name, _ in asked.networks] == ["north", "valley"]
    model = average_of(asked.updates)
    after = RoundAveraged(
        round=1, attempt=1, model=model, shares=(share("north", model), share("valley", model))
    )
    bench.tell(after)
    assert bench.told("north").base == share("north", model).base


def test_a_late_site_helps_out_the_round_under_way_once_its_share_is_made():
    bench = Asymmetric("north", "valley")
    bench.tell(Left(site="valley"))
    bench.join("harbour")
    assert bench.told("harbour").step is Step.SEND_FINGERPRINT
    effects = bench.share("harbour")
    asked = only(effects, AlignSites)
    assert (asked.model, asked.newcomers) == (FIRST, ("harbour",))
    assert [name for name, _ in asked.networks] == ["harbour", "north"]
    # It may prepare meanwhile, but cannot be asked to train.
    assert bench.told("harbour").step is Step.PREPARE
    bench.take("harbour")
    assert bench.state_of("harbour") == "ready"
    bench.deliver("north")
    assert bench.told("harbour").step is Step.WAIT
    # The work on its share failed or was lost: it is asked for again.
    assert only(bench.tell(Tick()), AlignSites) == asked
    assert asked in bench.restart()
    bench.tell(SiteConnected(site="harbour"))
    bench.tell(SitesAligned(model=FIRST, shares=(share("harbour", FIRST),)))
    assert bench.told("harbour").step is Step.TRAIN
    assert bench.told("harbour").base == share("harbour", FIRST).base
    assert not [e for e in bench.tell(Tick()) if isinstance(e, AlignSites)]


def test_shares_of_another_model_or_network_do_not_count():
    bench = Asymmetric("north", "valley")
    bench.join("harbour")
    bench.share("harbour")
    stale = bench.tell(SitesAligned(model=blob("old"), shares=(share("harbour", blob("old")),)))
    assert only(stale, AlignSites).model == FIRST
    other = share("harbour", FIRST, network=blob("another network"))
    assert only(bench.tell(SitesAligned(model=FIRST, shares=(other,))), AlignSites)
    assert bench.study.record.share_of(SiteName("harbour")) is None
    # A site that left has none, even if it was made.
    bench.tell(Left(site="harbour"))
    bench.tell(SitesAligned(model=FIRST, shares=(share("harbour", FIRST),)))
    assert bench.study.record.share_of(SiteName("harbour")) is None


# --- several folds -----------------------------------------------------------------------------


def run_folds(bench: Bench, rounds: int) -> None:
    for _ in range(rounds):
        bench.average(bench.deliver("a", "b"))


def test_a_study_of_folds_trains_them_one_after_the_other_from_their_own_first_models():
    terms = replace(TERMS, fold="0-2", rounds=2, epochs_per_round=3)
    bench = Bench(terms)
    bench.train("a", "b")
    seen = []
    for _ in range(6):
        told = bench.told("a")
        seen.append(
            (told.round, told.start_epoch, told.base == first_of(terms, (told.round - 1) // 2))
        )
        run_folds(bench, 1)
    assert seen == [
        (1, 0, True), (2, 3, False), (3, 6, True), (4, 9, False), (5, 12, True), (6, 15, False),
    ]  # fmt: skip
    told = bench.told("a")
    assert told.step is Step.FINISH
    assert told.sentence == "The study is finished: 3 folds, 6 rounds are closed."
    closed = bench.study.record.closed
    assert [(end.fold, end.model) for end in told.folds] == [
        (fold, closed[number].model.weights) for fold, number in (("0", 1), ("1", 3), ("2", 5))
    ]
    bench.restart()
    assert bench.told("a").folds == told.folds


def test_the_sentence_names_the_fold_and_its_round():
    bench = Bench(replace(TERMS, fold="0-4", rounds=2))
    bench.train("a", "b")
    assert bench.told("a").sentence == "Fold 1 of 5, round 1 of 2: waiting for 2 of 2 sites."
    run_folds(bench, 3)
    assert bench.told("a").sentence == "Fold 2 of 5, round 2 of 2: waiting for 2 of 2 sites."


def test_an_update_is_weighed_by_the_cases_of_its_fold():
    bench = Bench(replace(TERMS, fold="0-1", rounds=1))
    bench.train("a", "b")
    run_folds(bench, 1)
    effects = bench.tell(UpdateArrived(update=bench.update("a", cases=10)))
    assert refusals(effects) == ["the update of round 2 claims 10 cases, the site declared 11"]
    bench = Bench(replace(TERMS, fold="0-1", rounds=1))
    bench.train("a", "b")
    run_folds(bench, 2)
    assert [one.model.contributors for one in bench.study.record.closed] == [
        (("a", 10), ("b", 20)),
        (("a", 11), ("b", 21)),
    ]


@pytest.mark.parametrize("fold_cases", [(), (10,), (10, 11, 12)])
def test_a_site_that_does_not_say_its_cases_of_every_fold_is_not_ready(fold_cases):
    bench = Bench(replace(TERMS, fold="0-1"))
    bench.join("a", "b")
    bench.share("a", "b")
    bench.tell(Begin())
    bench.plan()
    accepted = PlanAccepted(site="a", plan=PLAN.sha256, cases=10, fold_cases=fold_cases)
    assert refusals(bench.tell(accepted)) == [
        f"the site declared its cases of {len(fold_cases)} folds, the study has 2"
    ]
    bench.report("a", phase="waiting", plan=PLAN.sha256, training_cases=10, fold_cases=fold_cases)
    assert bench.state_of("a") == "joined"
    bench.report("a", phase="waiting", plan=PLAN.sha256, training_cases=10, fold_cases=(10, 9))
    assert bench.state_of("a") == "ready"


def test_a_fold_without_cases_is_refused():
    bench = Bench(replace(TERMS, fold="0-1"))
    bench.join("a", "b")
    bench.share("a", "b")
    bench.tell(Begin())
    bench.plan()
    accepted = PlanAccepted(site="a", plan=PLAN.sha256, cases=10, fold_cases=(10, 0))
    assert refusals(bench.tell(accepted)) == ["a site without training cases cannot train"]


def test_a_plan_without_a_first_model_for_every_fold_is_our_mistake():
    bench = Bench(replace(TERMS, fold="0-1"))
    bench.join("a", "b")
    bench.share("a", "b")
    bench.tell(Begin())
    with pytest.raises(UnexpectedStudyEvent, match="every fold needs a first model"):
        bench.tell(PlanMade(attempt=1, plan=PLAN, merged=MERGED, base=FIRST))


def test_a_late_site_joins_the_fold_that_runs_and_gets_every_folds_model():
    bench = Bench(replace(TERMS, fold="0-1", rounds=2))
    bench.train("a", "b")
    run_folds(bench, 3)
    bench.join("c")
    bench.accept("c")
    bench.average(bench.deliver("a", "b"))
    ends = bench.told("c").folds
    assert [end.fold for end in ends] == ["0", "1"]
    assert ends == bench.told("a").folds


def shares(model: BlobRef, *sites: str) -> tuple[SiteShare, ...]:
    """Return what an alignment cuts for sites from a model."""
    return tuple(
        SiteShare(
            site=SiteName(site),
            network=blob(f"fingerprint of {site}"),
            part=blob(f"part of {site}"),
            base=blob(f"{site} of {model.sha256}"),
        )
        for site in sites
    )


def test_where_networks_differ_each_fold_is_cut_anew_and_its_last_shares_are_kept():
    terms = replace(TERMS, fold="0-1", rounds=1, method=Method.ASYM)
    bench = Bench(terms)
    bench.join("a", "b")
    bench.share("a", "b")
    bench.tell(Begin())

    bench.tell(
        PlanMade(
            attempt=1, plan=PLAN, merged=MERGED, base=FIRST,
            later_bases=(first_of(terms, 1),), shares=shares(FIRST, "a", "b"),
        )
    )  # fmt: skip
    for site in ("a", "b"):
        own = blob(f"fingerprint of {site}").sha256
        bench.tell(PlanAccepted(site=SiteName(site), plan=own, cases=10, fold_cases=(10, 11)))
    asked = only(bench.deliver("a", "b"), AverageRound)
    model = average_of(asked.updates)
    effects = bench.tell(
        RoundAveraged(round=1, attempt=1, model=model, shares=shares(model, "a", "b"))
    )
    align = only(effects, AlignSites)
    assert (align.model, align.newcomers) == (first_of(terms, 1), ("a", "b"))
    assert bench.told("a").step is Step.WAIT
    bench.restart()
    bench.tell(SitesAligned(model=align.model, shares=shares(align.model, "a", "b")))
    assert bench.told("a").base == blob(f"a of {first_of(terms, 1).sha256}")
    asked = only(bench.deliver("a", "b"), AverageRound)
    last = average_of(asked.updates)
    bench.tell(RoundAveraged(round=2, attempt=1, model=last, shares=shares(last, "a", "b")))
    assert [end.model for end in bench.told("a").folds] == [
        blob(f"a of {model.sha256}"),
        blob(f"a of {last.sha256}"),
    ]
    assert [end.merged for end in bench.told("b").folds] == [blob("part of b")] * 2


# --- a cascade ---------------------------------------------------------------------------------

CASCADE_TERMS = replace(TERMS, configuration=CASCADE, fold="0-4", rounds=1, epochs_per_round=3)


def test_a_cascade_trains_all_folds_of_the_first_pass_and_then_tells_what_they_ended_with():
    bench = Bench(CASCADE_TERMS)
    bench.train("a", "b")
    seen = []
    for _ in range(10):
        told = bench.told("a")
        first = told.base == first_of(CASCADE_TERMS, told.round - 1)
        seen.append((told.round, told.start_epoch, first, len(told.folds)))
        run_folds(bench, 1)
    assert seen == [
        (number, 3 * (number - 1), True, 0 if number <= 5 else 5) for number in range(1, 11)
    ]
    told = bench.told("a")
    assert told.step is Step.FINISH
    assert told.sentence == "The study is finished: 2 passes of 5 folds, 10 rounds are closed."
    closed = bench.study.record.closed
    assert [(end.stage, end.fold, end.model) for end in told.folds] == [
        (number // 5, str(number % 5), closed[number].model.weights) for number in range(10)
    ]


def test_the_models_of_the_first_pass_are_told_before_a_round_of_the_second_opens():
    """A site may segment its cases while others are late; a restart changes nothing."""
    bench = Bench(CASCADE_TERMS)
    bench.train("a", "b")
    run_folds(bench, 4)
    assert bench.told("a").folds == ()
    bench.average(bench.deliver("a", "b"))
    told = bench.told("a")
    assert told.sentence == "Second pass, fold 1 of 5, round 1 of 1: waiting for 2 of 2 sites."
    closed = bench.study.record.closed
    assert [end.model for end in told.folds] == [one.model.weights for one in closed]
    # How they do is asked when the study is over, and nobody looks for a better one.
    assert not any(end.score_wanted or end.best for end in told.folds)
    bench.restart()
    assert bench.told("a").folds == told.folds
    bench.join("late")
    bench.accept("late")
    assert bench.told("late").folds == told.folds


def test_an_update_of_the_second_pass_is_weighed_by_the_cases_of_its_fold():
    bench = Bench(CASCADE_TERMS)
    bench.train("a", "b")
    run_folds(bench, 6)
    effects = bench.tell(UpdateArrived(update=bench.update("a", cases=16)))
    assert refusals(effects) == ["the update of round 7 claims 16 cases, the site declared 11"]
    run_folds(bench, 1)
    assert bench.study.record.closed[6].model.contributors == (("a", 11), ("b", 21))


def test_the_best_of_a_first_pass_is_its_last_for_the_second_learned_from_it():
    terms = replace(CASCADE_TERMS, rounds=2)
    bench = Bench(terms)
    bench.train("a", "b")
    run_folds(bench, 20)
    best = best_of_folds(terms, bench.study.record)
    assert [one and one.model.round for one in best] == [2, 4, 6, 8, 10, *[None] * 5]
    ends = bench.told("a").folds
    assert [end.best == end.model for end in ends] == [True] * 5 + [False] * 5
    assert all(end.best is None for end in ends[5:])
    assert all(end.score_wanted for end in ends)


def test_where_networks_differ_who_comes_after_a_fold_of_the_first_pass_has_no_part_in_the_second():
    terms = replace(CASCADE_TERMS, method=Method.ASYM)
    bench = Bench(terms)
    bench.join("a", "b")
    bench.share("a", "b")
    bench.tell(Begin())

    bench.tell(
        PlanMade(
            attempt=1, plan=PLAN, merged=MERGED, base=FIRST,
            later_bases=later_firsts(terms), shares=shares(FIRST, "a", "b"),
        )
    )  # fmt: skip

    def accept(site: str) -> None:
        own = blob(f"fingerprint of {site}").sha256
        bench.tell(
            PlanAccepted(site=SiteName(site), plan=own, cases=10, fold_cases=(10, 11, 12, 13, 14))
        )

    accept("a")
    accept("b")
    sites = ["a", "b"]
    for number in range(1, 6):
        if number == 2:
            bench.join("late")
            bench.share("late")
            accept("late")
            sites.append("late")
        asked = only(bench.deliver("a", "b"), AverageRound)
        model = average_of(asked.updates)
        effects = bench.tell(
            RoundAveraged(round=number, attempt=1, model=model, shares=shares(model, *sites))
        )
        align = only(effects, AlignSites)
        assert align.stage == (0 if number < 5 else 1)
        bench.tell(SitesAligned(model=align.model, shares=shares(align.model, *align.newcomers)))
        if number in (2, 3, 4):
            bench.tell(UpdateArrived(update=bench.update("late")))
    told = bench.told("late")
    assert (told.step, told.folds) == (Step.WAIT, ())
    assert "has no model that could segment its images for the second pass" in told.sentence
    told = bench.told("a")
    assert told.step is Step.TRAIN
    assert [end.merged for end in told.folds] == [blob("part of a")] * 5
    # The round closes without it.
    asked = only(bench.deliver("a", "b"), AverageRound)
    assert [update.site for update in asked.updates] == ["a", "b"]
