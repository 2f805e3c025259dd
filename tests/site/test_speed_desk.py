"""The history of a whole service: written per epoch, judged by in the next session."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.site.state import PaceHistory
from app.wire.messages import UpdateOffered

pytestmark = pytest.mark.asyncio


def history(site):
    kept = site._site.store.get(PaceHistory)
    return () if kept is None else kept.items


async def test_steps_enter_the_history_and_judge_the_next_session(site):
    await site.to_prepared()
    site.runner.steps = 6
    # The desk looks once a second and counts epochs from when it first saw the session.
    site.service.speed.sampled()
    gate = site.runner.hold("epoch")
    site.train(1)
    await site.until(lambda: len(history(site)) == 1, "first epoch in the history")
    assert site.snapshot.training.speed.verdict == "unknown"
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    await site.until(lambda: len(history(site)) == 2, "second epoch in the history")
    (entry, _) = history(site)
    assert entry.step_s == 0.5
    assert entry.key.endswith(" cpu 1")
    # More of the same, and another session in which each step takes the usual time.
    items = tuple(replace(entry, at=entry.at - day) for day in range(1, 5))
    await site.stop()
    await site.start()
    site._site.store.put(PaceHistory(items=items))
    site.clock.advance(60)
    site.runner.hold("epoch")
    site.train(2)
    await site.until(lambda: site.snapshot.training.speed.verdict == "usual", "judged")
    assert site.snapshot.training.speed.usual_s == 0.5
