"""Several graphics cards for one round: nnU-Net's own DistributedDataParallel, started from here.

nnU-Net's command starts one process per card with NCCL, trains a whole study and ends. Here the
worker itself is rank 0: it speaks to the service, writes updates and checkpoints; the other ranks
are its children, do each command as it does, and write nothing. Commands go through pipes, for the
time between rounds may be hours; gradients, losses and metrics go through torch.distributed, by
NCCL between CUDA devices and by Gloo elsewhere.

Stock trainers take it for granted that distributed means CUDA. `distributed_trainer` mends that
for the processor: it is how this is tested where there is no graphics card.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import torch
import torch.multiprocessing
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import distributed

from app.domain.errors import ErrorCode, FednnunetError, JobFailed
from app.jobs.spec import TrainJob, TrainRound

_log = logging.getLogger(__name__)

_TIMEOUT: Final = timedelta(hours=1)
"""No step takes so long; that a rank has died is found by watching it, not by this."""
_LOOK_EVERY_S: Final = 0.2
_SOON_S: Final = 3.0
_GRACE_S: Final = 15.0
"""Gloo notices a dead rank at once, NCCL may wait for ever: then this process is ended."""
_SEED_STRIDE: Final = 1_000_003
_LOOPBACK: Final = {"linux": "lo", "darwin": "lo0"}


class Pipe(Protocol):
    """What is used of a connection of multiprocessing."""

    def send_bytes(self, data: bytes, /) -> None: ...
    def recv_bytes(self) -> bytes: ...
    def poll(self) -> bool: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which of how many ranks this process is, and the file by which they find each other."""

    rank: int
    count: int
    meeting: str

    def seed(self, seed: int) -> int:
        """Return this rank's own seed: every rank draws other patches; rank 0 as if alone."""
        return seed + _SEED_STRIDE * self.rank


class Ranks:
    """Rank 0's hold on the others: started by the constructor, gone after `close`.

    `lost` is called, from a thread, when another rank has died and this process hangs on it.
    """

    def __init__(self, job: TrainJob, count: int, *, lost: Callable[[JobFailed], None]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fednnunet-ranks-")
        self.place = Place(rank=0, count=count, meeting=str(Path(self._folder.name) / "meeting"))
        self.failure: JobFailed | None = None
        self._lost = lost
        self._closing, self._failed = threading.Event(), threading.Event()
        context = torch.multiprocessing.get_context("spawn")
        self._pipes: list[Pipe] = []
        self._processes: list[Any] = []
        for rank in range(1, count):
            ours, theirs = context.Pipe()
            place = Place(rank=rank, count=count, meeting=self.place.meeting)
            process = context.Process(
                target=_run_rank,
                args=(msgspec.json.encode(job), place, theirs),
                name=f"rank {rank}",
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self._watch = threading.Thread(target=self._watch_ranks, name="ranks", daemon=True)
        self._watch.start()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the other ranks."""
        return tuple(process.pid for process in self._processes)

    def send(self, command: TrainRound) -> None:
        """Let every other rank do `command` too; raises JobFailed when one is gone."""
        try:
            for pipe in self._pipes:
                pipe.send_bytes(msgspec.json.encode(command))
        except OSError as exc:
            raise self._why() from exc

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn what this rank meets because another one died into why that one did."""
        try:
            yield
        except FednnunetError:
            raise
        except Exception as exc:
            # What broke here may be that another rank died a moment ago.
            if self._failed.wait(_SOON_S) and self.failure is not None:
                raise self.failure from exc
            raise

    def close(self) -> None:
        """End the other ranks: at once, for nothing of theirs is on disk; safe to call twice."""
        self._closing.set()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        self._watch.join()
        for pipe in self._pipes:
            pipe.close()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        self._folder.cleanup()

    def _why(self) -> JobFailed:
        return self.failure or JobFailed("another rank has ended", code=ErrorCode.JOB_LOST)

    def _watch_ranks(self) -> None:
        while not self._closing.wait(_LOOK_EVERY_S):
            for rank, (process, pipe) in enumerate(
                zip(self._processes, self._pipes, strict=True), 1
            ):
                if process.is_alive():
                    continue
                self.failure = _last_words(pipe, rank)
                self._failed.set()
                _log.warning("rank %d has ended: %s", rank, self.failure)
                if not self._closing.wait(_GRACE_S):
                    self._lost(self.failure)
                return


def join(place: Place, device: torch.device) -> None:
    """Enter the group of ranks; returns when all are there."""
    if sys.platform in _LOOPBACK:
        # All ranks are on this computer; Gloo would ask the name service for an address.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])
    if device.type == "cuda":
        torch.cuda.set_device(place.rank)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" and distributed.is_nccl_available() else "gloo",
        init_method=Path(place.meeting).as_uri(),
        rank=place.rank,
        world_size=place.count,
        timeout=_TIMEOUT,
    )


def distributed_trainer(device: torch.device, make: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Make a stock trainer in a group of ranks; it computes on `device`, also when that is a CPU."""
    with warnings.catch_warnings():
        # It makes a scaler for CUDA, whatever the device.
        warnings.filterwarnings("ignore", message=".*GradScaler.*", category=UserWarning)
        trainer = make()
    if device.type == "cpu":
        trainer.device, trainer.grad_scaler = device, None
    return trainer


@contextlib.contextmanager
def wrapping(device: torch.device) -> Iterator[None]:
    """Let a trainer's `initialize` wrap its network for this kind of device."""
    # By name, for package and module have the name of the class.
    trainer_module: Any = importlib.import_module(nnUNetTrainer.__module__)
    stock = trainer_module.DDP
    if device.type == "cpu":

        def on_processor(network: torch.nn.Module, **_: object) -> torch.nn.Module:
            wrapped: torch.nn.Module = stock(network)
            return wrapped

        trainer_module.DDP = on_processor
    try:
        yield
    finally:
        trainer_module.DDP = stock


def gathered(value: Any) -> list[Any]:  # noqa: ANN401 - states of generators
    """Return every rank's value, in the order of ranks; all ranks must call it."""
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def _last_words(pipe: Pipe, rank: int) -> JobFailed:
    with contextlib.suppress(OSError, EOFError, ValueError):
        if pipe.poll():
            code, sentence = msgspec.json.decode(pipe.recv_bytes(), type=tuple[str, str])
            return JobFailed(sentence, code=ErrorCode(code))
    return JobFailed(f"rank {rank} of this training has died", code=ErrorCode.JOB_LOST)


def _run_rank(document: bytes, place: Place, pipe: Pipe) -> None:
    """Be another rank: open a session as rank 0 does, then do every command that comes."""
    from app.nnunet.session import TrainingSession

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    job = msgspec.json.decode(document, type=TrainJob)
    session = TrainingSession(job, place=place)
    try:
        session.open()
        while True:
            session.train(msgspec.json.decode(pipe.recv_bytes(), type=TrainRound))
    except EOFError:
        os._exit(0)  # rank 0 is gone; nothing here is worth an orderly end
    except Exception as exc:
        logging.getLogger(__name__).exception("rank %d fails", place.rank)
        with contextlib.suppress(OSError):
            pipe.send_bytes(msgspec.json.encode(_words_of(exc)))
        os._exit(1)


def _words_of(error: BaseException) -> tuple[str, str]:
    if isinstance(error, FednnunetError):
        return error.code.value, str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return ErrorCode.GPU_MEMORY.value, "a graphics card has not enough free memory for the job"
    if isinstance(error, MemoryError):
        return ErrorCode.MEMORY_FULL.value, "this computer has not enough free memory for the job"
    return ErrorCode.JOB_LOST.value, f"another rank met {type(error).__name__}"


def _end_with_parent(parent: int) -> None:
    """End this rank soon after rank 0 did, whatever it waits for."""
    never = threading.Event()
    while os.getppid() == parent:
        never.wait(1.0)
    os._exit(1)
