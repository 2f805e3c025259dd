"""Segmentations and their scores. Stay at the site unless a person allows otherwise."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ModelKind(enum.Enum):
    """What a model is to this site."""

    FINAL = "final"
    BEST = "best"
    ROUND = "round"
    PERSONAL = "personalised"
    BASELINE = "local baseline"
    FILE = "file"


class CaseSource(enum.Enum):
    """Which cases a run segments."""

    HELD_OUT = "held out"
    """Cases of the site's folder that belong to no fold (nnU-Net's imagesTs)."""
    VALIDATION = "validation"
    """Labelled cases that the study's fold keeps out of training at this site."""
    FOLDER = "folder"
    """Images of another folder, DICOM series included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationResult:
    """One predicted label map: where it lies and which model made it.

    `dicom_seg` is the same as a DICOM SEG object, where the images came as DICOM. `sha256` is that
    of the prediction's file: a verdict is about these very voxels.
    """

    case: str
    channels: tuple[str, ...]
    prediction: str
    reference: str | None
    model_digest: str
    warnings: tuple[str, ...] = ()
    dicom_seg: str | None = None
    sha256: str = ""

    @property
    def identity(self) -> str:
        """What verdicts are kept under: the model, and which voxels it made."""
        return f"{self.model_digest}:{self.sha256[:16]}" if self.sha256 else self.model_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScore:
    """Scores of one label in one case; a score that is not defined is None and shown as “-”.

    `dice` is None when reference and prediction are both empty. `hausdorff95_mm` is the 95th
    percentile of the symmetric surface distances, None when either is empty. Volumes in ml.
    """

    label: str
    dice: float | None
    hausdorff95_mm: float | None
    surface_dice: float | None
    reference_ml: float
    prediction_ml: float
    reference_components: int
    prediction_components: int

    @property
    def only_predicted(self) -> bool:
        """True when the label was predicted though the reference has none of it."""
        return self.reference_ml == 0 and self.prediction_ml > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScore:
    """All labels of one case."""

    case: str
    labels: tuple[LabelScore, ...]

    @property
    def mean_dice(self) -> float | None:
        """Mean of the defined Dice values, None when none is defined."""
        defined = [label.dice for label in self.labels if label.dice is not None]
        return sum(defined) / len(defined) if defined else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelVolume:
    """How much of a label was predicted, and in how many pieces."""

    label: str
    ml: float
    components: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseVolumes:
    """All labels of one case that has no reference to be scored against."""

    case: str
    labels: tuple[LabelVolume, ...]


class Verdict(enum.Enum):
    """What a person said of a segmentation."""

    UNREVIEWED = "unreviewed"
    ACCEPTED = "accepted"
    FLAGGED = "flagged"
