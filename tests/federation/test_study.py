import itertools
from dataclasses import replace

import pytest
from helpers.studies import (
    DEADLINE_S,
    FIRST,
    MERGED,
    PLAN,
    TERMS,
    Bench,
    blob,
    only,
)

from app.domain.errors import OurMistake
from app.domain.training import HeldOutScore
from app.federation.study import Study
from app.federation.study_events import (
    AverageRound,
    AveragingFailed,
    Begin,
    FingerprintArrived,
    Left,
    MergeAndPlan,
    ModelScored,
    Pause,
    PlanAccepted,
    PlanMade,
    PlanningFailed,
    PlanRefused,
    Resume,
    Revoked,
    RoundAveraged,
    SiteAdmitted,
    SiteConnected,
    SiteDisconnected,
    SiteReport,
    SiteReported,
    Stop,
    TellSites,
    Tick,
    UpdateArrived,
    UpdateFailed,
    UploadProgressed,
)
from app.federation.study_turn import UnexpectedStudyEvent

# --- who may say what --------------------------------------------------------------------------


def states() -> dict[str, Bench]:
    """A study in each of its states, with sites a, b (and c where it matters)."""
    made = {}
    made["enrolling"] = Bench()
    made["enrolling"].join("a", "b")
    bench = Bench()
    bench.join("a", "b")
    bench.tell(Begin())
    made["fingerprinting"] = bench
    bench = Bench()
    bench.join("a", "b")
    bench.share("a", "b")
    bench.tell(Begin())
    made["planning"] = bench
    bench = Bench()
    bench.join("a", "b")
    bench.share("a", "b")
    bench.tell(Begin())
    bench.tell(PlanningFailed(attempt=1, sentence="x"))
    made["failed"] = bench
    bench = Bench()
    bench.join("a", "b")
    bench.share("a", "b")
    bench.tell(Begin())
    bench.plan()
    made["preparing"] = bench
    made["training"] = Bench()
    made["training"].train("a", "b", "c")
    made["averaging"] = Bench()
    made["averaging"].train("a", "b")
    made["averaging"].deliver("a", "b")
    bench = Bench()
    bench.train("a", "b")
    bench.tell(Pause())
    made["paused"] = bench
    bench = Bench(replace(TERMS, rounds=1))
    bench.train("a", "b")
    bench.average(bench.deliver("a", "b"))
    made["finished"] = bench
    made["stopped"] = Bench()
    made["stopped"].tell(Stop())
    return made


def site_events(site: str):
    training = Bench()
    training.train("a", "b", "c")
    update = replace(training.update("a"), site=site)
    return [
        SiteConnected(site=site),
        SiteDisconnected(site=site),
        SiteReported(site=site, report=SiteReport(phase="training", step=3)),
        SiteReported(
            site=site,
            report=SiteReport(phase="waiting", plan=PLAN.sha256, training_cases=9),
        ),
        UploadProgressed(site=site),
        FingerprintArrived(site=site, fingerprint=blob(f"fingerprint of {site}"), cases=10),
        FingerprintArrived(site=site, fingerprint=blob("other"), cases=10),
        PlanAccepted(site=site, plan=PLAN.sha256, cases=10),
        PlanAccepted(site=site, plan=blob("other").sha256, cases=10),
        PlanRefused(site=site, plan=PLAN.sha256, code="x", sentence="y"),
        UpdateArrived(update=update),
        UpdateArrived(update=replace(update, round=99)),
        UpdateArrived(update=replace(update, weights=blob("other"))),
        UpdateFailed(site=site, round=1, attempt=1, code="x"),
        UpdateFailed(site=site, round=99, attempt=99, code="x"),
        ModelScored(
            site=site, model=blob("other").sha256, score=HeldOutScore(cases=2, dice=(0.5,))
        ),
        Left(site=site),
    ]


@pytest.mark.parametrize(
    ("state", "site"),
    list(itertools.product(sorted(states()), ["a", "b", "stranger"])),
)
def test_no_word_of_a_site_ever_raises_and_saying_it_twice_changes_nothing_more(state, site):
    for event in site_events(site):
        bench = states()[state]
        bench.tell(event)
        once = bench.study.record
        bench.tell(event)
        assert bench.study.record.serial == once.serial, event
        assert Study.load(bench.study.save()).record == bench.study.record
        if site == "stranger":
            assert bench.study.record == states()[state].study.record, event


@pytest.mark.parametrize("state", sorted(states()))
def test_what_our_own_service_cannot_have_done_raises_and_changes_nothing(state):
    impossible = [
        PlanMade(attempt=99, plan=PLAN, merged=MERGED, base=FIRST),
        PlanningFailed(attempt=99, sentence="x"),
        RoundAveraged(round=99, attempt=1, model=blob("x")),
        AveragingFailed(round=99, attempt=1, sentence="x"),
    ]
    for event in impossible:
        bench = states()[state]
        before = bench.study.save()
        with pytest.raises(UnexpectedStudyEvent) as caught:
            bench.tell(event)
        assert isinstance(caught.value, OurMistake)
        assert type(event).__name__ in str(caught.value)
        assert bench.study.save() == before


def test_averaging_cannot_fail_for_a_site_that_is_not_in_it():
    bench = states()["averaging"]
    with pytest.raises(UnexpectedStudyEvent, match="not in the average"):
        bench.tell(AveragingFailed(round=1, attempt=1, site="c", sentence="x"))


def test_a_second_plan_is_a_bug_of_ours():
    bench = states()["training"]
    assert bench.tell(PlanMade(attempt=1, plan=PLAN, merged=MERGED, base=FIRST)) == ()
    with pytest.raises(UnexpectedStudyEvent, match="another plan was made already"):
        bench.tell(PlanMade(attempt=1, plan=blob("other"), merged=MERGED, base=FIRST))


@pytest.mark.parametrize("state", sorted(states()))
def test_the_coordinators_words_twice_are_the_same_as_once(state):
    for event in (
        SiteAdmitted(site="a"),
        SiteAdmitted(site="new"),
        Begin(),
        Begin(without_missing=True),
        Pause(),
        Resume(),
        Stop(),
        Revoked(site="a"),
        Revoked(site="stranger"),
        Tick(),
    ):
        bench = states()[state]
        bench.tell(event)
        once = bench.study.record
        bench.tell(event)
        assert bench.study.record.serial == once.serial, event


# --- keeping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(states()))
def test_a_saved_study_goes_on_where_it_was(state):
    bench = states()[state]
    document = bench.study.save()
    loaded = Study.load(document)
    assert loaded.record == bench.study.record
    assert loaded.terms == bench.study.terms
    assert loaded.save() == document
    assert loaded.members() == bench.study.members()
    for site in ("a", "b"):
        told = loaded.instruction_for(site, 5.0)
        assert replace(told, sites=()) == replace(bench.told(site), sites=())


def test_after_a_restart_the_work_under_way_is_started_again():
    bench = states()["planning"]
    assert only(bench.restart(), MergeAndPlan).attempt == 1
    bench.plan()
    assert bench.restart() == ()
    bench = states()["averaging"]
    (asked,) = bench.restart()
    assert (asked.round, asked.attempt, len(asked.updates)) == (1, 1, 2)
    bench.average((asked,))
    assert bench.study.record.round.number == 2


def test_after_a_restart_deadlines_begin_anew_on_another_clock():
    bench = Bench()
    bench.train("a", "b", "c")
    bench.deliver("a", "b")
    bench.now += DEADLINE_S - 1
    bench.tell(Tick())
    bench.restart()
    bench.now = 3.0  # a monotonic clock after a reboot
    bench.tell(Tick())
    bench.now += DEADLINE_S - 1
    bench.tell(Tick())
    assert bench.state_of("c") == "working"
    bench.now += 1
    only(bench.tell(Tick()), AverageRound)


def test_reports_need_no_saving_but_changes_do():
    bench = Bench()
    bench.train("a", "b")
    serial = bench.study.serial
    assert bench.report("a", step=1) == ()
    bench.tell(SiteDisconnected(site="a"))
    bench.tell(Tick())
    assert bench.study.serial == serial
    effects = bench.deliver("a")
    assert bench.study.serial == serial + 1
    assert effects[-1] == TellSites()
