"""The budget of transfers against raw TLS, in the same run on the same machine."""

from __future__ import annotations

import asyncio

import pytest
from benchmarks.transfer import measure


@pytest.mark.e2e
def test_speed_and_memory_stay_within_the_budget(record_property):
    figures = asyncio.run(measure(mib=24, runs=5, sites=5))
    record_property("figures", figures)
    assert figures["coordinator_grown_mib"] <= 150, figures
    assert figures["site_process_mib"] <= 250, figures  # pytest and its plugins are in it
    assert figures["site_process_grown_mib"] <= 30, figures
    # The project's limit of 0.4 is for a quiet machine, in the long form; here others run beside.
    assert figures["best_transfer_ratio"] >= 0.15, figures


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_sites_with_124_mib_each(record_property):
    figures = asyncio.run(measure(mib=124, runs=5, sites=12))
    record_property("figures", figures)
    assert figures["coordinator_grown_mib"] <= 150, figures
    assert figures["transfer_ratio"] >= 0.4, figures
