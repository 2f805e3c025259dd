"""What goes round: blobs, tensor specifications, updates, averages."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.ids import Digest, SiteName
from app.domain.training import HeldOutScore


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """A sequence of bytes named by its content."""

    sha256: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name, shape and safetensors dtype of one tensor of the network."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "F32"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUpdate:
    """What one site sends for a round; `cases` is its number of training cases (the weight).

    `base_score` is how the average that it began from does on the site's held-out cases.
    """

    round: int
    attempt: int
    site: SiteName
    base: Digest
    weights: BlobRef
    cases: int
    train_loss: float
    validation_loss: float | None
    pseudo_dice: tuple[float | None, ...]
    epoch_seconds: float
    base_score: HeldOutScore | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteScore:
    """How an average does on the held-out cases of one site."""

    site: SiteName
    score: HeldOutScore


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalModel:
    """The average after a round, and which sites are in it with which weights (cases)."""

    round: int
    weights: BlobRef
    contributors: tuple[tuple[SiteName, int], ...]
