import dataclasses
import json
import math

import pytest
from helpers.fingerprints import make_cases, minimal, paper
from hypothesis import given, strategies as st

from app.domain.errors import ErrorCode, PeerMistake
from app.domain.shared import CASE_MASS, INTENSITY_BINS, SharedFingerprint, intensity_of
from app.domain.study import Policy
from app.federation.canonical import canonical
from app.federation.shared_codec import (
    HIGHEST_INTENSITY_BIN,
    LOWEST_INTENSITY_BIN,
    MAXIMUM_BYTES,
    FingerprintRefused,
    check_terms,
    decode,
    encode,
)
from app.federation.study_file import EXAMPLE, parse_study

CASES = make_cases(1, 8)


def changed(fingerprint: SharedFingerprint, change) -> bytes:
    """Return the document after `change` did something to its JSON."""
    document = json.loads(encode(fingerprint))
    change(document)
    return canonical(document)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(-500, 5000), st.floats(0, 800))
def test_both_policies_come_back(seed, number, mean, std):
    cases = make_cases(seed, number, mean=mean, std=std)
    for fingerprint in (minimal(cases), paper(cases)):
        document = encode(fingerprint)
        assert decode(document) == fingerprint
        assert encode(decode(document)) == document


def test_a_minimal_document_holds_whole_numbers_and_wide_ones_as_text():
    document = encode(minimal(CASES))

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no whole number")

    parsed = json.loads(document, parse_float=refuse)
    channel = parsed["channels"][0]
    assert isinstance(channel["sum_of_means"], str)
    assert isinstance(channel["sum_of_mean_squares"], str)
    assert sum(mass for _, mass in channel["histogram"]) == CASE_MASS * len(CASES)


def test_a_minimal_document_names_no_case_and_no_voxel():
    document = json.loads(encode(minimal(CASES)))
    assert sorted(document) == [
        "cases", "channel_names", "channels", "extent", "format", "policy", "share_kept",
        "size", "spacing",
    ]  # fmt: skip
    assert sorted(document["channels"][0]) == [
        "foreground_cases", "histogram", "sum_of_mean_squares", "sum_of_means",
    ]  # fmt: skip


def test_cases_without_foreground_are_allowed():
    empty = [dataclasses.replace(case, voxels=()) for case in make_cases(2, 3)]
    fingerprint = minimal([*CASES, *empty])
    assert decode(encode(fingerprint)) == fingerprint
    assert decode(encode(minimal(empty))) == minimal(empty)


def test_a_constant_image_is_plausible():
    for value in (0.0, -1.0, 0.1, -1000.0, 3e38, 1e-40):
        cases = [dataclasses.replace(case, voxels=(value,) * 4) for case in CASES]
        fingerprint = minimal(cases)
        assert decode(encode(fingerprint)) == fingerprint, value


def test_an_outlier_too_rare_for_the_histogram_is_plausible():
    """Disclosure leaves out bins whose share rounds to nothing, but not their part of the mean."""
    cases = [dataclasses.replace(case, voxels=(1.0,) * 4) for case in CASES]
    fingerprint = minimal(cases)
    (channel,) = fingerprint.statistics.channels
    outlier, voxels = 30_000.0, 4_000_000
    pulled = dataclasses.replace(
        channel,
        sum_of_means=len(cases) * round((1.0 + outlier / voxels) * 2**32),
        sum_of_mean_squares=len(cases) * round((1.0 + outlier**2 / voxels) * 2**32),
    )
    statistics = dataclasses.replace(fingerprint.statistics, channels=(pulled,))
    fingerprint = dataclasses.replace(fingerprint, statistics=statistics)
    assert decode(encode(fingerprint)) == fingerprint


def change_histogram(pairs):
    def change(document):
        document["channels"][0]["histogram"] = pairs

    return change


def shift_mean(document):
    channel = document["channels"][0]
    channel["sum_of_means"] = str(int(channel["sum_of_means"]) + (10**8 << 32))


def shrink_squares(document):
    channel = document["channels"][0]
    channel["sum_of_mean_squares"] = str(int(channel["sum_of_mean_squares"]) // 2)


def move_first_bin(name, number):
    def change(document):
        axis = document[name][0]
        axis[0][0] = number
        axis.sort()

    return change


HOSTILE_MINIMAL = {
    "more cases than counts": (
        lambda d: d.update(cases=d["cases"] + 1),
        "spacing (z) adds up to 8",
    ),
    "no cases": (lambda d: d.update(cases=0), "cannot be read"),
    "too many cases": (lambda d: d.update(cases=100_001), "cannot be read"),
    "negative count": (lambda d: d["size"][0][0].__setitem__(1, -1), "cannot be read"),
    "empty bin": (lambda d: d["size"][0][0].__setitem__(1, 0), "cannot be read"),
    "fraction": (lambda d: d["size"][0][0].__setitem__(1, 1.5), "cannot be read"),
    "truth for a number": (lambda d: d.update(cases=True), "cannot be read"),
    "doubled bin": (lambda d: d["size"][0].append(d["size"][0][0]), "twice"),
    "spacing of nothing": (move_first_bin("spacing", 0), "bin outside 1 to"),
    "spacing of 2 m": (move_first_bin("spacing", 20_000_000), "bin outside 1 to"),
    "size of nothing": (move_first_bin("size", 0), "bin outside 1 to"),
    "huge size": (move_first_bin("size", 100_001), "bin outside 1 to"),
    "huge extent": (move_first_bin("extent", 10**10), "bin outside 1 to"),
    "share above one": (
        lambda d: d["share_kept"][-1].__setitem__(0, 1001),
        "share_kept has a bin outside",
    ),
    "missing axis": (lambda d: d["size"].pop(), "cannot be read"),
    "no channel": (lambda d: d["channels"].clear(), "channels are not as many"),
    "too many foreground cases": (
        lambda d: d["channels"][0].update(foreground_cases=9),
        "more foreground cases than cases",
    ),
    "mass of another case": (
        lambda d: d["channels"][0].update(foreground_cases=7),
        "histogram of channel 0 adds up to",
    ),
    "infinite intensity": (
        change_histogram([[0x7F800 // 2 + 2**18, 8 * CASE_MASS]]),
        "histogram of channel 0 has a bin outside",
    ),
    "mean outside the histogram": (shift_mean, "lie outside the histogram"),
    "squares too small": (shrink_squares, "smaller than the square"),
    "sum as a number": (lambda d: d["channels"][0].update(sum_of_means=3), "cannot be read"),
    "sum with a sign too many": (
        lambda d: d["channels"][0].update(sum_of_means="+3"),
        "cannot be read",
    ),
    "sum of a million digits": (
        lambda d: d["channels"][0].update(sum_of_means="9" * 1_000_000),
        "cannot be read",
    ),
    "unknown entry": (lambda d: d.update(cases_by_name=["x"]), "cannot be read"),
    "unknown policy": (lambda d: d.update(policy="all"), "cannot be read"),
    "unknown format": (lambda d: d.update(format=2), "cannot be read"),
    "long name": (lambda d: d.update(channel_names=["x" * 61]), "cannot be read"),
    "unsorted bins": (lambda d: d["size"][0].reverse(), "not in canonical form"),
}


@pytest.mark.parametrize("name", HOSTILE_MINIMAL)
def test_an_impossible_minimal_fingerprint_is_refused(name):
    change, sentence = HOSTILE_MINIMAL[name]
    with pytest.raises(FingerprintRefused) as caught:
        decode(changed(minimal(CASES), change))
    assert sentence in str(caught.value)
    assert caught.value.code is ErrorCode.FINGERPRINT_REFUSED


HOSTILE_PAPER = {
    "fewer shapes": (lambda d: d["shapes"].pop(), "not as many as the spacings"),
    "no cases": (lambda d: (d["shapes"].clear(), d["spacings"].clear()), "cannot be read"),
    "spacing of nothing": (lambda d: d["spacings"][0].__setitem__(0, 0.0), "cannot be read"),
    "half a voxel": (lambda d: d["shapes"][0].__setitem__(0, 0.5), "cannot be read"),
    "negative deviation": (lambda d: d["channels"][0].update(std=-1.0), "cannot be read"),
    "wide deviation": (lambda d: d["channels"][0].update(std=1e6), "deviation wider"),
    "mean above maximum": (lambda d: d["channels"][0].update(mean=1e6), "mean outside its range"),
    "median below minimum": (lambda d: d["channels"][0].update(median=-1e6), "out of order"),
    "share above one": (lambda d: d.update(median_relative_size=1.5), "cannot be read"),
    "beyond float32": (lambda d: d["channels"][0].update(maximum=1e300), "out of order"),
}


@pytest.mark.parametrize("name", HOSTILE_PAPER)
def test_an_impossible_paper_fingerprint_is_refused(name):
    change, sentence = HOSTILE_PAPER[name]
    with pytest.raises(FingerprintRefused) as caught:
        decode(changed(paper(CASES), change))
    assert sentence in str(caught.value)


def test_other_spellings_are_refused():
    document = encode(minimal(CASES))
    for other in (
        document + b" ",
        document.replace(b'"cases":8', b'"cases":8,"cases":8'),
        document.replace(b",", b", ", 1),
        document[:-1],
        b"",
        b"\xff\xfe",
        b"[" * 10_000,
        b"null",
    ):
        with pytest.raises(FingerprintRefused):
            decode(other)


def test_a_document_that_is_too_long_is_refused_unread():
    with pytest.raises(FingerprintRefused, match="size is"):
        decode(b" " * (MAXIMUM_BYTES + 1))


@given(st.binary(max_size=300))
def test_any_bytes_give_a_fingerprint_or_the_documented_error(document):
    with pytest.raises(PeerMistake):
        decode(document)


@given(st.data())
def test_a_changed_byte_is_refused_or_gives_another_fingerprint(data):
    document = bytearray(encode(minimal(CASES[:2])))
    position = data.draw(st.integers(0, len(document) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != document[position]))
    document[position] = value
    try:
        fingerprint = decode(bytes(document))
    except FingerprintRefused:
        return
    assert encode(fingerprint) == bytes(document)


def test_the_bins_of_finite_numbers_lie_within_all_bins():
    assert 0 < LOWEST_INTENSITY_BIN < HIGHEST_INTENSITY_BIN < INTENSITY_BINS
    assert math.isfinite(intensity_of(LOWEST_INTENSITY_BIN))
    assert math.isfinite(intensity_of(HIGHEST_INTENSITY_BIN))
    assert not math.isfinite(intensity_of(HIGHEST_INTENSITY_BIN + 1))


TERMS = parse_study(EXAMPLE)


def test_a_fingerprint_must_belong_to_the_study():
    check_terms(minimal(CASES), TERMS)
    with pytest.raises(FingerprintRefused, match="policy is 'paper'"):
        check_terms(paper(CASES), TERMS)
    check_terms(paper(CASES), dataclasses.replace(TERMS, policy=Policy.PAPER))
    with pytest.raises(FingerprintRefused, match="channels are CT, the study's are MRI"):
        check_terms(minimal(CASES, name="CT"), TERMS)
    with pytest.raises(FingerprintRefused, match="cases are 4, the study's minimum is 5"):
        check_terms(minimal(CASES[:4]), TERMS)
