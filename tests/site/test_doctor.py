"""The connection doctor against real servers and proxies on loopback that break one layer each."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import socket
import sys
import time

import pytest
import pytest_asyncio
from helpers.answering_server import answering_server
from helpers.clock import HandClock
from helpers.loopback import STUDY, make_door, open_door
from helpers.tcp_proxy import Weather, connect_proxy, tcp_proxy
from websockets.asyncio.server import serve

from app.domain.ids import StudyId
from app.site.doctor import DoctorStep, DoctorTarget, LineState, examine, failed, ticket_text
from app.system import tls
from app.system.clock import SystemClock
from app.wire.messages import SUBPROTOCOL

pytestmark = pytest.mark.asyncio

DAY = 24 * 3600.0


async def look(target, *, proxy=None, clock=None, step_s=3.0):
    return await examine(target, proxy=proxy, clock=clock or SystemClock(), step_s=step_s)


def states(lines):
    assert [line.step for line in lines] == list(DoctorStep)
    return {line.step: line.state for line in lines}


def line_of(lines, step):
    return next(line for line in lines if line.step is step)


def only_failure(lines):
    """The one line that is red; every later layer that needs it was skipped."""
    states(lines)
    red = [line for line in lines if line.state is LineState.FAILED]
    assert len(red) == 1, lines
    assert red[0].remedy
    return red[0]


@pytest_asyncio.fixture
async def door(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        yield door


@pytest.fixture
def target(door):
    return DoctorTarget.of_invitation(door.invite())


def at(target, port, host="127.0.0.1"):
    return dataclasses.replace(target, urls=(f"wss://{host}:{port}",))


async def test_everything_is_well_and_the_invitation_is_still_unused(door, target):
    lines = await look(target)
    assert set(states(lines).values()) == {LineState.OK}
    assert not failed(lines)
    assert [open_one.site for open_one in door.members.open_invitations()] == ["alpha"]
    assert door.members.members() == ()
    # Not a single wrong proof was counted, however often it is tried.
    for _ in range(2):
        await look(target)
    assert len(door.members.open_invitations()) == 1
    assert line_of(lines, DoctorStep.CLOCK).sentence == "The clocks agree."


async def test_a_member_is_examined_by_its_membership(door):
    membership, _ = await door.join()
    lines = await look(DoctorTarget.of_membership(membership))
    assert not failed(lines)
    assert "joined" in line_of(lines, DoctorStep.INVITATION).sentence


async def test_an_expired_invitation_is_red_and_the_network_is_still_tried(target):
    clock = HandClock(now=target.expires_at)
    lines = await look(target, clock=clock)
    red = only_failure(lines)
    assert red.step is DoctorStep.INVITATION
    assert "expired on" in red.sentence
    assert line_of(lines, DoctorStep.PROTOCOL).state is LineState.OK


async def test_an_unknown_name_is_red(target, monkeypatch):
    async def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    lines = await look(at(target, 8443, "coordinator.invalid"))
    red = only_failure(lines)
    assert red.step is DoctorStep.NAME
    assert "coordinator.invalid" in red.sentence
    assert states(lines)[DoctorStep.WEBSOCKET] is LineState.SKIPPED


async def test_a_refused_port_is_red(target, unused_tcp_port):
    red = only_failure(await look(at(target, unused_tcp_port)))
    assert red.step is DoctorStep.TCP
    assert red.sentence == f"Port {unused_tcp_port} does not answer by IPv4 (127.0.0.1): refused."
    assert str(unused_tcp_port) in red.remedy


async def test_a_family_that_does_not_answer_is_a_warning(door, target, monkeypatch):
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def both(host, port, *, family=0, **more):
        if host == "localhost" and family == socket.AF_INET6:
            # 127.0.0.2 stands for the IPv6 address that this machine may not have.
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port))]
        if host == "localhost":
            return await real("127.0.0.1", port, type=socket.SOCK_STREAM)
        return await real(host, port, family=family, **more)

    monkeypatch.setattr(loop, "getaddrinfo", both)
    lines = await look(at(target, door.server.port, "localhost"))
    tcp = line_of(lines, DoctorStep.TCP)
    assert tcp.state is LineState.WARNING
    assert "IPv6 (127.0.0.2): refused" in tcp.sentence
    assert not failed(lines)


async def test_a_network_that_cuts_the_handshake_is_red(door, target):
    async with tcp_proxy(door.server.port, Weather(refuse=True)) as proxy:
        red = only_failure(await look(at(target, proxy.port)))
    assert red.step is DoctorStep.TLS
    assert "the connection was cut" in red.sentence


async def test_a_black_hole_ends_in_time(door, target):
    async with tcp_proxy(door.server.port, Weather(black_hole=True)) as proxy:
        begun = time.monotonic()
        red = only_failure(await look(at(target, proxy.port), step_s=0.3))
        assert time.monotonic() - begun < 5
    assert red.step is DoctorStep.TLS
    assert "no answer in time" in red.sentence


async def test_what_does_not_speak_tls_is_red(target):
    async with answering_server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as port:
        red = only_failure(await look(at(target, port)))
    assert red.step is DoctorStep.TLS
    assert "does not speak TLS 1.3" in red.sentence


# --- certificates


async def test_a_middlebox_that_replaces_certificates_is_named(target, tmp_path):
    """Another authority signs for the right host, as TLS inspection and virus scanners do."""
    other = make_door(tmp_path / "box")
    async with open_door(other):
        red = only_failure(await look(at(target, other.server.port)))
    assert red.step is DoctorStep.TLS
    assert "not of this study: the network replaces certificates" in red.sentence
    assert "It was issued by " in red.sentence
    assert "FednnU-Net study" in red.sentence
    assert "TLS inspection" in red.remedy


async def test_a_certificate_for_another_host_is_red(tmp_path):
    async with open_door(make_door(tmp_path, hosts=("elsewhere.example",))) as door:
        red = only_failure(await look(DoctorTarget.of_invitation(door.invite())))
    assert red.step is DoctorStep.TLS
    assert "for another computer" in red.sentence


async def test_an_expired_certificate_is_red_and_says_until_when(tmp_path):
    made = time.time() - 4000 * DAY
    async with open_door(make_door(tmp_path, certificate_now=made)) as door:
        lines = await look(DoctorTarget.of_invitation(door.invite()))
    red = only_failure(lines)
    assert red.step is DoctorStep.TLS
    assert "check this computer's clock" in red.sentence
    assert "It is valid from " in red.sentence
    assert line_of(lines, DoctorStep.CLOCK).state is LineState.WARNING


async def test_a_clock_behind_the_invitation_is_named(target):
    lines = await look(target, clock=HandClock(now=target.issued_at - DAY))
    clock = line_of(lines, DoctorStep.CLOCK)
    assert clock.state is LineState.WARNING
    assert "the invitation was written later" in clock.sentence
    assert not failed(lines)


async def test_a_clock_that_differs_from_the_coordinators_is_named(target):
    lines = await look(target, clock=HandClock(now=time.time() + 1800))
    clock = line_of(lines, DoctorStep.CLOCK)
    assert (clock.state, clock.remedy) == (LineState.WARNING, "Set this computer's clock.")
    assert "30 min ahead of the coordinator's" in clock.sentence


# --- proxies


async def test_a_proxy_that_lets_us_through_is_well(target):
    async with connect_proxy() as proxy:
        lines = await look(target, proxy=proxy)
    assert set(states(lines).values()) == {LineState.OK}
    assert "lets us through" in line_of(lines, DoctorStep.PROXY).sentence


@pytest.mark.parametrize(
    ("answer", "words", "remedy"),
    [
        ("407 Proxy Authentication Required", "asks for a name and password (407)", "px"),
        ("502 Bad Gateway", "does not let us through", "CONNECT"),
        ("403 Forbidden", "(403)", "CONNECT"),
    ],
)
async def test_a_proxy_that_refuses_is_red(target, answer, words, remedy):
    async with connect_proxy(answer) as proxy:
        secret = proxy.replace("://", "://smith:hunter2@")
        lines = await look(target, proxy=secret)
        text = ticket_text(lines, target, proxy=secret, now=0.0)
    red = only_failure(lines)
    assert red.step is DoctorStep.PROXY
    assert words in red.sentence
    assert remedy in red.remedy
    assert "hunter2" not in text + red.sentence + red.remedy


async def test_a_system_proxy_is_found_and_named(target, monkeypatch):
    async with connect_proxy("407 Proxy Authentication Required") as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        red = only_failure(await look(target, proxy=True))
    assert red.step is DoctorStep.PROXY
    assert proxy in red.sentence


async def test_a_proxy_that_is_none_and_one_that_is_away_are_red(target, unused_tcp_port):
    async with answering_server(b"220 mail.example ESMTP\r\n\r\n") as port:
        red = only_failure(await look(target, proxy=f"http://127.0.0.1:{port}"))
    assert red.step is DoctorStep.PROXY
    assert "does not answer as a proxy does" in red.sentence
    red = only_failure(await look(target, proxy=f"http://127.0.0.1:{unused_tcp_port}"))
    assert red.step is DoctorStep.TCP
    assert f"http://127.0.0.1:{unused_tcp_port} does not answer: refused" in red.sentence
    red = only_failure(await look(target, proxy="ftp://smith:hunter2@proxy:1"))
    assert red.step is DoctorStep.PROXY
    assert "hunter2" not in red.sentence


async def test_a_socks_proxy_without_its_library_is_said(door, target, monkeypatch):
    """Another connection library is needed for SOCKS, which an installation may lack."""
    for name in ("python_socks", "python_socks.async_", "python_socks.async_.asyncio"):
        monkeypatch.setitem(sys.modules, name, None)
    proxy = f"socks5h://127.0.0.1:{door.server.port}"
    red = only_failure(await look(target, proxy=proxy))
    assert red.step is DoctorStep.PROXY
    assert red.sentence == "This installation cannot use a SOCKS proxy."


# --- websocket and version


@contextlib.asynccontextmanager
async def other_server(door, handler, **settings):
    """Run another websocket server with the study's certificate."""
    context = tls.server_context(door.certificate)
    async with serve(handler, "127.0.0.1", 0, ssl=context, **settings) as server:
        yield server.sockets[0].getsockname()[1]


async def nothing(_):
    return


async def test_a_websocket_that_is_closed_at_once_is_red(door, target):
    async with other_server(door, nothing, subprotocols=[SUBPROTOCOL]) as port:
        red = only_failure(await look(at(target, port)))
    assert red.step is DoctorStep.WEBSOCKET
    assert "closed at once" in red.sentence


async def test_a_gateway_that_answers_502_to_the_upgrade_is_red(door, target):
    def gateway(connection, _):
        return connection.respond(502, "Bad gateway\n")

    async with other_server(door, nothing, process_request=gateway) as port:
        red = only_failure(await look(at(target, port)))
    assert red.step is DoctorStep.WEBSOCKET
    assert "(502)" in red.sentence


async def test_an_older_protocol_is_red(door, target):
    async with other_server(door, nothing, subprotocols=["fednnunet.v0"]) as port:
        red = only_failure(await look(at(target, port)))
    assert red.step is DoctorStep.PROTOCOL
    assert SUBPROTOCOL in red.sentence
    async with other_server(door, nothing) as port:
        red = only_failure(await look(at(target, port)))
    assert red.step is DoctorStep.PROTOCOL


async def test_another_study_behind_the_right_certificate_is_red(target):
    red = only_failure(await look(dataclasses.replace(target, study=StudyId("f" * 32))))
    assert target.study == STUDY
    assert (red.step, red.sentence) == (
        DoctorStep.PROTOCOL, "This coordinator runs another study.",
    )  # fmt: skip


async def test_of_several_addresses_one_that_can_be_reached_is_enough(
    door, target, unused_tcp_port
):
    urls = (f"wss://127.0.0.1:{unused_tcp_port}", door.url)
    assert not failed(await look(dataclasses.replace(target, urls=urls)))
    away = dataclasses.replace(target, urls=urls[:1] * 2)
    assert only_failure(await look(away)).step is DoctorStep.TCP


# --- the ticket


async def test_the_ticket_says_what_it_needs_and_no_secret(door, target, unused_tcp_port):
    invitation = door.invite("beta")
    asked = at(DoctorTarget.of_invitation(invitation), unused_tcp_port)
    lines = await look(asked)
    text = ticket_text(lines, asked, proxy=None, now=1_800_000_000.0)
    assert "Host:      127.0.0.1\n" in text
    assert f"Port:      {unused_tcp_port} " in text
    assert "Proxy:     none\n" in text
    assert "Tested at: 2027-01-15 08:00 UTC" in text
    assert "[failed] Network (TCP): " in text
    assert "[skipped] Websocket: " in text
    assert text.startswith("This computer cannot reach")
    for secret in (invitation.secret, invitation.invitation):
        assert secret.hex() not in text
        assert base64.b64encode(secret).decode() not in text
    well = await look(target)
    assert ticket_text(well, target, proxy=None, now=0.0).startswith("This computer can reach")
