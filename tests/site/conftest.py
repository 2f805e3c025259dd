"""A home with a scripted coordinator and scripted workers, for every test of the site's room."""

from __future__ import annotations

import pytest
import pytest_asyncio
from helpers.site_home import SiteHarness


@pytest.fixture(autouse=True)
def _libraries_of_the_plan():
    """Scripted workers need no nnU-Net; the site compares versions all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "app.site.study_desk.library_versions", lambda: {"nnunetv2": "2.8.1", "torch": "2.13"}
        )
        yield


@pytest_asyncio.fixture
async def site(tmp_path):
    harness = SiteHarness(tmp_path)
    yield harness
    await harness.stop()
