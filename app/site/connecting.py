"""Opening a connection to the coordinator, and saying in words why it could not be opened.

Retry-or-fatal is `explain`, one function: what only a person can mend is final (a replaced
certificate, a revoked key, another version), everything else is tried again by `Backoff`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
)
from websockets.proxy import get_proxy, parse_proxy, prepare_connect_request
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from app.domain.errors import ErrorCode, FednnunetError, LinkProblem, PeerMistake, safe_text
from app.domain.ids import StudyId
from app.system import tls
from app.wire import codec
from app.wire.blobs import MAX_FRAME
from app.wire.closing import Closing, code_of, named
from app.wire.messages import PROTOCOL, SUBPROTOCOL, AnyMessage, Challenge, Refusal

Proxy = str | Literal[True] | None
"""An address such as "http://proxy:3128", True for the system's setting, None for none."""

_log: Final = logging.getLogger(__name__)
# `Link` tells what happened once, in words; the library would tell it again with a traceback.
_library_log: Final = logging.getLogger(f"{__name__}.library")
_library_log.setLevel(logging.CRITICAL)

_chance: Final = secrets.SystemRandom()
_PROBE_S: Final = 10.0
_FLAPPING_ATTEMPTS: Final = 20
_FLAPPING_DOUBLINGS: Final = 3
"""A network that carried bytes just now may only be flapping: so many more attempts wait 8 s at most.
Doubling on, a few attempts that met it down in a row cost an upload of 124 MiB a quarter of an hour."""
_NOT_OURS: Final = frozenset({2, 18, 19, 20, 21})
_OTHER_HOST: Final = frozenset({62, 64})
_OUT_OF_TIME: Final = frozenset({9, 10})


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Times of the link (security.md 2.4 of the field notes)."""

    open_s: float = 30.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 60.0
    report_every_s: float = 60.0
    answer_s: float = 90.0
    commit_s: float = 900.0
    stall_s: float = 120.0
    first_delay_s: float = 1.0
    longest_delay_s: float = 300.0
    connects_per_minute: int = 12
    good_session_s: float = 60.0


class Backoff:
    """When to try again: full jitter between attempts, doubling, never more than so many a minute.

    Only a session that lasted resets it; one that moved bytes keeps it short. So a coordinator
    that accepts and closes at once is not hammered, and a flapping network still gets work done.
    """

    def __init__(
        self, settings: LinkSettings, chance: Callable[[], float] = _chance.random
    ) -> None:
        self._settings = settings
        self._chance = chance
        self._failures = 0
        self._hopeful = 0
        self._connects: deque[float] = deque(maxlen=settings.connects_per_minute)

    def delay(self, now: float) -> float:
        """Return how long to wait before the next attempt, and count that attempt."""
        settings = self._settings
        wait = 0.0
        if self._failures:
            doublings = min(self._failures, _FLAPPING_DOUBLINGS if self._hopeful else 30)
            longest = min(settings.longest_delay_s, settings.first_delay_s * 2**doublings)
            shortest = settings.first_delay_s / 5
            wait = shortest + self._chance() * (longest - shortest)
        if len(self._connects) == settings.connects_per_minute:
            wait = max(wait, self._connects[0] + 60.0 - now)
        self._connects.append(now + wait)
        return wait

    def ended(self, *, lasted_s: float, moved_bytes: bool) -> None:
        """Take note that a session ended, or (`lasted_s` 0) that none came about."""
        if lasted_s >= self._settings.good_session_s:
            self._failures = 1
        elif moved_bytes:
            self._failures = min(self._failures + 1, 2)
            self._hopeful = _FLAPPING_ATTEMPTS
        else:
            self._failures += 1
            self._hopeful = max(0, self._hopeful - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why there is no session; `final` when trying again cannot help."""

    problem: LinkProblem
    final: bool


# --- opening -----------------------------------------------------------------------------------


class _Connect(connect):
    """The library's connector, without following redirects: the invitation names the address."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def open_socket(
    url: str, *, authority_pem: str, proxy: Proxy, settings: LinkSettings
) -> ClientConnection:
    """Open a websocket to the coordinator, its certificate checked against the study's authority.

    Raises:
        OSError, TimeoutError, InvalidHandshake, InvalidProxy: see `explain`.
    """
    return await _Connect(
        url,
        ssl=tls.client_context(authority_pem),
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        compression=None,
        user_agent_header=None,
        proxy=proxy,
        open_timeout=settings.open_s,
        ping_interval=settings.ping_interval_s,
        ping_timeout=settings.ping_timeout_s,
        close_timeout=2,
        max_size=(MAX_FRAME, MAX_FRAME),
        max_queue=(4, 1),
        write_limit=65_536,
        logger=_library_log,
    )


def seen_leaf(connection: ClientConnection) -> bytes:
    """Return the SHA-256 of the certificate that this site saw on `connection`."""
    return tls.leaf_sha256(connection.transport.get_extra_info("ssl_object"))


async def challenged(connection: ClientConnection, *, study: StudyId) -> Challenge:
    """Wait for the coordinator's challenge.

    Raises:
        LinkProblem: it speaks another protocol, runs another study, or refuses.
        PeerMistake: it says something else.
    """
    message = await receive(connection)
    if not isinstance(message, Challenge):
        raise PeerMistake(f"the coordinator began with {type(message).__name__}")
    if not message.protocol_minimum <= PROTOCOL <= message.protocol_maximum:
        raise LinkProblem(
            f"the coordinator (version {safe_text(message.version)}) speaks protocols"
            f" {message.protocol_minimum} to {message.protocol_maximum}, this program {PROTOCOL}",
            code=ErrorCode.VERSION,
        )
    if message.study != study:
        raise LinkProblem("this coordinator runs another study", code=ErrorCode.REFUSED)
    return message


async def receive(connection: ClientConnection) -> AnyMessage:
    """Return the next message; a refusal is raised.

    Raises:
        LinkProblem: the coordinator refuses, with its code and sentence.
        PeerMistake: it is not a message.
    """
    frame = await connection.recv()
    if isinstance(frame, str):
        raise PeerMistake("the coordinator sent text")
    message = codec.decode(frame)
    if isinstance(message, Refusal):
        raise refused(message)
    return message


def refusal_or_mistake(message: AnyMessage) -> LinkProblem | PeerMistake:
    """Return what to raise for a message that ends the session."""
    if isinstance(message, Refusal):
        return refused(message)
    return PeerMistake(f"a coordinator cannot say {type(message).__name__}")


def refused(message: Refusal) -> LinkProblem:
    """Return a refusal as the problem it is."""
    return LinkProblem(safe_text(message.sentence), code=named(message.code))


# --- explaining --------------------------------------------------------------------------------

_FINAL: Final = frozenset(
    {
        ErrorCode.CERTIFICATE,
        ErrorCode.REFUSED,
        ErrorCode.REVOKED,
        ErrorCode.VERSION,
        ErrorCode.STUDY_STATE,
        ErrorCode.INVITATION,
        ErrorCode.INVITATION_USED,
        ErrorCode.INVITATION_EXPIRED,
    }
)


def explain(exc: BaseException, url: str) -> Trouble:
    """Say in words why there is no session with `url`, and whether trying again can help."""
    match exc:
        case FednnunetError():
            problem = exc if isinstance(exc, LinkProblem) else LinkProblem(str(exc), code=exc.code)
            return Trouble(problem=problem, final=problem.code in _FINAL)
        case ssl.SSLCertVerificationError():
            return Trouble(problem=_certificate_problem(exc, url), final=True)
        case InvalidProxy():
            return _final(f"the proxy's address is not valid: {safe_text(str(exc))}")
        case ImportError():
            # websockets asks for an extra package when the system's proxy is a SOCKS proxy.
            return _final("the proxy of this network is a SOCKS proxy, which cannot be used here")
        case InvalidProxyStatus():
            return _proxy_answer(exc.response.status_code)
        case InvalidStatus():
            return _answer(exc.response.status_code)
        case ProxyError():
            return _passing("the proxy did not answer as a proxy does")
        case ConnectionClosed():
            return _closed(exc)
        case InvalidHandshake():
            return _passing("something that is not a coordinator answered")
        case ssl.SSLError():
            return _passing("the encrypted connection could not be set up")
        case TimeoutError():
            return _passing(f"{_host(url)} did not answer in time")
        case socket.gaierror():
            return _passing(f"the name {_host(url)} is not known to this network")
        case ConnectionRefusedError():
            return _passing(f"nobody answers at {_host(url)}; the coordinator may be restarting")
        case OSError():
            return _passing(f"{_host(url)} cannot be reached: {exc.strerror or 'no network'}")
        case _:
            raise exc


def _closed(exc: ConnectionClosed) -> Trouble:
    frame = exc.rcvd
    if frame is None:
        return _passing("the connection was cut")
    with contextlib.suppress(ValueError):
        if Closing(frame.code).final:
            code = code_of(frame.code)
            problem = LinkProblem("the coordinator ended the session", code=code)
            return Trouble(problem=problem, final=True)
    return _passing(f"the coordinator ended the session ({frame.code})")


def _certificate_problem(exc: ssl.SSLCertVerificationError, url: str) -> LinkProblem:
    if exc.verify_code in _OUT_OF_TIME:
        sentence = (
            f"the certificate of {_host(url)} is not valid at this computer's time;"
            " check this computer's clock"
        )
    elif exc.verify_code in _OTHER_HOST:
        sentence = f"the certificate that {_host(url)} shows is for another computer"
    elif exc.verify_code in _NOT_OURS:
        sentence = (
            f"the certificate that {_host(url)} shows is not of this study: the network replaces"
            " certificates, or another study answers there"
        )
    else:
        sentence = f"the certificate of {_host(url)} is refused: {exc.verify_message}"
    return LinkProblem(sentence, code=ErrorCode.CERTIFICATE)


def _proxy_answer(status: int) -> Trouble:
    if status == 407:
        return Trouble(
            problem=LinkProblem(
                "the network's proxy asks for a name and password (407)", code=ErrorCode.UNREACHABLE
            ),
            final=False,
        )
    return _passing(f"the network's proxy does not let us through ({status})")


def _answer(status: int) -> Trouble:
    if 300 <= status < 400:
        return _passing(f"the address redirects to another ({status}), which is never followed")
    return _passing(f"something answers there, but not a coordinator ({status})")


def _passing(sentence: str) -> Trouble:
    return Trouble(problem=LinkProblem(sentence, code=ErrorCode.UNREACHABLE), final=False)


def _final(sentence: str) -> Trouble:
    return Trouble(problem=LinkProblem(sentence, code=ErrorCode.REFUSED), final=True)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the coordinator"


# --- naming a middlebox ------------------------------------------------------------------------


async def issuer_seen(url: str, *, proxy: Proxy) -> str | None:
    """Return who issued the certificate that `url` shows, for IT to read; None when it is silent.

    Looks without checking, and sends nothing but the TLS handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_PROBE_S):
            return await _look(url, context, proxy)
    except (OSError, InvalidProxy, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None


async def _look(url: str, context: ssl.SSLContext, proxy: Proxy) -> str | None:
    target = parse_uri(url)
    address = get_proxy(target) if proxy is True else proxy
    if address is None:
        _, writer = await asyncio.open_connection(target.host, target.port)
    else:
        through = parse_proxy(address)
        if through.scheme != "http":
            return None
        reader, writer = await asyncio.open_connection(through.host, through.port)
        writer.write(prepare_connect_request(through, target, None))
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0] + b" ":
            writer.close()
            return None
    try:
        await writer.start_tls(context, server_hostname=target.host)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return None if der is None else safe_text(tls.issuer_of(der))
    finally:
        writer.transport.abort()
