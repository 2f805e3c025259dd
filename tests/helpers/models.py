"""Tiny model zips with random weights, and images that exercise geometry."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from helpers import volumes

from app.domain.dataset import Case

CONFIGURATION = "3d_fullres"
DATASET_NAME = "Dataset512_Balls"


@dataclass(frozen=True)
class TinyModel:
    """A plan, weights drawn from a seed, and the zip exported from both."""

    plan: Path
    weights: Path
    zip: Path


def make_model(folder: Path, *, seed: int = 3, transposed: bool = True) -> TinyModel:
    """Draw a network of three stages and export it.

    `transposed`: the plan turns axes around and resamples, as plans of anisotropic images do.
    """
    from app.nnunet.export import export_model
    from app.nnunet.initial import draw

    folder.mkdir(parents=True, exist_ok=True)
    content = volumes.plan_content(patch=(12, 16, 20))
    if transposed:
        content["plans"]["transpose_forward"] = [1, 0, 2]
        content["plans"]["transpose_backward"] = [1, 0, 2]
        content["plans"]["configurations"][CONFIGURATION]["spacing"] = [1.7, 1.2, 1.1]
    plan = folder / "plan.json"
    plan.write_bytes(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
    draw(plan, configuration=CONFIGURATION, seed=seed, output=folder / "model.safetensors")
    export_model(
        plan=plan,
        folds={"0": folder / "model.safetensors"},
        configuration=CONFIGURATION,
        model_name=DATASET_NAME,
        output=folder / "model.zip",
    )
    return TinyModel(plan=plan, weights=folder / "model.safetensors", zip=folder / "model.zip")


def write_images(folder: Path, *, count: int = 3) -> tuple[Case, ...]:
    """Write images of different size, spacing, origin and (oblique) direction with empty margins."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for number in range(count):
        image, _ = volumes.volume(number, side=22 + number)
        image = image[: 14 + 3 * number, :, 2:]
        image[:2] = 0
        picture = SimpleITK.GetImageFromArray(image.astype(np.int16))
        picture.SetSpacing((1.1 + 0.2 * number, 1.0, 1.5))
        picture.SetOrigin((-31.5, 12.25 * number, 7.0))
        turn = math.radians(10 * number)
        picture.SetDirection(
            (math.cos(turn), -math.sin(turn), 0, math.sin(turn), math.cos(turn), 0, 0, 0, -1)
            if number
            else (1, 0, 0, 0, 1, 0, 0, 0, 1)
        )
        path = folder / f"case_{number}_0000.nii.gz"
        SimpleITK.WriteImage(picture, str(path))
        cases.append(Case(name=f"case_{number}", channels=(str(path),), label=None))
    return tuple(cases)
