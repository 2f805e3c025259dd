import asyncio
import dataclasses
import hashlib
from pathlib import Path

import pytest
from helpers.fingerprints import make_cases, minimal
from helpers.plans import document_of, stock_plan, terms_of
from helpers.played_jobs import PlayedRunner

from app.coordinator.planning import UnfitFingerprint, plan_study
from app.coordinator.spool import Spool
from app.coordinator.translation import reference
from app.domain.errors import ErrorCode, FednnunetError, PeerMistake
from app.domain.folds import CASCADE
from app.domain.ids import SiteName, study_id
from app.domain.plans import PlanSummary
from app.federation import shared_codec
from app.federation.merging import decode_merged
from app.jobs import events, spec
from app.system.clock import SystemClock

ENTRY = stock_plan("ExperimentPlanner", "hippocampus")
SUMMARY = PlanSummary(
    configuration="3d_fullres", spacing_mm=(1.0, 1.0, 1.0), patch=(8, 8, 8), batch_size=2,
    stages=2, features=(32,), normalisation=("ZScoreNormalization",), network="PlainConvUNet",
)  # fmt: skip


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool", study=study_id("0" * 32), clock=SystemClock())
    yield opened
    opened.close()


def play(document: bytes):
    def played(job):
        if isinstance(job, spec.PlanJob):
            Path(job.output).write_bytes(document)
            return events.Planned(output=job.output, digest="0" * 64, summary=SUMMARY)
        Path(job.output).write_bytes(b"tensors")
        for one in job.also:
            Path(one.output).write_bytes(b"tensors of %d" % one.seed)
        return events.ModelDrawn(output=job.output, sha256="0" * 64, size=7, tensors=())

    return PlayedRunner(played)


def sites(spool, **cases):
    return [
        (
            SiteName(name),
            reference(spool.keep_bytes(shared_codec.encode(minimal(make_cases(seed, count))))),
        )
        for seed, (name, count) in enumerate(cases.items())
    ]


def plan(spool, tmp_path, fingerprints, runner, **changes):
    terms = dataclasses.replace(terms_of(ENTRY), **changes)
    return asyncio.run(
        plan_study(terms, fingerprints, spool=spool, runner=runner, workspace=tmp_path / "w")
    )


def test_one_plan_is_made_from_all_cases_together(spool, tmp_path):
    runner = play(document_of(ENTRY))
    planned = plan(spool, tmp_path, sites(spool, north=24, valley=10), runner)
    merged = decode_merged(spool.path(planned.merged.sha256).read_bytes())
    assert merged.cases == 34
    assert planned.plan.sha256 == hashlib.sha256(document_of(ENTRY)).hexdigest()
    assert spool.path(planned.firsts[0].sha256).read_bytes() == b"tensors"
    [plan_job, model_job] = runner.jobs
    assert Path(plan_job.merged).read_bytes() == spool.path(planned.merged.sha256).read_bytes()
    assert model_job.seed == terms_of(ENTRY).seed


def test_every_fold_gets_a_first_model_of_its_own(spool, tmp_path):
    runner = play(document_of(ENTRY))
    made = sites(spool, north=24, valley=10)
    planned = plan(spool, tmp_path, made, runner, fold="0-4", seed=7)
    kept = [spool.path(first.sha256).read_bytes() for first in planned.firsts]
    assert kept == [b"tensors", *(b"tensors of %d" % seed for seed in (8, 9, 10, 11))]
    # One worker draws all of them: its start costs more than a model.
    [_, model_job] = runner.jobs
    assert model_job.seed == 7


def test_both_passes_of_a_cascade_get_first_models_of_their_own_network(spool, tmp_path):
    entry = stock_plan("ExperimentPlanner", "liver")
    runner = play(document_of(entry))
    terms = dataclasses.replace(terms_of(entry), configuration=CASCADE, fold="0-4", seed=7)
    planned = asyncio.run(
        plan_study(
            terms,
            [
                (
                    SiteName("north"),
                    reference(
                        spool.keep_bytes(shared_codec.encode(minimal(make_cases(0, 24), "CT")))
                    ),
                )
            ],
            spool=spool,
            runner=runner,
            workspace=tmp_path / "w",
        )
    )
    assert len({first.sha256 for first in planned.firsts}) == 10
    [_, job] = runner.jobs
    drawn = [(job.configuration, job.seed), *((one.configuration, one.seed) for one in job.also)]
    assert drawn == [
        *(("3d_lowres", seed) for seed in range(7, 12)),
        *((CASCADE, seed) for seed in range(12, 17)),
    ]


def test_a_second_try_begins_in_an_empty_workspace(spool, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "half-written").write_text("x")
    plan(spool, tmp_path, sites(spool, north=24, valley=10), play(document_of(ENTRY)))
    assert not (tmp_path / "w" / "half-written").exists()


@pytest.mark.parametrize(
    "data", [b"{}", b"\xff", shared_codec.encode(minimal(make_cases(1, 9), "CT"))]
)
def test_a_fingerprint_that_does_not_fit_names_its_site(spool, tmp_path, data):
    fingerprints = sites(spool, north=24, valley=10)
    fingerprints[1] = (SiteName("valley"), reference(spool.keep_bytes(data)))
    runner = play(document_of(ENTRY))
    with pytest.raises(UnfitFingerprint, match="valley") as caught:
        plan(spool, tmp_path, fingerprints, runner)
    assert caught.value.site == "valley"
    assert runner.jobs == []


def test_a_plan_that_no_site_would_take_is_not_sent(spool, tmp_path):
    hostile = document_of(ENTRY).replace(b"PlainConvUNet", b"os.system")
    with pytest.raises(PeerMistake) as caught:
        plan(spool, tmp_path, sites(spool, north=24, valley=10), play(hostile))
    assert caught.value.code is ErrorCode.PLANS_REFUSED


def test_a_job_that_fails_says_why(spool, tmp_path):
    def fails(job):
        raise FednnunetError("the disk is full", code=ErrorCode.DISK_FULL)

    with pytest.raises(FednnunetError, match="the disk is full") as caught:
        plan(spool, tmp_path, sites(spool, north=24, valley=10), PlayedRunner(fails))
    assert caught.value.code is ErrorCode.DISK_FULL
