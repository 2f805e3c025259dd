"""The fingerprint's budget against stock nnU-Net, in the same run on the same machine."""

from __future__ import annotations

import sys

import pytest
from benchmarks.fingerprint import compare


@pytest.mark.nnunet
@pytest.mark.skipif(sys.platform != "linux", reason="proportional set size is a Linux figure")
def test_wall_time_and_memory_stay_within_the_budget():
    figures = compare(cases=4, size=64, processes=2)
    assert figures["wall_ratio"] <= 0.5, figures
    assert figures["peak_ratio"] <= 0.25, figures
