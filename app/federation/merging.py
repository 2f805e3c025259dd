"""Pooling shared fingerprints: what nnU-Net would have found with all images in one place.

Every case counts the same, because nnU-Net samples the same number of foreground voxels from each
case. From additive statistics the pool is exact: the same integers come out whatever the split of
cases over sites and whatever the order.

Definitions (minimal policy). mean = S1 / n and std = sqrt(S2 / n - mean**2) with the exact sums
over the n cases with foreground; the std is the population's, as numpy's. A percentile is numpy's
"linear" one over the pooled mass, where every voxel stands at the value of its bin
(`app.domain.shared.intensity_of`); it is within one bin (0.1 %) of the percentile of the voxels.
Minimum and maximum are the lowest and the highest bin's value.

The paper's rule (Skorupko et al. 2025, server.py aggregate_fingerprints) takes the case-weighted
mean of the sites' own mean, std, median and percentiles. That is right for the mean only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from app.domain.errors import ErrorCode, OurMistake, PeerMistake
from app.domain.shared import (
    SHARE_UNIT,
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
from app.domain.study import Aggregation, Policy
from app.federation.canonical import canonical
from app.federation.shared_codec import FingerprintRefused

MAXIMUM_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedChannel:
    """Foreground intensities of one channel over all sites, in nnU-Net's own figures."""

    mean: float
    std: float
    median: float
    percentile_00_5: float
    percentile_99_5: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedFingerprint:
    """All sites' cases as one fingerprint. The entries of a triple are the axes z, y, x.

    Counts are on the bins of `app.domain.shared`. `spacings` (mm) and `shapes` (voxels) hold one
    entry per case under the paper's policy and are empty under the minimal one.
    `median_relative_size` is the median of the volume share kept by cropping (by the paper's rule:
    the case-weighted mean of the sites' medians).
    """

    policy: Policy
    channel_names: tuple[str, ...]
    cases: int
    spacing: tuple[Counts, Counts, Counts]
    size: tuple[Counts, Counts, Counts]
    extent: tuple[Counts, Counts, Counts]
    share_kept: Counts
    median_relative_size: float
    channels: tuple[MergedChannel, ...]
    spacings: tuple[tuple[float, float, float], ...] = ()
    shapes: tuple[tuple[int, int, int], ...] = ()


def merge(
    fingerprints: Sequence[SharedFingerprint], *, rule: Aggregation, minimum_cases: int = 1
) -> MergedFingerprint:
    """Merge the sites' fingerprints; the order does not matter, except for the paper's lists.

    Raises:
        FingerprintRefused: fingerprints of different policies or channels, one with fewer than
            `minimum_cases` cases, or a channel without any foreground at every site.
    """
    if not fingerprints:
        raise OurMistake("there is no fingerprint to merge")
    first = fingerprints[0]
    minimal: list[MinimalStatistics] = []
    paper: list[PaperStatistics] = []
    for fingerprint in fingerprints:
        if fingerprint.policy is not first.policy:
            raise FingerprintRefused("policy", "differs between sites")
        if fingerprint.channel_names != first.channel_names:
            raise FingerprintRefused("channels", "differ between sites")
        if fingerprint.cases < minimum_cases:
            raise FingerprintRefused(
                "cases", f"are {fingerprint.cases}, the study's minimum is {minimum_cases}"
            )
        if isinstance(fingerprint.statistics, MinimalStatistics):
            minimal.append(fingerprint.statistics)
        else:
            paper.append(fingerprint.statistics)
    if paper:
        return _merge_paper(first.channel_names, paper, rule)
    return _merge_minimal(first.channel_names, minimal, rule)


def pool(statistics: Sequence[MinimalStatistics]) -> MinimalStatistics:
    """Add up minimal statistics; associative and commutative, for they are whole numbers."""
    first = statistics[0]
    return MinimalStatistics(
        cases=sum(one.cases for one in statistics),
        spacing=_add_axes([one.spacing for one in statistics]),
        size=_add_axes([one.size for one in statistics]),
        extent=_add_axes([one.extent for one in statistics]),
        share_kept=_add([one.share_kept for one in statistics]),
        channels=tuple(
            SharedChannel(
                foreground_cases=sum(one.channels[number].foreground_cases for one in statistics),
                sum_of_means=sum(one.channels[number].sum_of_means for one in statistics),
                sum_of_mean_squares=sum(
                    one.channels[number].sum_of_mean_squares for one in statistics
                ),
                histogram=_add([one.channels[number].histogram for one in statistics]),
            )
            for number in range(len(first.channels))
        ),
    )


def percentile(counts: Counts, percent: float, value_of: Callable[[int], float] = float) -> float:
    """Numpy's "linear" percentile of a multiset given as bin -> count.

    Takes the steps of `numpy.percentile`, so that numpy on the full list gives the same bits.

    Raises:
        OurMistake: `counts` is empty.
    """
    total = sum(counts.values())
    if not total:
        raise OurMistake("nothing has no percentile")
    rank = (total - 1) * (percent / 100)
    below = math.floor(rank)
    share = rank - below
    bins = sorted(counts)
    passed = 0
    lower: int | None = None
    for number in bins:
        passed += counts[number]
        if lower is None and passed > below:
            lower = number
        if lower is not None and (passed > below + 1 or share == 0 or number == bins[-1]):
            a, b = value_of(lower), value_of(number)
            # numpy.lib._function_base_impl._lerp: from the nearer end, so that it is monotone.
            return b - (b - a) * (1 - share) if share >= 0.5 else a + (b - a) * share
    raise OurMistake("a percentile lies beyond its counts")


# --- minimal -----------------------------------------------------------------------------------


def _merge_minimal(
    names: tuple[str, ...], statistics: Sequence[MinimalStatistics], rule: Aggregation
) -> MergedFingerprint:
    pooled = pool(statistics)
    if rule is Aggregation.PAPER:
        # The published rule needs only what each site's own histogram tells of it.
        weights = [one.cases for one in statistics]
        channels = tuple(
            _weighted_channel(
                [
                    (_channel(names[number], one.channels[number]), weight)
                    for one, weight in zip(statistics, weights, strict=True)
                    if one.channels[number].foreground_cases
                ],
                names[number],
            )
            for number in range(len(names))
        )
        relative = _weighted_mean(
            [(_median_share(one.share_kept), one.cases) for one in statistics]
        )
    else:
        channels = tuple(
            _channel(name, channel) for name, channel in zip(names, pooled.channels, strict=True)
        )
        relative = _median_share(pooled.share_kept)
    return MergedFingerprint(
        policy=Policy.MINIMAL,
        channel_names=names,
        cases=pooled.cases,
        spacing=pooled.spacing,
        size=pooled.size,
        extent=pooled.extent,
        share_kept=pooled.share_kept,
        median_relative_size=relative,
        channels=channels,
    )


def _channel(name: str, channel: SharedChannel) -> MergedChannel:
    if not channel.foreground_cases:
        raise FingerprintRefused(f"channel {name}", "has no foreground at any site")
    unit = 1 << SUM_FRACTION_BITS
    mean = Fraction(channel.sum_of_means, channel.foreground_cases * unit)
    square = Fraction(channel.sum_of_mean_squares, channel.foreground_cases * unit)
    histogram = channel.histogram
    return MergedChannel(
        mean=float(mean),
        # Rounding of the sums may leave a constant image a hair below zero.
        std=math.sqrt(max(square - mean * mean, Fraction(0))),
        median=percentile(histogram, 50, intensity_of),
        percentile_00_5=percentile(histogram, 0.5, intensity_of),
        percentile_99_5=percentile(histogram, 99.5, intensity_of),
        minimum=intensity_of(min(histogram)),
        maximum=intensity_of(max(histogram)),
    )


def _median_share(counts: Counts) -> float:
    return percentile(counts, 50) * SHARE_UNIT


def _add(parts: Sequence[Counts]) -> Counts:
    total: Counter[int] = Counter()
    for part in parts:
        total.update(part)
    return {number: total[number] for number in sorted(total) if total[number]}


def _add_axes(parts: Sequence[tuple[Counts, Counts, Counts]]) -> tuple[Counts, Counts, Counts]:
    return (
        _add([part[0] for part in parts]),
        _add([part[1] for part in parts]),
        _add([part[2] for part in parts]),
    )


# --- paper -------------------------------------------------------------------------------------


def _merge_paper(
    names: tuple[str, ...], statistics: Sequence[PaperStatistics], rule: Aggregation
) -> MergedFingerprint:
    spacings = tuple(spacing for one in statistics for spacing in one.spacings)
    shapes = tuple(shape for one in statistics for shape in one.shapes)
    channels = []
    for number, name in enumerate(names):
        weighted = [(_as_merged(one.channels[number]), len(one.spacings)) for one in statistics]
        channel = _weighted_channel(weighted, name)
        if rule is Aggregation.CASES:
            channel = _with_pooled_std(channel, weighted)
        channels.append(channel)
    relative = [(one.median_relative_size, len(one.spacings)) for one in statistics]
    return MergedFingerprint(
        policy=Policy.PAPER,
        channel_names=names,
        cases=len(spacings),
        spacing=_axes([[length_bin(spacing[axis]) for spacing in spacings] for axis in range(3)]),
        size=_axes([[shape[axis] for shape in shapes] for axis in range(3)]),
        extent=_axes(
            [
                [
                    length_bin(spacing[axis] * shape[axis])
                    for spacing, shape in zip(spacings, shapes, strict=True)
                ]
                for axis in range(3)
            ]
        ),
        # The paper's fields have no share of single cases: each site's median stands for its own.
        share_kept=_add([{share_bin(share): cases} for share, cases in relative]),
        median_relative_size=_weighted_mean(relative),
        channels=tuple(channels),
        spacings=spacings,
        shapes=shapes,
    )


def _as_merged(channel: PaperChannel) -> MergedChannel:
    return MergedChannel(
        mean=channel.mean,
        std=channel.std,
        median=channel.median,
        percentile_00_5=channel.percentile_00_5,
        percentile_99_5=channel.percentile_99_5,
        minimum=channel.minimum,
        maximum=channel.maximum,
    )


def _weighted_channel(weighted: Sequence[tuple[MergedChannel, int]], name: str) -> MergedChannel:
    if not weighted:
        raise FingerprintRefused(f"channel {name}", "has no foreground at any site")
    return MergedChannel(
        mean=_weighted_mean([(channel.mean, weight) for channel, weight in weighted]),
        std=_weighted_mean([(channel.std, weight) for channel, weight in weighted]),
        median=_weighted_mean([(channel.median, weight) for channel, weight in weighted]),
        percentile_00_5=_weighted_mean(
            [(channel.percentile_00_5, weight) for channel, weight in weighted]
        ),
        percentile_99_5=_weighted_mean(
            [(channel.percentile_99_5, weight) for channel, weight in weighted]
        ),
        minimum=min(channel.minimum for channel, _ in weighted),
        maximum=max(channel.maximum for channel, _ in weighted),
    )


def _with_pooled_std(
    channel: MergedChannel, weighted: Sequence[tuple[MergedChannel, int]]
) -> MergedChannel:
    """Replace the mean of deviations by the deviation of the pool.

    Median and percentiles of a pool cannot be had from the sites' own; their weighted means stay.
    """
    total = sum(weight for _, weight in weighted)
    mean = sum(Fraction(one.mean) * weight for one, weight in weighted) / total
    square = (
        sum((Fraction(one.std) ** 2 + Fraction(one.mean) ** 2) * weight for one, weight in weighted)
        / total
    )
    return MergedChannel(
        mean=channel.mean,
        std=math.sqrt(max(square - mean * mean, Fraction(0))),
        median=channel.median,
        percentile_00_5=channel.percentile_00_5,
        percentile_99_5=channel.percentile_99_5,
        minimum=channel.minimum,
        maximum=channel.maximum,
    )


def _weighted_mean(weighted: Sequence[tuple[float, int]]) -> float:
    """Case-weighted mean, exact before the last rounding, so that no order of sites shows."""
    total = sum(weight for _, weight in weighted)
    return float(sum(Fraction(value) * weight for value, weight in weighted) / total)


def _axes(columns: Sequence[Sequence[int]]) -> tuple[Counts, Counts, Counts]:
    depth, height, width = (dict(sorted(Counter(column).items())) for column in columns)
    return depth, height, width


# --- bytes -------------------------------------------------------------------------------------

_Pairs = tuple[
    tuple[Annotated[int, Meta(ge=0, le=1 << 40)], Annotated[int, Meta(ge=1, le=1 << 60)]], ...
]
_Axes = tuple[_Pairs, _Pairs, _Pairs]


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cases: Annotated[int, Meta(ge=1)]
    channel_names: Annotated[tuple[str, ...], Meta(min_length=1, max_length=32)]
    channels: tuple[MergedChannel, ...]
    extent: _Axes
    format: Literal[1]
    median_relative_size: Annotated[float, Meta(ge=0, le=1)]
    policy: Policy
    shapes: tuple[tuple[int, int, int], ...]
    share_kept: _Pairs
    size: _Axes
    spacing: _Axes
    spacings: tuple[tuple[float, float, float], ...]


def encode_merged(merged: MergedFingerprint) -> bytes:
    """Write a merged fingerprint as canonical JSON."""
    return canonical(
        msgspec.to_builtins(
            _Document(
                cases=merged.cases,
                channel_names=merged.channel_names,
                channels=merged.channels,
                extent=_axes_pairs(merged.extent),
                format=1,
                median_relative_size=merged.median_relative_size,
                policy=merged.policy,
                shapes=merged.shapes,
                share_kept=_pairs(merged.share_kept),
                size=_axes_pairs(merged.size),
                spacing=_axes_pairs(merged.spacing),
                spacings=merged.spacings,
            )
        )
    )


def decode_merged(document: bytes) -> MergedFingerprint:
    """Read a merged fingerprint that came from the coordinator.

    Raises:
        PeerMistake: (code FINGERPRINT_REFUSED) too many bytes, or not what `encode_merged` writes.
    """
    if len(document) > MAXIMUM_BYTES:
        raise PeerMistake(
            f"a merged fingerprint of {len(document)} bytes is too large",
            code=ErrorCode.FINGERPRINT_REFUSED,
        )
    try:
        parsed = msgspec.json.decode(document, type=_Document, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PeerMistake(
            f"the merged fingerprint cannot be read: {exc}", code=ErrorCode.FINGERPRINT_REFUSED
        ) from exc
    merged = MergedFingerprint(
        policy=parsed.policy,
        channel_names=parsed.channel_names,
        cases=parsed.cases,
        spacing=_axes_counts(parsed.spacing),
        size=_axes_counts(parsed.size),
        extent=_axes_counts(parsed.extent),
        share_kept=dict(parsed.share_kept),
        median_relative_size=parsed.median_relative_size,
        channels=parsed.channels,
        spacings=parsed.spacings,
        shapes=parsed.shapes,
    )
    whole = all(
        sum(counts.values()) == merged.cases
        for counts in (*merged.spacing, *merged.size, *merged.extent, merged.share_kept)
    )
    if (
        not whole
        or len(merged.channels) != len(merged.channel_names)
        or encode_merged(merged) != document
    ):
        raise PeerMistake(
            "the merged fingerprint contradicts itself or is not in canonical form",
            code=ErrorCode.FINGERPRINT_REFUSED,
        )
    return merged


def _pairs(counts: Counts) -> _Pairs:
    return tuple(sorted(counts.items()))


def _axes_pairs(axes: tuple[Counts, Counts, Counts]) -> _Axes:
    return _pairs(axes[0]), _pairs(axes[1]), _pairs(axes[2])


def _axes_counts(axes: _Axes) -> tuple[Counts, Counts, Counts]:
    return dict(axes[0]), dict(axes[1]), dict(axes[2])
