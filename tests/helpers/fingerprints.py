"""Sites' cases as values, and the shared fingerprints that sites would make of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from app.domain.shared import (
    CASE_MASS,
    SUM_FRACTION_BITS,
    Counts,
    MinimalStatistics,
    PaperChannel,
    PaperStatistics,
    SharedChannel,
    SharedFingerprint,
    intensity_bin,
    length_bin,
    share_bin,
)
from app.domain.study import Policy


@dataclass(frozen=True)
class MadeCase:
    """Spacing (mm), shape, share kept by cropping, and the foreground's intensities."""

    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    share: float
    voxels: tuple[float, ...]


def make_cases(seed: int, number: int, *, mean: float = 100.0, std: float = 30.0) -> list[MadeCase]:
    rng = np.random.default_rng(seed)
    return [
        MadeCase(
            spacing=tuple(float(x) for x in np.round(rng.uniform(0.4, 3.0, 3), 3)),
            shape=tuple(int(x) for x in rng.integers(20, 300, 3)),
            share=float(rng.uniform(0.3, 1.0)),
            # 256 voxels divide a case's mass without a rest, as real disclosure does by rounding.
            voxels=tuple(float(x) for x in np.round(rng.normal(mean, std, 256))),
        )
        for _ in range(number)
    ]


def minimal(cases: list[MadeCase], name: str = "MRI") -> SharedFingerprint:
    histogram: Counter[int] = Counter()
    with_foreground = [case for case in cases if case.voxels]
    for case in with_foreground:
        for value in case.voxels:
            histogram[intensity_bin(value)] += CASE_MASS // len(case.voxels)
    unit = 1 << SUM_FRACTION_BITS
    return SharedFingerprint(
        policy=Policy.MINIMAL,
        channel_names=(name,),
        statistics=MinimalStatistics(
            cases=len(cases),
            spacing=_axes([[length_bin(c.spacing[a]) for c in cases] for a in range(3)]),
            size=_axes([[c.shape[a] for c in cases] for a in range(3)]),
            extent=_axes(
                [[length_bin(c.spacing[a] * c.shape[a]) for c in cases] for a in range(3)]
            ),
            share_kept=dict(Counter(share_bin(case.share) for case in cases)),
            channels=(
                SharedChannel(
                    foreground_cases=len(with_foreground),
                    sum_of_means=sum(
                        round(float(np.mean(c.voxels)) * unit) for c in with_foreground
                    ),
                    sum_of_mean_squares=sum(
                        round(float(np.mean(np.square(c.voxels))) * unit) for c in with_foreground
                    ),
                    histogram=dict(histogram),
                ),
            ),
        ),
    )


def paper(cases: list[MadeCase], name: str = "MRI") -> SharedFingerprint:
    voxels = np.concatenate([np.array(case.voxels) for case in cases])
    return SharedFingerprint(
        policy=Policy.PAPER,
        channel_names=(name,),
        statistics=PaperStatistics(
            spacings=tuple(case.spacing for case in cases),
            shapes=tuple(case.shape for case in cases),
            median_relative_size=float(np.median([case.share for case in cases])),
            channels=(
                PaperChannel(
                    mean=float(voxels.mean()),
                    std=float(voxels.std()),
                    median=float(np.median(voxels)),
                    minimum=float(voxels.min()),
                    maximum=float(voxels.max()),
                    percentile_00_5=float(np.percentile(voxels, 0.5)),
                    percentile_99_5=float(np.percentile(voxels, 99.5)),
                ),
            ),
        ),
    )


def _axes(columns: list[list[int]]) -> tuple[Counts, Counts, Counts]:
    depth, height, width = (dict(Counter(column)) for column in columns)
    return depth, height, width
