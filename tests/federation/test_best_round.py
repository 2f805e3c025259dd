"""Federated validation: who scores what when, what counts, and which average is the best."""

from dataclasses import replace

import pytest
from helpers.studies import TERMS, Bench

from app.domain.ids import SiteName
from app.domain.rounds import GlobalModel
from app.domain.study import Method
from app.domain.training import HeldOutScore
from app.federation.best_round import best_round, held_out_dice, is_plausible, mean_dice, with_score
from app.federation.study_events import ModelScored, UpdateArrived
from app.federation.study_record import ClosedRound
from app.federation.study_views import Step


def closed(number, **scores):
    made = ClosedRound(
        model=GlobalModel(round=number, weights=None, contributors=()),
        train_loss=0.0,
        validation_loss=None,
        pseudo_dice=(),
    )
    for site, (cases, *dice) in scores.items():
        made = with_score(made, SiteName(site), HeldOutScore(cases=cases, dice=tuple(dice)))
    return made


def test_sites_count_by_their_held_out_cases():
    one = closed(1, a=(30, 0.9, 0.4), b=(10, 0.5, None))
    assert held_out_dice(one) == (pytest.approx(0.8), pytest.approx(0.4))
    assert mean_dice(one) == pytest.approx(0.6)
    assert mean_dice(closed(1, a=(3, None))) is None
    assert held_out_dice(closed(1)) == ()


def test_the_best_round_is_that_of_the_highest_mean_and_of_equals_the_later():
    rounds = [closed(n, a=(1, dice), b=(1, dice)) for n, dice in ((1, 0.6), (2, 0.7), (3, 0.7))]
    assert best_round(rounds, minimum_sites=2).model.round == 3
    assert best_round([*rounds, closed(4)], minimum_sites=2).model.round == 3


def test_a_round_that_too_few_sites_scored_is_not_compared():
    rounds = [closed(1, a=(1, 0.5), b=(1, 0.5)), closed(2, a=(1, 0.99))]
    assert best_round(rounds, minimum_sites=2).model.round == 1
    assert best_round([closed(1, a=(1, 0.5))], minimum_sites=2) is None


def test_a_site_that_says_it_twice_is_counted_once():
    first = closed(1, a=(5, 0.5))
    again = with_score(first, SiteName("a"), HeldOutScore(cases=5, dice=(0.7,)))
    assert mean_dice(again) == pytest.approx(0.7)
    assert len(again.scores) == 1


@pytest.mark.parametrize(
    "score",
    [
        HeldOutScore(cases=0, dice=(0.5,)),
        HeldOutScore(cases=2, dice=()),
        HeldOutScore(cases=2, dice=(0.5, 0.5, 0.5)),
        HeldOutScore(cases=2, dice=(1.5,)),
        HeldOutScore(cases=2, dice=(-0.1,)),
        HeldOutScore(cases=2, dice=(float("nan"),)),
        HeldOutScore(cases=2, dice=(float("inf"),)),
    ],
)
def test_what_cannot_be_a_score_is_left_out(score):
    assert not is_plausible(score, labels=2)


SCORE = {"a": HeldOutScore(cases=2, dice=(0.8, 0.6)), "b": HeldOutScore(cases=4, dice=(0.5, 0.3))}


def round_of(bench, **scores):
    effects = ()
    for site in ("a", "b"):
        effects += bench.tell(UpdateArrived(update=bench.update(site, base_score=scores.get(site))))
    return bench.average(effects)


def test_an_average_is_scored_before_the_next_round_and_the_best_is_offered_at_the_end():
    bench = Bench()
    bench.train("a", "b")
    assert not bench.told("a").score_base, "the first model is nobody's average"
    round_of(bench)
    assert bench.told("a").score_base
    round_of(bench, **SCORE)
    [first, _] = bench.study.view(bench.now).closed_rounds
    assert first.held_out_dice == (pytest.approx(0.6), pytest.approx(0.4))
    assert first.held_out_cases == 6
    round_of(bench, a=replace(SCORE["a"], dice=(0.9, 0.9)), b=replace(SCORE["b"], dice=(0.9, 0.9)))
    told = bench.told("a")
    assert (told.step, told.score_wanted, told.best) == (Step.FINISH, True, None)
    for site in ("a", "b"):
        model = bench.told(site).model.sha256
        bench.tell(ModelScored(site=SiteName(site), model=model, score=SCORE[site]))
        assert not bench.told(site).score_wanted
    told = bench.told("a")
    assert told.best_round == bench.study.view(bench.now).best_round == 2
    assert told.best == bench.study.record.closed[1].model.weights
    assert told.model == bench.study.record.closed[2].model.weights
    bench.restart()
    assert (bench.told("a").best, bench.told("a").best_round) == (told.best, told.best_round)


def test_a_score_that_was_lost_is_asked_for_again_and_one_of_another_model_does_not_count():
    bench = Bench()
    bench.train("a", "b")
    for _ in range(3):
        round_of(bench)
    other = bench.study.record.closed[0].model.weights.sha256
    bench.tell(ModelScored(site=SiteName("a"), model=other, score=SCORE["a"]))
    assert bench.told("a").score_wanted
    stranger = SiteName("stranger")
    final = bench.told("a").model.sha256
    bench.tell(ModelScored(site=stranger, model=final, score=SCORE["a"]))
    assert bench.study.record.closed[-1].scores == ()


def test_an_update_counts_though_its_score_cannot_be_one():
    bench = Bench()
    bench.train("a", "b")
    round_of(bench)
    round_of(bench, a=HeldOutScore(cases=2, dice=(float("nan"), 7.0)), b=SCORE["b"])
    [first, second] = bench.study.record.closed
    assert [one.site for one in first.scores] == ["b"]
    assert len(second.model.contributors) == 2


@pytest.mark.parametrize(
    ("changes", "scored"),
    [
        ({"score_every": 0}, [False, False, False]),
        ({"score_every": 1}, [False, True, True]),
        ({"score_every": 2}, [False, False, True]),
        ({"fold": "all"}, [False, False, False]),
    ],
)
def test_the_study_file_says_how_often(changes, scored):
    bench = Bench(replace(TERMS, **changes))
    bench.train("a", "b")
    asked = []
    for _ in range(3):
        asked.append(bench.told("a").score_base)
        round_of(bench)
    assert asked == scored
    assert bench.told("a").score_wanted is bool(scored[-1])


def test_sites_with_networks_of_their_own_are_offered_no_earlier_average():
    """An earlier average is no use where a site's own layers went on: see decision 0011."""
    bench = Bench()
    bench.train("a", "b")
    for _ in range(3):
        round_of(bench, **SCORE)
    record, terms = bench.study.record, replace(TERMS, method=Method.ASYM)
    from app.federation.study_views import instruction

    told = instruction(terms, record, {}, SiteName("a"), bench.now)
    assert told.step is Step.FINISH
    assert told.best is None


def test_every_fold_has_a_best_average_of_its_own():
    """Folds hold out other cases: a figure of one fold says nothing of another's averages."""
    bench = Bench(replace(TERMS, fold="0-1", rounds=2))
    bench.train("a", "b")
    for dice in (None, 0.9, None, 0.3):
        score = None if dice is None else HeldOutScore(cases=2, dice=(dice, dice))
        round_of(bench, **({} if score is None else {"a": score, "b": score}))
    assert [bench.told(site).folds[0].best for site in ("a", "b")] == [None, None]
    for site in ("a", "b"):
        for end, dice in zip(bench.told(site).folds, (0.5, 0.4), strict=True):
            assert end.score_wanted
            score = HeldOutScore(cases=2, dice=(dice, dice))
            bench.tell(ModelScored(site=SiteName(site), model=end.model.sha256, score=score))
    closed = bench.study.record.closed
    ends = bench.told("a").folds
    assert [end.best_round for end in ends] == [1, 4]
    assert [end.best for end in ends] == [closed[0].model.weights, closed[3].model.weights]
    assert not any(end.score_wanted for end in ends)
    assert bench.study.view(bench.now).best_rounds == (1, 4)


def test_a_fold_does_not_score_the_first_model_that_it_begins_from():
    bench = Bench(replace(TERMS, fold="0-1", rounds=2))
    bench.train("a", "b")
    asked = []
    for _ in range(4):
        asked.append(bench.told("a").score_base)
        # Though nobody asked, one site says a score; it belongs to no average.
        round_of(bench, a=SCORE["a"], b=SCORE["b"])
    assert asked == [False, True, False, True]
    assert [len(one.scores) for one in bench.study.record.closed] == [2, 0, 2, 0]
