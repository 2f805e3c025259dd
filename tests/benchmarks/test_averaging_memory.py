"""The memory that averaging needs, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("averaging_memory.py")


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("sites", "mib"), [(3, 124), pytest.param(10, 248, marks=pytest.mark.slow)]
)
def test_averaging_needs_the_memory_of_a_few_tensors(record_property, sites, mib):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", "--sites", str(sites), "--mib", str(mib)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    record_property("figures", figures)
    assert figures["grown_mib"] <= 150 + 2 * figures["largest_tensor_mib"], figures
