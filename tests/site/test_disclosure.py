"""What leaves: exact integers, additive over sites, equal mass per case."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from app.domain.errors import DataProblem, ErrorCode
from app.domain.fingerprint import CaseFingerprint, ChannelStatistics, Fingerprint
from app.domain.shared import (
    CASE_MASS,
    SUM_FRACTION_BITS,
    MinimalStatistics,
    PaperStatistics,
    SharedChannel,
    intensity_bin,
    intensity_of,
)
from app.domain.study import Policy
from app.site.disclosure import share, spread_mass

_NOTHING = ChannelStatistics(
    voxels=0, mean=0.0, mean_square=0.0, minimum=0.0, maximum=0.0, histogram=()
)


def _channel(values):
    counts = Counter(intensity_bin(value) for value in values)
    return ChannelStatistics(
        voxels=len(values),
        mean=float(np.mean(values)),
        mean_square=float(np.mean(np.square(values))),
        minimum=min(values),
        maximum=max(values),
        histogram=tuple(sorted(counts.items())),
    )


@st.composite
def _cases(draw, channels=2):
    voxels = draw(st.integers(0, 30))
    values = st.lists(st.integers(-1000, 3000).map(float), min_size=voxels, max_size=voxels)
    return CaseFingerprint(
        case=draw(st.uuids()).hex,
        spacing_mm=draw(st.tuples(*[st.integers(1, 90000).map(lambda n: n * 1e-4)] * 3)),
        shape=draw(st.tuples(*[st.integers(1, 700)] * 3)),
        relative_size=draw(st.integers(1, 1000)) / 1000,
        channels=tuple(_channel(draw(values)) if voxels else _NOTHING for _ in range(channels)),
    )


_SITES = st.lists(st.lists(_cases(), min_size=1, max_size=4), min_size=1, max_size=3).filter(
    lambda sites: all(any(case.channels[0].voxels for case in site) for site in sites)
)


def _fingerprint(cases):
    return Fingerprint(content_digest="", channel_names=("T1", "T2"), cases=tuple(cases))


def _added(first, second):
    """Add two values of any depth: counts by bin, numbers by sum."""
    if isinstance(first, dict):
        return dict(sorted((Counter(first) + Counter(second)).items()))
    if isinstance(first, tuple):
        return tuple(_added(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, (MinimalStatistics, SharedChannel)):
        names = [field.name for field in fields(first)]
        return replace(
            first, **{name: _added(getattr(first, name), getattr(second, name)) for name in names}
        )
    return first + second


@settings(max_examples=60, deadline=None)
@given(_SITES)
def test_minimal_statistics_of_all_cases_are_the_sum_over_sites(sites):
    shared = [share(_fingerprint(cases), Policy.MINIMAL).statistics for cases in sites]
    total = shared[0]
    for other in shared[1:]:
        total = _added(total, other)
    pooled = [case for cases in sites for case in cases]
    assert share(_fingerprint(pooled), Policy.MINIMAL).statistics == total


@given(st.dictionaries(st.integers(0, 2**19 - 1), st.integers(1, 2**31), min_size=1, max_size=60))
def test_mass_is_exact_and_proportional(histogram):
    spread = spread_mass(sorted(histogram.items()))
    total = sum(histogram.values())
    assert sum(spread.values()) == CASE_MASS
    for number, count in histogram.items():
        assert abs(spread.get(number, 0) - Fraction(count * CASE_MASS, total)) < 1
    assert all(spread.values())


def test_equal_remainders_go_to_the_lower_bins():
    # 2**20 = 3 x 349525 + 1: one unit is left over for three equal bins.
    assert spread_mass([(5, 1), (9, 1), (12, 1)]) == {5: 349526, 9: 349525, 12: 349525}


@given(
    st.lists(_cases(), min_size=1, max_size=5).filter(
        lambda c: any(x.channels[0].voxels for x in c)
    )
)
def test_fields_say_what_the_cases_say(cases):
    found = share(_fingerprint(cases), Policy.MINIMAL).statistics
    for axis in range(3):
        for counts in (found.spacing[axis], found.size[axis], found.extent[axis]):
            assert sum(counts.values()) == found.cases == len(cases)
            assert list(counts) == sorted(counts)
        assert found.size[axis] == dict(sorted(Counter(c.shape[axis] for c in cases).items()))
        # Spacings lie on the 0.1 micrometre lattice here, so an extent is an exact product.
        extents = Counter(round(c.spacing_mm[axis] * 1e4) * c.shape[axis] for c in cases)
        assert found.extent[axis] == dict(sorted(extents.items()))
    filled = [case for case in cases if case.channels[0].voxels]
    for number, channel in enumerate(found.channels):
        assert channel.foreground_cases == len(filled)
        assert sum(channel.histogram.values()) == CASE_MASS * len(filled)
        unit = Fraction(1, 2**SUM_FRACTION_BITS)
        for total, attribute in (
            (channel.sum_of_means, "mean"),
            (channel.sum_of_mean_squares, "mean_square"),
        ):
            exact = sum(Fraction(getattr(case.channels[number], attribute)) for case in filled)
            assert abs(total * unit - exact) <= unit * len(filled) / 2


def test_left_out_cases_leave_no_trace_and_nothing_left_is_refused():
    cases = [
        replace(_plain(f"c{n}", 100.0 * (n + 1)), spacing_mm=(1.0, 1.0, n + 1.0)) for n in range(3)
    ]
    assert share(_fingerprint(cases), Policy.MINIMAL, frozenset({"c1"})) == share(
        _fingerprint([cases[0], cases[2]]), Policy.MINIMAL
    )
    with pytest.raises(DataProblem) as caught:
        share(_fingerprint(cases), Policy.MINIMAL, frozenset({"c0", "c1", "c2"}))
    assert caught.value.code is ErrorCode.TOO_FEW_CASES
    empty = replace(cases[0], channels=(_NOTHING, _NOTHING))
    for policy in Policy:
        with pytest.raises(DataProblem) as caught:
            share(_fingerprint([empty]), policy)
        assert caught.value.code is ErrorCode.NO_FOREGROUND


def _plain(name, value):
    return CaseFingerprint(
        case=name,
        spacing_mm=(1.0, 1.0, 1.0),
        shape=(10, 20, 30),
        relative_size=1.0,
        channels=(_channel([value, value + 50.0]),) * 2,
    )


@pytest.mark.parametrize("policy", Policy)
def test_no_case_name_leaves(policy):
    shared = share(_fingerprint([_plain("mueller-anna", 7.0)]), policy)
    assert "mueller" not in repr(shared)
    assert shared.cases == 1


def test_paper_figures_are_those_of_the_pooled_voxels():
    rng = np.random.default_rng(4)
    # The same number of voxels per case, so that weighing by case and by voxel agree.
    samples = [rng.normal(200 * n + 300, 60, 4001).round() for n in range(3)]
    cases = [
        replace(
            _plain(f"c{n}", 0.0),
            channels=(_channel([float(v) for v in values]),) * 2,
            relative_size=(0.5, 0.9, 0.7)[n],
        )
        for n, values in enumerate(samples)
    ]
    found = share(_fingerprint(cases), Policy.PAPER).statistics
    assert isinstance(found, PaperStatistics)
    pooled = np.concatenate(samples)
    assert found.median_relative_size == 0.7
    assert found.shapes == ((10, 20, 30),) * 3
    channel = found.channels[0]
    assert channel.mean == pytest.approx(pooled.mean(), rel=1e-12)
    assert channel.std == pytest.approx(pooled.std(), rel=1e-9)
    assert (channel.minimum, channel.maximum) == (pooled.min(), pooled.max())
    for value, quantile in (
        (channel.percentile_00_5, 0.5),
        (channel.median, 50),
        (channel.percentile_99_5, 99.5),
    ):
        assert value == pytest.approx(np.percentile(pooled, quantile), abs=1)
        assert value == intensity_of(intensity_bin(value))


def test_median_relative_size_of_an_even_number_is_the_mean_of_the_middle_two():
    cases = [replace(_plain(f"c{n}", 1.0), relative_size=size) for n, size in enumerate((0.2, 0.8))]
    assert share(_fingerprint(cases), Policy.PAPER).statistics.median_relative_size == 0.5
