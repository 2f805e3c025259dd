"""A training session: one stock nnUNetTrainer, kept alive from round to round.

The session does what `nnUNetTrainer.run_training` does, hook by hook, with a stop check and an
event after every step. `num_epochs` is the whole fold's, and `current_epoch` runs on over the
rounds, so that the learning rate is one curve. Between rounds only the weights change: they are
copied into the network in place; optimizer, scaler, schedule and loaders stay.

On a CPU, without background augmenters, a session is deterministic: the seed settles every draw,
and a checkpoint holds the states of all generators, so that going on from it equals never having
stopped.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json

from app.domain.errors import (
    ErrorCode,
    JobFailed,
    OurMistake,
    SetupProblem,
)
from app.domain.folds import ALL_FOLDS
from app.domain.ids import Digest
from app.domain.rounds import BlobRef, TensorSpec
from app.domain.study import Transfer
from app.domain.training import EpochRecord, HeldOutScore, StepRecord
from app.jobs.events import (
    AnyEvent,
    BaseScored,
    Checkpointed,
    EpochEnded,
    Noted,
    RoundTrained,
    SessionReady,
    Stepped,
    UpdateWritten,
)
from app.jobs.spec import TrainJob, TrainRound
from app.nnunet import devices
from app.nnunet.convert import PlanDocument, read_plan
from app.nnunet.environment import enter
from app.nnunet.first_pass import check_first_pass
from app.nnunet.held_out import score_held_out
from app.nnunet.proximal import held_near
from app.nnunet.ranks import Place, Ranks, distributed_trainer, gathered, join, wrapping
from app.nnunet.stock_trainer import end_augmenters, make_trainer
from app.nnunet.weights import (
    CheckpointDamaged,
    all_finite,
    keep_tensors,
    manifest,
    plain,
    read_checkpoint,
    read_into,
    unique_tensors,
    write_changes,
    write_checkpoint,
    write_tensors,
)

_log = logging.getLogger(__name__)

_FORMAT: Final = 1
_EMA: Final = "ema_fg_dice"


@dataclass(slots=True, kw_only=True)
class RoundProgress:
    """How far the session is in a round: what a checkpoint must know to go on inside it."""

    round: int
    attempt: int
    epochs: list[EpochRecord]
    base_score: HeldOutScore | None = None


class TrainingSession:
    """A stock trainer that waits for rounds. Call `open`, `train` any number of times, `close`.

    Not for several threads. After any error the session is closed and done; the last checkpoint
    on disk is that of the last epoch that ended well.
    """

    def __init__(
        self,
        job: TrainJob,
        *,
        tell: Callable[[AnyEvent], None] = lambda _event: None,
        stopped: Callable[[], bool] = lambda: False,
        place: Place | None = None,
        lost: Callable[[JobFailed], None] = lambda _failure: None,
    ) -> None:
        if min(job.total_epochs, job.iterations_per_epoch, job.validation_iterations) < 1:
            raise OurMistake("a session needs epochs, iterations and validation iterations")
        self._job = job
        self._tell = tell
        self._stopped = stopped
        self._checkpoint = Path(job.checkpoint)
        self._trainer: Any = None
        self._progress: RoundProgress | None = None
        self._training_cases = 0
        # `place` is given to other ranks; rank 0 takes its own when it starts them.
        self._place, self._given_place = place, place
        self._ranks: Ranks | None = None
        self._lost = lost

    @property
    def network(self) -> torch.nn.Module:
        """The live network, without the wrappers of torch.compile."""
        return plain(self._trainer.network)

    @property
    def epoch(self) -> int:
        """How many study epochs lie behind the session, those of earlier folds included."""
        return self._job.epochs_before + self._fold_epoch

    @property
    def _fold_epoch(self) -> int:
        """How many epochs of this fold lie behind: nnU-Net's own count."""
        return int(self._trainer.current_epoch)

    def open(self) -> SessionReady:
        """Build the trainer and its loaders, or go on from the checkpoint; tells SessionReady.

        A damaged checkpoint is put aside: training then goes on from the next round's base and
        the schedule's place, only without the optimizer's momentum.

        Raises:
            SetupProblem: no such device, no prepared images, or a checkpoint of another study.
            PeerMistake: the plan is not one.
        """
        job = self._job
        plan = read_plan(Path(job.plan))
        folders = enter(Path(job.workspace))
        os.environ["nnUNet_n_proc_DA"] = str(job.loader_processes)  # noqa: SIM112 - nnU-Net's name
        device = devices.choose(job.device)
        devices.settle(device, threads=job.threads)
        dataset_file = folders.preprocessed_dataset / "dataset.json"
        if not dataset_file.is_file():
            raise SetupProblem("the images are not prepared for training")
        batch = job.batch_size or int(plan.configuration(job.configuration)["batch_size"])
        count = devices.ranks(device, job.device, gpus=job.gpus, batch_size=batch)
        if count > 1 and self._given_place is None:
            self._ranks = Ranks(job, count, lost=self._lost)
            self._place = self._ranks.place
        with self._explaining():
            return self._build(plan, dataset_file, device)

    def _build(self, plan: PlanDocument, dataset_file: Path, device: torch.device) -> SessionReady:
        job, place = self._job, self._place
        if place is not None:
            join(place, device)
        seed_everything(job.seed if place is None else place.seed(job.seed))
        plans = plan.plans_for()
        if job.batch_size is not None:
            plans["configurations"][job.configuration]["batch_size"] = job.batch_size
        trainer: Any = distributed_trainer(
            device,
            lambda: make_trainer(
                plans,
                configuration=job.configuration,
                fold=job.fold,
                dataset=load_json(str(dataset_file)),
                device=device,
            ),
        )
        # nnU-Net itself fails on an empty folder with an assertion about file endings.
        if not any(Path(trainer.preprocessed_dataset_folder).glob("*.b2nd")):
            raise SetupProblem("the images are not prepared for training")
        if trainer.is_cascaded:
            check_first_pass(trainer)
        # Before `initialize`, which builds the learning-rate schedule over `num_epochs`.
        trainer.num_epochs = job.total_epochs
        trainer.num_iterations_per_epoch = job.iterations_per_epoch
        trainer.num_val_iterations_per_epoch = job.validation_iterations
        # Stock checkpoints are not resumable to the bit and need an unsafe torch.load; ours stand
        # in for them. The progress picture costs seconds per epoch.
        trainer.disable_checkpointing = True
        trainer.logger.plot_progress_png = lambda *_arguments: None
        with wrapping(device):
            trainer.initialize()
        self._trainer = trainer
        try:
            trainer.on_train_start()
            training, validation = trainer.do_split()
            self._training_cases = len(training)
            if self._checkpoint.exists():
                self._restore(read_checkpoint(self._checkpoint), str(plan.digest))
        except CheckpointDamaged:
            self.close()
            if not self._writes:
                raise
            self._checkpoint.replace(self._checkpoint.with_name(f"{self._checkpoint.name}.damaged"))
            _log.exception("the checkpoint is put aside")
            self._tell(Noted(text="the checkpoint is damaged; training goes on without it"))
            return self.open()
        except BaseException:
            self.close()
            raise
        self._digest = str(plan.digest)
        ready = SessionReady(
            training_cases=len(training),
            validation_cases=len(validation),
            device=devices.name_of(device),
            epoch=self.epoch,
            tensors=self.tensors,
        )
        self._tell(ready)
        return ready

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """What a file of this network's weights holds."""
        return manifest(self._trainer.network)

    def train(self, command: TrainRound) -> RoundTrained:
        """Train one round from its base and write the update; tells events on the way.

        A round that a killed session had begun goes on after its last finished epoch; a round
        that it had finished only writes its update again.

        Raises:
            PeerMistake: the base does not fit the network; nothing was changed.
            JobFailed: NOT_FINITE when a loss or weight is not a number; JOB_STOPPED.
            SetupProblem: the disk is full.
        """
        if self._ranks is not None:
            self._ranks.send(command)
        with self._explaining():
            return self._train(command)

    def _train(self, command: TrainRound) -> RoundTrained:
        progress = self._progress
        if progress is None or (progress.round, progress.attempt) != (
            command.round,
            command.attempt,
        ):
            if command.base is not None:
                read_into(self._trainer.network, Path(command.base))
            self._align(command.start_epoch - self._job.epochs_before)
            progress = RoundProgress(round=command.round, attempt=command.attempt, epochs=[])
            self._progress = progress
            if command.score_base and command.base is not None and self._writes:
                progress.base_score = self._score_base(command)
        else:
            _log.info("round %d goes on after %d epochs", command.round, len(progress.epochs))
        update: BlobRef | None = None
        while len(progress.epochs) < command.epochs:
            last = len(progress.epochs) + 1 == command.epochs
            began = time.monotonic()
            with self._held_near(command):
                self._train_epoch(command.round)
            if last:
                # No validation changes a weight: the update leaves while the epoch is validated.
                update = self._write_update(command)
            record = self._validate_epoch(command.round, began)
            progress.epochs.append(record)
            self._tell(EpochEnded(record=record))
            self._save()
            self._tell(Checkpointed(epoch=self.epoch))
        if update is None:
            update = self._write_update(command)
        trained = RoundTrained(
            round=command.round,
            attempt=command.attempt,
            update=command.update,
            sha256=update.sha256,
            size=update.size,
            cases=self._training_cases,
            epochs=tuple(progress.epochs),
            base_score=progress.base_score,
        )
        self._tell(trained)
        return trained

    def _held_near(self, command: TrainRound) -> contextlib.AbstractContextManager[None]:
        """Hold the steps of an epoch near the round's anchor, where the study asks for it."""
        if command.anchor is None:
            return contextlib.nullcontext()
        trainer = self._trainer
        return held_near(
            trainer.network,
            trainer.optimizer,
            anchor=Path(command.anchor),
            mu=command.proximal_mu,
        )

    def _score_base(self, command: TrainRound) -> HeldOutScore | None:
        """Score the average on the held-out cases; a round does not fail because this does.

        With fold "all" no case is held out, so there is nothing to say.
        """
        if self._job.fold == ALL_FOLDS:
            return None
        try:
            score = score_held_out(self._trainer, stopped=self._stopped)
        except JobFailed:
            raise
        # A whole case may need memory that a patch does not; torch raises RuntimeError for it.
        except (RuntimeError, MemoryError):
            _log.exception("the average could not be scored")
            self._tell(Noted(text="the average could not be scored on the held-out cases"))
            return None
        self._tell(BaseScored(round=command.round, attempt=command.attempt, score=score))
        return score

    @property
    def _writes(self) -> bool:
        """Whether this rank writes updates and checkpoints: only the first one does."""
        return self._place is None or self._place.rank == 0

    def _explaining(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._ranks is None else self._ranks.explaining()

    def _write_update(self, command: TrainRound) -> BlobRef:
        """Write what leaves this site, say so, then write what stays."""
        if not self._writes:
            return BlobRef(sha256=Digest("0" * 64), size=0)
        network, path = self._trainer.network, Path(command.update)
        if command.transfer is Transfer.FP32 or command.base is None or command.remainder is None:
            update = write_tensors(network, path)
        else:
            before = command.remainder_before
            update = write_changes(
                network,
                path,
                base=Path(command.base),
                transfer=command.transfer,
                remainder_before=None if before is None else Path(before),
                remainder=Path(command.remainder),
                sent=command.sent,
                whole=command.whole,
            )
        self._tell(
            UpdateWritten(
                round=command.round,
                attempt=command.attempt,
                update=command.update,
                sha256=update.sha256,
                size=update.size,
            )
        )
        if command.own is not None:
            keep_tensors(network, Path(command.own))
        return update

    def close(self) -> None:
        """End nnU-Net's background augmenters; safe to call twice."""
        trainer, self._trainer = self._trainer, None
        ranks, self._ranks = self._ranks, None
        if ranks is not None:
            ranks.close()
        if trainer is not None:
            end_augmenters(trainer)

    # One epoch: the body of nnUNetTrainer.run_training (nnunetv2 2.8.1).

    def _train_epoch(self, round_number: int) -> None:
        trainer = self._trainer
        if self._fold_epoch >= self._job.total_epochs:
            raise OurMistake(f"epoch {self.epoch + 1} is beyond the last epoch of its fold")
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
        outputs = [
            self._step(round_number, step) for step in range(1, self._job.iterations_per_epoch + 1)
        ]
        trainer.on_train_epoch_end(outputs)
        if not all_finite(trainer.network):
            raise _not_finite(f"a weight is not a number after epoch {self.epoch + 1}")

    def _validate_epoch(self, round_number: int, began: float) -> EpochRecord:
        trainer = self._trainer
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            validated = []
            for _ in range(self._job.validation_iterations):
                self._go_on_unless_stopped()
                validated.append(trainer.validation_step(next(trainer.dataloader_val)))
            trainer.on_validation_epoch_end(validated)
        trainer.on_epoch_end()
        self._settle_log()
        return self._record(round_number, time.monotonic() - began)

    def _step(self, round_number: int, step: int) -> dict[str, Any]:
        self._go_on_unless_stopped()
        began = time.monotonic()
        trainer = self._trainer
        batch = next(trainer.dataloader_train)
        wait_s = time.monotonic() - began
        output: dict[str, Any] = trainer.train_step(batch)
        loss = float(output["loss"])
        if not math.isfinite(loss):
            raise _not_finite(f"the loss is not a number in epoch {self.epoch + 1}, step {step}")
        self._tell(
            Stepped(
                record=StepRecord(
                    round=round_number,
                    epoch=self.epoch + 1,
                    step=step,
                    steps_per_epoch=self._job.iterations_per_epoch,
                    loss=loss,
                    seconds=time.monotonic() - began,
                    wait_s=wait_s,
                )
            )
        )
        return output

    def _go_on_unless_stopped(self) -> None:
        if self._stopped():
            raise JobFailed("training was stopped", code=ErrorCode.JOB_STOPPED)

    # nnU-Net's own log of values: one entry per epoch and key, in lists.

    @property
    def _lists(self) -> dict[str, list[Any]]:
        lists: dict[str, list[Any]] = self._trainer.logger.local_logger.my_fantastic_logging
        return lists

    def _align(self, start_epoch: int) -> None:
        """Put the trainer at an epoch of its fold, as a round that is repeated or was missed needs.

        nnU-Net's log must hold exactly one value per epoch: entries of epochs that are done again
        go, and missed epochs repeat the last known value (not a number where there is none).
        """
        for key, values in self._lists.items():
            del values[start_epoch:]
            if key == _EMA and not values:
                continue  # its average must begin with the first epoch trained here
            values.extend([values[-1] if values else _unknown(key)] * (start_epoch - len(values)))
        self._trainer.current_epoch = start_epoch

    def _settle_log(self) -> None:
        """Turn numpy numbers into plain ones, so that a resumed log equals an undisturbed one."""
        for key, values in self._lists.items():
            values[:] = [_plain_value(value) for value in values]
            if key == _EMA:
                values[:0] = [math.nan] * (self._fold_epoch - len(values))

    def _record(self, round_number: int, seconds: float) -> EpochRecord:
        latest = {key: values[-1] for key, values in self._lists.items()}
        return EpochRecord(
            round=round_number,
            epoch=self.epoch,
            train_loss=latest["train_losses"],
            validation_loss=_finite(latest["val_losses"]),
            pseudo_dice=tuple(_finite(dice) for dice in latest["dice_per_class_or_region"]),
            pseudo_dice_average=_finite(latest[_EMA]),
            learning_rate=latest["lrs"],
            seconds=seconds,
        )

    # What is written to disk.

    def _save(self) -> None:
        trainer, progress = self._trainer, self._progress
        if progress is None:
            raise OurMistake("there is no round to save")
        states = random_states()
        others = [] if self._place is None else gathered(states)[1:]
        if not self._writes:
            return
        write_checkpoint(
            {
                "format": _FORMAT,
                "session": self._identity(self._digest),
                "weights": unique_tensors(trainer.network),
                "optimizer": trainer.optimizer.state_dict(),
                "scaler": None if trainer.grad_scaler is None else trainer.grad_scaler.state_dict(),
                "epoch": self._fold_epoch,
                "log": self._lists,
                "round": msgspec.to_builtins(
                    {
                        "round": progress.round,
                        "attempt": progress.attempt,
                        "epochs": progress.epochs,
                        "base_score": progress.base_score,
                    }
                ),
                "random": states,
                "random of other ranks": others,
            },
            self._checkpoint,
        )

    def _restore(self, content: dict[str, Any], digest: str) -> None:
        if content.get("format") != _FORMAT or content.get("session") != self._identity(digest):
            raise SetupProblem("the checkpoint in the workspace belongs to another study or plan")
        trainer = self._trainer
        targets = unique_tensors(trainer.network)
        try:
            with torch.no_grad():
                for name, target in targets.items():
                    target.copy_(content["weights"][name])
            trainer.optimizer.load_state_dict(content["optimizer"])
            if trainer.grad_scaler is not None and content["scaler"] is not None:
                trainer.grad_scaler.load_state_dict(content["scaler"])
            trainer.current_epoch = content["epoch"]
            for key, values in self._lists.items():
                values[:] = content["log"][key]
            self._progress = RoundProgress(
                round=content["round"]["round"],
                attempt=content["round"]["attempt"],
                epochs=msgspec.convert(content["round"]["epochs"], list[EpochRecord]),
                base_score=msgspec.convert(content["round"].get("base_score"), HeldOutScore | None),
            )
            # Last: making the loaders has drawn from the generators.
            rank = 0 if self._place is None else self._place.rank
            known = [content["random"], *content.get("random of other ranks", [])]
            # More ranks than before: a new one goes on from its own seed.
            if rank < len(known):
                restore_random_states(known[rank])
        except (KeyError, ValueError, RuntimeError, msgspec.ValidationError) as exc:
            raise CheckpointDamaged from exc

    def _identity(self, digest: str) -> dict[str, Any]:
        job = self._job
        return {
            "plan": digest,
            "configuration": job.configuration,
            "fold": job.fold,
            "total_epochs": job.total_epochs,
            "iterations": job.iterations_per_epoch,
            "seed": job.seed,
        }


def seed_everything(seed: int) -> None:
    """Seed every generator that nnU-Net draws from: Python's, numpy's and torch's."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - nnU-Net draws from the global one
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """Return the states of all generators as plain values and tensors."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [
            name,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            position,
            has_gauss,
            cached,
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Put all generators where `random_states` found them."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state(  # noqa: NPY002
        (name, keys.numpy().astype(np.uint32), position, has_gauss, cached)
    )
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def _plain_value(value: Any) -> Any:  # noqa: ANN401 - nnU-Net logs floats and lists of floats
    if isinstance(value, list):
        return [float(item) for item in value]
    return float(value)


def _unknown(key: str) -> Any:  # noqa: ANN401
    return [] if key == "dice_per_class_or_region" else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _not_finite(sentence: str) -> JobFailed:
    return JobFailed(sentence, code=ErrorCode.NOT_FINITE)
