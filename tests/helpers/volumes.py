"""Small synthetic datasets and plans: deterministic, quick, and shaped like the real thing."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

CHANNEL = "MR"
LABELS = {"background": 0, "front": 1, "back": 2}
CASES = 6
SIDE = 32


def volume(number: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Return (image, label) of case ``number``: two touching balls in noise, axes z y x."""
    random = np.random.default_rng(number)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"))
    centre = side / 2 + random.uniform(-3, 3, size=3)
    distance = np.sqrt(((grid - centre[:, None, None, None]) ** 2).sum(axis=0))
    inside = distance < side / 4 + random.uniform(-1, 1)
    label = np.where(inside, np.where(grid[1] < centre[1], 1, 2), 0).astype(np.uint8)
    image = 100 + 60 * (label == 1) + 120 * (label == 2) + random.normal(0, 15, label.shape)
    return image.astype(np.float32), label


def write_dataset(folder: Path, *, cases: int = CASES, side: int = SIDE, first: int = 0) -> Path:
    """Write an nnU-Net folder of ``cases`` synthetic cases and return it."""
    import SimpleITK

    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + cases):
        image, label = volume(number, side)
        for array, path in (
            (image, folder / "imagesTr" / f"case_{number:03d}_0000.nii.gz"),
            (label, folder / "labelsTr" / f"case_{number:03d}.nii.gz"),
        ):
            picture = SimpleITK.GetImageFromArray(array)
            picture.SetSpacing((1.0, 1.0, 1.0))
            SimpleITK.WriteImage(picture, str(path))
    description = {
        "channel_names": {"0": CHANNEL},
        "labels": LABELS,
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def dataset_folder(folder: Path) -> Any:
    """Return what a scan of ``write_dataset``'s folder finds."""
    from app.domain.dataset import Case, DatasetDescription, DatasetFolder

    names = sorted(path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").iterdir())
    return DatasetFolder(
        root=str(folder),
        layout="nnunet",
        description=DatasetDescription(
            channel_names=(CHANNEL,), labels=dict(LABELS), file_ending=".nii.gz"
        ),
        training=tuple(
            Case(
                name=name,
                channels=(str(folder / "imagesTr" / f"{name}_0000.nii.gz"),),
                label=str(folder / "labelsTr" / f"{name}.nii.gz"),
            )
            for name in names
        ),
    )


_RESAMPLING = {
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_seg": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities_kwargs": {
        "is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None,
    },
}  # fmt: skip


def _architecture(features: tuple[int, ...], dimensions: int) -> dict[str, Any]:
    stages = len(features)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(features),
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": [[3] * dimensions] * stages,
            "strides": [[1] * dimensions] + [[2] * dimensions] * (stages - 1),
            "n_conv_per_stage": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def plan_content(
    *,
    patch: tuple[int, ...] = (16, 32, 32),
    features: tuple[int, ...] = (8, 16, 32),
    batch: int = 2,
    cases: int = CASES,
) -> dict[str, Any]:
    """Return what a plan package holds, for `write_dataset`'s images and a very small network."""
    intensities = {
        "max": 250.0, "mean": 190.0, "median": 185.0, "min": 40.0,
        "percentile_00_5": 110.0, "percentile_99_5": 250.0, "std": 34.0,
    }  # fmt: skip
    plans = {
        "dataset_name": "Dataset001_Study",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [SIDE] * 3,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": batch,
                "patch_size": list(patch),
                "median_image_size_in_voxels": [SIDE] * 3,
                "spacing": [1.0, 1.0, 1.0],
                "normalization_schemes": ["ZScoreNormalization"],
                "use_mask_for_norm": [False],
                "architecture": _architecture(features, len(patch)),
                "batch_dice": False,
                **copy.deepcopy(_RESAMPLING),
            }
        },
    }
    return {
        "plans": plans,
        "dataset": {
            "channel_names": {"0": CHANNEL},
            "labels": LABELS,
            "numTraining": cases,
            "file_ending": ".nii.gz",
            "overwrite_image_reader_writer": "SimpleITKIO",
        },
        "fingerprint": {
            "spacings": [[1.0, 1.0, 1.0]] * 2,
            "shapes_after_crop": [[SIDE] * 3] * 2,
            "median_relative_size_after_cropping": 1.0,
            "foreground_intensity_properties_per_channel": {"0": intensities},
        },
        "versions": {"format": "1", "nnunetv2": "2.8.1"},
    }


def cascade_content(**changes: Any) -> dict[str, Any]:
    """Return `plan_content` with a cascade: a coarse first pass at half the resolution."""
    content = plan_content(**changes)
    configurations = content["plans"]["configurations"]
    configurations["3d_lowres"] = {
        **copy.deepcopy(configurations["3d_fullres"]),
        "data_identifier": "nnUNetPlans_3d_lowres",
        "patch_size": [16, 16, 16],
        "median_image_size_in_voxels": [SIDE // 2] * 3,
        "spacing": [2.0, 2.0, 2.0],
        "architecture": _architecture((8, 16, 24), 3),
        "next_stage": "3d_cascade_fullres",
    }
    configurations["3d_cascade_fullres"] = {
        "inherits_from": "3d_fullres",
        "previous_stage": "3d_lowres",
    }
    return content


def write_plan(path: Path, content: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write a plan package (of `content`, else of `plan_content`) and return its path."""
    from app.federation.plan_rules import pack

    parts = plan_content(**changes) if content is None else content
    path.write_bytes(pack(**parts).document)
    return path
