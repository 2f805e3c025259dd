"""The living training session against stock nnU-Net, to the bit."""

import dataclasses
import hashlib
import json
import math
import shutil
import time
from pathlib import Path

import pytest
import torch
from helpers import volumes
from helpers.own_environment import own_environment

from app.domain.errors import ErrorCode, JobFailed, OurMistake, PeerMistake, SetupProblem
from app.domain.ids import site_name
from app.domain.study import Transfer
from app.federation.averaging import average
from app.jobs.events import (
    BaseScored,
    Checkpointed,
    EpochEnded,
    Noted,
    RoundTrained,
    SessionReady,
    Stepped,
    UpdateWritten,
)
from app.jobs.spec import HeldOutJob, TrainJob, TrainRound
from app.nnunet.convert import read_plan
from app.nnunet.environment import enter
from app.nnunet.held_out import score_weights
from app.nnunet.initial import draw
from app.nnunet.preprocessing import preprocess
from app.nnunet.session import (
    TrainingSession,
    random_states,
    restore_random_states,
    seed_everything,
)
from app.nnunet.weights import read_checkpoint, unique_tensors, write_checkpoint
from app.system.tensor_files import apply_change

CONFIGURATION = "3d_fullres"
SEED = 4711
STEPS = 2


@pytest.fixture(scope="module", autouse=True)
def _own_environment():
    with own_environment():
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a plan, the first model, and a workspace with prepared images."""
    root = tmp_path_factory.mktemp("study")
    plan = volumes.write_plan(root / "plan.json")
    data = volumes.dataset_folder(volumes.write_dataset(root / "data"))
    preprocess(
        read_plan(plan), data, workspace=root / "workspace", configuration=CONFIGURATION, fold="0"
    )
    draw(plan, configuration=CONFIGURATION, seed=SEED, output=root / "base.safetensors")
    return root


@pytest.fixture
def study(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_compile", "f")
    return Study(prepared, tmp_path)


class Study:
    """One site's study on disk; makes jobs, sessions and rounds."""

    def __init__(self, prepared: Path, folder: Path) -> None:
        self.prepared, self.folder = prepared, folder
        self.base = prepared / "base.safetensors"
        self.events: list = []
        self.stop_after: type | None = None

    def job(self, **changes) -> TrainJob:
        facts = {
            "plan": str(self.prepared / "plan.json"),
            "workspace": str(self.prepared / "workspace"),
            "configuration": CONFIGURATION,
            "fold": "0",
            "total_epochs": 4,
            "iterations_per_epoch": STEPS,
            "validation_iterations": 1,
            "seed": SEED,
            "checkpoint": str(self.folder / "checkpoint.pth"),
            "device": "cpu",
        }
        return TrainJob(**(facts | changes))

    def session(self, **changes) -> TrainingSession:
        return TrainingSession(self.job(**changes), tell=self.events.append, stopped=self._stopped)

    def _stopped(self) -> bool:
        return bool(self.events) and type(self.events[-1]) is self.stop_after

    def round(self, number: int, *, base: Path | None, epochs: int = 2, **changes) -> TrainRound:
        facts = {
            "round": number,
            "attempt": 1,
            "epochs": epochs,
            "start_epoch": (number - 1) * epochs,
            "base": None if base is None else str(base),
            "update": str(self.folder / f"update-{number}.safetensors"),
        }
        return TrainRound(**(facts | changes))

    def told(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def plain_training(study: Study, *, epochs: int) -> dict[str, torch.Tensor]:
    """Train with nothing but nnU-Net's own `run_training`; return its weights."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    folders = enter(study.prepared / "workspace")
    dataset = json.loads((folders.preprocessed_dataset / "dataset.json").read_text())
    plans = read_plan(study.prepared / "plan.json").plans_for() | {"continue_training": False}
    seed_everything(SEED)
    trainer = nnUNetTrainer(
        plans=plans,
        configuration=CONFIGURATION,
        fold=0,
        dataset_json=dataset,
        device=torch.device("cpu"),
    )
    trainer.num_epochs = epochs
    trainer.num_iterations_per_epoch = STEPS
    trainer.num_val_iterations_per_epoch = 1
    trainer.logger.plot_progress_png = lambda *_: None  # a picture, and 3 s per epoch
    trainer.run_training()
    return weights_of(trainer.network)


def weights_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in unique_tensors(network).items()}


def assert_bit_equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert different == []


class FileReader:
    """Reads one update for the coordinator's average."""

    def __init__(self, path: Path) -> None:
        from safetensors.numpy import load_file

        self._tensors = load_file(path)

    def read(self, name: str):
        return self._tensors[name]


def average_of_one(study: Study, trained: RoundTrained, tensors_wanted: tuple) -> Path:
    """Return the coordinator's average over the only site, as a file."""
    from safetensors.numpy import save_file

    tensors = {}
    average(
        [FileReader(Path(trained.update))],
        [trained.cases],
        tensors_wanted,
        lambda name, tensor: tensors.update({name: tensor}),
        sites=[site_name("alone")],
    )
    path = study.folder / "average.safetensors"
    save_file(tensors, path)
    return path


def train_two_rounds(study: Study) -> tuple[dict, list]:
    session = study.session()
    session.open()
    first = session.train(study.round(1, base=study.base))
    second = session.train(study.round(2, base=average_of_one(study, first, session.tensors)))
    weights = weights_of(session.network)
    session.close()
    return weights, [*first.epochs, *second.epochs]


def test_one_site_federated_is_plain_nnunet_to_the_bit(study, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    weights, records = train_two_rounds(study)
    expected = plain_training(study, epochs=4)
    assert_bit_equal(weights, expected)
    # The comparison is only worth something if training moved the weights.
    first = weights_of_file(study.base)
    assert not torch.equal(
        first["encoder.stages.0.0.convs.0.conv.weight"],
        expected["encoder.stages.0.0.convs.0.conv.weight"],
    )
    assert [record.epoch for record in records] == [1, 2, 3, 4]
    assert [record.round for record in records] == [1, 1, 2, 2]
    rates = [0.01 * (1 - epoch / 4) ** 0.9 for epoch in range(4)]
    assert [record.learning_rate for record in records] == pytest.approx(rates, rel=1e-12)


def weights_of_file(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_going_on_from_a_checkpoint_equals_never_having_stopped(study, tmp_path):
    expected, records = train_two_rounds(study)
    study.folder = tmp_path / "killed"
    study.folder.mkdir()
    session = study.session()
    session.open()
    first = session.train(study.round(1, base=study.base))
    # Epoch 3 ends and is on disk; then the session goes away in the middle of epoch 4.
    study.events.clear()
    study.stop_after = Checkpointed
    command = study.round(2, base=Path(first.update))
    with pytest.raises(JobFailed, match="training was stopped") as caught:
        session.train(command)
    assert caught.value.code is ErrorCode.JOB_STOPPED
    session.close()
    study.stop_after = None
    study.events.clear()
    resumed = study.session()
    assert resumed.open().epoch == 3
    second = resumed.train(command)
    assert_bit_equal(weights_of(resumed.network), expected)
    assert_bit_equal(weights_of_file(Path(second.update)), expected)
    resumed.close()
    assert [event.record.epoch for event in study.told(Stepped)] == [4] * STEPS
    assert [without_seconds(r) for r in [*first.epochs, *second.epochs]] == [
        without_seconds(r) for r in records
    ]


@pytest.mark.parametrize("killed_after", [Stepped, EpochEnded], ids=["a step", "an epoch"])
def test_a_kill_inside_the_first_round_leaves_no_trace_in_the_loss_curve(
    study, tmp_path, killed_after
):
    """Before the first checkpoint there is none to go on from: the round begins again, the same."""
    session = study.session()
    session.open()
    expected = session.train(study.round(1, base=study.base))
    weights = weights_of(session.network)
    session.close()
    curve = losses(study)
    study.folder = tmp_path / "killed"
    study.folder.mkdir()
    study.events.clear()
    study.stop_after = killed_after
    session = study.session()
    session.open()
    if killed_after is EpochEnded:
        # Between an epoch's end and its checkpoint: the epoch is done again.
        session._save = killed
    with pytest.raises((JobFailed, Killed)):
        session.train(study.round(1, base=study.base))
    session.close()
    assert not (study.folder / "checkpoint.pth").exists()
    study.stop_after = None
    study.events.clear()
    resumed = study.session()
    assert resumed.open().epoch == 0
    again = resumed.train(study.round(1, base=study.base))
    assert_bit_equal(weights_of(resumed.network), weights)
    resumed.close()
    assert losses(study) == curve
    assert [without_seconds(r) for r in again.epochs] == [
        without_seconds(r) for r in expected.epochs
    ]


class Killed(Exception):
    pass


def killed():
    raise Killed


def losses(study):
    return [(one.record.epoch, one.record.step, one.record.loss) for one in study.told(Stepped)]


def test_memory_that_is_full_ends_the_round_and_leaves_the_checkpoint(study):
    session = study.session()
    session.open()
    session.train(study.round(1, base=study.base, epochs=1))
    saved = (study.folder / "checkpoint.pth").read_bytes()
    step = session._trainer.train_step
    steps = []

    def full(batch):
        steps.append(1)
        if len(steps) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(batch)

    session._trainer.train_step = full
    with pytest.raises(torch.OutOfMemoryError) as caught:
        session.train(study.round(2, base=study.base, epochs=1))
    session.close()
    # What the service hears, and what it must not find: an update or a spoilt checkpoint.
    from app.worker.failures import failure_of

    assert failure_of(caught.value).code == "gpu-memory"
    assert not (study.folder / "update-2.safetensors").exists()
    assert (study.folder / "checkpoint.pth").read_bytes() == saved
    # A session with a smaller batch goes on from there.
    smaller = study.session(batch_size=1)
    assert smaller.open().epoch == 1
    assert smaller._trainer.batch_size == 1
    trained = smaller.train(study.round(2, base=study.base, epochs=1))
    smaller.close()
    assert [record.epoch for record in trained.epochs] == [2]


def test_a_weight_that_is_not_a_number_is_never_written(study):
    session = study.session()
    session.open()
    end = session._trainer.on_train_epoch_end

    def spoil(outputs):
        with torch.no_grad():
            next(session.network.parameters()).view(-1)[0] = math.inf
        end(outputs)

    session._trainer.on_train_epoch_end = spoil
    with pytest.raises(JobFailed, match="a weight is not a number after epoch 1") as caught:
        session.train(study.round(1, base=study.base, epochs=1))
    assert caught.value.code is ErrorCode.NOT_FINITE
    session.close()
    assert study.told(UpdateWritten) == []
    assert list(study.folder.iterdir()) == []


def without_seconds(record):
    return dataclasses.replace(record, seconds=0.0)


def test_scoring_the_base_changes_no_weight(study):
    """The average is judged before the first step, and training is what it was without that."""
    quiet = study.session()
    quiet.open()
    quiet.train(study.round(1, base=study.base))
    expected = weights_of(quiet.network)
    quiet.close()
    Path(study.job().checkpoint).unlink()
    study.events.clear()
    session = study.session()
    session.open()
    trained = session.train(study.round(1, base=study.base, score_base=True))
    assert_bit_equal(weights_of(session.network), expected)
    session.close()
    [scored] = study.told(BaseScored)
    assert study.events.index(scored) < study.events.index(study.told(Stepped)[0])
    assert trained.base_score == scored.score
    assert scored.score.cases > 0
    assert all(dice is None or 0 <= dice <= 1 for dice in scored.score.dice)
    again = score_weights(
        HeldOutJob(
            plan=str(study.prepared / "plan.json"),
            workspace=str(study.prepared / "workspace"),
            configuration=CONFIGURATION,
            fold="0",
            weights=str(study.base),
            device="cpu",
        )
    )
    assert again == scored.score, "without a session the same weights score the same"


def test_the_score_of_a_base_survives_a_kill_and_is_not_computed_twice(study):
    session = study.session()
    session.open()
    command = study.round(1, base=study.base, score_base=True)
    study.stop_after = Checkpointed
    with pytest.raises(JobFailed, match="training was stopped"):
        session.train(command)
    session.close()
    [scored] = study.told(BaseScored)
    study.stop_after = None
    study.events.clear()
    resumed = study.session()
    resumed.open()
    assert resumed.train(command).base_score == scored.score
    resumed.close()
    assert study.told(BaseScored) == []


def test_a_round_does_not_fail_because_its_base_cannot_be_scored(study, monkeypatch, expected_log):
    def out_of_memory(*_arguments, **_keywords):
        raise torch.OutOfMemoryError("no memory for a whole case")

    monkeypatch.setattr("app.nnunet.session.score_held_out", out_of_memory)
    expected_log("app.nnunet.session", "the average could not be scored")
    session = study.session()
    session.open()
    trained = session.train(study.round(1, base=study.base, score_base=True))
    session.close()
    assert trained.base_score is None
    assert len(trained.epochs) == 2
    [noted] = study.told(Noted)
    assert "could not be scored" in noted.text


def test_a_round_is_held_near_its_anchor_by_nnunets_own_optimizer(study):
    """FedProx in one step of Nesterov's SGD: a pull of -mu d moves a weight by 1.99 lr mu d."""
    from safetensors.torch import save_file

    distance, mu = 0.5, 0.1
    near = {name: tensor + distance for name, tensor in weights_of_file(study.base).items()}
    local = min(near)
    anchor = study.folder / "anchor.safetensors"
    save_file({name: tensor for name, tensor in near.items() if name != local}, anchor)
    trained = {}
    for held in (False, True):
        changes = {"proximal_mu": mu, "anchor": str(anchor)} if held else {}
        session = study.session(iterations_per_epoch=1)
        session.open()
        session.train(study.round(1, base=study.base, epochs=1, **changes))
        trained[held] = weights_of(session.network)
        session.close()
        Path(study.job().checkpoint).unlink()
    rate = study.told(EpochEnded)[0].record.learning_rate
    for name, free in trained[False].items():
        moved = trained[True][name] - free
        # The lowest head has no part in the loss (deep supervision), so no step touches it.
        still = name == local or name.startswith("decoder.seg_layers.0.")
        expected = 0.0 if still else 1.99 * rate * mu * distance
        torch.testing.assert_close(
            moved,
            torch.full_like(moved, expected),
            rtol=1e-3,
            atol=2e-7,
            msg=lambda m, name=name: f"{name}: {m}",
        )


def test_with_fold_all_no_case_is_held_out(study, monkeypatch):
    monkeypatch.setattr("app.nnunet.session.score_held_out", None)
    session = study.session(fold="all")
    session.open()
    trained = session.train(study.round(1, base=study.base, epochs=1, score_base=True))
    session.close()
    assert trained.base_score is None


def test_a_finished_round_is_only_written_again(study):
    session = study.session()
    session.open()
    command = study.round(1, base=study.base)
    trained = session.train(command)
    session.close()
    content = Path(trained.update).read_bytes()
    Path(trained.update).unlink()
    study.events.clear()
    resumed = study.session()
    resumed.open()
    assert resumed.train(command) == trained
    resumed.close()
    assert Path(trained.update).read_bytes() == content
    assert study.told(Stepped) == []


def test_a_new_attempt_trains_the_same_epochs_from_the_base(study):
    session = study.session()
    session.open()
    session.train(study.round(1, base=study.base))
    again = session.train(study.round(1, base=study.base, attempt=2))
    assert [record.epoch for record in again.epochs] == [1, 2]
    assert again.attempt == 2
    # nnU-Net's log holds one value per epoch; the repeated ones replaced the first.
    lists = session._trainer.logger.local_logger.my_fantastic_logging
    assert {len(values) for values in lists.values()} == {2}
    session.close()


def test_a_site_that_missed_rounds_joins_the_schedule(study):
    session = study.session()
    session.open()
    trained = session.train(study.round(2, base=study.base, epochs=2))
    assert [record.epoch for record in trained.epochs] == [3, 4]
    assert trained.epochs[0].learning_rate == pytest.approx(0.01 * (1 - 2 / 4) ** 0.9)
    # The moving average begins with the first epoch trained here, not with a missed one.
    first, second = trained.epochs
    mean = sum(second.pseudo_dice) / len(second.pseudo_dice)
    assert first.pseudo_dice_average == pytest.approx(sum(first.pseudo_dice) / 2, rel=1e-5)
    assert second.pseudo_dice_average == pytest.approx(
        0.9 * first.pseudo_dice_average + 0.1 * mean, rel=1e-5
    )
    session.close()


def test_a_later_fold_has_its_own_schedule_and_the_studys_numbers(study, tmp_path):
    """Epochs count on over the study; learning rate, log and checkpoint begin with the fold."""
    session = study.session(fold="1", epochs_before=4)
    assert session.open().epoch == 4
    command = study.round(3, base=study.base, epochs=2)
    trained = session.train(command)
    assert [record.epoch for record in trained.epochs] == [5, 6]
    assert {event.record.epoch for event in study.told(Stepped)} == {5, 6}
    assert trained.epochs[0].learning_rate == pytest.approx(0.01)
    assert trained.epochs[1].learning_rate == pytest.approx(0.01 * (1 - 1 / 4) ** 0.9)
    session.close()
    again = study.session(fold="1", epochs_before=4)
    assert again.open().epoch == 6
    assert again.train(study.round(4, base=study.base, epochs=2)).epochs[-1].epoch == 8
    again.close()
    with pytest.raises(SetupProblem, match="another study or plan"):
        study.session(fold="0").open()


def test_events_tell_every_step_and_epoch_in_order(study):
    session = study.session()
    ready = session.open()
    trained = session.train(study.round(1, base=study.base, epochs=1))
    session.close()
    assert [type(event) for event in study.events] == [
        SessionReady, Stepped, Stepped, UpdateWritten, EpochEnded, Checkpointed, RoundTrained,
    ]  # fmt: skip
    assert (ready.training_cases, ready.validation_cases) == (4, 2)
    assert (ready.device, ready.epoch) == ("cpu", 0)
    assert trained.cases == 4
    assert trained.size == Path(trained.update).stat().st_size
    steps = [event.record for event in study.told(Stepped)]
    assert [(step.epoch, step.step, step.steps_per_epoch) for step in steps] == [
        (1, 1, STEPS), (1, 2, STEPS),
    ]  # fmt: skip
    assert all(math.isfinite(step.loss) and step.seconds > 0 for step in steps)
    (record,) = trained.epochs
    assert record.train_loss == pytest.approx(sum(step.loss for step in steps) / STEPS, rel=1e-6)
    assert len(record.pseudo_dice) == 2


def test_a_step_tells_how_long_it_waited_for_its_images(study):
    session = study.session()
    session.open()
    loader = session._trainer.dataloader_train

    class Starved:
        """A loader whose disk is slow."""

        def __next__(self):
            time.sleep(0.4)
            return next(loader)

    session._trainer.dataloader_train = Starved()
    session.train(study.round(1, base=study.base, epochs=1))
    session._trainer.dataloader_train = loader
    session.close()
    for event in study.told(Stepped):
        assert 0.4 < event.record.wait_s < event.record.seconds


def test_the_update_is_whole_before_its_epoch_is_validated(study, monkeypatch):
    session = study.session()
    session.open()
    trainer = session._trainer
    validate = trainer.validation_step
    written = []

    def watch(batch):
        (event,) = study.told(UpdateWritten)
        written.append((event.sha256, Path(event.update).read_bytes()))
        return validate(batch)

    monkeypatch.setattr(trainer, "validation_step", watch)
    trained = session.train(study.round(1, base=study.base, epochs=1))
    session.close()
    ((sha256, content),) = written
    assert sha256 == trained.sha256 == hashlib.sha256(content).hexdigest()
    assert Path(trained.update).read_bytes() == content


@pytest.mark.parametrize("transfer", [Transfer.FP16, Transfer.INT8])
def test_rounded_changes_make_up_for_what_was_rounded_before(study, transfer):
    session = study.session()
    session.open()
    files = {n: study.folder / f"rest-{n}" for n in (1, 2)}
    own = {n: study.folder / f"own-{n}" for n in (1, 2)}
    sent = {name: torch.zeros_like(t) for name, t in weights_of(session.network).items()}
    meant = {name: torch.zeros_like(t, dtype=torch.float64) for name, t in sent.items()}
    before = None
    for number in (1, 2):
        command = study.round(
            number, base=study.base, epochs=1, transfer=transfer,
            remainder_before=None if before is None else str(before),
            remainder=str(files[number]), own=str(own[number]),
        )  # fmt: skip
        trained = session.train(command)
        again = session._write_update(command)  # a killed session writes the same
        assert (again.sha256, again.size) == (trained.sha256, trained.size)
        apply_change(study.base, Path(trained.update), transfer, study.folder / "made")
        made, base = weights_of_file(study.folder / "made"), weights_of_file(study.base)
        mine = weights_of_file(own[number])
        assert_bit_equal(mine, weights_of(session.network))
        rest = weights_of_file(files[number])
        for name, start in base.items():
            sent[name] += made[name] - start
            meant[name] += mine[name].double() - start.double()
            # All that was meant is either sent or kept.
            assert torch.allclose((sent[name] + rest[name]).double(), meant[name], atol=1e-6)
        before = files[number]
    session.close()
    assert any(bool(rest.any()) for rest in weights_of_file(files[2]).values())
    part = {Transfer.FP16: 0.5, Transfer.INT8: 0.25}[transfer]
    assert trained.size < part * study.base.stat().st_size + 40_000  # two headers' worth


@pytest.mark.parametrize("content", [None, b"", b"\0" * 100])
def test_a_remainder_that_cannot_be_read_counts_as_none(study, content, expected_log):
    expected_log("app.nnunet.weights", "cannot be read")
    rest = study.folder / "rest"
    if content is not None:
        rest.write_bytes(content)
    session = study.session()
    session.open()
    session.train(
        study.round(
            1,
            base=study.base,
            epochs=1,
            transfer=Transfer.INT8,
            remainder_before=str(rest),
            remainder=str(study.folder / "after"),
        )
    )
    session.close()
    assert (study.folder / "after").exists()


def test_a_loss_that_is_not_a_number_ends_the_round(study):
    session = study.session()
    session.open()
    session.train(study.round(1, base=study.base, epochs=1))
    saved = (study.folder / "checkpoint.pth").read_bytes()
    with torch.no_grad():
        next(session.network.parameters()).fill_(math.nan)
    with pytest.raises(JobFailed) as caught:
        session.train(study.round(2, base=None, epochs=1))
    assert str(caught.value) == "the loss is not a number in epoch 2, step 1"
    assert caught.value.code is ErrorCode.NOT_FINITE
    session.close()
    assert (study.folder / "checkpoint.pth").read_bytes() == saved
    assert not (study.folder / "update-2.safetensors").exists()


def test_a_base_that_does_not_fit_changes_nothing(study, tmp_path):
    session = study.session()
    session.open()
    before = weights_of(session.network)
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(study.base.read_bytes()[:-8])
    with pytest.raises(PeerMistake) as caught:
        session.train(study.round(1, base=wrong))
    assert caught.value.code is ErrorCode.TENSORS_REFUSED
    assert_bit_equal(weights_of(session.network), before)
    session.close()


@pytest.mark.parametrize("change", [{"seed": 1}, {"total_epochs": 5}, {"iterations_per_epoch": 3}])
def test_a_checkpoint_of_another_study_is_refused(study, change):
    session = study.session()
    session.open()
    session.train(study.round(1, base=study.base, epochs=1))
    session.close()
    with pytest.raises(SetupProblem, match="belongs to another study or plan"):
        study.session(**change).open()


@pytest.mark.parametrize("damage", ["half of it", "a part is missing"])
def test_a_damaged_checkpoint_is_put_aside(study, expected_log, damage):
    expected_log("app.nnunet.session", "the checkpoint is put aside")
    session = study.session()
    session.open()
    first = session.train(study.round(1, base=study.base, epochs=1))
    session.close()
    path = study.folder / "checkpoint.pth"
    if damage == "half of it":
        path.write_bytes(path.read_bytes()[:20_000])
    else:
        content = read_checkpoint(path)
        del content["log"]
        write_checkpoint(content, path)
    study.events.clear()
    session = study.session()
    assert session.open().epoch == 0
    assert study.events[0] == Noted(text="the checkpoint is damaged; training goes on without it")
    second = session.train(study.round(2, base=Path(first.update), epochs=1))
    session.close()
    assert [record.epoch for record in second.epochs] == [2]
    assert sorted(entry.name for entry in study.folder.glob("checkpoint*")) == [
        "checkpoint.pth", "checkpoint.pth.damaged",
    ]  # fmt: skip


def test_a_session_without_prepared_images_says_so(study, tmp_path):
    with pytest.raises(SetupProblem, match="the images are not prepared for training"):
        study.session(workspace=str(tmp_path / "empty")).open()


def test_a_session_whose_images_were_removed_says_so(study, tmp_path):
    empty = tmp_path / "workspace"
    shutil.copytree(study.prepared / "workspace", empty)
    shutil.rmtree(empty / "nnUNet_preprocessed/Dataset001_Study/nnUNetPlans_3d_fullres")
    with pytest.raises(SetupProblem, match="the images are not prepared for training"):
        study.session(workspace=str(empty)).open()


def test_an_epoch_beyond_the_study_is_our_mistake(study):
    session = study.session(total_epochs=1)
    session.open()
    with pytest.raises(OurMistake, match="epoch 2 is beyond the last epoch of its fold"):
        session.train(study.round(1, base=study.base, epochs=2))
    session.close()


def test_nnunet_leaves_no_picture_and_no_checkpoint_of_its_own(study):
    shutil.rmtree(study.prepared / "workspace" / "nnUNet_results")
    train_two_rounds(study)
    written = {path.name for path in (study.prepared / "workspace").rglob("*")}
    assert not {"progress.png", "checkpoint_best.pth", "checkpoint_latest.pth"} & written
    assert not {"checkpoint_final.pth"} & written


def test_background_augmenters_end_with_the_session(study):
    import psutil

    session = study.session(loader_processes=1)
    session.open()
    children = psutil.Process().children(recursive=True)
    trained = session.train(study.round(1, base=study.base, epochs=1))
    assert len(trained.epochs) == 1
    session.close()
    session.close()
    gone, alive = psutil.wait_procs(children, timeout=10)
    # Python's own tracker of shared memory stays until the process ends.
    assert all("resource_tracker" in " ".join(child.cmdline()) for child in alive)
    assert len(gone) >= 2


def test_random_states_go_back_to_where_they_were():
    import random

    import numpy as np

    def draws():
        return random.random(), np.random.normal(), torch.rand(1).item()  # noqa: NPY002

    seed_everything(5)
    first = draws()
    states = random_states()
    expected = draws()
    restore_random_states(states)
    assert draws() == expected
    seed_everything(5)
    assert draws() == first
