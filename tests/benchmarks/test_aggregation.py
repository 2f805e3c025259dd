"""The coordinator's memory while it averages: twice the largest tensor and 150 MiB, for all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("aggregation.py")


def measure(**options: object) -> dict[str, float]:
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", *words], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


@pytest.mark.parametrize("transfer", ["fp32", "int8"])
def test_memory_grows_with_the_largest_tensor_not_with_model_or_sites(transfer, record_property):
    figures = measure(sites=10, share=0.25, transfer=transfer)
    record_property("figures", figures)
    # The whole of ten such updates would be 256 MiB in single precision.
    assert figures["weights"] > 6e6, figures
    assert figures["peak_mib"] <= figures["limit_mib"], figures
    # Several arrays of one tensor's size at a time (double precision, two files, the result).
    assert figures["grown_mib"] <= 12 * figures["largest_tensor_mib"] + 16, figures


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("transfer", ["fp32", "fp16", "int8"])
def test_ten_sites_with_102_million_weights(transfer, record_property):
    figures = measure(sites=10, share=1.0, transfer=transfer)
    record_property("figures", figures)
    assert figures["weights"] > 102e6, figures
    assert figures["peak_mib"] <= figures["limit_mib"], figures
