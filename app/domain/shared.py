"""The shared fingerprint: the only statement about its images that leaves a site.

`minimal` holds additive integers on public, fixed bins, so that the sum over sites is all that
planning needs and no value belongs to one case or voxel. `paper` holds the reference method's
fields (Skorupko et al. 2025), per-case shapes and spacings included.

Bins (public, the same at every site):

- spacing and extent (spacing x size): 0.1 micrometre; size: 1 voxel; share kept by cropping: 0.001.
- intensity: the upper 19 bits of the float32 (sign, exponent, 10 mantissa bits), renumbered so
  that order is kept. Integers up to 2048 have their own bin; elsewhere a bin is at most 0.1 % wide.
- each case spreads a mass of 2**20 over its intensity bins, so every case weighs the same, as in
  nnU-Net, which samples the same number of foreground voxels from each case.
- sums of case means and case mean squares are integers in units of 2**-32.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from app.domain.study import Policy

LENGTH_UNIT_MM: Final = 1e-4
SHARE_UNIT: Final = 1e-3
CASE_MASS: Final = 1 << 20
SUM_FRACTION_BITS: Final = 32
INTENSITY_BINS: Final = 1 << 19
_MANTISSA_SHIFT: Final = 13
_SIGN: Final = 0x80000000


def length_bin(length_mm: float) -> int:
    """Number of the 0.1 micrometre bin of a spacing or an extent in mm."""
    return round(length_mm / LENGTH_UNIT_MM)


def length_of(number: int) -> float:
    """Length in mm that stands for a bin."""
    return round(number * LENGTH_UNIT_MM, 4)


def share_bin(share: float) -> int:
    """Number of the 0.001 bin of the volume share kept by cropping (0..1)."""
    return round(share / SHARE_UNIT)


def intensity_bin(value: float) -> int:
    """Number of the intensity bin of a finite value; larger values never get smaller numbers."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    if bits == _SIGN:  # minus zero is zero
        bits = 0
    ordered = (~bits & 0xFFFFFFFF) if bits & _SIGN else bits | _SIGN
    return int(ordered >> _MANTISSA_SHIFT)


def intensity_of(number: int) -> float:
    """Value of smallest magnitude in an intensity bin: exact for integers up to 2048."""
    ordered = number << _MANTISSA_SHIFT
    if ordered & _SIGN:
        bits = ordered & ~_SIGN & 0xFFFFFFFF
    else:
        # Negative numbers are stored inverted: the smallest magnitude is the bin's upper end.
        bits = ~(ordered | ((1 << _MANTISSA_SHIFT) - 1)) & 0xFFFFFFFF
    (value,) = struct.unpack("<f", struct.pack("<I", bits))
    return float(value)


Counts = dict[int, int]
"""Bin number -> count (or mass); only bins that hold something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedChannel:
    """Foreground intensities of one channel, summed over the cases that have foreground.

    `sum_of_means` and `sum_of_mean_squares` are in units of 2**-32.
    """

    foreground_cases: int
    sum_of_means: int
    sum_of_mean_squares: int
    histogram: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimalStatistics:
    """Additive statistics of `cases` cases; the three entries of each tuple are the axes z, y, x."""

    cases: int
    spacing: tuple[Counts, Counts, Counts]
    size: tuple[Counts, Counts, Counts]
    extent: tuple[Counts, Counts, Counts]
    share_kept: Counts
    channels: tuple[SharedChannel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperChannel:
    """One channel's figures as the reference method shares them."""

    mean: float
    std: float
    median: float
    minimum: float
    maximum: float
    percentile_00_5: float
    percentile_99_5: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperStatistics:
    """The reference method's fields: one spacing (mm) and shape (voxels) per case, z y x."""

    spacings: tuple[tuple[float, float, float], ...]
    shapes: tuple[tuple[int, int, int], ...]
    median_relative_size: float
    channels: tuple[PaperChannel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFingerprint:
    """What one site shares. `statistics` is of the kind that `policy` names."""

    policy: Policy
    channel_names: tuple[str, ...]
    statistics: MinimalStatistics | PaperStatistics

    @property
    def cases(self) -> int:
        """How many cases it speaks of."""
        if isinstance(self.statistics, MinimalStatistics):
            return self.statistics.cases
        return len(self.statistics.spacings)
