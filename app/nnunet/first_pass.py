"""What a cascade's second pass learns from: every training case, segmented by the first pass.

Each case is segmented with the model of the fold that held it out, so that the second pass sees
results as good as those of a new image. It is what `nnUNetTrainer.perform_actual_validation` does at
the end of a fold (nnunetv2 2.8.1: nnU-Net's sliding window with mirroring, then its own
`resample_and_save` to the second pass's shape), case by case in this process; the files are the same
and lie where a stock trainer of the second pass looks for them:

    nnUNet_results/<dataset>/nnUNetTrainer__<plans>__3d_lowres/predicted_next_stage/3d_cascade_fullres/

They stay at the site, as its images do.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.inference.export_prediction import resample_and_save
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot
from numpy.typing import NDArray

from app.domain.errors import ErrorCode, JobFailed, SetupProblem
from app.domain.folds import CASCADE, COARSE
from app.jobs.spec import FirstPassJob
from app.nnunet import devices
from app.nnunet.convert import PlanDocument, read_plan
from app.nnunet.environment import enter
from app.nnunet.preprocessing import (
    keep_what_is_done,
    prepared_folder,
    record_done,
    recorded_stamps,
)
from app.nnunet.stock_trainer import make_predictor, make_trainer
from app.nnunet.weights import TRAINER_NAME, read_into
from app.system.atomic import disk_errors, make_folder, move_durable

_ENDING: Final = ".b2nd"
_WHAT: Final = "segmenting training cases for the second pass"


def segmented_folder(results: Path, plan: PlanDocument) -> Path:
    """Return the folder in which a stock trainer of the second pass looks for its cases.

    `results` is the dataset's folder in nnUNet_results.
    """
    trained = f"{TRAINER_NAME}__{plan.plans['plans_name']}__{COARSE}"
    return results / trained / "predicted_next_stage" / CASCADE


def segment_training_cases(
    job: FirstPassJob,
    *,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Segment every training case with the fold that held it out; return how many there are.

    A case that the same weights made of the same prepared images is not computed again: a killed
    job goes on with what is missing.

    Raises:
        SetupProblem: no such device, no prepared images, or the disk is full.
        PeerMistake: weights do not fit the plan's first network.
        JobFailed: JOB_STOPPED between two cases; finished ones stay.
    """
    plan = read_plan(Path(job.plan))
    folders = enter(Path(job.workspace))
    device = devices.choose(job.device)
    devices.settle(device, threads=job.threads)
    # A network that is compiled anew for every fold costs minutes and saves seconds.
    os.environ["nnUNet_compile"] = "f"  # noqa: SIM112 - nnU-Net's name
    base = folders.preprocessed_dataset
    coarse, fine = (prepared_folder(plan, name, base) for name in (COARSE, CASCADE))
    wanted = _wanted(job.folds, base, recorded_stamps(coarse), recorded_stamps(fine))
    output = make_folder(segmented_folder(folders.results_dataset, plan))
    stamps = {name: stamp for name, (_, stamp) in wanted.items()}
    done = keep_what_is_done(output, stamps, endings=(_ENDING,))
    progress(len(done), len(wanted), _WHAT)
    for fold, weights in job.folds.items():
        names = [name for name, (of, _) in wanted.items() if of == fold and name not in done]
        if not names:
            continue
        model = _Model(plan, base, fold, Path(weights), device, threads=job.threads, fine=fine)
        for name in names:
            if stopped():
                raise JobFailed("segmenting was stopped", code=ErrorCode.JOB_STOPPED)
            model.segment(name, output)
            done[name] = wanted[name][1]
            record_done(output, done)
            progress(len(done), len(wanted), _WHAT)
    return len(wanted)


def with_first_pass(
    data: NDArray[Any],
    segmentation: NDArray[Any],
    labels: Any,  # noqa: ANN401 - nnU-Net's label manager is not typed
) -> NDArray[Any]:
    """Return an image of shape (channels, z, y, x) with one more channel for each label value.

    As nnU-Net puts them together at validation and prediction (nnUNetTrainer.py:1320,
    data_iterators.py:38). `segmentation` has the shape (z, y, x).
    """
    marked = convert_labelmap_to_one_hot(
        segmentation, labels.foreground_labels, output_dtype=data.dtype
    )
    return np.vstack((data, marked))


def check_first_pass(trainer: Any) -> None:  # noqa: ANN401 - nnU-Net's trainer is not typed
    """Raise SetupProblem unless all cases of the trainer's fold are segmented by the first pass."""
    folder = Path(trainer.folder_with_segs_from_previous_stage)
    for names in trainer.do_split():
        for name in names:
            if not (folder / f"{name}{_ENDING}").is_file():
                raise SetupProblem("the training cases are not segmented by the first pass yet")


class _Model:
    """The first pass's network with the weights of one fold."""

    def __init__(
        self,
        plan: PlanDocument,
        base: Path,
        fold: str,
        weights: Path,
        device: torch.device,
        *,
        threads: int,
        fine: Path,
    ) -> None:
        self._threads, self._fine = threads, fine
        self._trainer: Any = make_trainer(
            plan.plans_for(),
            configuration=COARSE,
            fold=fold,
            dataset=load_json(str(base / "dataset.json")),
            device=device,
        )
        self._trainer.initialize()
        read_into(self._trainer.network, weights)
        self._trainer.set_deep_supervision_enabled(False)
        self._predictor = make_predictor(self._trainer, mirroring=True)

    def segment(self, name: str, output: Path) -> None:
        """Write what the network makes of a prepared case into `output`, durably."""
        trainer = self._trainer
        cases = trainer.dataset_class(trainer.preprocessed_dataset_folder, [name])
        image, _, _, properties = cases.load_case(name)
        logits = self._predictor.predict_sliding_window_return_logits(
            torch.from_numpy(np.array(image[:]))
        ).cpu()
        kind = infer_dataset_class(str(self._fine))
        shape = kind(str(self._fine), [name]).load_case(name)[0].shape[1:]
        with (
            disk_errors(output),
            tempfile.TemporaryDirectory(dir=output.parent, prefix=".segmenting-") as scratch,
        ):
            stem = Path(scratch) / name
            resample_and_save(
                logits,
                shape,
                str(stem),
                trainer.plans_manager,
                trainer.configuration_manager,
                properties,
                trainer.dataset_json,
                self._threads,
                kind,
            )
            file = f"{name}{_ENDING}"
            move_durable(stem.with_name(file), output / file)


def _wanted(
    folds: Mapping[str, str], base: Path, coarse: Mapping[str, str], fine: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """Return for every prepared case the fold that held it out and what its result is made of.

    With fewer cases than folds several hold out the same one; the first of them segments it.
    """
    try:
        splits = json.loads((base / "splits_final.json").read_bytes())
    except (OSError, ValueError) as exc:
        raise SetupProblem("the images are not prepared for training") from exc
    found: dict[str, tuple[str, str]] = {}
    for fold, weights in folds.items():
        with Path(weights).open("rb") as file:
            made_by = hashlib.file_digest(file, "sha256").hexdigest()
        for name in splits[int(fold)]["val"]:
            if name not in found and name in coarse and name in fine:
                parts = f"{made_by}\0{coarse[name]}\0{fine[name]}"
                found[name] = (fold, hashlib.sha256(parts.encode()).hexdigest())
    missing = sorted(set(fine) - set(found))
    if missing or not found:
        what = f"case {missing[0]}" if missing else "any case"
        raise SetupProblem(f"no fold of the first pass held out {what}, or it is not prepared")
    return found
