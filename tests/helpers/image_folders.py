"""Small image folders on disk, made sound so that a test can break one thing in them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

SHARED_DATA = Path(
    os.environ.get("FEDNNUNET_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")
)


def shared_data(*parts: str) -> Path:
    """Return a path of the real images kept beside the project, or skip the test."""
    path = SHARED_DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the real images are not here: {path}")
    return path


def write_image(
    path: Path,
    array: np.ndarray,
    *,
    spacing_mm: tuple[float, float, float] = (3.0, 1.0, 1.0),
    origin_mm: tuple[float, float, float] = (-10.0, 5.0, 2.0),
    direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
    notes: dict[str, str] | None = None,
) -> Path:
    """Write an array (z, y, x); spacing (z, y, x), origin (x, y, z)."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing_mm[::-1])
    image.SetOrigin(origin_mm)
    image.SetDirection(direction)
    for key, value in (notes or {}).items():
        image.SetMetaData(key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path


@dataclass
class ImageFolder:
    """An nnU-Net raw folder of `cases` sound cases with two structures."""

    root: Path
    cases: int = 6
    channel_names: tuple[str, ...] = ("T1", "T2")
    file_ending: str = ".nii.gz"
    shape: tuple[int, int, int] = (6, 8, 10)
    labels: dict[str, int] = field(
        default_factory=lambda: {"background": 0, "anterior": 1, "posterior": 2}
    )

    def __post_init__(self) -> None:
        for number in range(self.cases):
            self.add_case(f"case_{number:03d}", seed=number)
        self.describe()

    def image(self, case: str = "case_002", channel: int = 0, part: str = "imagesTr") -> Path:
        return self.root / part / f"{case}_{channel:04d}{self.file_ending}"

    def label(self, case: str = "case_002", part: str = "labelsTr") -> Path:
        return self.root / part / f"{case}{self.file_ending}"

    def voxels(self, seed: int, channel: int = 0) -> np.ndarray:
        generator = np.random.default_rng([seed, channel])
        if self.channel_names[channel].casefold() == "ct":
            return generator.integers(-1000, 1200, self.shape).astype(np.int16)
        return generator.normal(100, 20, self.shape).astype(np.float32)

    def label_voxels(self) -> np.ndarray:
        array = np.zeros(self.shape, dtype=np.uint8)
        array[2:4, 2:5, 2:5] = 1
        array[2:4, 2:5, 5:8] = 2
        return array

    def add_case(self, case: str, seed: int, *, test: bool = False) -> None:
        images, labels = ("imagesTs", "labelsTs") if test else ("imagesTr", "labelsTr")
        for channel in range(len(self.channel_names)):
            write_image(self.image(case, channel, images), self.voxels(seed, channel))
        write_image(self.label(case, labels), self.label_voxels())

    def describe(self, **changes: object) -> None:
        """Write dataset.json; an entry given as None is left out."""
        document: dict[str, object] = {
            "channel_names": {str(i): name for i, name in enumerate(self.channel_names)},
            "labels": self.labels,
            "numTraining": self.cases,
            "file_ending": self.file_ending,
            **changes,
        }
        kept = {key: value for key, value in document.items() if value is not None}
        (self.root / "dataset.json").write_text(json.dumps(kept), encoding="utf-8")
