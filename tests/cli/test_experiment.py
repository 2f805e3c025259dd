"""The comparison of methods with played jobs: who trains from what, what is averaged, what is scored.

The played worker adds a site's own number to every weight that it is given, so that what an average
must be can be told by hand.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pytest
from helpers.plans import stock_plan
from safetensors.numpy import load_file, save_file

from app.cli import experiment
from app.cli.parser import parse
from app.domain.ids import SiteName
from app.domain.segmentation import CaseScore, LabelScore
from app.federation.network import manifest
from app.federation.plan_rules import network_of, pack
from app.federation.study_file import EXAMPLE
from app.jobs import events, spec
from app.jobs.machine import JobState
from app.jobs.outcome import JobOutcome

HARBOUR, NORTH, VALLEY = (SiteName(name) for name in ("harbour", "north", "valley"))
STEP = {HARBOUR: 1.0, NORTH: 2.0, VALLEY: 4.0, experiment.POOLED: 8.0}
CASES = {HARBOUR: 10, NORTH: 30, VALLEY: 20, experiment.POOLED: 60}
CONFIGURATION = "3d_fullres"


def succeeded(result):
    return JobOutcome(state=JobState.SUCCEEDED, sentence="", code=None, result=result)


class PlayedSession:
    def __init__(self, site, tell):
        self.site, self._tell, self.commands = site, tell, []

    async def send(self, command):
        self.commands.append(command)
        if isinstance(command, spec.TrainRound):
            trained = {name: one + STEP[self.site] for name, one in load_file(command.base).items()}
            save_file(trained, command.update)
            self._tell(
                events.RoundTrained(
                    round=command.round, attempt=1, update=command.update, sha256="0" * 64, size=1,
                    cases=CASES[self.site], epochs=(),
                )
            )  # fmt: skip

    async def wait(self):
        return succeeded(events.SessionEnded(epoch=1))

    async def stop(self, grace_s=0.0):
        return await self.wait()


class EndlessSession(PlayedSession):
    async def wait(self):
        import asyncio

        while not self.commands or not isinstance(self.commands[-1], spec.Finish):  # noqa: ASYNC110
            await asyncio.sleep(0)
        return await super().wait()


class PlayedRunner:
    """Plays workers; the score of a case is the first weight of the model that segmented it."""

    def __init__(self):
        self.sessions, self.scored = {}, []

    async def start(self, job, *, on_event):
        if isinstance(job, spec.TrainJob):
            site = SiteName(Path(job.checkpoint).parent.name)
            session = EndlessSession(site, on_event)
            self.sessions[Path(job.checkpoint).parent] = session
            on_event(
                events.SessionReady(
                    training_cases=CASES[site], validation_cases=1, device="cpu", epoch=0,
                    tensors=(),
                )
            )  # fmt: skip
            return session
        play = {
            spec.PreprocessJob: self.preprocess,
            spec.InitialModelJob: self.draw,
            spec.ExportJob: self.export,
            spec.SegmentJob: self.segment,
            spec.ScoreJob: self.score,
        }[type(job)]
        return Ended(play(job))

    def preprocess(self, _job):
        return events.Preprocessed(training_cases=1, validation_cases=1)

    def draw(self, job):
        network = network_of(Path(job.plan).read_bytes(), CONFIGURATION)
        tensors = {one.name: np.zeros(one.shape, np.float32) for one in manifest(network)}
        save_file(tensors, job.output)
        return events.ModelDrawn(output=job.output, sha256="0" * 64, size=1, tensors=())

    def export(self, job):
        Path(job.output).write_text(job.folds["0"], encoding="utf-8")
        return events.Exported(output=job.output, sha256="0" * 64)

    def segment(self, job):
        self.scored.append(Path(Path(job.model).read_text(encoding="utf-8")))
        return events.Segmented(results=())

    def score(self, job):
        return events.Scored(scores=tuple(scored(name) for name, _, _ in job.pairs))


class Ended:
    def __init__(self, result):
        self.result = result

    async def wait(self):
        return succeeded(self.result)


def scored(case, dice=0.5, hd95=2.0):
    label = LabelScore(
        label="anterior", dice=dice, hausdorff95_mm=hd95, surface_dice=None, reference_ml=1.0,
        prediction_ml=1.0, reference_components=1, prediction_components=1,
    )  # fmt: skip
    return CaseScore(case=case, labels=(label,))


def small(document, *, stages, outputs=3):
    """A stock plan with few features and so many stages, as a small site would have."""
    plans = document["plans"]
    arguments = plans["configurations"][CONFIGURATION]["architecture"]["arch_kwargs"]
    for key in ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage"):
        arguments[key] = arguments[key][:stages]
    arguments["features_per_stage"] = [2 * 2**stage for stage in range(stages)]
    arguments["n_conv_per_stage_decoder"] = arguments["n_conv_per_stage_decoder"][: stages - 1]
    arguments["n_stages"] = stages
    return pack(plans, document["dataset"], document["fingerprint"], {"nnunetv2": "2.8.1"}).document


@pytest.fixture
def played(monkeypatch, tmp_path):
    stock = stock_plan("ExperimentPlanner", "liver")
    files = {}
    for name, stages in (("shallow", 3), ("deep", 4)):
        file = tmp_path / name / "plan.json"
        file.parent.mkdir()
        file.write_bytes(small(json.loads(json.dumps(stock)), stages=stages))
        files[name] = file
    plans = experiment.Plans(
        own={HARBOUR: files["shallow"], NORTH: files["deep"], VALLEY: files["deep"]},
        merged=files["deep"],
        pooled=files["deep"],
    )

    async def make_plans(_experiment):
        return plans

    runner = PlayedRunner()
    monkeypatch.setattr(experiment, "JobRunner", lambda folder: runner)
    monkeypatch.setattr(experiment, "make_plans", make_plans)

    def run(*words):
        line = ["experiment", "--home", str(tmp_path / "home"), "--rounds", "2", "--parallel", "3"]
        parsed = parse([*line, "--json", str(tmp_path / "figures.json"), *words])
        assert parsed.command(parsed) == 0
        runner.figures = json.loads((tmp_path / "figures.json").read_text())
        return runner

    run.home = tmp_path / "home"
    return run


def values_of(path):
    return {name: set(np.unique(tensor)) for name, tensor in load_file(path).items()}


def test_the_averaged_model_is_scored_never_a_site_s_own(played):
    """The published code ends with each site's local weights; here the last average is the model."""
    runner = played("--methods", "ffe")
    mean = (10 * 1.0 + 30 * 2.0 + 20 * 4.0) / 60
    [model] = runner.scored
    assert {float(v) for found in values_of(model).values() for v in found} == {
        np.float32(mean + mean)
    }


def test_the_second_round_begins_from_the_case_weighted_average(played):
    runner = played("--methods", "ffe")
    bases = {
        session.site: [command.base for command in session.commands[:-1]]
        for session in runner.sessions.values()
    }
    assert len(bases) == 3
    assert len({tuple(paths) for paths in bases.values()}) == 1, "all sites train from one average"


def test_alone_every_site_goes_on_from_its_own_weights(played):
    runner = played("--methods", "local")
    assert len(runner.scored) == 3
    for folder, session in runner.sessions.items():
        final = load_file(folder / "update.safetensors")
        assert {float(v) for one in final.values() for v in np.unique(one)} == {
            2 * STEP[session.site]
        }
        first, second, finish = session.commands
        assert second.base == str(folder / "update.safetensors")
        assert (first.start_epoch, second.start_epoch) == (0, 1)
        assert isinstance(finish, spec.Finish)


def test_asymfedavg_shares_equal_work_and_keeps_the_rest(played):
    runner = played("--methods", "asymfedavg")
    final = {path.stem: load_file(path) for path in runner.scored}
    assert set(final) == {HARBOUR, NORTH, VALLEY}
    begun = {site: load_file(begin_of(runner, site)) for site in final}
    everybody = 2 * (10 * 1.0 + 30 * 2.0 + 20 * 4.0) / 60
    deep_only = 2 * (30 * 2.0 + 20 * 4.0) / 50
    alone = 2 * STEP[HARBOUR]
    moved = {
        site: {
            round(float(value), 2)
            for name, tensor in tensors.items()
            for value in np.unique(np.round(tensor - begun[site][name], 2))
        }
        for site, tensors in final.items()
    }
    assert moved[HARBOUR] == {round(everybody, 2), alone}
    assert moved[NORTH] == moved[VALLEY] == {round(everybody, 2), round(deep_only, 2)}


def test_asymfedavg_begins_from_the_same_shared_values_everywhere(played):
    """As the coordinator draws them: the mean of several drawn models would have too small weights."""
    runner = played("--methods", "asymfedavg")
    stem = "encoder.stages.0.0.convs.1.conv.weight"
    north, valley = (load_file(begin_of(runner, site))[stem] for site in (NORTH, VALLEY))
    assert (north == valley).all()
    assert np.std(north) == pytest.approx(math.sqrt(2 / (1.0001 * north[0].size)), rel=0.2)


def begin_of(runner, site):
    [session] = [one for one in runner.sessions.values() if one.site == site]
    return Path(session.commands[0].base)


def test_centralised_trains_one_folder_and_serves_every_site(played):
    runner = played("--methods", "centralised")
    assert [session.site for session in runner.sessions.values()] == [experiment.POOLED]
    assert set(runner.figures["methods"]["centralised"]["sites"]) == {HARBOUR, NORTH, VALLEY}
    assert list(runner.figures["methods"]["centralised"]["union"]) == ["all"]


@pytest.mark.parametrize("method", ["ffe", "asymfedavg", "local"])
def test_a_second_start_goes_on_after_the_last_round(played, method):
    whole = played("--methods", method, "--rounds", "3")
    expected = {path.name: values_of(path) for path in whole.scored}
    rounds = [len(session.commands) - 1 for session in whole.sessions.values()]
    assert set(rounds) == {3}
    whole.scored.clear()
    whole.sessions.clear()
    longer = played("--methods", method, "--rounds", "4")
    assert [len(session.commands) - 1 for session in longer.sessions.values()] == [1, 1, 1]
    assert [session.commands[0].round for session in longer.sessions.values()] == [4, 4, 4]
    for path in longer.scored:
        before = expected.get(path.name)
        assert before is None or values_of(path) != before


def test_a_session_that_ends_too_early_says_whose(played, monkeypatch):
    async def lost(_self):
        return JobOutcome(state=JobState.FAILED, sentence="no memory", code=None, result=None)

    async def silent(self, command):
        self.commands.append(command)

    monkeypatch.setattr(EndlessSession, "wait", lost)
    monkeypatch.setattr(PlayedSession, "send", silent)
    with pytest.raises(experiment.JobFailed, match="pooled: no memory"):
        played("--methods", "centralised")


def test_an_undefined_distance_is_counted_and_left_out_of_the_mean():
    figures = experiment._figures([scored("a", 0.5, 4.0), scored("b", 0.0, None)])
    assert figures == {"cases": 2, "dice": 0.25, "hd95_mm": 4.0, "without_hd95": 1}
    assert experiment._cell(figures) == "0.2500 / 4.00 (1 undefined)"
    assert math.isclose(experiment._figures([scored("a")])["dice"], 0.5)


def test_two_folders_of_one_name_are_refused(played, tmp_path):
    for place in ("one", "two"):
        (tmp_path / place / "site").mkdir(parents=True)
    with pytest.raises(experiment.DataProblem, match="different names"):
        played(str(tmp_path / "one" / "site"), str(tmp_path / "two" / "site"))


def test_methods_are_not_compared_on_a_cascade(tmp_path):
    study = EXAMPLE.replace('configuration = "3d_fullres"', 'configuration = "3d_cascade_fullres"')
    (tmp_path / "study.toml").write_text(study.replace('fold = "0" ', 'fold = "0-4" '))
    with pytest.raises(experiment.DataProblem, match="trains ten networks"):
        experiment._terms(argparse.Namespace(study=tmp_path / "study.toml", full=False))
