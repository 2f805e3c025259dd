import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.played_jobs import PlayedRunner
from helpers.studies import TERMS, Bench

from app.coordinator import exporting
from app.coordinator.spool import Spool
from app.coordinator.store import StudyStore
from app.coordinator.workspace import CoordinatorHome, create_study
from app.domain.errors import DataProblem, ErrorCode
from app.domain.ids import SiteName, digest_of
from app.domain.training import HeldOutScore
from app.federation.study_events import ModelScored, UpdateArrived
from app.federation.study_file import EXAMPLE, parse_study
from app.jobs.events import Exported
from app.system.clock import SystemClock


@pytest.fixture
def text():
    return EXAMPLE


@pytest.fixture
def folder(tmp_path, text):
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    made = tmp_path / "home"
    create_study(tmp_path / "study.toml", made, host="h", port=1, clock=SystemClock())
    return made


def keep(folder, name: str, data: bytes) -> None:
    home = CoordinatorHome(folder=folder)
    store = StudyStore.open(home.database)
    spool = Spool(home.spool, study=store.identity, clock=SystemClock())
    blob = spool.keep_bytes(data)
    store.keep_artefact(name, blob.sha256, blob.size)
    spool.close()
    store.close()


@pytest.fixture
def exported(monkeypatch):
    jobs = []

    def play(job):
        jobs.append(job)
        return Exported(output=job.output, sha256="a" * 64)

    monkeypatch.setattr(exporting, "JobRunner", lambda folder: PlayedRunner(play))
    return jobs


def export(folder, tmp_path, **options):
    return asyncio.run(exporting.export_model(folder, tmp_path / "model.zip", **options))


def test_the_newest_average_is_exported_unless_a_round_is_named(folder, tmp_path, exported):
    keep(folder, "plan", b"{}")
    for number in (1, 2, 10):
        keep(folder, f"model-{number}", b"%d" % number)
    assert export(folder, tmp_path) == "a" * 64
    export(folder, tmp_path, round_number=2)
    assert [Path(job.folds["0"]).read_bytes() for job in exported] == [b"10", b"2"]
    assert exported[0].output == str(tmp_path / "model.zip")


def scored_study(folder, terms, dices) -> None:
    """Keep a finished study: `dices` has what sites say of the average of each of its rounds."""
    bench = Bench(terms)
    bench.train("a", "b")
    for number in range(1, terms.total_rounds + 1):
        before = dices[number - 2] if number > 1 else None
        for site in ("a", "b"):
            score = None if before is None else HeldOutScore(cases=2, dice=(before, before))
            effects = bench.tell(UpdateArrived(update=bench.update(site, base_score=score)))
        bench.average(effects)
    ends = [terms.rounds * (index + 1) for index in range(len(terms.trainings))]
    for site in ("a", "b"):
        told = bench.told(site)
        for number, model in zip(
            ends, [end.model for end in told.folds] or [told.model], strict=True
        ):
            score = HeldOutScore(cases=2, dice=(dices[number - 1], dices[number - 1]))
            bench.tell(ModelScored(site=SiteName(site), model=model.sha256, score=score))
    store = StudyStore.open(CoordinatorHome(folder=folder).database)
    store.save(bench.study.save(), 1.0)
    store.close()
    for number in range(1, terms.total_rounds + 1):
        keep(folder, f"model-{number}", b"%d" % number)


def test_the_best_average_is_found_by_its_scores_on_held_out_cases(folder, tmp_path, exported):
    keep(folder, "plan", b"{}")
    with pytest.raises(DataProblem, match="without --best"):
        export(folder, tmp_path, best=True)
    scored_study(folder, replace(TERMS, rounds=2), [0.7, 0.5])
    export(folder, tmp_path, best=True)
    assert Path(exported[0].folds["0"]).read_bytes() == b"1"


FOLDS_OF_TWO = EXAMPLE.replace('fold = "0" ', 'fold = "1-3" ').replace("rounds = 50", "rounds = 2")


@pytest.mark.parametrize("text", [FOLDS_OF_TWO], ids=["three folds"])
def test_the_folds_of_a_study_are_exported_together_and_one_by_one(folder, tmp_path, exported):
    keep(folder, "plan", b"{}")
    keep(folder, "model-1", b"1")
    export(folder, tmp_path)
    scored_study(folder, parse_study(FOLDS_OF_TWO), [0.7, 0.5, 0.1, 0.2, 0.3, 0.3])
    export(folder, tmp_path)
    export(folder, tmp_path, best=True)
    export(folder, tmp_path, best=True, fold="2")
    export(folder, tmp_path, round_number=1, fold="3")
    found = [
        {fold: Path(file).read_bytes() for fold, file in job.folds.items()} for job in exported
    ]
    assert found == [
        {"1": b"1"},
        {"1": b"2", "2": b"4", "3": b"6"},
        {"1": b"1", "2": b"4", "3": b"6"},
        {"2": b"4"},
        {"3": b"5"},
    ]
    with pytest.raises(DataProblem, match="no fold 0; it has 1, 2, 3"):
        export(folder, tmp_path, fold="0")
    with pytest.raises(DataProblem, match="round 3 of the study is not closed"):
        export(folder, tmp_path, round_number=3)


CASCADE_OF_TWO = (
    EXAMPLE.replace('fold = "0" ', 'fold = "0-4" ')
    .replace("rounds = 50", "rounds = 2")
    .replace('configuration = "3d_fullres"', 'configuration = "3d_cascade_fullres"')
)


def content(job) -> tuple[str, list[bytes], list[bytes]]:
    """Return what a job exports: the configuration, the folds of the first pass, and the others."""
    first, last = (
        [Path(file).read_bytes() for file in folds.values()]
        for folds in (job.first_pass, job.folds)
    )
    return job.configuration, first, last


@pytest.mark.parametrize("text", [CASCADE_OF_TWO], ids=["cascade"])
def test_a_cascade_is_exported_with_what_its_first_pass_ended_with(folder, tmp_path, exported):
    keep(folder, "plan", b"{}")
    for number in range(1, 11):
        keep(folder, f"model-{number}", b"%d" % number)
    # Before the second pass has an average the first one is a model by itself.
    export(folder, tmp_path)
    assert content(exported[-1]) == ("3d_lowres", [], [b"2", b"4", b"6", b"8", b"10"])
    # Even rounds do worse than odd ones.
    scored_study(folder, parse_study(CASCADE_OF_TWO), [0.7, 0.5] * 10)
    ended = [b"2", b"4", b"6", b"8", b"10"]
    fine = "3d_cascade_fullres"
    export(folder, tmp_path)
    assert content(exported[-1]) == (fine, ended, [b"12", b"14", b"16", b"18", b"20"])
    export(folder, tmp_path, best=True)
    assert content(exported[-1]) == (fine, ended, [b"11", b"13", b"15", b"17", b"19"])
    export(folder, tmp_path, round_number=1, fold="3")
    assert content(exported[-1]) == (fine, ended, [b"17"])


@pytest.mark.parametrize("options", [{}, {"round_number": 3}])
def test_there_is_nothing_to_export_before_the_round_is_closed(folder, tmp_path, exported, options):
    keep(folder, "plan", b"{}")
    if options:
        keep(folder, "model-1", b"1")
    with pytest.raises(DataProblem) as caught:
        export(folder, tmp_path, **options)
    assert caught.value.code is ErrorCode.STUDY_STATE
    assert exported == []


@pytest.mark.parametrize(
    "text", [EXAMPLE.replace('method = "ffe"', 'method = "asymfedavg"')], ids=["asymmetric"]
)
def test_where_sites_have_unlike_networks_the_shared_layers_are_written(folder, tmp_path, exported):
    keep(folder, "plan", b"{}")
    keep(folder, "model-1", b"shared layers")
    with pytest.raises(DataProblem) as caught:
        export(folder, tmp_path)
    assert "each site's window exports its model" in str(caught.value)
    out = tmp_path / "shared.safetensors"
    assert asyncio.run(exporting.export_model(folder, out)) == digest_of(b"shared layers")
    assert out.read_bytes() == b"shared layers"
    assert exported == []
