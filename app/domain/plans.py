"""One plan for all sites: nnU-Net's plans as canonical bytes with their digest."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.ids import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPackage:
    """Canonical JSON of plans, dataset.json and merged fingerprint, as every site gets it.

    `document` is UTF-8 JSON with the keys ``plans``, ``dataset``, ``fingerprint``, ``versions``
    (sorted keys, no spaces); `digest` is its SHA-256. A site that derives another digest must not
    train.
    """

    document: bytes
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """What a person reads of a plan. Spacings in mm and patches in voxels, in nnU-Net's axis order."""

    configuration: str
    spacing_mm: tuple[float, ...]
    patch: tuple[int, ...]
    batch_size: int
    stages: int
    features: tuple[int, ...]
    normalisation: tuple[str, ...]
    network: str
    parameters: int | None = None
