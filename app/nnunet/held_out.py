"""Scoring the network that a session holds on the fold's held-out cases: whole cases, no patches.

nnU-Net's own sliding window runs over every held-out case as it was prepared for training, as
`nnUNetTrainer.perform_actual_validation` does (nnunetv2 2.8.1), but in this process, without
mirroring, and compared on the prepared grid: neither resampled back nor written. So an average can
be judged before the next round at the price of one prediction per held-out case. No random number
is drawn: a session that scores trains the same weights as one that does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from numpy.typing import NDArray

from app.domain.errors import ErrorCode, JobFailed, SetupProblem
from app.domain.training import HeldOutScore
from app.jobs.spec import HeldOutJob
from app.nnunet import devices
from app.nnunet.convert import read_plan
from app.nnunet.environment import enter
from app.nnunet.first_pass import with_first_pass
from app.nnunet.stock_trainer import make_predictor, make_trainer
from app.nnunet.weights import read_into

Mask = NDArray[np.bool_]


def score_held_out(
    trainer: Any,  # noqa: ANN401 - nnU-Net's trainer is not typed
    *,
    mirroring: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> HeldOutScore:
    """Return the Dice per foreground label (or region), averaged over the fold's held-out cases.

    A case in which neither the reference nor the network has a label does not count for that
    label. The network is left as the next training step needs it.

    Raises:
        JobFailed: JOB_STOPPED when `stopped` said so between two cases.
    """
    trainer.set_deep_supervision_enabled(False)
    try:
        predictor = make_predictor(trainer, mirroring=mirroring)
        _, names = trainer.do_split()
        cases = trainer.dataset_class(
            trainer.preprocessed_dataset_folder,
            names,
            folder_with_segs_from_previous_stage=trainer.folder_with_segs_from_previous_stage,
        )
        found: list[list[float]] = []
        for name in sorted(names):
            if stopped():
                raise JobFailed("scoring the average was stopped", code=ErrorCode.JOB_STOPPED)
            image, reference, first_pass, _ = cases.load_case(name)
            data = np.array(image[:])
            if trainer.is_cascaded:
                data = with_first_pass(data, first_pass[:], trainer.label_manager)
            with torch.inference_mode():
                logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(data))
            found.append(_dice_of_case(trainer.label_manager, logits, np.asarray(reference[:])))
    finally:
        trainer.set_deep_supervision_enabled(True)
        trainer.network.train()
    return HeldOutScore(cases=len(found), dice=_mean_over_cases(found))


def score_weights(job: HeldOutJob, *, stopped: Callable[[], bool] = lambda: False) -> HeldOutScore:
    """Score a file of weights, as after the last round, when no session lives any more.

    Raises:
        SetupProblem: no such device, or no prepared images.
        PeerMistake: the weights do not fit the plan's network.
        JobFailed: JOB_STOPPED.
    """
    plan = read_plan(Path(job.plan))
    folders = enter(Path(job.workspace))
    device = devices.choose(job.device)
    devices.settle(device, threads=job.threads)
    dataset_file = folders.preprocessed_dataset / "dataset.json"
    if not dataset_file.is_file():
        raise SetupProblem("the images are not prepared for scoring")
    trainer: Any = make_trainer(
        plan.plans_for(),
        configuration=job.configuration,
        fold=job.fold,
        dataset=load_json(str(dataset_file)),
        device=device,
    )
    trainer.initialize()
    read_into(trainer.network, Path(job.weights))
    return score_held_out(trainer, stopped=stopped)


def _dice_of_case(
    labels: Any,  # noqa: ANN401 - nnU-Net's label manager is not typed
    logits: torch.Tensor,
    reference: NDArray[np.integer[Any]],
) -> list[float]:
    """Return one Dice per label or region; not a number where both are empty.

    `reference` has the shape (1, z, y, x). Voxels with the ignore label do not count, and -1,
    which the preprocessor writes outside the cropped region, is background.
    """
    predicted = np.asarray(
        labels.convert_probabilities_to_segmentation(
            labels.apply_inference_nonlin(logits.float().cpu())
        )
    )
    truth = reference[0]
    counted: Mask = (
        truth != labels.ignore_label if labels.has_ignore_label else np.ones(truth.shape, bool)
    )
    groups = labels.foreground_regions if labels.has_regions else labels.foreground_labels
    return [_dice(_is_in(predicted, one) & counted, _is_in(truth, one) & counted) for one in groups]


def _is_in(values: NDArray[np.generic], label: int | tuple[int, ...]) -> Mask:
    return np.isin(values, label if isinstance(label, tuple) else (label,))


def _dice(predicted: Mask, truth: Mask) -> float:
    both = int(predicted.sum()) + int(truth.sum())
    return 2.0 * int((predicted & truth).sum()) / both if both else math.nan


def _mean_over_cases(found: list[list[float]]) -> tuple[float | None, ...]:
    means: list[float | None] = []
    for column in zip(*found, strict=True):
        defined = [value for value in column if not math.isnan(value)]
        means.append(sum(defined) / len(defined) if defined else None)
    return tuple(means)
