"""From the local fingerprint to the shared one: the only place where anything leaves a site's values.

Pure. What it returns is all that the federation learns about the images; `app.domain.shared`
defines the public bins. The minimal statistics are sums over cases, so that adding those of two
sites gives those of both together, bin by bin (proved in `tests/site/test_disclosure.py`).
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from typing import TYPE_CHECKING, Final

from app.domain.errors import DataProblem, ErrorCode
from app.domain.shared import (
    CASE_MASS,
    SUM_FRACTION_BITS,
    Counts,
    MinimalStatistics,
    PaperChannel,
    PaperStatistics,
    SharedChannel,
    SharedFingerprint,
    intensity_of,
    length_bin,
    share_bin,
)
from app.domain.study import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from app.domain.fingerprint import CaseFingerprint, ChannelStatistics, Fingerprint

_PERCENTILES: Final = (0.005, 0.5, 0.995)


def share(
    fingerprint: Fingerprint, policy: Policy, leave_out: frozenset[str] = frozenset()
) -> SharedFingerprint:
    """Return what the site shares of its fingerprint under `policy`, without cases in `leave_out`.

    Raises:
        DataProblem: no case is left, or none of those left has foreground.
    """
    cases = [case for case in fingerprint.cases if case.case not in leave_out]
    if not cases:
        raise DataProblem("no case is left to share", code=ErrorCode.TOO_FEW_CASES)
    if not any(channel.voxels for case in cases for channel in case.channels):
        raise DataProblem(
            f"none of the {len(cases)} cases has any foreground", code=ErrorCode.NO_FOREGROUND
        )
    channels = range(len(fingerprint.channel_names))
    statistics = _minimal(cases, channels) if policy is Policy.MINIMAL else _paper(cases, channels)
    return SharedFingerprint(
        policy=policy, channel_names=fingerprint.channel_names, statistics=statistics
    )


def spread_mass(histogram: Sequence[tuple[int, int]]) -> Counts:
    """Spread CASE_MASS over the bins in proportion to their voxels, by largest remainder.

    The masses are integers and sum to CASE_MASS exactly. Of equal remainders the lower bin comes
    first, so every computer spreads the same way. Bins whose share rounds to nothing are left out.
    """
    total = sum(count for _, count in histogram)
    whole = {number: count * CASE_MASS // total for number, count in histogram}
    missing = CASE_MASS - sum(whole.values())
    by_remainder = sorted(histogram, key=lambda entry: (-(entry[1] * CASE_MASS % total), entry[0]))
    for number, _ in by_remainder[:missing]:
        whole[number] += 1
    return {number: mass for number, mass in whole.items() if mass}


def _minimal(cases: Sequence[CaseFingerprint], channels: range) -> MinimalStatistics:
    return MinimalStatistics(
        cases=len(cases),
        spacing=_by_axis(
            [length_bin(case.spacing_mm[axis]) for case in cases] for axis in range(3)
        ),
        size=_by_axis([case.shape[axis] for case in cases] for axis in range(3)),
        extent=_by_axis(
            [length_bin(case.spacing_mm[axis] * case.shape[axis]) for case in cases]
            for axis in range(3)
        ),
        share_kept=_counted(share_bin(case.relative_size) for case in cases),
        channels=tuple(
            _minimal_channel([case.channels[channel] for case in cases]) for channel in channels
        ),
    )


def _minimal_channel(cases: Sequence[ChannelStatistics]) -> SharedChannel:
    filled = [case for case in cases if case.voxels]
    histogram: Counter[int] = Counter()
    for case in filled:
        histogram.update(spread_mass(case.histogram))
    return SharedChannel(
        foreground_cases=len(filled),
        sum_of_means=sum(_fixed(case.mean) for case in filled),
        sum_of_mean_squares=sum(_fixed(case.mean_square) for case in filled),
        histogram=dict(sorted(histogram.items())),
    )


def _paper(cases: Sequence[CaseFingerprint], channels: range) -> PaperStatistics:
    return PaperStatistics(
        spacings=tuple(case.spacing_mm for case in cases),
        shapes=tuple(case.shape for case in cases),
        median_relative_size=_median([case.relative_size for case in cases]),
        channels=tuple(
            _paper_channel([case.channels[channel] for case in cases]) for channel in channels
        ),
    )


def _paper_channel(cases: Sequence[ChannelStatistics]) -> PaperChannel:
    """Figures of this site's own fingerprint: over all its cases, each weighing the same."""
    filled = [case for case in cases if case.voxels]
    mean = math.fsum(case.mean for case in filled) / len(filled)
    mean_square = math.fsum(case.mean_square for case in filled) / len(filled)
    histogram: Counter[int] = Counter()
    for case in filled:
        histogram.update(spread_mass(case.histogram))
    low, middle, high = _quantiles(histogram)
    return PaperChannel(
        mean=mean,
        std=math.sqrt(max(0.0, mean_square - mean * mean)),
        median=middle,
        minimum=min(case.minimum for case in filled),
        maximum=max(case.maximum for case in filled),
        percentile_00_5=low,
        percentile_99_5=high,
    )


def _quantiles(histogram: Counts) -> list[float]:
    numbers = sorted(histogram)
    below, reached = 0, []
    for number in numbers:
        below += histogram[number]
        reached.append(below)
    return [
        intensity_of(numbers[bisect.bisect_left(reached, quantile * below)])
        for quantile in _PERCENTILES
    ]


def _fixed(value: float) -> int:
    """Return `value` in units of 2**-32, rounded once and exactly (a float is a binary fraction)."""
    return round(math.ldexp(value, SUM_FRACTION_BITS))


def _counted(numbers: Iterable[int]) -> Counts:
    return dict(sorted(Counter(numbers).items()))


def _by_axis(axes: Iterable[Iterable[int]]) -> tuple[Counts, Counts, Counts]:
    z, y, x = (_counted(numbers) for numbers in axes)
    return (z, y, x)


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
