"""What the Fingerprint page shows: the outgoing bytes in words and pictures, outliers, reasons not to share.

Fields and pictures are made from the outgoing bytes, so they cannot say less than what leaves.
Cases and outliers are made from the local fingerprint and stay.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.control.messages import CaseRow, HistogramView, OutgoingField
from app.domain.fingerprint import CaseFingerprint, Fingerprint
from app.domain.plans import PlanSummary
from app.domain.shared import (
    CASE_MASS,
    SHARE_UNIT,
    Counts,
    MinimalStatistics,
    PaperStatistics,
    SharedChannel,
    SharedFingerprint,
    intensity_of,
    length_of,
)
from app.domain.study import Method, StudyTerms
from app.federation import shared_codec, shared_network
from app.federation.merging import MergedFingerprint
from app.federation.network import NetworkPlan

AGGREGATE: Final = "aggregate"
COUNT_OF_ONE: Final = "count of one"
PER_CASE: Final = "per case"
SINGLE_VOXEL: Final = "single voxel"
_AXES: Final = ("z", "y", "x")
_BARS: Final = 24
_INTENSITY_BARS: Final = 60
_SHOWN_SHARE: Final = 0.999
"""Share of the intensity mass inside the picture; the rest is counted into its outer bars."""
_FEWEST_FOR_OUTLIERS: Final = 4
_FAR_SPACING: Final = 1.5
_FAR_SIZE: Final = 2.0
_FAR_DEVIATIONS: Final = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownOutgoing:
    """Everything the page draws from the outgoing bytes."""

    text: str
    fields: tuple[OutgoingField, ...]
    pictures: tuple[HistogramView, ...]


def show_outgoing(document: bytes) -> ShownOutgoing:
    """Return what the page draws from the exact outgoing bytes.

    Raises:
        PeerMistake: they are not a shared fingerprint (then nothing may be shared).
    """
    shared = shared_codec.decode(document)
    return ShownOutgoing(
        text=document.decode(), fields=outgoing_fields(shared), pictures=pictures_of(shared)
    )


def show_network(document: bytes) -> ShownOutgoing:
    """Return what the page draws where a site plans for itself and shares its network's form.

    Raises:
        PeerMistake: the bytes are no such statement (then nothing may be shared).
    """
    shared = shared_network.decode(document)
    rows = [
        _row("format", "1", "version of this document"),
        _row("cases", str(shared.cases), "weighs this site's updates"),
        _row("channel_names", ", ".join(shared.channel_names), "whose first layers are alike"),
        _row("labels", ", ".join(name for name, _ in shared.labels), "whose last layers are alike"),
        _row("configuration", shared.configuration, "must be the study's"),
        *_network_rows(shared.network),
        *(() if shared.first_pass is None else _network_rows(shared.first_pass, "first_pass.")),
        _row(
            "versions",
            ", ".join(f"{name} {version}" for name, version in shared.versions),
            "whether sites plan and train with the same software",
        ),
    ]
    return ShownOutgoing(text=document.decode(), fields=tuple(rows), pictures=())


def _network_rows(network: NetworkPlan, within: str = "") -> list[OutgoingField]:
    return [
        _row(f"{within}architecture", network.architecture.value, "must be the study's"),
        _row(f"{within}features", _each(network.features), "size of the layers of each stage"),
        _row(f"{within}kernels", _each(network.kernels), "size of the layers of each stage"),
        _row(f"{within}strides", _each(network.strides), "which stages see images equally fine"),
        _row(
            f"{within}encoder_depth",
            _each(network.encoder_depth),
            "number of layers of each stage",
        ),
        _row(
            f"{within}decoder_depth",
            _each(network.decoder_depth),
            "number of layers of each stage",
        ),
        _row(f"{within}affine", str(network.affine).lower(), "whether layers have these weights"),
        _row(f"{within}bias", str(network.bias).lower(), "whether layers have these weights"),
    ]


def _each(values: Sequence[int] | Sequence[tuple[int, ...]]) -> str:
    return ", ".join(
        "x".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values
    )


# --- the table of what leaves ------------------------------------------------------------------


def outgoing_fields(shared: SharedFingerprint) -> tuple[OutgoingField, ...]:
    """Return one row for every field of the outgoing document."""
    rows = [
        _row("format", "1", "version of this document"),
        _row("policy", shared.policy.value, "says which fields follow"),
        _row("channel_names", ", ".join(shared.channel_names), "must be the study's channels"),
    ]
    match shared.statistics:
        case MinimalStatistics() as minimal:
            rows += _minimal_rows(minimal, shared.channel_names)
        case PaperStatistics() as paper:
            rows += _paper_rows(paper, shared.channel_names)
    return tuple(rows)


def _row(field: str, value: str, purpose: str, risk: str = AGGREGATE) -> OutgoingField:
    return OutgoingField(field=field, value=value, purpose=purpose, risk=risk)


def _minimal_rows(minimal: MinimalStatistics, names: Sequence[str]) -> list[OutgoingField]:
    rows = [_row("cases", str(minimal.cases), "weighs this site; the planner reads the total")]
    lengths: list[tuple[str, tuple[Counts, Counts, Counts], Callable[[int], float], str, str]] = [
        ("spacing", minimal.spacing, length_of, "mm", "the study's target spacing (median)"),
        ("size", minimal.size, float, "voxels", "patch size and network depth (median)"),
        ("extent", minimal.extent, length_of, "mm", "image size after resampling (median)"),
    ]
    for field, axes, value_of, unit, purpose in lengths:
        rows += [
            _row(f"{field}.{axis}", _counted(counts, value_of, unit), purpose, _risk(counts))
            for axis, counts in zip(_AXES, axes, strict=True)
        ]
    rows.append(
        _row(
            "share_kept",
            _counted(minimal.share_kept, lambda number: round(number * SHARE_UNIT, 3), ""),
            "whether empty borders are ignored when normalising (median)",
            _risk(minimal.share_kept),
        )
    )
    for name, channel in zip(names, minimal.channels, strict=True):
        bins = len(channel.histogram)
        rows += [
            _row(
                f"{name}.foreground_cases",
                str(channel.foreground_cases),
                "divides the sums below",
            ),
            _row(f"{name}.sum_of_means", str(channel.sum_of_means), "the study's mean intensity"),
            _row(
                f"{name}.sum_of_mean_squares",
                str(channel.sum_of_mean_squares),
                "the study's standard deviation",
            ),
            _row(
                f"{name}.histogram",
                f"{bins} bins from {_short(_lowest(channel))} to {_short(_highest(channel))},"
                " every case with the same weight"
                if bins
                else "empty",
                "the study's median and the percentiles at which intensities are cut",
            ),
        ]
    return rows


def _paper_rows(paper: PaperStatistics, names: Sequence[str]) -> list[OutgoingField]:
    rows = [
        _row(
            "spacings",
            f"{len(paper.spacings)} cases, one spacing each",
            "the study's target spacing",
            PER_CASE,
        ),
        _row(
            "shapes",
            f"{len(paper.shapes)} cases, one size each",
            "patch size and network depth",
            PER_CASE,
        ),
        _row(
            "median_relative_size",
            _short(paper.median_relative_size),
            "whether empty borders are ignored when normalising",
        ),
    ]
    for name, channel in zip(names, paper.channels, strict=True):
        rows += [
            _row(f"{name}.mean", _short(channel.mean), "normalisation"),
            _row(f"{name}.std", _short(channel.std), "normalisation"),
            _row(f"{name}.median", _short(channel.median), "shown only"),
            _row(f"{name}.percentile_00_5", _short(channel.percentile_00_5), "where it is cut"),
            _row(f"{name}.percentile_99_5", _short(channel.percentile_99_5), "where it is cut"),
            _row(f"{name}.minimum", _short(channel.minimum), "not used", SINGLE_VOXEL),
            _row(f"{name}.maximum", _short(channel.maximum), "not used", SINGLE_VOXEL),
        ]
    return rows


def _risk(counts: Counts) -> str:
    """A value that one case alone has says something about that case, though not which it is."""
    return COUNT_OF_ONE if 1 in counts.values() else AGGREGATE


def _counted(counts: Counts, value_of: Callable[[int], float], unit: str) -> str:
    """Return e.g. ``1 mm: 30 cases, 3 mm: 1 case``; long lists are shortened to their range."""
    suffix = f" {unit}" if unit else ""
    if len(counts) > 3:
        low, high = _short(value_of(min(counts))), _short(value_of(max(counts)))
        alone = sum(1 for count in counts.values() if count == 1)
        return f"{len(counts)} values from {low} to {high}{suffix}, {alone} of them of one case"
    return ", ".join(
        f"{_short(value_of(number))}{suffix}: {count} case{'s' if count > 1 else ''}"
        for number, count in sorted(counts.items())
    )


def _lowest(channel: SharedChannel) -> float:
    return intensity_of(min(channel.histogram))


def _highest(channel: SharedChannel) -> float:
    return intensity_of(max(channel.histogram))


def _short(value: float) -> str:
    return f"{value:.4g}"


# --- pictures ----------------------------------------------------------------------------------


def pictures_of(shared: SharedFingerprint) -> tuple[HistogramView, ...]:
    """Return histograms of every field of the outgoing document that has a distribution."""
    match shared.statistics:
        case MinimalStatistics() as minimal:
            found = _geometry(minimal.spacing, minimal.size)
            for name, channel in zip(shared.channel_names, minimal.channels, strict=True):
                if channel.histogram:
                    found.append(_intensities(name, channel.histogram))
            return tuple(found)
        case PaperStatistics() as paper:
            spacing = _columns(paper.spacings)
            size = _columns(paper.shapes)
            return tuple(
                [_bars(f"Spacing {axis}", "mm", spacing[i]) for i, axis in enumerate(_AXES)]
                + [_bars(f"Size {axis}", "voxels", size[i]) for i, axis in enumerate(_AXES)]
            )


def merged_pictures(merged: MergedFingerprint) -> tuple[HistogramView, ...]:
    """Return histograms of what the federation merged from all sites."""
    return tuple(_geometry(merged.spacing, merged.size))


def _geometry(
    spacing: tuple[Counts, Counts, Counts], size: tuple[Counts, Counts, Counts]
) -> list[HistogramView]:
    found = [
        _bars(f"Spacing {axis}", "mm", {length_of(n): float(c) for n, c in counts.items()})
        for axis, counts in zip(_AXES, spacing, strict=True)
        if counts
    ]
    found += [
        _bars(f"Size {axis}", "voxels", {float(n): float(c) for n, c in counts.items()})
        for axis, counts in zip(_AXES, size, strict=True)
        if counts
    ]
    return found


def _columns(rows: Sequence[Sequence[float]]) -> list[dict[float, float]]:
    found: list[dict[float, float]] = [{}, {}, {}]
    for row in rows:
        for axis, value in enumerate(row):
            found[axis][float(value)] = found[axis].get(float(value), 0.0) + 1.0
    return found


def _intensities(name: str, histogram: Counts) -> HistogramView:
    """Draw masses as cases; the few voxels far out would else squeeze the picture to one bar."""
    values = {intensity_of(number): mass / CASE_MASS for number, mass in histogram.items()}
    total = sum(values.values())
    low, high, below = min(values), max(values), 0.0
    margin = (1 - _SHOWN_SHARE) / 2 * total
    for value in sorted(values):
        if below <= margin:
            low = value
        below += values[value]
        if below >= total - margin:
            high = value
            break
    inside: dict[float, float] = {}
    for value, mass in values.items():
        place = min(max(value, low), high)
        inside[place] = inside.get(place, 0.0) + mass
    return _bars(name, "intensity", inside, bars=_INTENSITY_BARS)


def _bars(
    label: str, unit: str, weights: Mapping[float, float], *, bars: int = _BARS
) -> HistogramView:
    """Return equal bars over the range of the values; one bar where there is one value."""
    low, high = min(weights), max(weights)
    if math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-12):
        half = abs(low) * 0.05 or 0.5
        return HistogramView(
            label=label,
            unit=unit,
            edges=(low - half, high + half),
            counts=(sum(weights.values()),),
        )
    width = (high - low) / bars
    counts = [0.0] * bars
    for value, weight in weights.items():
        counts[min(int((value - low) / width), bars - 1)] += weight
    edges = (*(low + width * number for number in range(bars)), high)
    return HistogramView(label=label, unit=unit, edges=edges, counts=tuple(counts))


# --- local cases and outliers ------------------------------------------------------------------


def case_rows(fingerprint: Fingerprint, leave_out: Sequence[str]) -> tuple[CaseRow, ...]:
    """Return a row per case, with a note on what sets it apart; cases left out keep their row."""
    notes: dict[str, list[str]] = {}
    for remark in _remarks(fingerprint):
        for case in remark.cases:
            notes.setdefault(case, []).append(remark.note)
    return tuple(
        CaseRow(
            case=case.case,
            spacing_mm=case.spacing_mm,
            shape=case.shape,
            left_out=case.case in leave_out,
            note=", ".join(notes.get(case.case, ())),
        )
        for case in fingerprint.cases
    )


def outliers(fingerprint: Fingerprint, leave_out: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each way in which few cases differ from the others."""
    kept = Fingerprint(
        content_digest=fingerprint.content_digest,
        channel_names=fingerprint.channel_names,
        cases=tuple(case for case in fingerprint.cases if case.case not in leave_out),
    )
    total = len(kept.cases)
    return tuple(
        f"{len(remark.cases)} case{'s' if len(remark.cases) > 1 else ''} of {total}"
        f" ha{'ve' if len(remark.cases) > 1 else 's'} {remark.note}; most have {remark.usual}"
        for remark in _remarks(kept)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remark:
    cases: tuple[str, ...]
    note: str
    usual: str


def _remarks(fingerprint: Fingerprint) -> list[_Remark]:
    cases = fingerprint.cases
    if len(cases) < _FEWEST_FOR_OUTLIERS:
        return []
    found: list[_Remark] = []
    for axis, letter in enumerate(_AXES):
        spacings = [case.spacing_mm[axis] for case in cases]
        found += _far_by_factor(cases, spacings, _FAR_SPACING, f"mm spacing along {letter}")
        sizes = [float(case.shape[axis]) for case in cases]
        found += _far_by_factor(cases, sizes, _FAR_SIZE, f"voxels along {letter}")
    for channel, name in enumerate(fingerprint.channel_names):
        found += _far_by_deviation(cases, channel, name)
    return found


def _far_by_factor(
    cases: Sequence[CaseFingerprint], values: Sequence[float], factor: float, unit: str
) -> list[_Remark]:
    usual = statistics.median(values)
    groups: dict[str, list[str]] = {}
    for case, value in zip(cases, values, strict=True):
        if value > usual * factor or value < usual / factor:
            groups.setdefault(f"{_short(value)} {unit}", []).append(case.case)
    # Half of the cases is another kind of image, not an outlier.
    return [
        _Remark(cases=tuple(names), note=note, usual=f"{_short(usual)} {unit}")
        for note, names in groups.items()
        if len(names) * 2 < len(cases)
    ]


def _far_by_deviation(cases: Sequence[CaseFingerprint], channel: int, name: str) -> list[_Remark]:
    filled = [case for case in cases if case.channels[channel].voxels]
    if len(filled) < _FEWEST_FOR_OUTLIERS:
        return []
    means = [case.channels[channel].mean for case in filled]
    usual = statistics.median(means)
    deviation = statistics.median(abs(mean - usual) for mean in means)
    if deviation <= 0:
        return []
    return [
        _Remark(
            cases=(case.case,),
            note=f"a mean {name} intensity of {_short(mean)}",
            usual=f"about {_short(usual)}",
        )
        for case, mean in zip(filled, means, strict=True)
        if abs(mean - usual) > _FAR_DEVIATIONS * deviation
    ]


# --- may it be shared --------------------------------------------------------------------------


def reason_not_to_share(
    *,
    terms: StudyTerms | None,
    channel_names: Sequence[str],
    labels: Mapping[str, int | tuple[int, ...]],
    cases: int,
    content_digest: str,
    checked_digest: str | None,
    blocks: bool,
) -> str:
    """Return why these bytes cannot be shared, empty when they can."""
    if terms is None:
        return "join a study first: it says what is shared and with whom"
    if checked_digest is None:
        return "the folder has not been checked since it was chosen"
    if blocks:
        return "the check found something that blocks; see the Data page"
    if checked_digest != content_digest:
        return "the folder has changed since this fingerprint was computed; compute it again"
    if terms.method is Method.ASYM:
        misfit = shared_network.misfit_of(channel_names, labels, terms)
        if misfit:
            return misfit
    elif tuple(channel_names) != terms.channel_names:
        return (
            f"the images' channels are {', '.join(channel_names)}, "
            f"the study's are {', '.join(terms.channel_names)}"
        )
    if cases < terms.minimum_cases:
        return (
            f"there are {cases} cases; the study shares nothing about fewer than "
            f"{terms.minimum_cases}, because a person could be recognised"
        )
    return ""


# --- what came back ----------------------------------------------------------------------------


def what_changes(
    fingerprint: Fingerprint, plan: PlanSummary, *, axes: Sequence[int], merged_cases: int
) -> str:
    """Return what the federation's plan means for this site's images.

    `axes` is the plan's order of the axes (nnU-Net's ``transpose_forward``) as numbers of z, y, x.
    """
    own = [statistics.median(case.spacing_mm[axis] for case in fingerprint.cases) for axis in axes]
    own = own[-len(plan.spacing_mm) :]
    target = plan.spacing_mm
    if all(abs(mine - theirs) <= 0.02 * theirs for mine, theirs in zip(own, target, strict=True)):
        spacing = f"your images keep their median spacing of {_times(own)} mm"
    else:
        spacing = (
            f"your images, with a median spacing of {_times(own)} mm, are resampled to the study's"
            f" {_times(target)} mm"
        )
    normalised = ", ".join(
        f"{name} by {scheme}"
        for name, scheme in zip(fingerprint.channel_names, plan.normalisation, strict=False)
    )
    return (
        f"Planned from {merged_cases} cases of all sites: {spacing}. Training looks at patches of "
        f"{_times(plan.patch)} voxels, {plan.batch_size} at a time. Intensities are normalised:"
        f" {normalised}."
    )


def _times(values: Sequence[float]) -> str:
    return " x ".join(_short(value) for value in values)
