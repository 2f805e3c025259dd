"""Segmenting and scoring in a running service."""

from __future__ import annotations

import pytest

from app.control.messages import (
    Accepted,
    SegmentCases,
)
from app.domain.errors import ErrorCode

pytestmark = pytest.mark.asyncio


async def test_segmenting_and_scoring_held_out_cases(site):
    await site.to_prepared()
    await site.to_finished()
    model = site.snapshot.review.models[-1].path
    gate = site.runner.hold("score")
    assert await site.service.command(SegmentCases(model=model)) == Accepted()
    busy = await site.service.command(SegmentCases(model=model))
    assert busy.code == ErrorCode.STUDY_STATE.value
    await site.until(lambda: len(site.snapshot.review.results) == 2)
    gate.set()
    await site.until(lambda: len(site.snapshot.review.scores) == 2)
    review = site.snapshot.review
    assert [r.case for r in review.results] == ["test_00", "test_01"]
    assert [r.reference for r in review.results] == [
        str(site.folder / "labelsTs" / f"test_0{n}.nii.gz") for n in (0, 1)
    ]
    assert review.job.outcome == "2 cases scored"
    missing = await site.service.command(SegmentCases(model="/nowhere.zip"))
    assert missing.code == ErrorCode.MODEL_FILE.value
