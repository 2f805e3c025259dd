"""Two ranks on the processor with Gloo: what is one session to the service, and how ranks end."""

import dataclasses
import os
import signal
from pathlib import Path

import pytest
import torch
from helpers import volumes
from helpers.own_environment import own_environment
from torch import distributed

from app.domain.errors import ErrorCode, JobFailed
from app.jobs.events import Checkpointed, RoundTrained, SessionReady, Stepped, UpdateWritten
from app.jobs.spec import TrainJob, TrainRound
from app.nnunet import devices, ranks
from app.nnunet.convert import read_plan
from app.nnunet.initial import draw
from app.nnunet.preprocessing import preprocess
from app.nnunet.ranks import Place
from app.nnunet.session import TrainingSession
from app.nnunet.weights import read_checkpoint, unique_tensors

CONFIGURATION = "3d_fullres"
SEED = 4711


@pytest.fixture(scope="module", autouse=True)
def _own_environment():
    with own_environment():
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    plan = volumes.write_plan(root / "plan.json")
    data = volumes.dataset_folder(volumes.write_dataset(root / "data"))
    preprocess(
        read_plan(plan), data, workspace=root / "workspace", configuration=CONFIGURATION, fold="0"
    )
    draw(plan, configuration=CONFIGURATION, seed=SEED, output=root / "base.safetensors")
    return root


class Study:
    def __init__(self, prepared: Path, folder: Path) -> None:
        self.prepared, self.folder = prepared, folder
        self.events: list = []
        folder.mkdir(exist_ok=True)

    def session(self, *, gpus: int | None = 2, **changes) -> TrainingSession:
        facts = {
            "plan": str(self.prepared / "plan.json"),
            "workspace": str(self.prepared / "workspace"),
            "configuration": CONFIGURATION, "fold": "0", "total_epochs": 4,
            "iterations_per_epoch": 2, "validation_iterations": 1, "seed": SEED,
            "checkpoint": str(self.folder / "checkpoint.pth"), "device": "cpu", "gpus": gpus,
        }  # fmt: skip
        return TrainingSession(TrainJob(**(facts | changes)), tell=self.events.append)

    def round(self, number: int, base: Path, **changes) -> TrainRound:
        return TrainRound(
            round=number, attempt=1, epochs=1, start_epoch=number - 1, base=str(base),
            update=str(self.folder / f"update-{number}.safetensors"), **changes,
        )  # fmt: skip

    def told(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def weights_of(session: TrainingSession) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in unique_tensors(session.network).items()}


def train_two_rounds(study: Study, *, kill_after_first: bool = False):
    """Train two rounds; the second starts from the first update. Return weights and records."""
    session = study.session()
    session.open()
    first = session.train(study.round(1, study.prepared / "base.safetensors"))
    if kill_after_first:
        session.close()
        session = study.session()
        assert session.open().epoch == 1
    second = session.train(study.round(2, Path(first.update)))
    weights = weights_of(session)
    pids = session._ranks.pids
    session.close()
    assert not any(alive(pid) for pid in pids)
    assert not distributed.is_initialized()
    records = [dataclasses.replace(one.epochs[0], seconds=0.0) for one in (first, second)]
    return weights, records, second


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_ranks_are_one_session_and_a_resumed_one_equals_an_undisturbed_one(prepared, tmp_path):
    study = Study(prepared, tmp_path / "one")
    weights, records, second = train_two_rounds(study)
    # One voice: rank 0 alone tells, writes the update and the checkpoint.
    assert [type(event) for event in study.events if not isinstance(event, Stepped)] == [
        SessionReady, UpdateWritten, *study_events(), UpdateWritten, *study_events(),
    ]  # fmt: skip
    assert len(study.told(Stepped)) == 4
    assert second.cases == 4
    from safetensors.torch import load_file

    update = load_file(second.update)
    assert set(update) == set(weights)
    assert all(torch.equal(update[name], tensor) for name, tensor in weights.items())
    kept = read_checkpoint(study.folder / "checkpoint.pth")
    assert len(kept["random of other ranks"]) == 1
    assert all(torch.equal(kept["weights"][name], tensor) for name, tensor in weights.items())
    # Both ranks moved: what one rank alone trains from the same base is something else.
    alone = Study(prepared, tmp_path / "alone")
    session = alone.session(gpus=1)
    session.open()
    assert session._ranks is None
    session.train(alone.round(1, prepared / "base.safetensors"))
    session.close()
    first = load_file(study.folder / "update-1.safetensors")
    by_one = load_file(alone.folder / "update-1.safetensors")
    assert not all(torch.equal(first[name], by_one[name]) for name in first)

    again, records_again, _ = train_two_rounds(
        Study(prepared, tmp_path / "killed"), kill_after_first=True
    )
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())
    assert records_again == records


def study_events():
    from app.jobs.events import EpochEnded

    return EpochEnded, Checkpointed, RoundTrained


def test_a_rank_that_dies_ends_the_round_with_a_sentence(prepared, tmp_path, expected_log):
    expected_log("app.nnunet.ranks", "has ended")
    study = Study(prepared, tmp_path / "study")
    session = study.session()
    session.open()
    (pid,) = session._ranks.pids
    step = session._trainer.train_step

    def kill_the_other(batch):
        os.kill(pid, signal.SIGKILL)
        return step(batch)

    session._trainer.train_step = kill_the_other
    with pytest.raises(JobFailed, match="rank 1 of this training has died") as caught:
        session.train(study.round(1, prepared / "base.safetensors"))
    assert caught.value.code is ErrorCode.JOB_LOST
    session.close()
    assert not (study.folder / "update-1.safetensors").exists()


@pytest.mark.slow
def test_a_rank_that_fails_says_why(prepared, tmp_path, expected_log, monkeypatch):
    """The other rank's own error is what is told, not that a connection broke."""
    expected_log("app.nnunet.ranks", "has ended")
    study = Study(prepared, tmp_path / "study")
    session = study.session()
    session.open()
    # The other rank is asked for a base that is not there: any error of one rank goes this way.
    command = study.round(1, prepared / "base.safetensors")
    missing = study.round(1, tmp_path / "nothing.safetensors")
    send = session._ranks.send
    monkeypatch.setattr(session._ranks, "send", lambda _command: send(missing))
    with pytest.raises(JobFailed, match="the file of the shared model is not there"):
        session.train(command)
    session.close()


def test_words_of_an_error_keep_their_code():
    assert ranks._words_of(torch.OutOfMemoryError("x"))[0] == "gpu-memory"
    assert ranks._words_of(MemoryError())[0] == "memory-full"
    assert ranks._words_of(ValueError("secret"))[1] == "another rank met ValueError"
    told = ranks._words_of(JobFailed("not a number", code=ErrorCode.NOT_FINITE))
    assert told == ("not-finite", "not a number")


def test_every_rank_draws_its_own_patches_and_the_first_as_if_alone():
    seeds = [Place(rank=rank, count=4, meeting="/m").seed(SEED) for rank in range(4)]
    assert seeds[0] == SEED
    assert len(set(seeds)) == 4


@pytest.mark.parametrize(
    ("device", "wish", "here", "gpus", "batch", "expected"),
    [
        ("cpu", "auto", 0, None, 2, 1),
        ("cpu", "cpu", 0, 2, 2, 2),
        ("cpu", "cpu", 0, 4, 2, 2),
        ("mps", "auto", 0, 2, 2, 1),
        ("cuda", "auto", 4, None, 12, 4),
        ("cuda", "auto", 4, 2, 12, 2),
        ("cuda", "cuda", 4, None, 2, 2),
        ("cuda", "cuda", 1, 8, 12, 1),
        ("cuda", "cuda:1", 4, None, 12, 1),
    ],
)
def test_how_many_train_together(monkeypatch, device, wish, here, gpus, batch, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    found = devices.ranks(torch.device(device), wish, gpus=gpus, batch_size=batch)
    assert found == expected


@pytest.mark.gpu
def test_all_graphics_cards_train_one_round(prepared, tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two graphics cards")
    study = Study(prepared, tmp_path / "study")
    session = study.session(gpus=None, device="cuda")
    session.open()
    assert len(session._ranks.pids) == 1  # a batch of two is shared by two cards
    trained = session.train(study.round(1, prepared / "base.safetensors"))
    session.close()
    assert Path(trained.update).stat().st_size == trained.size
