"""How long a training step takes here: a few steps of a stock trainer, measured.

With a plan and prepared images the steps are real ones, loading and augmentation included. Without
images they are noise; without a plan the network is the largest that the study's planner makes.
Where a step of the whole patch would take too long, smaller patches are measured and the time is
multiplied: the work of a convolution grows with its voxels.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json

from app.domain.errors import ErrorCode, JobFailed
from app.domain.folds import CASCADE, FINE
from app.domain.study import StudyTerms
from app.federation.network import Architecture, NetworkPlan
from app.federation.traffic import largest_network
from app.jobs.events import Calibrated
from app.jobs.spec import CalibrateJob
from app.jobs.workspace import DATASET, Workspace
from app.nnunet import devices
from app.nnunet.convert import read_plan
from app.nnunet.environment import enter
from app.nnunet.planning import describe_dataset
from app.nnunet.stock_trainer import end_augmenters, make_trainer
from app.system.atomic import make_folder

MOST_STEPS: Final = 20
_WARM_UP: Final = 2
"""Steps that are not counted: the first ones choose algorithms and fill caches."""
_VALIDATIONS: Final = 3
_SHARE_OF_A_STEP: Final = 6
"""A patch is measured whole when this many of its steps are expected to fit into the time."""


def calibrate(
    job: CalibrateJob,
    *,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Calibrated:
    """Measure for about `job.seconds`; see the module.

    Raises:
        SetupProblem: no such device.
        PeerMistake: the plan is not one.
        JobFailed: JOB_STOPPED.
    """
    workspace = Path(job.workspace)
    prepared = Workspace(root=workspace).preprocessed_dataset
    real = job.plan is not None and any(prepared.glob("*/*.b2nd"))
    # A place of its own where there are no images: nothing of it may lie among a study's.
    folders = enter(workspace if real else workspace / "calibration")
    os.environ["nnUNet_n_proc_DA"] = str(job.loader_processes)  # noqa: SIM112 - nnU-Net's name
    device = devices.choose(job.device)
    devices.settle(device, threads=job.threads)
    # Compiling takes minutes and is no part of a study's pace.
    os.environ["nnUNet_compile"] = "f"  # noqa: SIM112
    dataset_file = folders.preprocessed_dataset / "dataset.json"
    plans, dataset = _plans(job)
    if real:
        dataset = load_json(str(dataset_file))
    else:
        configuration = plans["configurations"][_measured(job.terms)]
        images = make_folder(folders.preprocessed_dataset / configuration["data_identifier"])
        # A stock trainer looks for the kind of files that it will read before it reads any.
        (images / "none.b2nd").touch()
    whole = tuple(plans["configurations"][_measured(job.terms)]["patch_size"])
    patch, scale = whole, 1.0
    if not real or device.type == "cpu":
        patch = _affordable(job, plans, dataset, device, whole)
        scale = math.prod(whole) / math.prod(patch)
        real = real and patch == whole
    plans["configurations"][_measured(job.terms)]["patch_size"] = list(patch)
    trainer = _trainer(job, plans, dataset, device)
    try:
        if real:
            trainer.on_train_start()
            batches: Iterator[Any] = trainer.dataloader_train
        else:
            batches = _noise(trainer, patch)
        steps = _timed(
            lambda: trainer.train_step(next(batches)),
            device,
            seconds=job.seconds,
            most=MOST_STEPS,
            progress=progress,
            stopped=stopped,
        )
        trainer.network.eval()
        with torch.no_grad():
            validations = _timed(
                lambda: trainer.validation_step(next(batches)),
                device,
                seconds=job.seconds / 4,
                most=_VALIDATIONS,
                progress=lambda *_: None,
                stopped=stopped,
            )
    finally:
        end_augmenters(trainer)
    return Calibrated(
        device=devices.name_of(device),
        steps=len(steps),
        step_s=statistics.median(steps) * scale,
        validation_step_s=statistics.median(validations) * scale,
        batch_size=trainer.configuration_manager.batch_size,
        patch=whole,
        scaled=scale != 1.0,
        real_images=real,
    )


def _plans(job: CalibrateJob) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return plans of this job's own, resolved, and a dataset.json."""
    if job.plan is None:
        return reference_plans(job.terms), describe_dataset(job.terms, 1)
    plan = read_plan(Path(job.plan))
    return plan.plans_for(), plan.dataset


def _affordable(
    job: CalibrateJob,
    plans: dict[str, Any],
    dataset: dict[str, Any],
    device: torch.device,
    whole: tuple[int, ...],
) -> tuple[int, ...]:
    """Return the largest patch whose steps fit into the time, by one step of the smallest."""
    configuration = plans["configurations"][_measured(job.terms)]
    strides = configuration["architecture"]["arch_kwargs"]["strides"]
    least = [math.prod(stride[axis] for stride in strides) * 2 for axis in range(len(whole))]
    small = tuple(min(size, least[axis]) for axis, size in enumerate(whole))
    configuration["patch_size"] = list(small)
    trainer = _trainer(job, plans, dataset, device)
    batches = _noise(trainer, small)
    trainer.train_step(next(batches))
    _settle(device)
    began = time.monotonic()
    trainer.train_step(next(batches))
    _settle(device)
    step_s = time.monotonic() - began
    fits = job.seconds / _SHARE_OF_A_STEP
    if step_s * math.prod(whole) / math.prod(small) <= fits:
        return whole
    patch = list(small)
    while True:
        # Twice along the axis that is shortest for its size, as long as a step fits.
        grown = [axis for axis, size in enumerate(patch) if size * 2 <= whole[axis]]
        cost = step_s * 2 * math.prod(patch) / math.prod(small)
        if not grown or cost > fits:
            return tuple(patch)
        patch[min(grown, key=lambda axis: patch[axis] / whole[axis])] *= 2


def _trainer(
    job: CalibrateJob, plans: dict[str, Any], dataset: dict[str, Any], device: torch.device
) -> Any:  # noqa: ANN401 - nnU-Net has no types
    if job.batch_size is not None:
        plans["configurations"][_measured(job.terms)]["batch_size"] = job.batch_size
    trainer: Any = make_trainer(
        plans,
        configuration=_measured(job.terms),
        fold=job.terms.folds[0],
        dataset=dataset,
        device=device,
    )
    trainer.disable_checkpointing = True
    trainer.print_to_log_file = lambda *_arguments, **_keywords: None
    trainer.initialize()
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    trainer.network.train()
    return trainer


def _noise(trainer: Any, patch: tuple[int, ...]) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Yield batches of noise, shaped as the trainer's loaders make them."""
    random = np.random.default_rng(0)
    batch = trainer.configuration_manager.batch_size
    labels = trainer.label_manager
    values = labels.foreground_regions if labels.has_regions else labels.all_labels
    channels = len(values) if labels.has_regions else 1
    highest = 2 if labels.has_regions else len(values)
    scales = trainer._get_deep_supervision_scales() or [[1.0] * len(patch)]  # noqa: SLF001
    while True:
        data = torch.from_numpy(
            random.standard_normal((batch, trainer.num_input_channels, *patch), dtype=np.float32)
        )
        targets = [
            torch.from_numpy(
                random.integers(
                    highest,
                    size=(
                        batch,
                        channels,
                        *(round(size * part) for size, part in zip(patch, scale, strict=True)),
                    ),
                ).astype(np.float32)
            )
            for scale in scales
        ]
        yield {"data": data, "target": targets if trainer.enable_deep_supervision else targets[0]}


def _timed(
    step: Callable[[], object],
    device: torch.device,
    *,
    seconds: float,
    most: int,
    progress: Callable[[int, int, str], None],
    stopped: Callable[[], bool],
) -> list[float]:
    """Return the seconds of each step after the first ones, for about `seconds` in all."""
    taken: list[float] = []
    began = time.monotonic()
    for number in range(_WARM_UP + most):
        if stopped():
            raise JobFailed("the measurement was stopped", code=ErrorCode.JOB_STOPPED)
        progress(min(number, most), most, "measuring training steps")
        start = time.monotonic()
        step()
        _settle(device)
        end = time.monotonic()
        # One counted step is needed; a slow machine has no time for uncounted ones.
        if number >= _WARM_UP or end - began > seconds / 2:
            taken.append(end - start)
        if taken and end - began > seconds:
            break
    return taken


def _settle(device: torch.device) -> None:
    """Wait for the device: a graphics card works on after a call has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _measured(terms: StudyTerms) -> str:
    """Return the configuration whose steps are measured.

    Of a cascade that is the one whose images and network the second pass has, but for some more
    channels: there is no first pass yet that could fill them. The first pass's patches are as large.
    """
    return FINE if terms.configuration == CASCADE else terms.configuration


def reference_plans(terms: StudyTerms) -> dict[str, Any]:
    """Return plans of the largest usual network for `terms`, as nnU-Net 2.8.1 writes them."""
    network = largest_network(terms)
    axes = len(network.strides[0])
    patch = [128] * 3 if axes == 3 else [512] * 2
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [128, 128, 128],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": terms.planner,
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {},
        "continue_training": False,
        "configurations": {
            _measured(terms): {
                "data_identifier": "nnUNetPlans_calibration",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2 if axes == 3 else 12,
                "patch_size": patch,
                "median_image_size_in_voxels": patch,
                "spacing": [1.0] * axes,
                "normalization_schemes": ["ZScoreNormalization"] * len(terms.channel_names),
                "use_mask_for_norm": [False] * len(terms.channel_names),
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "batch_dice": axes == 2,
                "architecture": _architecture(network, axes),
            }
        },
    }


def _architecture(network: NetworkPlan, axes: int) -> dict[str, Any]:
    residual = network.architecture is Architecture.RESIDUAL
    depth = "n_blocks_per_stage" if residual else "n_conv_per_stage"
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet."
        f"{network.architecture.value}",
        "arch_kwargs": {
            "n_stages": network.stages,
            "features_per_stage": list(network.features),
            "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
            "kernel_sizes": [list(kernel) for kernel in network.kernels],
            "strides": [list(stride) for stride in network.strides],
            depth: list(network.encoder_depth),
            "n_conv_per_stage_decoder": list(network.decoder_depth),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
