"""An epoch in a federation costs what it costs in plain nnU-Net."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.nnunet

SCRIPT = Path(__file__).with_name("epoch.py")


def measure(**options: int) -> dict[str, float]:
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", *words], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


@pytest.mark.timeout(600)
def test_an_epoch_takes_no_longer_than_in_plain_nnunet(record_property):
    figures = measure(pairs=5, iterations=4)
    record_property("figures", figures)
    # So short an epoch is all overhead, and other tests may run on the same cores.
    assert figures["ratio"] <= 1.25, figures


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_epoch_of_usual_length_takes_at_most_a_fiftieth_longer(record_property):
    figures = measure(pairs=15, iterations=50)
    record_property("figures", figures)
    assert figures["ratio"] <= 1.02, figures
    assert figures["bare_ratio"] <= 1.05, figures
