"""The shared fingerprint as bytes: what a site operator reads, allows and sends.

`minimal` documents hold whole numbers only; sums that may pass 2**53 are decimal strings. Counts
are lists of [bin, count], sorted, without empty bins. A document has one spelling: `decode`
refuses bytes that `encode` would not have written.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from app.domain.errors import ErrorCode, PeerMistake
from app.domain.shared import (
    CASE_MASS,
    LENGTH_UNIT_MM,
    SUM_FRACTION_BITS,
    Counts,
    MinimalStatistics,
    PaperChannel,
    PaperStatistics,
    SharedChannel,
    SharedFingerprint,
    intensity_bin,
    intensity_of,
)
from app.domain.study import Policy, StudyTerms
from app.federation.canonical import canonical

MAXIMUM_BYTES: Final = 32 << 20
MAXIMUM_CASES: Final = 100_000
MAXIMUM_CHANNELS: Final = 32
LARGEST_SPACING_BIN: Final = round(1_000 / LENGTH_UNIT_MM)
LARGEST_EXTENT_BIN: Final = round(100_000 / LENGTH_UNIT_MM)
LARGEST_SIZE: Final = 100_000
LARGEST_SHARE_BIN: Final = 1_000
_OUTLIERS: Final = 1_000
_LARGEST_FLOAT32: Final = 3.4028234663852886e38
LOWEST_INTENSITY_BIN: Final = intensity_bin(-_LARGEST_FLOAT32)
HIGHEST_INTENSITY_BIN: Final = intensity_bin(_LARGEST_FLOAT32)

_Cases = Annotated[int, Meta(ge=1, le=MAXIMUM_CASES)]
_Pair = tuple[Annotated[int, Meta(ge=0, le=1 << 40)], Annotated[int, Meta(ge=1, le=1 << 40)]]
_Pairs = tuple[_Pair, ...]
_Wide = Annotated[str, Meta(pattern=r"^(0|-?[1-9][0-9]{0,119})$")]
_Name = Annotated[str, Meta(min_length=1, max_length=60)]
_Names = Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=MAXIMUM_CHANNELS)]


class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the documents' parts."""


class _MinimalChannel(_Struct, frozen=True):
    foreground_cases: Annotated[int, Meta(ge=0, le=MAXIMUM_CASES)]
    histogram: _Pairs
    sum_of_mean_squares: _Wide
    sum_of_means: _Wide


class _Minimal(_Struct, frozen=True, tag_field="policy", tag="minimal"):
    cases: _Cases
    channel_names: _Names
    channels: tuple[_MinimalChannel, ...]
    extent: tuple[_Pairs, _Pairs, _Pairs]
    format: Literal[1]
    share_kept: _Pairs
    size: tuple[_Pairs, _Pairs, _Pairs]
    spacing: tuple[_Pairs, _Pairs, _Pairs]


class _PaperChannel(_Struct, frozen=True):
    maximum: float
    mean: float
    median: float
    minimum: float
    percentile_00_5: float
    percentile_99_5: float
    std: Annotated[float, Meta(ge=0)]


_Spacing = Annotated[float, Meta(gt=0, le=1_000)]
_Size = Annotated[int, Meta(ge=1, le=LARGEST_SIZE)]


class _Paper(_Struct, frozen=True, tag_field="policy", tag="paper"):
    channel_names: _Names
    channels: tuple[_PaperChannel, ...]
    format: Literal[1]
    median_relative_size: Annotated[float, Meta(ge=0, le=1)]
    shapes: Annotated[
        tuple[tuple[_Size, _Size, _Size], ...], Meta(min_length=1, max_length=MAXIMUM_CASES)
    ]
    spacings: Annotated[
        tuple[tuple[_Spacing, _Spacing, _Spacing], ...],
        Meta(min_length=1, max_length=MAXIMUM_CASES),
    ]


_Document: TypeAlias = _Minimal | _Paper


class FingerprintRefused(PeerMistake):
    """A shared fingerprint that cannot be what it claims to be."""

    code = ErrorCode.FINGERPRINT_REFUSED

    def __init__(self, entry: str, reason: str) -> None:
        super().__init__(f"the shared fingerprint's {entry} {reason}")
        self.entry = entry
        self.reason = reason


def encode(fingerprint: SharedFingerprint) -> bytes:
    """Write a shared fingerprint as canonical JSON: exactly these bytes leave the site."""
    return canonical(msgspec.to_builtins(_to_document(fingerprint)))


def decode(document: bytes) -> SharedFingerprint:
    """Read a shared fingerprint that came from a site.

    Raises:
        FingerprintRefused: the bytes are too many, not canonical, or say something that no
            images could have: counts that do not add up to the cases, bins out of range, a
            histogram without each case's mass, means outside the histogram.
    """
    if len(document) > MAXIMUM_BYTES:
        raise FingerprintRefused("size", f"is {len(document)} bytes, more than {MAXIMUM_BYTES}")
    try:
        parsed: _Document = msgspec.json.decode(document, type=_Minimal | _Paper, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise FingerprintRefused("document", f"cannot be read: {exc}") from exc
    fingerprint = _from_document(parsed)
    if len(fingerprint.channel_names) != len(fingerprint.statistics.channels):
        raise FingerprintRefused("channels", "are not as many as their names")
    if isinstance(fingerprint.statistics, MinimalStatistics):
        _check_minimal(fingerprint.statistics)
    else:
        _check_paper(fingerprint.statistics)
    if encode(fingerprint) != document:
        raise FingerprintRefused("document", "is not in canonical form")
    return fingerprint


def check_terms(fingerprint: SharedFingerprint, terms: StudyTerms) -> None:
    """Check that a fingerprint belongs to a study.

    Raises:
        FingerprintRefused: another policy or other channels than the study's, or fewer cases than
            the study's minimum.
    """
    if fingerprint.policy is not terms.policy:
        raise FingerprintRefused(
            "policy", f"is {fingerprint.policy.value!r}, the study's is {terms.policy.value!r}"
        )
    if fingerprint.channel_names != terms.channel_names:
        raise FingerprintRefused(
            "channels",
            f"are {', '.join(fingerprint.channel_names)}, the study's are "
            f"{', '.join(terms.channel_names)}",
        )
    if fingerprint.cases < terms.minimum_cases:
        raise FingerprintRefused(
            "cases", f"are {fingerprint.cases}, the study's minimum is {terms.minimum_cases}"
        )


# --- between values and documents --------------------------------------------------------------


def _to_document(fingerprint: SharedFingerprint) -> _Document:
    statistics = fingerprint.statistics
    if isinstance(statistics, MinimalStatistics):
        return _Minimal(
            cases=statistics.cases,
            channel_names=fingerprint.channel_names,
            channels=tuple(
                _MinimalChannel(
                    foreground_cases=channel.foreground_cases,
                    histogram=_pairs(channel.histogram),
                    sum_of_mean_squares=str(channel.sum_of_mean_squares),
                    sum_of_means=str(channel.sum_of_means),
                )
                for channel in statistics.channels
            ),
            extent=_axes_pairs(statistics.extent),
            format=1,
            share_kept=_pairs(statistics.share_kept),
            size=_axes_pairs(statistics.size),
            spacing=_axes_pairs(statistics.spacing),
        )
    return _Paper(
        channel_names=fingerprint.channel_names,
        channels=tuple(
            _PaperChannel(
                maximum=float(channel.maximum),
                mean=float(channel.mean),
                median=float(channel.median),
                minimum=float(channel.minimum),
                percentile_00_5=float(channel.percentile_00_5),
                percentile_99_5=float(channel.percentile_99_5),
                std=float(channel.std),
            )
            for channel in statistics.channels
        ),
        format=1,
        median_relative_size=float(statistics.median_relative_size),
        shapes=statistics.shapes,
        spacings=tuple(
            (float(depth), float(height), float(width))
            for depth, height, width in statistics.spacings
        ),
    )


def _from_document(document: _Document) -> SharedFingerprint:
    if isinstance(document, _Minimal):
        return SharedFingerprint(
            policy=Policy.MINIMAL,
            channel_names=document.channel_names,
            statistics=MinimalStatistics(
                cases=document.cases,
                spacing=_axes_counts("spacing", document.spacing),
                size=_axes_counts("size", document.size),
                extent=_axes_counts("extent", document.extent),
                share_kept=_counts("share_kept", document.share_kept),
                channels=tuple(
                    SharedChannel(
                        foreground_cases=channel.foreground_cases,
                        sum_of_means=int(channel.sum_of_means),
                        sum_of_mean_squares=int(channel.sum_of_mean_squares),
                        histogram=_counts("histogram", channel.histogram),
                    )
                    for channel in document.channels
                ),
            ),
        )
    return SharedFingerprint(
        policy=Policy.PAPER,
        channel_names=document.channel_names,
        statistics=PaperStatistics(
            spacings=document.spacings,
            shapes=document.shapes,
            median_relative_size=document.median_relative_size,
            channels=tuple(
                PaperChannel(
                    mean=channel.mean,
                    std=channel.std,
                    median=channel.median,
                    minimum=channel.minimum,
                    maximum=channel.maximum,
                    percentile_00_5=channel.percentile_00_5,
                    percentile_99_5=channel.percentile_99_5,
                )
                for channel in document.channels
            ),
        ),
    )


def _pairs(counts: Counts) -> _Pairs:
    return tuple(sorted((number, count) for number, count in counts.items() if count))


def _axes_pairs(axes: tuple[Counts, Counts, Counts]) -> tuple[_Pairs, _Pairs, _Pairs]:
    depth, height, width = axes
    return _pairs(depth), _pairs(height), _pairs(width)


def _counts(entry: str, pairs: _Pairs) -> Counts:
    counts = dict(pairs)
    if len(counts) != len(pairs):
        raise FingerprintRefused(entry, "names a bin twice")
    return counts


def _axes_counts(entry: str, axes: tuple[_Pairs, _Pairs, _Pairs]) -> tuple[Counts, Counts, Counts]:
    depth, height, width = axes
    return _counts(entry, depth), _counts(entry, height), _counts(entry, width)


# --- plausibility ------------------------------------------------------------------------------


def _check_minimal(statistics: MinimalStatistics) -> None:
    cases = statistics.cases
    for axis, name in enumerate("zyx"):
        _check_counts(f"spacing ({name})", statistics.spacing[axis], cases, 1, LARGEST_SPACING_BIN)
        _check_counts(f"size ({name})", statistics.size[axis], cases, 1, LARGEST_SIZE)
        _check_counts(f"extent ({name})", statistics.extent[axis], cases, 1, LARGEST_EXTENT_BIN)
    _check_counts("share_kept", statistics.share_kept, cases, 0, LARGEST_SHARE_BIN)
    for number, channel in enumerate(statistics.channels):
        if channel.foreground_cases > cases:
            raise FingerprintRefused(f"channel {number}", "has more foreground cases than cases")
        _check_counts(
            f"histogram of channel {number}",
            channel.histogram,
            channel.foreground_cases * CASE_MASS,
            LOWEST_INTENSITY_BIN,
            HIGHEST_INTENSITY_BIN,
        )
        _check_moments(number, channel)


def _check_counts(entry: str, counts: Counts, total: int, lowest: int, highest: int) -> None:
    if counts and not lowest <= min(counts) <= max(counts) <= highest:
        raise FingerprintRefused(entry, f"has a bin outside {lowest} to {highest}")
    found = sum(counts.values())
    if found != total:
        raise FingerprintRefused(entry, f"adds up to {found}, not to {total}")


def _check_moments(number: int, channel: SharedChannel) -> None:
    """Check that the sums are such as the histogram allows, give or take their last digit."""
    entry = f"means of channel {number}"
    cases, histogram = channel.foreground_cases, channel.histogram
    if not cases:
        if channel.sum_of_means or channel.sum_of_mean_squares:
            raise FingerprintRefused(entry, "are there without any foreground")
        return
    # A bin whose share of a case rounds to nothing is left out, so a rare outlier may pull the
    # means beyond the histogram; what it cannot do is pull them this far.
    widest = max(abs(intensity_of(number)) for number in (min(histogram), max(histogram)))
    bound = math.ceil(max(widest, 1.0)) * _OUTLIERS
    unit = 1 << SUM_FRACTION_BITS
    if abs(channel.sum_of_means) > bound * unit * cases:
        raise FingerprintRefused(entry, "lie outside the histogram")
    if not 0 <= channel.sum_of_mean_squares <= bound * bound * unit * cases:
        raise FingerprintRefused(entry, "have squares outside the histogram")
    # Each case's mean is rounded to the unit, after a mean in double precision over its voxels.
    slack_of_squares = cases + math.ceil(1e-9 * widest**2) * cases * unit
    # Jensen: the mean square is never below the square of the mean.
    missing = channel.sum_of_means**2 - channel.sum_of_mean_squares * cases * unit
    if missing > slack_of_squares * cases * unit:
        raise FingerprintRefused(entry, "have squares smaller than the square of the mean")


def _check_paper(statistics: PaperStatistics) -> None:
    if len(statistics.shapes) != len(statistics.spacings):
        raise FingerprintRefused("shapes", "are not as many as the spacings")
    for number, channel in enumerate(statistics.channels):
        ordered = (
            channel.minimum,
            channel.percentile_00_5,
            channel.median,
            channel.percentile_99_5,
            channel.maximum,
        )
        if max(abs(channel.minimum), abs(channel.maximum)) > _LARGEST_FLOAT32 or list(
            ordered
        ) != sorted(ordered):
            raise FingerprintRefused(f"channel {number}", "has percentiles out of order")
        slack = 1e-6 * max(abs(channel.minimum), abs(channel.maximum))
        if not channel.minimum - slack <= channel.mean <= channel.maximum + slack:
            raise FingerprintRefused(f"channel {number}", "has a mean outside its range")
        if channel.std > channel.maximum - channel.minimum + slack:
            raise FingerprintRefused(f"channel {number}", "has a deviation wider than its range")
