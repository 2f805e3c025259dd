"""The local fingerprint: what nnU-Net needs to know about one site's images. Stays at the site.

It holds per-case values. Only `app.site.disclosure` turns it into a `SharedFingerprint`.
Source of the definitions: nnunetv2 2.8.1, experiment_planning/dataset_fingerprint/
fingerprint_extractor.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """Foreground intensities of one channel of one case, over every foreground voxel.

    `histogram` pairs a bin number (see `app.domain.shared.intensity_bin`) with its voxel count,
    sorted by bin, without empty bins. `mean` and `mean_square` are the case's own (not sums).
    """

    voxels: int
    mean: float
    mean_square: float
    minimum: float
    maximum: float
    histogram: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFingerprint:
    """One case: spacing (mm, z y x), shape after cropping to nonzero (voxels, z y x), share kept.

    `relative_size` is the cropped volume divided by the original one. `channels` is empty of
    voxels (``voxels == 0``) when the case has no foreground.
    """

    case: str
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    relative_size: float
    channels: tuple[ChannelStatistics, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """All cases of one site, with the digest of the checked folder they were read from."""

    content_digest: str
    channel_names: tuple[str, ...]
    cases: tuple[CaseFingerprint, ...]
