import math
import struct

import pytest
from hypothesis import given, strategies as st

from app.domain.shared import (
    INTENSITY_BINS,
    intensity_bin,
    intensity_of,
    length_bin,
    length_of,
    share_bin,
)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(finite, finite)
def test_larger_intensities_never_get_smaller_bins(one, other):
    low, high = sorted((one, other))
    assert intensity_bin(low) <= intensity_bin(high)


@given(finite)
def test_a_bin_stands_within_a_tenth_of_a_percent_of_its_values(value):
    number = intensity_bin(value)
    assert 0 <= number < INTENSITY_BINS
    stood_for = intensity_of(number)
    smallest_normal = struct.unpack("<f", struct.pack("<I", 0x00800000))[0]
    assert abs(stood_for) <= abs(value)
    if abs(value) >= smallest_normal:
        assert math.isclose(stood_for, value, rel_tol=1e-3)


@pytest.mark.parametrize("value", range(-2048, 2049, 7))
def test_hounsfield_units_have_a_bin_of_their_own(value):
    assert intensity_of(intensity_bin(value)) == value
    assert intensity_bin(value) < intensity_bin(value + 1)


@given(st.floats(min_value=0.01, max_value=5000))
def test_lengths_are_kept_to_a_twentieth_of_a_micrometre(length_mm):
    assert abs(length_of(length_bin(length_mm)) - length_mm) <= 0.5001e-4


def test_shares_are_kept_to_a_thousandth():
    assert share_bin(0.75) == 750
    assert share_bin(1.0) == 1000
