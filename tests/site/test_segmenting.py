"""Which models and cases a site has; what the running service does with them is tested there."""

from __future__ import annotations

import json

import pytest

from app.control.messages import SegmentCases
from app.domain.errors import DataProblem
from app.domain.segmentation import CaseSource, ModelKind
from app.domain.training import HeldOutScore
from app.jobs.workspace import Workspace
from app.site.segmenting import best_average, cases_of, models_here, round_average, validation_cases
from app.wire.messages import UpdateOffered

pytestmark = pytest.mark.asyncio


def last_update(site):
    """The round of the newest update; one that is asked for again counts once."""
    told = site.coordinator.told(UpdateOffered)
    return told[-1].round if told else 0


async def test_a_fresh_site_has_neither_models_nor_cases(site):
    await site.start()
    context = site._site
    assert (models_here(context), round_average(context), validation_cases(context)) == (
        (),
        None,
        (),
    )
    for source in (CaseSource.HELD_OUT, CaseSource.VALIDATION):
        with pytest.raises(DataProblem):
            cases_of(context, SegmentCases(model="m", source=source))
    assert cases_of(context, SegmentCases(model="m", folder="/images")) == ()


async def test_the_average_goes_when_the_final_model_is_there(site):
    await site.to_prepared()
    site.train(1)
    await site.until(lambda: last_update(site) == 1, "first update")
    assert round_average(site._site) is None
    site.train(2)
    await site.until(lambda: last_update(site) == 2, "second update")
    average = round_average(site._site)
    assert average.weights.read_bytes() == b"global model before round 2"
    await site.to_finished()
    assert round_average(site._site) is None


async def test_the_best_average_on_this_sites_cases_is_kept_and_can_segment(site):
    await site.to_prepared()
    dice = iter([0.9, 0.5, 0.7, 0.6])  # the first is nobody's training: it does not count

    def score(running, command):
        return HeldOutScore(cases=2, dice=(next(dice), None))

    site.runner.base_score = score
    await site.to_finished()
    best = best_average(site._site)
    assert best.view.round == 2
    assert best.view.kind is ModelKind.BEST
    assert best.weights.read_bytes() == b"global model before round 3"
    kept = list((site.home / "models").glob("best-*.safetensors"))
    assert kept == [best.weights]
    await site.service.command(SegmentCases(model=best.view.path))
    await site.until(lambda: site.snapshot.review.scores, "scored")
    [run] = site.snapshot.review.runs
    assert (run.model.kind, bool(run.model.digest)) == (ModelKind.BEST, True)


async def test_without_scores_there_is_no_best_average(site):
    await site.to_prepared()
    await site.to_finished()
    assert best_average(site._site) is None


async def test_averages_of_different_folds_are_not_compared(site):
    """Each fold keeps other cases out of training: a figure of one says nothing of another."""
    await site.to_prepared(fold="0-1", rounds=2)
    dice = iter([0.9, 0.8, 0.9, 0.5])  # those of rounds 1 and 3 are first models, nobody's training

    def score(running, command):
        return HeldOutScore(cases=2, dice=(next(dice), None))

    site.runner.base_score = score
    averages = {}
    for number in (1, 2, 3, 4):
        site.train(number)
        await site.until(lambda n=number: last_update(site) == n, f"update {number}")
        average = round_average(site._site)
        averages[number] = None if average is None else average.view.round
    assert averages == {1: None, 2: 1, 3: None, 4: 3}
    best = best_average(site._site)
    assert best.view.round == 3
    assert best.view.name.endswith("after fold 2 of 2, round 1 of 2 (Dice 0.50)")
    assert list((site.home / "models").glob("best-*.safetensors")) == [best.weights]


async def test_folds_that_train_on_every_case_together_leave_none_to_validate(site):
    await site.to_prepared(fold="0-4")
    splits = Workspace(root=site.home / "workspace").preprocessed_dataset / "splits_final.json"
    splits.parent.mkdir(parents=True)
    splits.write_text(json.dumps([{"train": [], "val": ["case_00"]}] * 5))
    assert validation_cases(site._site) == ()
    with pytest.raises(DataProblem, match="held-out cases or a folder"):
        cases_of(site._site, SegmentCases(model="m", source=CaseSource.VALIDATION))
