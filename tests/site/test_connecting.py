from __future__ import annotations

import socket
import ssl

import pytest
from helpers.loopback import make_door, open_door
from helpers.tcp_proxy import connect_proxy
from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosedError,
    InvalidMessage,
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
)
from websockets.frames import Close
from websockets.http11 import Response

from app.domain.errors import ErrorCode, LinkProblem, PeerMistake
from app.site.connecting import Backoff, LinkSettings, explain, issuer_seen
from app.wire.closing import Closing

URL = "wss://coordinator.example:8443"


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    exc = ssl.SSLCertVerificationError(1, "certificate verify failed")
    exc.verify_code, exc.verify_message = code, "odd"
    return exc


def answer(status: int) -> Response:
    return Response(status, "", Headers(), b"")


def closed(code: int) -> ConnectionClosedError:
    return ConnectionClosedError(Close(code, ""), None)


CASES = [
    (certificate_error(20), True, ErrorCode.CERTIFICATE, "the certificate that coordinator.example shows is not of this study: the network replaces certificates, or another study answers there"),
    (certificate_error(62), True, ErrorCode.CERTIFICATE, "the certificate that coordinator.example shows is for another computer"),
    (certificate_error(9), True, ErrorCode.CERTIFICATE, "the certificate of coordinator.example is not valid at this computer's time; check this computer's clock"),
    (certificate_error(10), True, ErrorCode.CERTIFICATE, "the certificate of coordinator.example is not valid at this computer's time; check this computer's clock"),
    (certificate_error(26), True, ErrorCode.CERTIFICATE, "the certificate of coordinator.example is refused: odd"),
    (InvalidProxyStatus(answer(407)), False, ErrorCode.UNREACHABLE, "the network's proxy asks for a name and password (407)"),
    (InvalidProxyStatus(answer(502)), False, ErrorCode.UNREACHABLE, "the network's proxy does not let us through (502)"),
    (InvalidProxyMessage("x"), False, ErrorCode.UNREACHABLE, "the proxy did not answer as a proxy does"),
    (InvalidProxy("ftp://x", "no"), True, ErrorCode.REFUSED, "the proxy's address is not valid: ftp://x isn't a valid proxy: no"),
    (InvalidStatus(answer(302)), False, ErrorCode.UNREACHABLE, "the address redirects to another (302), which is never followed"),
    (InvalidStatus(answer(404)), False, ErrorCode.UNREACHABLE, "something answers there, but not a coordinator (404)"),
    (InvalidMessage("x"), False, ErrorCode.UNREACHABLE, "something that is not a coordinator answered"),
    (ssl.SSLError(1, "x"), False, ErrorCode.UNREACHABLE, "the encrypted connection could not be set up"),
    (TimeoutError(), False, ErrorCode.UNREACHABLE, "coordinator.example did not answer in time"),
    (socket.gaierror(-2, "x"), False, ErrorCode.UNREACHABLE, "the name coordinator.example is not known to this network"),
    (ConnectionRefusedError(111, "x"), False, ErrorCode.UNREACHABLE, "nobody answers at coordinator.example; the coordinator may be restarting"),
    (OSError(101, "Network is unreachable"), False, ErrorCode.UNREACHABLE, "coordinator.example cannot be reached: Network is unreachable"),
    (ConnectionClosedError(None, None), False, ErrorCode.UNREACHABLE, "the connection was cut"),
    (closed(1012), False, ErrorCode.UNREACHABLE, "the coordinator ended the session (1012)"),
    (closed(Closing.REPLACED), False, ErrorCode.UNREACHABLE, "the coordinator ended the session (4408)"),
    (closed(Closing.REVOKED), True, ErrorCode.REVOKED, "the coordinator ended the session"),
    (closed(Closing.VERSION), True, ErrorCode.VERSION, "the coordinator ended the session"),
    (closed(Closing.NOT_AUTHENTICATED), True, ErrorCode.REFUSED, "the coordinator ended the session"),
    (LinkProblem("shut out", code=ErrorCode.REVOKED), True, ErrorCode.REVOKED, "shut out"),
    (LinkProblem("later", code=ErrorCode.UNREACHABLE), False, ErrorCode.UNREACHABLE, "later"),
    (PeerMistake("odd message"), False, ErrorCode.PROTOCOL, "odd message"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("exc", "final", "code", "sentence"), CASES, ids=lambda value: str(value)[:30]
)
def test_every_failure_is_a_sentence_and_a_decision(exc, final, code, sentence):
    trouble = explain(exc, URL)
    assert (trouble.final, trouble.problem.code, str(trouble.problem)) == (final, code, sentence)


def test_a_bug_of_ours_is_not_explained_away():
    with pytest.raises(ZeroDivisionError):
        explain(ZeroDivisionError(), URL)


def test_the_first_try_is_at_once_and_the_next_come_with_full_jitter():
    settings = LinkSettings()
    for chance, expected in (
        (0.0, [0.0] + [0.2] * 9),
        (1.0, [0.0, 2, 4, 8, 16, 32, 64, 128, 256, 300]),
    ):
        backoff, now, waits = Backoff(settings, chance=lambda chance=chance: chance), 0.0, []
        for _ in range(10):
            waits.append(round(backoff.delay(now), 6))
            now += 1000
            backoff.ended(lasted_s=0, moved_bytes=False)
        assert waits == expected


def test_only_a_session_of_a_minute_forgives():
    backoff = Backoff(LinkSettings(), chance=lambda: 1.0)
    for number in range(12):
        backoff.delay(1000.0 * number)
        backoff.ended(lasted_s=59, moved_bytes=False)
    assert backoff.delay(20_000) == 300
    backoff.ended(lasted_s=1, moved_bytes=True)
    assert backoff.delay(30_000) == 4, "it got work done"
    backoff.ended(lasted_s=60, moved_bytes=False)
    assert backoff.delay(40_000) == 2


@pytest.mark.asyncio
async def test_the_issuer_is_seen_directly_and_through_a_proxy(tmp_path):
    async with (
        open_door(make_door(tmp_path)) as door,
        connect_proxy() as proxy,
        connect_proxy("403 No") as wall,
    ):
        issuer = "CN=study 0123456789abcdef0123456789abcdef,O=FednnU-Net study"
        assert await issuer_seen(door.url, proxy=None) == issuer
        assert await issuer_seen(door.url, proxy=proxy) == issuer
        assert await issuer_seen(door.url, proxy=wall) is None
        assert await issuer_seen("wss://127.0.0.1:9", proxy=None) is None
        assert door.desk.events == []


def test_a_socks_proxy_is_explained_and_not_tried_for_ever():
    trouble = explain(ImportError("python-socks is required"), "wss://h:1")
    assert trouble.final
    assert "SOCKS" in str(trouble.problem)


def test_a_network_that_carried_bytes_is_tried_again_soon_for_a_while():
    backoff = Backoff(LinkSettings(), chance=lambda: 1.0)
    now = 0.0

    def next_delay() -> float:
        nonlocal now
        delay = backoff.delay(now)
        now += delay + 10.0
        return delay

    next_delay()
    backoff.ended(lasted_s=5.0, moved_bytes=True)
    waits = []
    for _ in range(30):
        waits.append(next_delay())
        backoff.ended(lasted_s=0.0, moved_bytes=False)
    assert max(waits[:20]) == 8.0
    assert waits[25] == 300.0, "then as patiently as ever"
