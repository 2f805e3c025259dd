"""One plan for the whole study: nnU-Net's own planner, fed from the merged fingerprint.

The planner reads per-axis quantiles only, never which spacing belongs to which size
(nnunetv2 2.8.1, experiment_planning/experiment_planners/default_experiment_planner.py):

- the target spacing from the median spacing and median size of each axis, and from the 10th
  percentile of one axis where images are anisotropic (line 168 on). Axes may therefore be sorted
  apart: a fingerprint of unlinked axes gives the same target;
- the patch, topology and batch from the median over cases of round(spacing / target * size), axis
  by axis (line 428). That is round(extent / target), and extents are what sites count. A second
  run gets two cases with this median as their size;
- the number of training cases (lines 433, 465), summed over sites;
- whether the median share kept by cropping is below 3/4 (line 205).

So the plans equal those nnU-Net makes from all cases together, which
`tests/nnunet/test_planning.py` checks. They can differ where a size after resampling, or the
median share kept, lies exactly on the border between two values (nnU-Net's own rounding decides
there).
"""

from __future__ import annotations

import json
import math
import os
import warnings
from contextlib import contextmanager
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from app.domain.errors import DataProblem, ErrorCode, JobFailed
from app.domain.folds import COARSE
from app.domain.shared import LENGTH_UNIT_MM, Counts, length_of
from app.federation.merging import percentile
from app.federation.plan_rules import pack
from app.jobs.workspace import DATASET, Workspace
from app.nnunet import torchvision_shim
from app.nnunet.convert import Json
from app.system.atomic import make_folder, write_atomic
from app.system.versions import library_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.domain.plans import PlanPackage
    from app.domain.study import StudyTerms
    from app.federation.merging import MergedFingerprint

FILE_ENDING: Final = ".nii.gz"
READER: Final = "SimpleITKIO"

_PLANNERS: Final = "nnunetv2.experiment_planning.experiment_planners"
_RESIDUAL: Final = f"{_PLANNERS}.residual_unets.residual_encoder_unet_planners"
# Names a study file may ask for (`app.federation.study_file`), and the module that holds the stock class.
PLANNERS: Final = {
    "ExperimentPlanner": f"{_PLANNERS}.default_experiment_planner",
    "ResEncUNetPlanner": _RESIDUAL,
    "nnUNetPlannerResEncM": _RESIDUAL,
    "nnUNetPlannerResEncL": _RESIDUAL,
    "nnUNetPlannerResEncXL": _RESIDUAL,
}


def plan(terms: StudyTerms, merged: MergedFingerprint, workspace: Path) -> PlanPackage:
    """Plan the study by its planner; no image is read.

    nnU-Net's working files are left in `workspace` (nnUNet_raw, nnUNet_preprocessed).

    Raises:
        DataProblem: the study asks for a planner that is not allowed, or for a configuration that
            nnU-Net does not plan for such images.
        JobFailed: the planner itself fails.
    """
    if terms.planner not in PLANNERS:
        raise DataProblem(
            f"planner {terms.planner!r} is not one of {', '.join(PLANNERS)}",
            code=ErrorCode.STUDY_FILE,
        )
    dataset = describe_dataset(terms, merged.cases)
    with _nnunet_folders(workspace):
        fingerprint = _planner_fingerprint(terms, merged, workspace, dataset)
        plans = _run_planner(terms, workspace, dataset, fingerprint)
    _restore_original_medians(plans, merged)
    if terms.configuration not in plans["configurations"]:
        why = "; they are too small to need a coarse first pass" if COARSE in terms.passes else ""
        raise DataProblem(
            f"nnU-Net plans no {terms.configuration!r} for these images, "
            f"but {', '.join(sorted(plans['configurations']))}{why}",
            code=ErrorCode.STUDY_FILE,
        )
    return pack(plans, dataset, fingerprint, versions())


def versions() -> dict[str, str]:
    """Return what a plan was made with; sites with other versions may compute other patches."""
    return {"format": "1", **library_versions()}


def describe_dataset(terms: StudyTerms, cases: int) -> Json:
    """Return the study's dataset.json: the terms' channels and labels, and all sites' cases.

    Every site reads images with the same nnU-Net reader, whatever its files are called, so that
    axes have one order everywhere.
    """
    labels = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in terms.labels.items()
    }
    described: Json = {
        "channel_names": {str(number): name for number, name in enumerate(terms.channel_names)},
        "labels": labels,
        "numTraining": cases,
        "file_ending": FILE_ENDING,
        "overwrite_image_reader_writer": READER,
    }
    if terms.regions_class_order:
        described["regions_class_order"] = list(terms.regions_class_order)
    return described


def resampled_median(extents: Counts, target_mm: float) -> float:
    """Return the median size in voxels after resampling cases of these extents to `target_mm`.

    Rounds each size as nnU-Net's `compute_new_shape` does (half to even). The quotient is taken
    exactly: extents are whole numbers of 0.1 micrometre.
    """
    # The target is a quantile of spacings on the same lattice; a millionth of a bin absorbs its
    # binary rounding, so that 3/2 stays a half and is not 1.4999....
    target = Fraction(round(target_mm / LENGTH_UNIT_MM * 10**6), 10**6)
    sizes: Counts = {}
    for extent, count in extents.items():
        size = round(extent / target)
        sizes[size] = sizes.get(size, 0) + count
    return percentile(sizes, 50)


def _planner_fingerprint(
    terms: StudyTerms, merged: MergedFingerprint, workspace: Path, dataset: Json
) -> Json:
    """Return the dataset_fingerprint.json from which the stock planner makes the pooled plan."""
    if merged.spacings:
        return _fingerprint(
            merged,
            [list(spacing) for spacing in merged.spacings],
            [list(shape) for shape in merged.shapes],
        )
    spacings = np.array([[length_of(b) for b in _expanded(axis)] for axis in merged.spacing]).T
    sizes = np.array([_expanded(axis) for axis in merged.size]).T
    unlinked = _fingerprint(merged, spacings.tolist(), sizes.tolist())
    planner = _make_planner(terms, workspace, dataset, unlinked)
    target = [float(length) for length in planner.determine_fullres_target_spacing()]
    medians = [
        resampled_median(extents, length)
        for extents, length in zip(merged.extent, target, strict=True)
    ]
    # The median of two cases is their mean: half voxels of an even number of cases stay.
    return _fingerprint(
        merged,
        [target, target],
        [[math.floor(size) for size in medians], [math.ceil(size) for size in medians]],
    )


def _fingerprint(
    merged: MergedFingerprint, spacings: list[list[float]], shapes: list[list[int]]
) -> Json:
    return {
        "spacings": spacings,
        "shapes_after_crop": shapes,
        "foreground_intensity_properties_per_channel": {
            str(number): {
                "max": channel.maximum,
                "mean": channel.mean,
                "median": channel.median,
                "min": channel.minimum,
                "percentile_00_5": channel.percentile_00_5,
                "percentile_99_5": channel.percentile_99_5,
                "std": channel.std,
            }
            for number, channel in enumerate(merged.channels)
        },
        "median_relative_size_after_cropping": merged.median_relative_size,
    }


def _make_planner(terms: StudyTerms, workspace: Path, dataset: Json, fingerprint: Json) -> Any:  # noqa: ANN401
    """Return a stock planner that found `fingerprint` on disk."""
    folders = Workspace(root=workspace)
    raw = make_folder(folders.raw_dataset)
    preprocessed = make_folder(folders.preprocessed_dataset)
    # The planner looks for one image to choose a reader by; the reader is named, so none is opened.
    listed = dataset | {"dataset": {"none": {"images": ["none"], "label": "none"}}}
    write_atomic(raw / "dataset.json", json.dumps(listed).encode())
    write_atomic(preprocessed / "dataset_fingerprint.json", json.dumps(fingerprint).encode())
    torchvision_shim.ensure()
    planner_class = getattr(import_module(PLANNERS[terms.planner]), terms.planner)
    options = {}
    if terms.gpu_memory_target_gb is not None:
        options["gpu_memory_target_in_gb"] = terms.gpu_memory_target_gb
    with warnings.catch_warnings():
        # The residual presets warn of any memory target but their own; the study set it on purpose.
        warnings.filterwarnings("ignore", message="WARNING: You are running nnUNetPlanner")
        return planner_class(DATASET, **options)


def _run_planner(terms: StudyTerms, workspace: Path, dataset: Json, fingerprint: Json) -> Json:
    planner = _make_planner(terms, workspace, dataset, fingerprint)
    preprocessed = Workspace(root=workspace).preprocessed_dataset
    # The planner keeps configurations that it finds in an older file of this name.
    (preprocessed / f"{planner.plans_identifier}.json").unlink(missing_ok=True)
    try:
        # The planner builds a network for each patch it tries, only to count its feature maps. On
        # the meta device they have shapes but no numbers, which takes neither time nor memory.
        with torch.device("meta"):
            planner.plan_experiment()
    except (AssertionError, ArithmeticError, LookupError, RuntimeError, ValueError) as exc:
        raise JobFailed(f"nnU-Net's {terms.planner} cannot plan for these images: {exc}") from exc
    written = (preprocessed / f"{planner.plans_identifier}.json").read_text()
    plans: Json = json.loads(written)
    return plans


def _restore_original_medians(plans: Json, merged: MergedFingerprint) -> None:
    """Put the real median spacing and size into the plans (people read them, nnU-Net does not)."""
    order = plans["transpose_forward"]
    spacings = [float(np.median([length_of(b) for b in _expanded(a)])) for a in merged.spacing]
    sizes = [round(percentile(axis, 50)) for axis in merged.size]
    plans["original_median_spacing_after_transp"] = [spacings[axis] for axis in order]
    plans["original_median_shape_after_transp"] = [sizes[axis] for axis in order]


def _expanded(counts: Counts) -> list[int]:
    """List every counted bin as often as it was counted, in order."""
    return [number for number in sorted(counts) for _ in range(counts[number])]


@contextmanager
def _nnunet_folders(workspace: Path) -> Iterator[None]:
    """Point nnU-Net to `workspace` while the block runs; nnU-Net reads the environment lazily."""
    names = {
        **Workspace(root=workspace).environment,
        # The planner counts the network's memory with so many threads; 0 makes it fail
        # (nnunetv2 2.8.1, default_experiment_planner.py:104).
        "nnUNet_n_proc_DA": "1",
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
