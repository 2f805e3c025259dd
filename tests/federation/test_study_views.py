from dataclasses import replace

import pytest
from helpers.studies import (
    TERMS,
    Bench,
)

from app.federation.study_events import (
    AveragingFailed,
    Begin,
    PlanningFailed,
)


def test_sites_see_each_others_progress():
    bench = Bench()
    bench.train("a", "b")
    bench.report("b", round=1, epoch=2, step=30, steps=250)
    bench.now += 12.5
    summary = next(s for s in bench.told("a").sites if s.name == "b")
    assert (summary.round, summary.epoch, summary.step, summary.steps) == (1, 2, 30, 250)
    assert (summary.state, summary.connected, summary.cases) == ("working", True, 20)
    assert summary.silent_s == 12


def test_a_sentence_is_never_longer_than_a_message_takes():
    bench = Bench()
    bench.join("north", "harbour")
    bench.share("north", "harbour")
    bench.tell(Begin())
    bench.tell(PlanningFailed(attempt=1, sentence="x" * 1000))
    assert len(bench.told("north").sentence) == 300
    bench = Bench()
    bench.train("a", "b")
    bench.deliver("a", "b")
    bench.tell(AveragingFailed(round=1, attempt=1, sentence="y" * 1000))
    assert len(bench.told("a").sentence) == 300


def test_an_instruction_fits_into_one_control_message():
    msgspec = pytest.importorskip("msgspec")
    terms = replace(TERMS, rounds=200, minimum_sites=2)
    bench = Bench(terms)
    sites = [f"{'hospital-with-a-long-name'}-{number:03d}" for number in range(100)]
    bench.train(*sites)
    for _ in range(20):
        bench.average(bench.deliver(*sites))
    told = bench.told(sites[0])
    assert 1 <= len(told.closed_rounds) <= 20
    assert told.closed_rounds[-1].number == 20
    assert len(msgspec.msgpack.encode(told)) < 60_000
    assert len(msgspec.json.encode(told)) < 60_000
