"""A home with a scripted coordinator and scripted workers, for every test of the site's room."""

from __future__ import annotations

import pytest_asyncio
from helpers.site_home import SiteHarness


@pytest_asyncio.fixture
async def site(tmp_path):
    harness = SiteHarness(tmp_path)
    yield harness
    await harness.stop()
