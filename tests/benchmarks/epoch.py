"""Measure an epoch inside a federation against one of plain nnU-Net, in turn, in one process.

    python tests/benchmarks/epoch.py [--pairs 15] [--iterations 20] [--json]

Both train the same tiny plan on the same prepared images from the same weights on one processor thread.
Plain: the body of stock `run_training`, once with everything (`ratio`: its picture of the curves and its
checkpoints too) and once without those (`bare_ratio`, the harder one). Ours: a round of one epoch in a
training session, with its events, its update as rounded changes, and its checkpoint. Epochs alternate, so
what else the machine does touches all alike; figures are medians over pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

CONFIGURATION = "3d_fullres"


def plain_epoch(trainer: Any) -> float:
    """One turn of the loop in nnUNetTrainer.run_training (nnunetv2 2.8.1)."""
    import torch

    began = time.perf_counter()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    trained = [
        trainer.train_step(next(trainer.dataloader_train))
        for _ in range(trainer.num_iterations_per_epoch)
    ]
    trainer.on_train_epoch_end(trained)
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        validated = [
            trainer.validation_step(next(trainer.dataloader_val))
            for _ in range(trainer.num_val_iterations_per_epoch)
        ]
        trainer.on_validation_epoch_end(validated)
    trainer.on_epoch_end()
    return time.perf_counter() - began


def plain_trainer(plan: Path, job: Any, *, bare: bool) -> Any:
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from app.nnunet.convert import fold_of, read_plan
    from app.nnunet.environment import enter

    folders = enter(Path(job.workspace))
    trainer: Any = nnUNetTrainer(
        plans={**read_plan(plan).plans_for(), "continue_training": False},
        configuration=CONFIGURATION, fold=fold_of(job.fold),
        dataset_json=json.loads((folders.preprocessed_dataset / "dataset.json").read_text()),
        device=torch.device("cpu"),
    )  # fmt: skip
    trainer.num_epochs = job.total_epochs
    trainer.num_iterations_per_epoch = job.iterations_per_epoch
    trainer.num_val_iterations_per_epoch = job.validation_iterations
    if bare:
        trainer.disable_checkpointing = True
        trainer.logger.plot_progress_png = lambda *_: None
    trainer.initialize()
    trainer.on_train_start()
    return trainer


def measure(*, pairs: int, iterations: int) -> dict[str, float]:
    import torch
    from helpers import volumes

    from app.domain.study import Transfer
    from app.jobs.spec import TrainJob, TrainRound
    from app.nnunet.convert import read_plan
    from app.nnunet.initial import draw
    from app.nnunet.preprocessing import preprocess
    from app.nnunet.session import TrainingSession

    torch.set_num_threads(1)
    os.environ.update({"nnUNet_compile": "f", "nnUNet_n_proc_DA": "0"})
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        plan = volumes.write_plan(folder / "plan.json")
        data = volumes.dataset_folder(volumes.write_dataset(folder / "data"))
        workspace = folder / "workspace"
        preprocess(
            read_plan(plan), data, workspace=workspace, configuration=CONFIGURATION, fold="0"
        )
        base = folder / "base.safetensors"
        draw(plan, configuration=CONFIGURATION, seed=1, output=base)
        job = TrainJob(
            plan=str(plan), workspace=str(workspace), configuration=CONFIGURATION, fold="0",
            total_epochs=1000, iterations_per_epoch=iterations,
            validation_iterations=max(1, iterations // 5), seed=1,
            checkpoint=str(folder / "checkpoint.pth"), device="cpu",
        )  # fmt: skip
        session = TrainingSession(job)
        session.open()
        stock = plain_trainer(plan, job, bare=False)
        bare = plain_trainer(plan, job, bare=True)

        def ours(number: int) -> float:
            command = TrainRound(
                round=number, attempt=1, epochs=1, start_epoch=number - 1, base=str(base),
                update=str(folder / "update"), transfer=Transfer.INT8,
                remainder=str(folder / "remainder"), own=str(folder / "own"),
            )  # fmt: skip
            # As the site tells it: from the epoch's first step to its record.
            return session.train(command).epochs[-1].seconds

        times: dict[str, list[float]] = {"ours": [], "stock": [], "bare": []}
        for number in range(1, pairs + 2):
            found = {"bare": plain_epoch(bare), "ours": ours(number), "stock": plain_epoch(stock)}
            if number > 1:  # the first turn fills caches
                for name, seconds in found.items():
                    times[name].append(seconds)
        session.close()
    pairs_of = list(zip(times["ours"], times["stock"], times["bare"], strict=True))
    return {
        "ratio": statistics.median(mine / stock for mine, stock, _ in pairs_of),
        "bare_ratio": statistics.median(mine / bare for mine, _, bare in pairs_of),
        "best_bare_ratio": min(times["ours"]) / min(times["bare"]),
        "ours_s": statistics.median(times["ours"]),
        "stock_s": statistics.median(times["stock"]),
        "bare_s": statistics.median(times["bare"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args()
    with contextlib.redirect_stdout(io.StringIO()):  # nnU-Net prints
        found = measure(pairs=parsed.pairs, iterations=parsed.iterations)
    print(json.dumps(found, indent=None if parsed.json else 2))


if __name__ == "__main__":
    main()
