"""What a round costs besides training, against Flower in the same run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.nnunet, pytest.mark.e2e]

SCRIPT = Path(__file__).with_name("rounds.py")
FLOWER = os.environ.get("FEDNNUNET_FLOWER_PYTHON") or (
    sys.executable if importlib.util.find_spec("flwr") is not None else None
)
WITHOUT = "flwr is not here: name an interpreter that has it in FEDNNUNET_FLOWER_PYTHON"


def measure(*words: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", *words], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(FLOWER is None, reason=WITHOUT)
def test_rounds_of_31_million_weights_against_flower(record_property):
    figures = measure("--rounds", "4", "--flower", str(FLOWER))
    record_property("figures", figures)
    assert figures["weights_bytes"] > 120e6, figures
    assert figures["fp16"]["bytes_to_flower"] <= 0.5, figures
    assert figures["int8"]["bytes_to_flower"] <= 0.25, figures
    for transfer in ("fp32", "fp16", "int8"):
        assert figures[transfer]["gap_to_flower"] <= 0.25, figures


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_bytes_of_a_round_are_what_is_told_before_joining(record_property):
    figures = measure("--rounds", "3", "--share", "0.25", "--transfers", "fp32", "fp16", "int8")
    record_property("figures", figures)
    # Both ways together, against whole weights in single precision; messages and headers included.
    assert figures["fp32"]["bytes_to_whole"] <= 1.03, figures
    assert figures["fp16"]["bytes_to_whole"] <= 0.53, figures
    assert figures["int8"]["bytes_to_whole"] <= 0.29, figures
