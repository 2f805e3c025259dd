import dataclasses
import json
import math

import numpy as np
import pytest
from helpers.fingerprints import MadeCase, make_cases, minimal, paper
from hypothesis import given, strategies as st

from app.domain.errors import ErrorCode, OurMistake, PeerMistake
from app.domain.shared import intensity_bin, intensity_of
from app.domain.study import Aggregation, Policy
from app.federation.canonical import canonical
from app.federation.merging import (
    decode_merged,
    encode_merged,
    merge,
    percentile,
    pool,
)
from app.federation.shared_codec import FingerprintRefused

COUNTS = st.dictionaries(st.integers(-1000, 1000), st.integers(1, 20), min_size=1, max_size=20)


def split(cases: list[MadeCase], places: list[int]) -> list[list[MadeCase]]:
    """Split cases over sites; `places` names the site of each."""
    sites = [
        [case for case, place in zip(cases, places, strict=True) if place == k] for k in range(4)
    ]
    return [site for site in sites if site]


@given(COUNTS, st.sampled_from([0, 0.5, 10, 25, 50, 75, 90, 99.5, 100]))
def test_a_percentile_of_counts_is_numpys_of_the_list(counts, percent):
    values = [number for number, count in counts.items() for _ in range(count)]
    assert percentile(counts, percent) == np.percentile(values, percent)


def test_a_percentile_of_nothing_is_a_bug_of_ours():
    with pytest.raises(OurMistake):
        percentile({}, 50)


@given(st.integers(0, 1000), st.lists(st.integers(0, 3), min_size=1, max_size=12), st.randoms())
def test_the_split_of_cases_over_sites_does_not_show(seed, places, random):
    cases = make_cases(seed, len(places))
    whole = merge([minimal(cases)], rule=Aggregation.CASES)
    parts = [minimal(site) for site in split(cases, places)]
    random.shuffle(parts)
    assert merge(parts, rule=Aggregation.CASES) == whole


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_pooling_is_associative_and_commutative(seed, a, b, c):
    x, y, z = (
        minimal(make_cases(seed + number, cases)).statistics
        for number, cases in enumerate((a, b, c))
    )
    assert pool([pool([x, y]), z]) == pool([x, pool([y, z])]) == pool([z, y, x])
    assert pool([x]) == pool([pool([x])])


def test_the_merged_figures_are_those_of_all_voxels_together():
    """Every case has as many voxels here, so nnU-Net's pool is the plain list of voxels."""
    sites = [make_cases(1, 9, mean=40, std=30), make_cases(2, 3, mean=900, std=60)]
    merged = merge([minimal(site) for site in sites], rule=Aggregation.CASES)
    voxels = np.array([value for site in sites for case in site for value in case.voxels])
    (channel,) = merged.channels
    assert channel.mean == pytest.approx(voxels.mean(), rel=1e-12)
    assert channel.std == pytest.approx(voxels.std(), rel=1e-9)
    # Integers up to 2048 have bins of their own: the percentiles agree up to numpy's
    # interpolation, which sees 256 voxels of a case where the pool sees a mass of 2**20.
    for name, percent in (("median", 50), ("percentile_00_5", 0.5), ("percentile_99_5", 99.5)):
        low = np.percentile(voxels, percent, method="lower")
        high = np.percentile(voxels, percent, method="higher")
        assert low <= getattr(channel, name) <= high, name
    assert (channel.minimum, channel.maximum) == (voxels.min(), voxels.max())
    cases = [case for site in sites for case in site]
    assert merged.cases == 12
    assert merged.median_relative_size == pytest.approx(
        np.median([round(case.share, 3) for case in cases])
    )
    for axis in range(3):
        spacings = [case.spacing[axis] for case in cases]
        assert percentile(merged.spacing[axis], 50) * 1e-4 == pytest.approx(np.median(spacings))
        sizes = [case.shape[axis] for case in cases]
        assert percentile(merged.size[axis], 10) == np.percentile(sizes, 10)


@given(st.floats(-3e38, 3e38), st.floats(-3e38, 3e38))
def test_a_percentile_lies_within_a_bin_of_the_voxels(a, b):
    histogram = {}
    for value in (a, b):
        number = intensity_bin(value)
        histogram[number] = histogram.get(number, 0) + 1
    low, high = sorted((a, b))
    assert percentile(histogram, 0, intensity_of) == intensity_of(intensity_bin(low))
    assert percentile(histogram, 100, intensity_of) == intensity_of(intensity_bin(high))
    assert math.isclose(intensity_of(intensity_bin(low)), low, rel_tol=1e-3, abs_tol=1e-37)


def test_cases_without_foreground_do_not_weigh():
    cases = make_cases(3, 5)
    empty = [dataclasses.replace(case, voxels=()) for case in make_cases(4, 4)]
    with_empty = merge([minimal(cases), minimal(empty)], rule=Aggregation.CASES)
    assert with_empty.channels == merge([minimal(cases)], rule=Aggregation.CASES).channels
    assert with_empty.cases == 9
    with pytest.raises(FingerprintRefused, match="channel MRI has no foreground at any site"):
        merge([minimal(empty)], rule=Aggregation.CASES)


def test_the_papers_rule_is_the_case_weighted_mean_of_the_sites_figures():
    """Against the reference code's aggregate_fingerprints, written out with numpy."""
    sites = [make_cases(1, 9, mean=40, std=30), make_cases(2, 3, mean=120, std=60)]
    shared = [paper(site) for site in sites]
    merged = merge(shared, rule=Aggregation.PAPER)
    weights = [9, 3]
    (channel,) = merged.channels
    for name in ("mean", "std", "median", "percentile_00_5", "percentile_99_5"):
        values = [getattr(one.statistics.channels[0], name) for one in shared]
        assert getattr(channel, name) == pytest.approx(
            np.average(values, weights=weights), rel=1e-12
        )
    assert channel.minimum == min(one.statistics.channels[0].minimum for one in shared)
    assert channel.maximum == max(one.statistics.channels[0].maximum for one in shared)
    assert merged.median_relative_size == pytest.approx(
        np.average([one.statistics.median_relative_size for one in shared], weights=weights)
    )
    assert merged.spacings == tuple(case.spacing for site in sites for case in site)
    assert merged.shapes == tuple(case.shape for site in sites for case in site)


def test_our_rule_mends_the_deviation_even_of_the_papers_fields():
    sites = [make_cases(1, 9, mean=40, std=30), make_cases(2, 3, mean=900, std=60)]
    voxels = np.array([value for site in sites for case in site for value in case.voxels])
    ours = merge([paper(site) for site in sites], rule=Aggregation.CASES).channels[0]
    theirs = merge([paper(site) for site in sites], rule=Aggregation.PAPER).channels[0]
    assert ours.std == pytest.approx(voxels.std(), rel=1e-9)
    assert theirs.std < 0.2 * voxels.std()
    assert ours.mean == theirs.mean == pytest.approx(voxels.mean())


def test_the_papers_rule_can_be_repeated_from_minimal_statistics():
    sites = [make_cases(1, 9, mean=40, std=30), make_cases(2, 3, mean=120, std=60)]
    from_minimal = merge([minimal(site) for site in sites], rule=Aggregation.PAPER)
    from_paper = merge([paper(site) for site in sites], rule=Aggregation.PAPER)
    for one, other in zip(from_minimal.channels, from_paper.channels, strict=True):
        for name in ("mean", "std", "median"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-6)
        # numpy interpolates between two of 2304 voxels, the mass between two of 2**20 * 9.
        for name in ("percentile_00_5", "percentile_99_5"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=2)
    assert from_minimal.spacing == from_paper.spacing
    assert from_minimal.median_relative_size == pytest.approx(
        from_paper.median_relative_size, abs=1e-3
    )


def test_fingerprints_that_do_not_belong_together_are_refused():
    cases = make_cases(1, 5)
    with pytest.raises(FingerprintRefused, match="policy differs"):
        merge([minimal(cases), paper(cases)], rule=Aggregation.CASES)
    with pytest.raises(FingerprintRefused, match="channels differ"):
        merge([minimal(cases), minimal(cases, name="CT")], rule=Aggregation.CASES)
    with pytest.raises(FingerprintRefused, match="cases are 4, the study's minimum is 5"):
        merge([minimal(cases), minimal(cases[:4])], rule=Aggregation.CASES, minimum_cases=5)
    with pytest.raises(OurMistake):
        merge([], rule=Aggregation.CASES)


@pytest.mark.parametrize("made", [minimal, paper])
@pytest.mark.parametrize("rule", list(Aggregation))
def test_a_merged_fingerprint_comes_back(made, rule):
    merged = merge([made(make_cases(1, 6)), made(make_cases(2, 7))], rule=rule)
    document = encode_merged(merged)
    assert decode_merged(document) == merged
    assert encode_merged(decode_merged(document)) == document
    assert merged.policy is (Policy.MINIMAL if made is minimal else Policy.PAPER)


def test_a_minimal_merged_fingerprint_tells_no_histogram_of_intensities():
    document = json.loads(encode_merged(merge([minimal(make_cases(1, 6))], rule=Aggregation.CASES)))
    assert sorted(document["channels"][0]) == [
        "maximum", "mean", "median", "minimum", "percentile_00_5", "percentile_99_5", "std",
    ]  # fmt: skip
    assert document["spacings"] == document["shapes"] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(cases=5),
        lambda d: d.update(extra=1),
        lambda d: d.update(median_relative_size=2),
        lambda d: d["channels"].clear(),
        lambda d: d["spacing"][0].reverse(),
        lambda d: d["share_kept"].clear(),
        lambda d: d["channels"][0].update(mean="x"),
    ],
)
def test_a_damaged_merged_fingerprint_is_refused(change):
    document = json.loads(encode_merged(merge([minimal(make_cases(1, 6))], rule=Aggregation.CASES)))
    change(document)
    with pytest.raises(PeerMistake) as caught:
        decode_merged(canonical(document))
    assert caught.value.code is ErrorCode.FINGERPRINT_REFUSED


@given(st.binary(max_size=200))
def test_any_bytes_give_a_merged_fingerprint_or_the_documented_error(document):
    with pytest.raises(PeerMistake):
        decode_merged(document)
