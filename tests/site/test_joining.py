"""Joining with real invitations at a real door on loopback."""

from __future__ import annotations

import dataclasses

import pytest
import pytest_asyncio
from helpers.clock import HandClock
from helpers.loopback import make_door, open_door
from helpers.site_home import make_folder, study_terms
from helpers.tcp_proxy import connect_proxy

from app.domain.errors import DataProblem, ErrorCode, LinkProblem, PeerMistake, SetupProblem
from app.domain.study import Method, Transfer
from app.federation.study_file import terms_to_json
from app.site import membership
from app.site.audit import AuditLog
from app.site.home import SiteHome
from app.site.joining import (
    choose_proxy,
    forget,
    invitation_view,
    join_study,
    open_link,
    proxy_for,
    read_invitation,
    shown_proxy,
)
from app.site.state import Folder, MeasuredPace, SiteStore, StandingAllowance
from app.system.clock import SystemClock
from app.system.locks import HomeLock
from app.system.settings import load_settings
from app.wire.invitation import seal

pytestmark = pytest.mark.asyncio
CLOCK = SystemClock()


@pytest_asyncio.fixture
async def door(tmp_path, monkeypatch):
    # No key store of the computer is touched: the seeds lie in an encrypted file of the test.
    monkeypatch.setenv("FEDNNUNET_PASSPHRASE", "correct horse")
    monkeypatch.setattr("helpers.loopback.TERMS", terms_to_json(study_terms()))
    folder = tmp_path / "door"
    folder.mkdir()
    async with open_door(make_door(folder)) as door:
        yield door


@pytest.fixture
def invitation(door, tmp_path):
    path = tmp_path / "study.fedjoin"
    path.write_text(seal(door.invite(), door.authority.key.sign))
    return path


@pytest.fixture
def data(tmp_path):
    return make_folder(tmp_path / "data")


async def test_an_invitation_is_read_and_not_joined(invitation, door):
    view = invitation_view(read_invitation(invitation), clock=CLOCK, already=False)
    assert (view.study, view.site, view.policy, view.problem) == ("n", "alpha", "minimal", "")
    assert view.coordinator == door.url
    assert door.desk.events == []


async def test_reasons_why_it_cannot_be_joined(invitation):
    read = read_invitation(invitation)
    late = invitation_view(read, clock=HandClock(now=read.not_after + 1.0), already=False)
    assert "expired" in late.problem
    assert late.remedy
    second = invitation_view(read, clock=CLOCK, already=True)
    assert "already" in second.problem


@pytest.mark.parametrize("method", Method)
async def test_the_costs_of_every_precision_are_told_before_joining(invitation, method):
    """Bytes of a round and of the study, and its last day; a half and a quarter by precision."""
    read = read_invitation(invitation)
    pace = MeasuredPace(
        at=0.0, device="cpu", step_s=0.5, validation_step_s=0.1, configuration="3d_fullres",
        planner="ExperimentPlanner", scaled=False, planned=False,
    )  # fmt: skip
    told = {}
    for transfer in Transfer:
        terms = study_terms(method=method, transfer=transfer)
        asked = dataclasses.replace(read, terms=terms_to_json(terms))
        traffic = invitation_view(asked, clock=CLOCK, already=False, pace=pace).traffic
        assert traffic.transfer == transfer.value
        assert traffic.estimated, "there is no plan yet: these are the most that it can be"
        assert traffic.study_up == terms.rounds * traffic.round_up
        assert traffic.finish_at > CLOCK.now()
        told[transfer] = traffic.round_up
    assert told[Transfer.FP16] == told[Transfer.FP32] / 2
    assert told[Transfer.INT8] < 0.2507 * told[Transfer.FP32]


async def test_a_file_that_is_no_invitation_is_named_so(tmp_path):
    with pytest.raises(DataProblem) as problem:
        read_invitation(tmp_path / "none")
    assert problem.value.code is ErrorCode.INVITATION
    (tmp_path / "big").write_bytes(b"x" * 100_000)
    with pytest.raises(PeerMistake):
        read_invitation(tmp_path / "big")


async def test_joining_from_the_command_line(invitation, data, door, tmp_path):
    home = tmp_path / "home"
    title = await join_study(
        invitation, home=home, data=data, allow_fingerprint=" Ada  Operator", clock=CLOCK
    )
    assert title == "Loopback study"
    joined = membership.load(home)
    assert joined.site == "alpha"
    store = SiteStore(SiteHome(root=home).database)
    assert store.get(Folder) == Folder(path=str(data), serial=1)
    assert store.get(StandingAllowance) == StandingAllowance(operator="Ada Operator")
    log = AuditLog(store.database, SiteHome(root=home).audit)
    (entry,) = log.entries()
    assert (entry.kind, entry.facts["standing"]) == ("study joined", True)
    store.close()

    class Listener:
        def link_changed(self, state, sentence): ...

        def directive_received(self, directive): ...

    link = await open_link(joined, Listener(), home=home, clock=CLOCK)
    assert link.membership == joined
    await forget(joined, home=home)
    assert membership.load(home) is None
    with pytest.raises(SetupProblem) as problem:
        await open_link(joined, Listener(), home=home, clock=CLOCK)
    assert problem.value.code is ErrorCode.SECRET_STORE


async def test_joining_twice_or_beside_a_service_is_refused(invitation, data, door, tmp_path):
    home = tmp_path / "home"
    with HomeLock(home), pytest.raises(SetupProblem) as problem:
        await join_study(invitation, home=home, data=data, allow_fingerprint=None, clock=CLOCK)
    assert problem.value.code is ErrorCode.SERVICE_RUNNING
    await join_study(invitation, home=home, data=data, allow_fingerprint=None, clock=CLOCK)
    with pytest.raises(SetupProblem) as problem:
        await join_study(invitation, home=home, data=data, allow_fingerprint=None, clock=CLOCK)
    assert problem.value.code is ErrorCode.STUDY_STATE


async def test_nothing_is_joined_for_a_missing_folder_or_name(invitation, data, door, tmp_path):
    home = tmp_path / "home"
    for folder, name in ((tmp_path / "none", "Ada"), (data, "  ")):
        with pytest.raises(DataProblem):
            await join_study(
                invitation, home=home, data=folder, allow_fingerprint=name, clock=CLOCK
            )
    assert door.desk.events == []
    assert membership.load(home) is None


async def test_a_used_invitation_of_another_key_is_refused(invitation, data, door, tmp_path):
    await join_study(
        invitation, home=tmp_path / "one", data=data, allow_fingerprint=None, clock=CLOCK
    )
    with pytest.raises(LinkProblem) as problem:
        await join_study(
            invitation, home=tmp_path / "two", data=data, allow_fingerprint=None, clock=CLOCK
        )
    assert problem.value.code is ErrorCode.INVITATION_USED


async def test_a_coordinator_on_this_computer_is_never_asked_through_a_proxy():
    assert proxy_for(("wss://localhost:8443", "wss://127.0.0.1:8443/")) is None
    assert proxy_for(("wss://study.example:8443",)) is True


async def test_a_chosen_proxy_goes_before_the_systems(tmp_path):
    urls = ("wss://127.0.0.1:8443",)
    assert proxy_for(urls, setting="http://proxy:3128") == "http://proxy:3128"
    assert proxy_for(("wss://study.example:8443",), setting="none") is None
    assert choose_proxy(tmp_path, " http://a:b@proxy:3128 ").proxy == "http://a:b@proxy:3128"
    assert shown_proxy(load_settings(tmp_path).proxy) == "http://proxy:3128"
    for wrong in ("proxy", "ftp://proxy", "socks5h://proxy:1080", "http://a@proxy:x"):
        with pytest.raises(SetupProblem, match="not valid"):
            choose_proxy(tmp_path, wrong)
    assert load_settings(tmp_path).proxy == "http://a:b@proxy:3128"
    assert [shown_proxy(proxy) for proxy in ("system", "none", "x:y@z")] == [
        "system", "none", "not valid",
    ]  # fmt: skip


async def test_joining_goes_through_the_chosen_proxy(invitation, data, tmp_path, unused_tcp_port):
    home = tmp_path / "home"
    home.mkdir()
    choose_proxy(home, f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(LinkProblem, match="nobody answers"):
        await join_study(invitation, home=home, data=data, allow_fingerprint=None, clock=CLOCK)
    async with connect_proxy() as proxy:
        choose_proxy(home, proxy)
        await join_study(invitation, home=home, data=data, allow_fingerprint=None, clock=CLOCK)
    assert membership.load(home) is not None
