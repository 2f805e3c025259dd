"""Every kind of event is taken and every kind of effect is given: the two lists have no dead ends."""

from dataclasses import fields, replace
from typing import get_args

import pytest
from helpers.studies import TERMS, Bench, blob

from app.domain.study import Method
from app.domain.training import HeldOutScore
from app.federation import study_events
from app.federation.study_events import (
    AveragingFailed,
    Begin,
    Effect,
    Event,
    FingerprintArrived,
    Revoked,
    RoundAveraged,
    SiteReport,
    SiteShare,
)

EVENTS, EFFECTS = get_args(Event), get_args(Effect)


def test_the_unions_hold_every_value_of_the_module():
    values = {
        value
        for value in vars(study_events).values()
        if isinstance(value, type) and value.__module__ == study_events.__name__
    }
    assert values - {SiteReport, SiteShare} == {*EVENTS, *EFFECTS}


def anything(kind):
    """Return some event of this kind, for a study that has just begun."""
    bench = Bench()
    bench.train("a", "b")
    values = {
        "site": "a",
        "report": SiteReport(phase="waiting"),
        "fingerprint": blob("f"),
        "cases": 10,
        "attempt": 0,
        "plan": blob("p") if kind.__name__ == "PlanMade" else blob("p").sha256,
        "merged": blob("m"),
        "base": blob("b"),
        "sentence": "s",
        "code": "c",
        "update": bench.update("a"),
        "round": 0,
        "model": blob("g"),
        "without_missing": False,
        "score": HeldOutScore(cases=2, dice=(0.5,)),
        "fold_cases": (),
        "later_bases": (),
        "shares": (SiteShare(site="a", network=blob("n"), part=blob("s"), base=blob("b")),),
    }
    return kind(**{field.name: values[field.name] for field in fields(kind)})


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_a_study_takes_every_kind_of_event(kind):
    bench = Bench()
    bench.join("a", "b")
    effects = bench.tell(anything(kind))
    assert all(isinstance(effect, EFFECTS) for effect in effects)


def test_a_study_gives_every_kind_of_effect():
    bench = Bench(TERMS)
    given = []
    bench.join("a", "b", "c")
    bench.share("a", "b", "c")
    given += bench.tell(FingerprintArrived(site="a", fingerprint=blob("x"), cases=10))
    given += bench.tell(Begin())
    bench.plan()
    bench.accept("a", "b", "c")
    given += bench.tell(Revoked(site="c"))
    for number in (1, 2, 3):
        effects = bench.deliver("a", "b")
        if number == 1:
            stale = AveragingFailed(round=1, attempt=0, sentence="s")
            assert bench.tell(stale) == ()
            assert bench.tell(RoundAveraged(round=1, attempt=0, model=blob("g"))) == ()
        given += effects
        given += bench.average(effects)
    late = Bench(replace(TERMS, method=Method.ASYM))
    late.join("a", "b")
    late.share("a", "b")
    late.tell(Begin())
    late.plan()
    late.join("c")
    given += late.share("c")
    assert {type(effect) for effect in given} == set(EFFECTS)
