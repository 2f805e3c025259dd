"""The connection doctor: tries each layer between this computer and the coordinator on its own.

Looking never joins: nothing of the invitation but its address and its study's certificate is used,
and the coordinator learns no more than that somebody connected. All lines are always returned, in
the order of the layers; those that cannot be tried any more are skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import email.utils
import enum
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    NegotiationError,
    ProxyError,
)
from websockets.proxy import Proxy as ProxyAddress, get_proxy, parse_proxy, prepare_connect_request
from websockets.uri import WebSocketURI, parse_uri

from app.domain.errors import ErrorCode, FednnunetError, LinkProblem, safe_text
from app.domain.ids import StudyId
from app.site import connecting
from app.site.connecting import LinkSettings, Proxy
from app.site.membership import Membership
from app.system import tls
from app.system.clock import Clock
from app.wire.invitation import Invitation
from app.wire.messages import PROTOCOL, SUBPROTOCOL

_LARGEST_HEAD: Final = 16 * 1024
_SKEW_S: Final = 300.0
_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_Address = tuple[str, int]


class DoctorStep(enum.Enum):
    """The layers, in the order in which they are shown."""

    INVITATION = "Invitation"
    NAME = "Name (DNS)"
    TCP = "Network (TCP)"
    PROXY = "Proxy"
    TLS = "Certificate (TLS)"
    CLOCK = "Clock"
    WEBSOCKET = "Websocket"
    PROTOCOL = "Version"


class LineState(enum.Enum):
    """How a layer is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorLine:
    """What was found at one layer; `remedy` is empty where nothing needs to be done."""

    step: DoctorStep
    state: LineState
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorTarget:
    """Whom to reach. `expires_at` and `issued_at` (seconds since 1970) are None for a member."""

    urls: tuple[str, ...]
    study: StudyId
    authority_pem: str
    issued_at: float | None = None
    expires_at: float | None = None

    @classmethod
    def of_invitation(cls, invitation: Invitation) -> DoctorTarget:
        return cls(
            urls=invitation.urls,
            study=invitation.study,
            authority_pem=invitation.authority_pem,
            issued_at=float(invitation.issued_at),
            expires_at=float(invitation.not_after),
        )

    @classmethod
    def of_membership(cls, membership: Membership) -> DoctorTarget:
        return cls(
            urls=membership.urls,
            study=membership.study,
            authority_pem=membership.authority_pem,
        )


async def examine(
    target: DoctorTarget, *, proxy: Proxy, clock: Clock, step_s: float = 10.0
) -> tuple[DoctorLine, ...]:
    """Try every layer, each for at most about `step_s` seconds; never raises for what it finds.

    Of several addresses the lines of the first that can be reached are returned, else those of
    the first.
    """
    first: tuple[DoctorLine, ...] | None = None
    for url in target.urls:
        lines = await _Examination(target, url, proxy, clock, step_s).run()
        if not failed(lines):
            return lines
        first = first or lines
    return first or ()


def failed(lines: Sequence[DoctorLine]) -> bool:
    """Return whether a layer keeps this computer from the coordinator."""
    return any(line.state is LineState.FAILED for line in lines)


def ticket_text(
    lines: Sequence[DoctorLine], target: DoctorTarget, *, proxy: Proxy, now: float
) -> str:
    """Return what hospital IT needs to read, in plain text and without secrets."""
    uri = parse_uri(target.urls[0])
    blocked = failed(lines)
    opening = (
        "This computer cannot reach a service outside that a research program needs."
        if blocked
        else "This computer can reach the service outside that a research program needs."
    )
    parts = [
        opening,
        "",
        f"Host:      {uri.host}",
        f"Port:      {uri.port} (outgoing TCP; websocket over TLS 1.3, a long-lived connection)",
        f"Proxy:     {_proxy_words(proxy, uri)}",
        f"Tested at: {_date(now)}",
        "",
    ]
    for line in lines:
        parts.append(f"[{line.state.value}] {line.step.value}: {line.sentence}")
        if line.remedy:
            parts.append(f"    {line.remedy}")
    parts.append("")
    parts.append(
        "The program accepts only the certificate of its own study, so the connection must not be"
        " opened by TLS inspection. No image leaves this computer."
    )
    return "\n".join(parts) + "\n"


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What one layer learnt that another is judged by."""

    server_time: float | None = None
    certificate: x509.Certificate | None = None
    out_of_time: bool = False
    upgraded: bool = False
    lines: dict[DoctorStep, DoctorLine] = field(default_factory=dict)


class _Examination:
    """One address, once. Each method judges its own layer and says whether the next can be tried."""

    def __init__(
        self, target: DoctorTarget, url: str, proxy: Proxy, clock: Clock, step_s: float
    ) -> None:
        self._target, self._url, self._clock, self._step_s = target, url, clock, step_s
        self._wanted_proxy = proxy
        self._uri: WebSocketURI = parse_uri(url)
        self._proxy: ProxyAddress | None = None
        self._proxy_url: str | None = None
        self._seen = _Seen()
        # Every stream that was opened: whoever cancels the examination closes them too.
        self._writers: list[asyncio.StreamWriter] = []

    async def run(self) -> tuple[DoctorLine, ...]:
        self._invitation()
        try:
            await self._reach()
        finally:
            for writer in self._writers:
                writer.transport.abort()
        self._judge_clock()
        for step in DoctorStep:
            if step not in self._seen.lines:
                self._say(step, LineState.SKIPPED, "Not tried, because of what is above.")
        return tuple(self._seen.lines[step] for step in DoctorStep)

    async def _reach(self) -> None:
        if not self._find_proxy():
            return
        known = await self._name()
        if self._proxy is None and not known:
            return
        if not await (self._tcp(known) if self._proxy is None else self._tcp_to_proxy()):
            return
        if self._proxy is None or self._proxy.scheme == "http":
            if not (await self._through_proxy() and await self._tls()):
                return
        else:
            self._say(
                DoctorStep.PROXY,
                LineState.OK,
                f"{_shown(self._proxy)} is used; it is tried together with the connection.",
            )
        await self._websocket()

    # --- the invitation

    def _invitation(self) -> None:
        expires, now = self._target.expires_at, self._clock.now()
        if expires is None:
            self._say(DoctorStep.INVITATION, LineState.OK, "This site has already joined by it.")
        elif now >= expires:
            self._say(
                DoctorStep.INVITATION,
                LineState.FAILED,
                f"The invitation expired on {_date(expires)}.",
                "Ask the coordinator for a new invitation.",
            )
        else:
            self._say(
                DoctorStep.INVITATION,
                LineState.OK,
                f"The invitation is intact and can be used until {_date(expires)}, once."
                " It was not used by this test.",
            )

    # --- name, network, proxy

    def _find_proxy(self) -> bool:
        wanted = self._wanted_proxy
        address = get_proxy(self._uri) if wanted is True else wanted
        if address is None:
            words = "The system has no proxy set for" if wanted is True else "No proxy is used for"
            self._say(DoctorStep.PROXY, LineState.OK, f"{words} this address.")
            return True
        try:
            self._proxy = parse_proxy(address)
        except (InvalidProxy, ValueError):
            # Its own words would show the address, which may have a password in it.
            self._say(
                DoctorStep.PROXY,
                LineState.FAILED,
                "The proxy's address is not valid.",
                "Write it as http://host:port.",
            )
            return False
        self._proxy_url = address
        return True

    async def _name(self) -> dict[socket.AddressFamily, _Address]:
        """Look the coordinator up; return an address of each family that has one."""
        host, port = self._uri.host, self._uri.port
        with contextlib.suppress(ValueError):
            literal = ipaddress.ip_address(host)
            family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
            self._say(DoctorStep.NAME, LineState.OK, f"{host} is an address, not a name.")
            return {family: (host, port)}
        known = await _look_up(host, port, self._step_s)
        found = ", ".join(f"{known[family][0]} ({_FAMILIES[family]})" for family in known)
        if known:
            self._say(DoctorStep.NAME, LineState.OK, f"{host} is {found}.")
        elif self._proxy is None:
            self._say(
                DoctorStep.NAME,
                LineState.FAILED,
                f"The name {host} is not known to this network, for IPv4 nor IPv6.",
                "Ask IT whether this network looks up names outside, or needs a proxy.",
            )
        else:
            self._say(
                DoctorStep.NAME,
                LineState.WARNING,
                f"The name {host} is not known here; the proxy looks it up.",
            )
        return known

    async def _tcp(self, known: dict[socket.AddressFamily, _Address]) -> bool:
        """Try each family on its own: one that is broken delays every connection."""
        attempts = await asyncio.gather(
            *(self._connect(host, port) for host, port in known.values())
        )
        port = self._uri.port
        broken = [
            f"{_FAMILIES[family]} ({known[family][0]}): {attempt}"
            for family, attempt in zip(known, attempts, strict=True)
            if isinstance(attempt, str)
        ]
        working = [attempt for attempt in attempts if not isinstance(attempt, str)]
        for _, writer in working:
            writer.transport.abort()
        if not broken:
            self._say(DoctorStep.TCP, LineState.OK, f"Port {port} answers.")
        else:
            self._say(
                DoctorStep.TCP,
                LineState.WARNING if working else LineState.FAILED,
                f"Port {port} does not answer by {'; '.join(broken)}.",
                f"Ask IT to allow outgoing TCP to {self._uri.host}, port {port}.",
            )
        return bool(working)

    async def _tcp_to_proxy(self) -> bool:
        proxy = self._proxy
        assert proxy is not None  # noqa: S101 - the caller has looked
        attempt = await self._connect(proxy.host, proxy.port)
        if isinstance(attempt, str):
            self._say(
                DoctorStep.TCP,
                LineState.FAILED,
                f"The proxy {_shown(proxy)} does not answer: {attempt}.",
                "Check the proxy's address and port, or ask IT for them.",
            )
            return False
        attempt[1].transport.abort()
        self._say(DoctorStep.TCP, LineState.OK, f"The proxy {_shown(proxy)} answers.")
        return True

    async def _connect(self, host: str, port: int) -> _Stream | str:
        """Return a stream, or in words why there is none."""
        try:
            async with asyncio.timeout(self._step_s):
                stream = await asyncio.open_connection(host, port, limit=_LARGEST_HEAD)
                self._writers.append(stream[1])
                return stream
        except TimeoutError:
            return "no answer in time, as behind a firewall"
        except ConnectionRefusedError:
            return "refused"
        except socket.gaierror:
            return "the name is not known"
        except OSError as exc:
            return (exc.strerror or "no network").lower()

    async def _open(self) -> _Stream | int | str:
        """Return a stream to the coordinator, the proxy's status when it refuses, or words."""
        proxy = self._proxy
        if proxy is None:
            return await self._connect(self._uri.host, self._uri.port)
        attempt = await self._connect(proxy.host, proxy.port)
        if isinstance(attempt, str):
            return attempt
        reader, writer = attempt
        try:
            async with asyncio.timeout(self._step_s):
                writer.write(prepare_connect_request(proxy, self._uri, None))
                head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, EOFError, asyncio.LimitOverrunError):  # a timeout is an OSError
            writer.transport.abort()
            return "it does not answer as a proxy does"
        words = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            writer.transport.abort()
            return "it does not answer as a proxy does"
        if words[1] == b"200":
            return attempt
        writer.transport.abort()
        return int(words[1])

    async def _through_proxy(self) -> bool:
        proxy = self._proxy
        if proxy is None:
            return True
        opened = await self._open()
        if isinstance(opened, tuple):
            opened[1].transport.abort()
            self._say(DoctorStep.PROXY, LineState.OK, f"The proxy {_shown(proxy)} lets us through.")
            return True
        target = f"{self._uri.host}:{self._uri.port}"
        if opened == 407:
            sentence = f"The proxy {_shown(proxy)} asks for a name and password (407)."
            remedy = (
                "Set the proxy as http://name:password@host:port, or ask IT to let this computer"
                f" reach {target} without signing in. Where it wants NTLM or Kerberos, a helper"
                " such as px on this computer signs in."
            )
        elif isinstance(opened, int):
            sentence = f"The proxy {_shown(proxy)} does not let us through to {target} ({opened})."
            remedy = f"Ask IT to allow CONNECT to {target} on the proxy."
        else:
            sentence = f"The proxy {_shown(proxy)} fails: {opened}."
            remedy = "Check the proxy's address and port, or ask IT for them."
        self._say(DoctorStep.PROXY, LineState.FAILED, sentence, remedy)
        return False

    # --- certificate

    async def _tls(self) -> bool:
        outcome = await self._shake(tls.client_context(self._target.authority_pem))
        if isinstance(outcome, x509.Certificate):
            self._seen.certificate = outcome
            self._say(
                DoctorStep.TLS, LineState.OK, "The coordinator shows the certificate of this study."
            )
            return True
        if not isinstance(outcome, ssl.SSLCertVerificationError):
            self._say(
                DoctorStep.TLS,
                LineState.FAILED,
                f"The encrypted connection could not be set up: {outcome}.",
                f"Ask IT whether a firewall cuts or answers TLS to {self._uri.host}.",
            )
            return False
        shown = await self._shake(_unchecked())
        issuer = ""
        if isinstance(shown, x509.Certificate):
            self._seen.certificate = shown
            self._seen.out_of_time = not self._in_time(shown)
            issuer = f" It was issued by {safe_text(shown.issuer.rfc4514_string()[:200])}."
            if self._seen.out_of_time:
                since, until = _validity(shown)
                issuer += f" It is valid from {_date(since)} to {_date(until)}."
        problem = str(connecting.explain(outcome, self._url).problem)
        self._say(
            DoctorStep.TLS,
            LineState.FAILED,
            f"{problem[:1].upper()}{problem[1:]}.{issuer}",
            "Check this computer's clock; else the coordinator needs a new certificate."
            if self._seen.out_of_time
            else f"Ask IT to exempt {self._uri.host}, port {self._uri.port}, from TLS inspection"
            " (also by a virus scanner). The program never accepts another certificate.",
        )
        return False

    async def _shake(
        self, context: ssl.SSLContext
    ) -> x509.Certificate | ssl.SSLCertVerificationError | str:
        """Shake hands, send nothing more; return the certificate or why there is none."""
        opened = await self._open()
        if not isinstance(opened, tuple):
            return str(opened)
        writer = opened[1]
        try:
            async with asyncio.timeout(self._step_s):
                await writer.start_tls(context, server_hostname=self._uri.host)
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return x509.load_der_x509_certificate(shown or b"")
        except ssl.SSLCertVerificationError as exc:
            return exc
        except TimeoutError:
            return "no answer in time"
        except ssl.SSLError as exc:
            return f"what answers there does not speak TLS 1.3 ({exc.reason or 'TLS error'})"
        except OSError:
            return "the connection was cut"
        except ValueError:
            return "the certificate cannot be read"
        finally:
            writer.transport.abort()

    # --- clock

    def _in_time(self, certificate: x509.Certificate) -> bool:
        since, until = _validity(certificate)
        return since <= self._clock.now() <= until

    def _judge_clock(self) -> None:
        """Compare with the coordinator's clock; only a certificate out of its time does harm."""
        now, seen, issued = self._clock.now(), self._seen, self._target.issued_at
        here = f"This computer's clock says {_date(now)}"
        remedy = "Set this computer's clock."
        if issued is not None and now < issued - _SKEW_S:
            self._say(
                DoctorStep.CLOCK,
                LineState.FAILED if seen.out_of_time else LineState.WARNING,
                f"{here}, but the invitation was written later, on {_date(issued)}.",
                remedy,
            )
        elif seen.out_of_time:
            self._say(
                DoctorStep.CLOCK,
                LineState.WARNING,
                f"{here}. If that is right, the certificate is out of its time.",
            )
        elif seen.server_time is not None:
            skew = now - seen.server_time
            words = "ahead of" if skew > 0 else "behind"
            if abs(skew) > _SKEW_S:
                self._say(
                    DoctorStep.CLOCK,
                    LineState.WARNING,
                    f"This computer's clock is {abs(skew) / 60:.0f} min {words} the coordinator's.",
                    remedy,
                )
            else:
                self._say(DoctorStep.CLOCK, LineState.OK, "The clocks agree.")
        elif seen.certificate is not None:
            self._say(DoctorStep.CLOCK, LineState.OK, f"{here}, within the certificate's time.")

    # --- websocket and version

    async def _websocket(self) -> None:
        settings = LinkSettings(open_s=self._step_s)
        try:
            connection = await connecting.open_socket(
                self._url,
                authority_pem=self._target.authority_pem,
                proxy=self._proxy_url,
                settings=settings,
            )
        except ImportError:
            self._say(
                DoctorStep.PROXY,
                LineState.FAILED,
                "This installation cannot use a SOCKS proxy.",
                "Ask IT for an HTTP proxy.",
            )
            return
        except Exception as exc:  # noqa: BLE001 - `explain` raises what it does not know
            self._no_websocket(exc)
            return
        try:
            self._seen.server_time = _server_time(connection)
            await self._version(connection)
        finally:
            connection.transport.abort()

    def _no_websocket(self, exc: Exception) -> None:
        problem = connecting.explain(exc, self._url).problem
        sentence = f"{str(problem)[:1].upper()}{str(problem)[1:]}."
        if isinstance(exc, ssl.SSLCertVerificationError):
            # Only behind a proxy that hides the layers below.
            self._say(DoctorStep.TLS, LineState.FAILED, sentence, problem.remedy)
            return
        if isinstance(exc, ProxyError):
            remedy = "Check the proxy's address and port, or ask IT for them."
            self._say(DoctorStep.PROXY, LineState.FAILED, sentence, remedy)
            return
        if isinstance(exc, NegotiationError) or (
            isinstance(exc, InvalidStatus) and exc.response.status_code == 400
        ):
            self._say(DoctorStep.WEBSOCKET, LineState.OK, "Something answers websockets there.")
            self._other_version("What answers there does not speak")
            return
        remedy = f"Ask IT to allow websockets to {self._uri.host}, port {self._uri.port}."
        if not isinstance(exc, InvalidHandshake):
            remedy = problem.remedy
        self._say(DoctorStep.WEBSOCKET, LineState.FAILED, sentence, remedy)

    async def _version(self, connection: ClientConnection) -> None:
        if self._proxy is not None and self._proxy.scheme != "http":
            self._say(
                DoctorStep.TLS, LineState.OK, "The coordinator shows the certificate of this study."
            )
        if connection.subprotocol != SUBPROTOCOL:
            self._say(DoctorStep.WEBSOCKET, LineState.OK, "A websocket can be opened.")
            self._other_version("The coordinator does not speak")
            return
        try:
            async with asyncio.timeout(self._step_s):
                challenge = await connecting.challenged(connection, study=self._target.study)
        except (ConnectionClosed, TimeoutError) as exc:
            how = "says nothing" if isinstance(exc, TimeoutError) else "is closed at once"
            self._say(
                DoctorStep.WEBSOCKET,
                LineState.FAILED,
                f"A websocket can be opened, but it {how}.",
                "Ask IT whether a proxy or firewall cuts websockets; else ask the coordinator"
                " whether its service runs.",
            )
            return
        except FednnunetError as exc:
            self._say(DoctorStep.WEBSOCKET, LineState.OK, "A websocket can be opened.")
            self._refused(exc)
            return
        self._say(DoctorStep.WEBSOCKET, LineState.OK, "A websocket can be opened.")
        self._say(
            DoctorStep.PROTOCOL,
            LineState.OK,
            f"The coordinator runs version {safe_text(challenge.version)} and speaks protocol"
            f" {PROTOCOL}.",
        )

    def _refused(self, exc: FednnunetError) -> None:
        words = str(exc)
        self._say(
            DoctorStep.PROTOCOL, LineState.FAILED, f"{words[:1].upper()}{words[1:]}.", exc.remedy
        )

    def _other_version(self, words: str) -> None:
        remedy = LinkProblem("", code=ErrorCode.VERSION).remedy
        self._say(DoctorStep.PROTOCOL, LineState.FAILED, f"{words} {SUBPROTOCOL}.", remedy)

    def _say(self, step: DoctorStep, state: LineState, sentence: str, remedy: str = "") -> None:
        self._seen.lines[step] = DoctorLine(
            step=step, state=state, sentence=sentence, remedy=remedy
        )


_FAMILIES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


async def _look_up(host: str, port: int, within_s: float) -> dict[socket.AddressFamily, _Address]:
    """Ask for IPv4 and IPv6 addresses apart; return the first of each that there is."""
    loop = asyncio.get_running_loop()
    known: dict[socket.AddressFamily, _Address] = {}
    for family in _FAMILIES:
        with contextlib.suppress(OSError, UnicodeError):  # a timeout is an OSError
            async with asyncio.timeout(within_s):
                found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            known[family] = (str(found[0][4][0]), port)
    return known


def _unchecked() -> ssl.SSLContext:
    """Return a context that only looks: to name who issued what is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _validity(certificate: x509.Certificate) -> tuple[float, float]:
    return (
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def _server_time(connection: ClientConnection) -> float | None:
    """Return the time in the answer to the upgrade, None when it has none."""
    answer = connection.response
    said = None if answer is None else answer.headers.get("Date")
    if said is None:
        return None
    try:
        return email.utils.parsedate_to_datetime(said).timestamp()
    except (ValueError, OverflowError):
        return None


def _proxy_words(proxy: Proxy, uri: WebSocketURI) -> str:
    address = get_proxy(uri) if proxy is True else proxy
    if address is None:
        return "none"
    try:
        return _shown(parse_proxy(address))
    except (InvalidProxy, ValueError):
        return "not valid"


def _shown(proxy: ProxyAddress) -> str:
    """Return a proxy's address without name and password."""
    return f"{proxy.scheme}://{proxy.host}:{proxy.port}"


def _date(at: float) -> str:
    moment = datetime.datetime.fromtimestamp(at, tz=datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"
