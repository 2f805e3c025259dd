from __future__ import annotations

import pytest
from helpers.loopback import directive, make_door, open_door, running_link, until, write_blob

from app.control.messages import LinkState
from app.domain.ids import SiteName
from app.wire.messages import BlobKind, PlanAccepted, Report, SitePhase

ALPHA = SiteName("alpha")


@pytest.mark.asyncio
async def test_a_site_enrols_reports_and_is_directed(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        async with running_link(membership, key) as run:
            run.link.report(Report(phase=SitePhase.WAITING))
            await until(lambda: door.desk.messages)
            assert door.desk.messages[0] == (ALPHA, Report(phase=SitePhase.WAITING))
            assert await door.server.send(ALPHA, directive(7, "hello"))
            await until(lambda: run.listener.directives)
            assert run.listener.directives == [directive(7, "hello")]
            run.link.report(Report(phase=SitePhase.TRAINING, round=2))
            await until(lambda: len(door.desk.messages) > 1)
            assert door.desk.messages[1][1] == Report(phase=SitePhase.TRAINING, round=2)
            await run.link.deliver(PlanAccepted(plan="a" * 64, training_cases=3))
            await until(
                lambda: door.desk.messages[-1][1] == PlanAccepted(plan="a" * 64, training_cases=3)
            )
            assert run.listener.state is LinkState.CONNECTED
        await until(lambda: ("closed", ALPHA) in door.desk.events)
        assert door.desk.events == [("enrolled", ALPHA), ("opened", ALPHA), ("closed", ALPHA)]


@pytest.mark.asyncio
async def test_a_blob_goes_up_and_comes_down_unchanged(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        blob = write_blob(tmp_path / "update", 3_000_001)
        async with running_link(membership, key) as run:
            await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
            assert door.spool.received(ALPHA) == {blob.sha256}
            assert door.spool.path(blob.sha256).read_bytes() == (tmp_path / "update").read_bytes()
            await run.link.download(blob, tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == (tmp_path / "update").read_bytes()
            sent = run.link.sent_bytes
            assert 3_000_001 < sent < 3_020_000
            await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
            assert run.link.sent_bytes - sent < 1000, "a kept blob is not sent again"
