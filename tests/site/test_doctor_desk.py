"""The doctor of a running service: rows and a ticket in the Federation section, proxies chosen."""

from __future__ import annotations

import dataclasses

import pytest
import pytest_asyncio
from helpers.clock import HandClock
from helpers.loopback import make_door, open_door
from helpers.site_home import make_membership
from helpers.tcp_proxy import Weather, connect_proxy, tcp_proxy

from app.control.messages import Accepted, DoctorRow, LinkState, Refused, RunDoctor, SetProxy
from app.domain.errors import ErrorCode
from app.site import membership
from app.site.doctor import DoctorLine, DoctorStep, LineState
from app.site.doctor_desk import row_of
from app.system.settings import load_settings
from app.wire.invitation import seal

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def door(tmp_path):
    folder = tmp_path / "door"
    folder.mkdir()
    async with open_door(make_door(folder)) as door:
        yield door


def file_of(door, folder, **changes):
    # Written now by the clock of the site under test, which is not that of this machine.
    now = int(HandClock().now())
    dates = {"issued_at": now, "not_after": now + 3600}
    invitation = dataclasses.replace(door.invite(), **dates, **changes)
    path = folder / "study.fedjoin"
    path.write_text(seal(invitation, door.authority.key.sign))
    return str(path)


async def examined(site, command):
    assert await site.service.command(command) == Accepted()
    assert site.service.snapshot().federation.doctor_running
    await site.until(lambda: site.snapshot.federation.doctor)
    await site.until(lambda: not site.snapshot.federation.doctor_running)
    return site.snapshot.federation


async def test_an_invitation_is_examined_and_not_used(site, door, tmp_path):
    await site.start()
    view = await examined(site, RunDoctor(path=file_of(door, tmp_path)))
    assert [row.step for row in view.doctor] == [step.value for step in DoctorStep]
    assert {row.state for row in view.doctor} <= {"ok", "warning"}
    assert f"Port:      {door.server.port} " in view.doctor_ticket
    assert view.study is None
    assert len(door.members.open_invitations()) == 1


async def test_a_member_is_examined_without_a_file(site, unused_tcp_port):
    away = dataclasses.replace(make_membership(), urls=(f"wss://127.0.0.1:{unused_tcp_port}",))
    membership.save(site.home, away)
    await site.start()
    view = await examined(site, RunDoctor())
    assert [row.step for row in view.doctor if row.state == "failed"] == ["Network (TCP)"]
    assert view.study is not None


async def test_what_cannot_be_examined_is_said(site, tmp_path):
    await site.start()
    answer = await site.service.command(RunDoctor())
    assert isinstance(answer, Refused)
    assert answer.code == ErrorCode.STUDY_STATE.value
    answer = await site.service.command(RunDoctor(path=str(tmp_path / "none.fedjoin")))
    assert isinstance(answer, Refused)
    assert answer.code == ErrorCode.INVITATION.value


async def test_a_new_wish_ends_the_old_one_and_so_does_the_end_of_the_service(site, door, tmp_path):
    await site.start()
    async with tcp_proxy(door.server.port, Weather(black_hole=True)) as hole:
        silent = file_of(door, tmp_path, urls=(hole.url,))
        for _ in range(2):
            assert await site.service.command(RunDoctor(path=silent)) == Accepted()
        assert site.service.snapshot().federation.doctor == ()
        await site.stop()


async def test_a_chosen_proxy_is_kept_used_and_shown_without_its_password(site, door, tmp_path):
    site.join()
    await site.start()
    await site.until(lambda: site.snapshot.federation.link is LinkState.CONNECTED)
    links = len(site.coordinator.links)
    async with connect_proxy("407 Proxy Authentication Required") as address:
        secret = address.replace("://", "://smith:hunter2@")
        assert await site.service.command(SetProxy(proxy=secret)) == Accepted()
        # The link is set up anew, by the new way.
        await site.until(lambda: len(site.coordinator.links) == links + 1)
        assert load_settings(site.home).proxy == secret
        view = await examined(site, RunDoctor(path=file_of(door, tmp_path)))
    assert [row.step for row in view.doctor if row.state == "failed"] == ["Proxy"]
    assert view.proxy == address
    assert "hunter2" not in repr(site.snapshot)
    assert await site.service.command(SetProxy(proxy="none")) == Accepted()
    assert load_settings(site.home).proxy == "none"


async def test_a_proxy_that_is_none_is_refused_and_not_kept(site):
    await site.start()
    answer = await site.service.command(SetProxy(proxy="ftp://smith:hunter2@proxy"))
    assert isinstance(answer, Refused)
    assert "hunter2" not in answer.sentence
    assert load_settings(site.home).proxy == "system"


async def test_a_row_says_what_its_line_says():
    line = DoctorLine(step=DoctorStep.TLS, state=LineState.FAILED, sentence="s", remedy="r")
    assert row_of(line) == DoctorRow(
        step="Certificate (TLS)", state="failed", sentence="s", remedy="r"
    )
