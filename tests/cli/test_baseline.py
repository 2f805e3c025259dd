"""The local baseline with played jobs: what is trained from what, for how long, and what is scored."""

import asyncio
from pathlib import Path

import pytest

from app.cli import baseline
from app.domain.errors import ErrorCode, JobFailed
from app.domain.segmentation import CaseScore
from app.domain.study import StudyTerms
from app.federation.study_file import parse_study
from app.jobs import events, spec
from app.jobs.machine import JobState
from app.jobs.outcome import JobOutcome
from app.system.sample_study import sample_folder

TERMS: StudyTerms = parse_study((sample_folder() / "study.toml").read_text(encoding="utf-8"))


class PlayedSession:
    """A training session that trains what it is told, or dies before it is ready."""

    def __init__(self, on_event, *, dies: bool) -> None:
        self.commands: list[spec.AnyCommand] = []
        self._tell, self._dies = on_event, dies
        self._over = asyncio.Event()

    async def live(self) -> None:
        if self._dies:
            self._over.set()
        else:
            self._tell(
                events.SessionReady(
                    training_cases=8, validation_cases=2, device="cpu", epoch=0, tensors=()
                )
            )

    async def send(self, command: spec.AnyCommand) -> None:
        self.commands.append(command)
        if isinstance(command, spec.TrainRound):
            self._tell(
                events.RoundTrained(
                    round=1, attempt=1, update=command.update, sha256="0" * 64, size=1, cases=8,
                    epochs=(),
                )
            )  # fmt: skip
        else:
            self._over.set()

    async def wait(self) -> JobOutcome:
        await self._over.wait()
        if self._dies:
            return JobOutcome(
                state=JobState.FAILED, sentence="no memory", code=ErrorCode.MEMORY_FULL, result=None
            )
        return JobOutcome(
            state=JobState.SUCCEEDED, sentence="", code=None, result=events.SessionEnded(epoch=1)
        )

    async def stop(self, grace_s: float = 0.0) -> JobOutcome:
        self._over.set()
        return await self.wait()


class Runner:
    def __init__(self, *, dies: bool = False) -> None:
        self.dies, self.jobs, self.session = dies, [], None

    async def start(self, job, *, on_event):
        self.jobs.append(job)
        if isinstance(job, spec.TrainJob):
            self.session = PlayedSession(on_event, dies=self.dies)
            await self.session.live()
            return self.session
        result = {
            spec.PreprocessJob: events.Preprocessed(training_cases=8, validation_cases=2),
            spec.ExportJob: events.Exported(output="m", sha256="0" * 64),
            spec.SegmentJob: events.Segmented(results=()),
            spec.ScoreJob: events.Scored(scores=(CaseScore(case="a", labels=()),)),
        }[type(job)]
        return Ended(result)


class Ended:
    def __init__(self, result) -> None:
        self.result = result

    async def wait(self) -> JobOutcome:
        return JobOutcome(state=JobState.SUCCEEDED, sentence="", code=None, result=self.result)


@pytest.fixture
def played(monkeypatch, tmp_path):
    def play(**options):
        runner = Runner(**options)
        monkeypatch.setattr(baseline, "JobRunner", lambda folder: runner)
        monkeypatch.setattr(baseline, "study_terms", lambda _: TERMS)
        monkeypatch.setattr(baseline, "artefact_file", lambda _, name: Path("/c") / name)
        made = asyncio.run(
            baseline.train_baseline(
                coordinator=tmp_path, data=sample_folder() / "valley", home=tmp_path / "b"
            )
        )
        return runner, made

    return play


def test_it_trains_as_long_as_the_study_from_the_same_first_model(played):
    runner, scores = played()
    [whole, finish] = runner.session.commands
    assert (whole.epochs, whole.start_epoch, whole.base) == (TERMS.total_epochs, 0, "/c/initial")
    assert isinstance(finish, spec.Finish)
    train = next(job for job in runner.jobs if isinstance(job, spec.TrainJob))
    assert train.iterations_per_epoch == TERMS.iterations_per_epoch
    assert train.plan == "/c/plan"
    assert scores == (CaseScore(case="a", labels=()),)


def test_only_held_out_cases_are_segmented_and_scored(played):
    runner, _ = played()
    segmented = next(job for job in runner.jobs if isinstance(job, spec.SegmentJob))
    scored = next(job for job in runner.jobs if isinstance(job, spec.ScoreJob))
    held_out = {
        p.name.removesuffix("_0000.nii.gz")
        for p in (sample_folder() / "valley" / "imagesTs").iterdir()
    }
    assert {case.name for case in segmented.cases} == held_out
    assert {pair[0] for pair in scored.pairs} == held_out


def test_a_session_that_dies_says_why(played):
    with pytest.raises(JobFailed, match="no memory") as caught:
        played(dies=True)
    assert caught.value.code is ErrorCode.MEMORY_FULL
