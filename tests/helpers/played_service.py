"""A site service that is played: it serves a snapshot with a long history and goes on training.

    python tests/helpers/played_service.py HOME [--epochs N] [--step-s S] [--epoch-s S]

A process of its own, with the real control server: a window attaches to it as to any service. It
prints one line when it listens and plays until its input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import math
import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve()
    sys.path[:0] = [str(here.parents[1]), str(here.parents[2])]

import msgspec
from helpers import snapshots
from msgspec.structs import replace

from app.control.messages import (
    Accepted,
    Answer,
    EpochFinished,
    Logged,
    Request,
    Sampled,
    Snapshot,
    StepTaken,
)
from app.control.mirror import apply
from app.control.server import ControlServer
from app.domain.training import StepRecord

STEPS = 250


def long_history(epochs: int) -> Snapshot:
    """A study in its epoch `epochs` + 1, with two cards' readings of the last ten minutes."""
    base = snapshots.training(card=True)
    return replace(
        base,
        training=replace(
            base.training,
            round=epochs // 20 + 1,
            rounds=epochs // 20 + 10,
            epoch=epochs + 1,
            total_epochs=epochs + 200,
            steps_per_epoch=STEPS,
            step=1,
            epochs=tuple(
                dataclasses.replace(
                    record,
                    round=(record.epoch - 1) // 20 + 1,
                    learning_rate=0.01 * (1 - record.epoch / (epochs + 200)) ** 0.9,
                )
                for record in snapshots.epochs(epochs)
            ),
            steps=snapshots.steps(epochs + 1, 1),
            samples=snapshots.samples(600, card=True),
        ),
    )


class Player:
    """Answers every command with yes."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.now = snapshot
        self.told = 0

    def snapshot(self) -> Snapshot:
        return self.now

    async def answer(self, frame: bytes) -> Answer:
        request = msgspec.json.decode(frame, type=Request)
        return Answer(number=request.number, answer=Accepted())


async def play(home: Path, *, epochs: int, step_s: float, epoch_s: float) -> None:
    player = Player(long_history(epochs))
    server = ControlServer(home=home, handler=player)
    home.mkdir(parents=True, exist_ok=True)
    await server.start()
    print("listening", flush=True)

    def tell(message: object) -> None:
        player.now = apply(player.now, message)
        player.told += 1
        server.broadcast(message)

    async def steps() -> None:
        while True:
            await asyncio.sleep(step_s)
            view = player.now.training
            step = view.step % STEPS + 1
            record = StepRecord(
                round=view.round,
                epoch=view.epoch,
                step=step,
                steps_per_epoch=STEPS,
                loss=-0.4 + 0.05 * math.sin(step),
                seconds=step_s,
            )
            tell(StepTaken(record=record, seconds_left=900.0 - step))

    async def epochs_end() -> None:
        while True:
            await asyncio.sleep(epoch_s)
            last = player.now.training.epochs[-1]
            tell(EpochFinished(record=dataclasses.replace(last, epoch=last.epoch + 1)))

    async def readings() -> None:
        second = 0
        while True:
            await asyncio.sleep(1.0)
            second += 1
            sample = player.now.training.samples[-1]
            tell(Sampled(sample=replace(sample, cpu_percent=60 + second % 30)))
            if second % 5 == 0:
                tell(Logged(line=snapshots.log_line(f"line {second}")))

    players = [asyncio.create_task(one()) for one in (steps, epochs_end, readings)]
    await asyncio.to_thread(sys.stdin.read)
    for one in players:
        one.cancel()
    await asyncio.gather(*players, return_exceptions=True)
    await server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--step-s", type=float, default=0.5)
    parser.add_argument("--epoch-s", type=float, default=20.0)
    asked = parser.parse_args()
    asyncio.run(play(asked.home, epochs=asked.epochs, step_s=asked.step_s, epoch_s=asked.epoch_s))
