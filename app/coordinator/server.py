"""The coordinator's door: websockets over TLS 1.3, sessions of sites, uploads and downloads.

It knows who a site is and how bytes travel, not what a study is: everything that matters goes to
the `Desk`. A site has at most one session; a newer one replaces an older one, because the older
one is most often a dead connection that was not noticed yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import ssl
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

import app
from app.coordinator import gate
from app.coordinator.members import Member, MemberState, MemberStore
from app.coordinator.spool import Spool
from app.domain.errors import ErrorCode, FednnunetError, LinkProblem, PeerMistake
from app.domain.ids import SiteName, StudyId
from app.system.allocation import keep_freed_memory
from app.system.blob_transfer import STALL_S, FileReceiver, FileSender, TransferStopped
from app.system.clock import Clock
from app.wire import codec, handshake
from app.wire.blobs import LIMITS, MAX_FRAME, is_chunk, unpack_header
from app.wire.closing import Closing, closing_of, named
from app.wire.messages import (
    PROTOCOL,
    SUBPROTOCOL,
    Acknowledged,
    AnyMessage,
    Authenticate,
    Blob,
    BlobKind,
    Challenge,
    Directive,
    DownloadBegin,
    DownloadState,
    Enrol,
    FingerprintOffered,
    Left,
    ModelScored,
    PlanAccepted,
    PlanRefused,
    Refusal,
    Rejected,
    Report,
    UpdateFailed,
    UpdateOffered,
    UploadBegin,
    UploadCommit,
    UploadCommitted,
    UploadState,
    Welcome,
)

_log: Final = logging.getLogger(__name__)
# What strangers do wrong at the door is no news, and must not fill the disk with log lines.
_door_log: Final = logging.getLogger(f"{__name__}.door")
_door_log.setLevel(logging.CRITICAL)

_NEWS = (
    FingerprintOffered,
    PlanAccepted,
    PlanRefused,
    UpdateOffered,
    UpdateFailed,
    ModelScored,
    Left,
    Report,
)
_FROM_SITES: Final = frozenset({BlobKind.FINGERPRINT, BlobKind.WEIGHTS})
_MAX_OUTBOX: Final = 256
_RETRY_AFTER_S: Final = 60
_WATCH_S: Final = 0.5
_EXPIRE_EVERY_S: Final = 3600.0
_CLOSE_S: Final = 1.0
_MAX_RESTARTS: Final = 3


class Desk(Protocol):
    """What the service behind the door does. All but `check_blob` run on the event loop."""

    async def opened(self, site: SiteName) -> None:
        """Learn that a member is connected; `CoordinatorServer.send` reaches it from now on."""
        ...

    async def closed(self, site: SiteName) -> None:
        """Learn that a member is gone."""
        ...

    async def enrolled(self, site: SiteName, pending: bool) -> None:
        """Learn that a site has enrolled; `pending` while it waits for approval."""
        ...

    async def received(self, site: SiteName, message: AnyMessage) -> None:
        """Take a member's message: Report, an offer, an answer, Left. Idempotent."""
        ...

    def refuse_upload(self, site: SiteName, kind: BlobKind, blob: Blob) -> Refusal | None:
        """Say why a site may not send this now; None when it may."""
        ...

    def check_blob(self, site: SiteName, kind: BlobKind, path: Path) -> None:
        """Read an arrived blob and raise FednnunetError to refuse it. Runs in a thread."""
        ...

    def may_fetch(self, site: SiteName, sha256: str) -> bool:
        """Say whether a site may have this blob."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Times and bounds of the door (security.md 2.4 of the field notes)."""

    open_s: float = 10.0
    authentication_s: float = 10.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 60.0
    stall_s: float = STALL_S
    messages_per_s: float = 20.0
    burst: float = 40.0
    gate: gate.GateLimits = field(default_factory=gate.GateLimits)


class CoordinatorServer:
    """Serves one study. `start`, then `send` and `drop`, then `stop`; all on one event loop."""

    def __init__(
        self,
        *,
        study: StudyId,
        desk: Desk,
        members: MemberStore,
        spool: Spool,
        context: ssl.SSLContext,
        leaf_sha256: bytes,
        host: str,
        port: int,
        clock: Clock,
        limits: ServerLimits | None = None,
    ) -> None:
        self.limits = limits or ServerLimits()
        self.study = study
        self.desk = desk
        self.members = members
        self.spool = spool
        self.clock = clock
        self._context = context
        self._leaf_sha256 = leaf_sha256
        self._host = host
        self._port = port
        self._gate = gate.Gate(self.limits.gate, clock)
        self._servers: list[Server] = []
        self._sessions: dict[SiteName, _Session] = {}
        self._watcher: asyncio.Task[None] | None = None

    # --- for the service

    @property
    def port(self) -> int:
        """The port that is served; the chosen one once started on port 0."""
        return self._port

    @property
    def connected(self) -> frozenset[SiteName]:
        """Members with an open session."""
        return frozenset(site for site, session in self._sessions.items() if session.active)

    @property
    def waiting(self) -> frozenset[SiteName]:
        """Connected sites that wait for approval."""
        return frozenset(site for site, session in self._sessions.items() if not session.active)

    async def start(self) -> None:
        """Open the door; raises OSError when the address cannot be had."""
        keep_freed_memory()
        for listening in gate.listen(self._host, self._port, self._gate):
            self._port = listening.getsockname()[1]
            self._servers.append(
                await serve(
                    self._handle,
                    sock=listening,
                    ssl=self._context,
                    subprotocols=[Subprotocol(SUBPROTOCOL)],
                    select_subprotocol=_select_subprotocol,
                    compression=None,
                    max_size=(MAX_FRAME, MAX_FRAME),
                    max_queue=(4, 1),
                    write_limit=65_536,
                    open_timeout=self.limits.open_s,
                    ping_interval=self.limits.ping_interval_s,
                    ping_timeout=self.limits.ping_timeout_s,
                    close_timeout=_CLOSE_S,
                    server_header=None,
                    logger=_door_log,
                )
            )
        self._watcher = asyncio.create_task(self._watch_members(), name="watch members")
        _log.info("serving on port %d", self._port)

    async def stop(self) -> None:
        """Close the door and every session; sites come back by themselves."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
            self._watcher = None
        for server in self._servers:
            server.close(code=1012, reason="the coordinator restarts")
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    async def send(self, site: SiteName, message: AnyMessage) -> bool:
        """Queue a message for a member; False when it is not connected. Never waits for the net.

        Of several waiting directives only the newest is sent.

        Raises:
            OurMistake: the message is larger than the codec allows.
        """
        session = self._sessions.get(site)
        return session is not None and session.active and session.post(message)

    async def drop(self, site: SiteName, refusal: Refusal) -> None:
        """End a site's session with a reason; harmless when it has none."""
        session = self._sessions.get(site)
        if session is not None:
            await session.end(refusal)

    async def members_changed(self) -> None:
        """Let in who was approved and shut out who was revoked, at once."""
        for site, session in tuple(self._sessions.items()):
            member = self.members.member(site)
            refusal = _refusal_for(member, session.public_key)
            if refusal is not None:
                await session.end(refusal)
            elif member is not None and member.state is MemberState.ACTIVE:
                await session.activate()

    # --- connections

    async def _watch_members(self) -> None:
        """Notice what another process wrote to the member store; now and then clear the spool."""
        version = self.members.version
        expired_at = -math.inf
        while True:
            if self.clock.monotonic() >= expired_at + _EXPIRE_EVERY_S:
                expired_at = self.clock.monotonic()
                await asyncio.to_thread(self.spool.expire)
            await asyncio.sleep(_WATCH_S)
            if version != (version := self.members.version):
                await self.members_changed()

    async def _handle(self, socket: ServerConnection) -> None:
        """Live one connection from the end of its upgrade to its close."""
        peer = (str(socket.remote_address[0]), int(socket.remote_address[1]))
        if not self._gate.enter(peer):
            return
        try:
            member = await self._admit(socket, peer)
            if member is None:
                return
            self._gate.proved(peer)
            await self._live(socket, member)
        except ConnectionClosed:
            _log.debug("a connection was closed")
        except Exception:  # noqa: BLE001 - the end of a task
            _log.exception("a session broke")
            await close(socket, 1011, "internal error")
        finally:
            self._gate.left(peer)

    async def _admit(self, socket: ServerConnection, peer: gate.Peer) -> Member | None:
        """Ask who it is; None when it was refused or has only enrolled."""
        try:
            async with asyncio.timeout(self.limits.authentication_s):
                return await self._ask(socket, peer)
        except TimeoutError:
            await close(socket, Closing.NOT_AUTHENTICATED, "no proof in time")
        except FednnunetError as exc:
            _log.info("a connection was refused: %s", exc.code.value)
            with contextlib.suppress(ConnectionClosed, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    refusal = Refusal(code=exc.code.value, sentence=str(exc)[:300])
                    await socket.send(codec.encode(refusal))
            await close(socket, closing_of(exc.code), exc.code.value)
        return None

    async def _ask(self, socket: ServerConnection, peer: gate.Peer) -> Member | None:
        if socket.subprotocol != SUBPROTOCOL:
            raise LinkProblem(
                f"this coordinator runs version {app.__version__} and speaks {SUBPROTOCOL};"
                " the site speaks another protocol",
                code=ErrorCode.VERSION,
            )
        challenge = Challenge(
            nonce=_nonce(),
            study=self.study,
            protocol_minimum=PROTOCOL,
            protocol_maximum=PROTOCOL,
            version=app.__version__,
        )
        await socket.send(codec.encode(challenge))
        match _message(await socket.recv()):
            case Authenticate() as answer:
                return self._authenticate(answer, challenge)
            case Enrol() as answer:
                await self._enrol(socket, answer, challenge, peer)
                return None
            case other:
                raise PeerMistake(f"a session cannot begin with {type(other).__name__}")

    def _authenticate(self, answer: Authenticate, challenge: Challenge) -> Member:
        site = SiteName(answer.site)
        member = self.members.member(site)
        signed = handshake.authenticate_transcript(
            study=self.study,
            nonce=challenge.nonce,
            leaf_sha256=self._leaf_sha256,
            protocol=PROTOCOL,
            site=site,
            client_nonce=answer.client_nonce,
        )
        if member is None or not handshake.signature_holds(
            member.public_key, signed, answer.signature
        ):
            raise LinkProblem(
                "this coordinator does not know this site's key", code=ErrorCode.REFUSED
            )
        if (refusal := _refusal_for(member, member.public_key)) is not None:
            raise LinkProblem(refusal.sentence, code=ErrorCode(refusal.code))
        return member

    async def _enrol(
        self, socket: ServerConnection, answer: Enrol, challenge: Challenge, peer: gate.Peer
    ) -> None:
        member = self.members.claim(
            invitation=answer.invitation,
            public_key=answer.public_key,
            proof=answer.proof,
            signature=answer.signature,
            nonce=challenge.nonce,
            leaf_sha256=self._leaf_sha256,
        )
        self._gate.proved(peer)
        pending = member.state is MemberState.PENDING
        _log.info("site %s enrolled, pending: %s", member.site, pending)
        # Another key may have an open session still: it was replaced by this one.
        await self.members_changed()
        await self.desk.enrolled(member.site, pending)
        await socket.send(codec.encode(Welcome(site=member.site, pending=pending)))
        await close(socket, 1000, "enrolled")

    async def _live(self, socket: ServerConnection, member: Member) -> None:
        site = member.site
        while (older := self._sessions.get(site)) is not None:
            _log.info("site %s came again; its older session ends", site)
            await older.end(Refusal(code=ErrorCode.UNREACHABLE.value, sentence="replaced"))
            await older.ended.wait()
        session = _Session(self, socket, member)
        self._sessions[site] = session
        try:
            await session.live(pending=member.state is MemberState.PENDING)
        finally:
            if session.active:
                session.active = False
                await self.desk.closed(site)
            del self._sessions[site]
            session.ended.set()


class _Session:
    """One site's open session: an outbox with a writer, one upload, one download."""

    def __init__(self, server: CoordinatorServer, socket: ServerConnection, member: Member) -> None:
        self.site = member.site
        self.public_key = member.public_key
        self.active = False
        self.ended = asyncio.Event()
        self._server = server
        self._socket = socket
        self._outbox: deque[bytes] = deque()
        self._directive: bytes | None = None
        self._acknowledgement: bytes | None = None
        self._posted = asyncio.Event()
        self._closing = False
        self._upload: _Upload | None = None
        self._committing: asyncio.Task[None] | None = None
        self._sender: FileSender | None = None
        self._sending: asyncio.Task[None] | None = None
        self._tokens = server.limits.burst
        self._counted_at = server.clock.monotonic()

    # --- what the server asks

    async def live(self, *, pending: bool) -> None:
        """Read until the connection is closed."""
        writer = asyncio.create_task(self._write(), name=f"write to {self.site}")
        try:
            if pending:
                self.post(Welcome(site=self.site, pending=True))
            else:
                await self.activate()
            await self._read()
        except FednnunetError as exc:
            _log.info("the session of %s ends: %s", self.site, exc.code.value)
            await self.end(Refusal(code=exc.code.value, sentence=str(exc)[:300]))
        finally:
            await self._wind_up(writer)

    def post(self, message: AnyMessage) -> bool:
        """Queue a message; False when the session is ending.

        Raises:
            OurMistake: the message is too large; told here, where someone made it.
        """
        if self._closing:
            return False
        data = codec.encode(message)
        if isinstance(message, Directive):
            self._directive = data
        elif isinstance(message, Acknowledged):
            # Cumulative, so of those that wait the newest says everything.
            self._acknowledgement = data
        elif len(self._outbox) >= _MAX_OUTBOX:
            _log.warning("site %s does not read its messages", self.site)
            self._closing = True
            self._socket.transport.abort()
            return False
        else:
            self._outbox.append(data)
        self._posted.set()
        return True

    async def activate(self) -> None:
        """Welcome a member; the second time nothing happens."""
        if self.active or self._closing:
            return
        self.active = True
        self.post(Welcome(site=self.site, pending=False))
        await self._server.desk.opened(self.site)

    async def end(self, refusal: Refusal) -> None:
        """Tell why and close; returns when the close frame is out or the connection is cut."""
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(_CLOSE_S / 2):
                await self._socket.send(codec.encode(refusal))
        code = (
            Closing.REPLACED
            if refusal.code == ErrorCode.UNREACHABLE.value
            else closing_of(named(refusal.code))
        )
        await close(self._socket, code, refusal.code)

    # --- tasks

    async def _write(self) -> None:
        """Send what was posted, in order, directives last and only the newest."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._posted.wait()
                self._posted.clear()
                if self._acknowledgement is not None:
                    acknowledgement, self._acknowledgement = self._acknowledgement, None
                    await self._socket.send(acknowledgement)
                while self._outbox:
                    await self._socket.send(self._outbox.popleft())
                if self._directive is not None:
                    directive, self._directive = self._directive, None
                    await self._socket.send(directive)

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while not self._closing:
                frame = await self._socket.recv()
                if isinstance(frame, bytes) and is_chunk(frame):
                    await self._take_chunk(frame)
                    continue
                message = _message(frame)
                if isinstance(message, Acknowledged | Rejected):
                    self._hear(message)
                    continue
                await self._wait_for_turn()
                await self._answer(message)

    async def _wind_up(self, writer: asyncio.Task[None]) -> None:
        """End every task of this session; work in threads is waited for, not abandoned."""
        self._closing = True
        self._socket.transport.abort()
        writer.cancel()
        tasks: set[asyncio.Task[None]] = {writer}
        if self._sender is not None:
            self._sender.stop()
        tasks.update(task for task in (self._sending, self._committing) if task is not None)
        await asyncio.wait(tasks)
        if self._upload is not None:
            await self._upload.close()
            self._upload = None

    async def _wait_for_turn(self) -> None:
        """Keep a site to its share of messages: it waits, nothing is lost."""
        limits = self._server.limits
        now = self._server.clock.monotonic()
        earned = (now - self._counted_at) * limits.messages_per_s
        self._tokens = min(limits.burst, self._tokens + earned) - 1
        self._counted_at = now
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / limits.messages_per_s)

    async def _answer(self, message: AnyMessage) -> None:
        match message:
            case _ if not self.active:
                # A site that waits for approval may talk; nobody listens yet.
                return
            case FingerprintOffered(fingerprint=blob):
                await self._offered(BlobKind.FINGERPRINT, blob, message)
            case UpdateOffered(weights=blob):
                await self._offered(BlobKind.WEIGHTS, blob, message)
            case UploadBegin():
                await self._begin_upload(message)
            case UploadCommit():
                await self._commit(message)
            case DownloadBegin():
                await self._begin_download(message)
            case _ if isinstance(message, _NEWS):
                await self._server.desk.received(self.site, message)
            case _:
                raise PeerMistake(f"a site cannot say {type(message).__name__}")

    async def _offered(self, kind: BlobKind, blob: Blob, message: AnyMessage) -> None:
        """Pass an offer on if its blob came from this very site and is still here.

        Otherwise it is dropped: the next directive makes the site upload it (again).
        """
        if self._server.spool.has_from(self.site, kind, blob):
            await self._server.desk.received(self.site, message)
        else:
            _log.info("site %s offers a %s that is not here", self.site, kind.value)

    # --- uploads

    async def _begin_upload(self, message: UploadBegin) -> None:
        kind, blob, spool = message.kind, message.blob, self._server.spool
        upload = spool.upload_id(self.site, kind, blob)
        if self._committing is not None:
            await asyncio.wait({self._committing})
        if spool.has_from(self.site, kind, blob):
            self._state(upload, blob, offset=blob.size, complete=True)
            return
        refusal = self._refuse_upload(kind, blob)
        if refusal is not None:
            self._refuse(upload, blob, refusal)
            return
        if self._upload is None or self._upload.upload != upload:
            if self._upload is not None:
                await self._upload.close()
                self._upload = None
            if not await asyncio.to_thread(spool.room_for, blob.size):
                _log.warning("no room for an upload of %d bytes from %s", blob.size, self.site)
                self._state(upload, blob, offset=0, retry_after_s=_RETRY_AFTER_S)
                return
            try:
                partial = await asyncio.to_thread(spool.partial, self.site, upload)
            except OSError as exc:
                self._no_space(upload, blob, exc)
                return
            receiver = FileReceiver(partial=partial, size=blob.size, upload=upload)
            if partial.offset > blob.size:
                await asyncio.to_thread(receiver.restart)
            self._upload = _Upload(receiver=receiver, kind=kind, blob=blob)
        self._go_on(self._upload)

    def _refuse_upload(self, kind: BlobKind, blob: Blob) -> Refusal | None:
        if kind not in _FROM_SITES:
            return Refusal(
                code=ErrorCode.NOT_ALLOWED.value, sentence=f"a site sends no {kind.value}"
            )
        if not 0 < blob.size <= LIMITS[kind]:
            return Refusal(
                code=ErrorCode.TOO_LARGE.value,
                sentence=f"a {kind.value} of {blob.size} bytes is not between 1 and {LIMITS[kind]}",
            )
        return self._server.desk.refuse_upload(self.site, kind, blob)

    async def _take_chunk(self, frame: bytes) -> None:
        header = unpack_header(frame)
        upload = self._upload
        if not self.active or upload is None or header.upload != upload.upload:
            return  # of an upload that ended meanwhile
        if self._committing is not None and not self._committing.done():
            return  # everything is here already; a repeated chunk
        try:
            answer = await upload.receiver.take(header, frame)
        except OSError as exc:
            self._no_space(upload.upload, upload.blob, exc)
            return
        if answer is not None:
            self.post(answer)

    async def _commit(self, message: UploadCommit) -> None:
        upload = self._upload
        if upload is None or upload.upload != message.upload:
            # The session is new and the site has not begun again, or it commits twice.
            raise PeerMistake("a commit without an upload")
        if not upload.receiver.complete:
            self._go_on(upload)
            return
        if self._committing is not None and not self._committing.done():
            return
        self._committing = asyncio.create_task(
            self._guard(self._check_and_place(upload)), name=f"commit of {self.site}"
        )

    async def _check_and_place(self, upload: _Upload) -> None:
        """Check and keep a complete upload, and say so only when it is durable."""
        spool, desk = self._server.spool, self._server.desk
        kind, blob, site = upload.kind, upload.blob, self.site

        def work() -> bool:
            return spool.check_and_place(
                upload.receiver.partial, blob, lambda path: desk.check_blob(site, kind, path)
            )

        try:
            await upload.receiver.settle()
            placed = await asyncio.to_thread(work)
        except FednnunetError as exc:
            self._upload = None
            refusal = Refusal(code=exc.code.value, sentence=str(exc)[:300])
            self._refuse(upload.upload, blob, refusal)
            return
        except OSError as exc:
            self._no_space(upload.upload, blob, exc)
            return
        if placed:
            spool.record(site, kind, blob)
            self._upload = None
            self.post(UploadCommitted(upload=upload.upload, sha256=blob.sha256, accepted=True))
            _log.info("%s of %d bytes from %s is kept", kind.value, blob.size, site)
            return
        upload.restarts += 1
        _log.warning("an upload of %s did not have its digest", site)
        if upload.restarts >= _MAX_RESTARTS:
            self._upload = None
            await upload.close()
            refusal = Refusal(
                code=ErrorCode.PROTOCOL.value,
                sentence="the bytes do not have the digest that the site named",
            )
            self._refuse(upload.upload, blob, refusal)
            return
        upload.receiver.restart()
        self._go_on(upload)

    def _go_on(self, upload: _Upload) -> None:
        """Tell the site from where to send; its new sender counts generations from zero."""
        upload.receiver.resume(upload.upload)
        self._state(upload.upload, upload.blob, offset=upload.receiver.offset)

    def _state(
        self,
        upload: bytes,
        blob: Blob,
        *,
        offset: int,
        complete: bool = False,
        retry_after_s: int = 0,
    ) -> None:
        self.post(
            UploadState(
                upload=upload,
                sha256=blob.sha256,
                offset=offset,
                complete=complete,
                retry_after_s=retry_after_s,
            )
        )

    def _refuse(self, upload: bytes, blob: Blob, refusal: Refusal) -> None:
        _log.info("an upload of %s is refused: %s", self.site, refusal.code)
        self.post(
            UploadCommitted(
                upload=upload,
                sha256=blob.sha256,
                accepted=False,
                code=refusal.code,
                sentence=refusal.sentence,
            )
        )

    def _no_space(self, upload: bytes, blob: Blob, exc: OSError) -> None:
        _log.warning("the spool cannot take bytes: %s", exc.strerror)
        self._state(upload, blob, offset=0, retry_after_s=_RETRY_AFTER_S)

    # --- downloads

    async def _begin_download(self, message: DownloadBegin) -> None:
        if self._sender is not None:
            self._sender.stop()
        if self._sending is not None:
            await asyncio.wait({self._sending})
        spool = self._server.spool
        known = self._server.desk.may_fetch(self.site, message.sha256) and spool.holds(
            message.sha256
        )
        size = spool.size(message.sha256) if known else 0
        self.post(
            DownloadState(upload=message.upload, sha256=message.sha256, size=size, known=known)
        )
        if not known:
            return
        self._sender = FileSender(
            path=spool.path(message.sha256),
            size=size,
            upload=message.upload,
            offset=message.offset,
            send=self._socket.send,
            clock=self._server.clock,
            patience_s=self._server.limits.ping_timeout_s / 4,
            stall_s=self._server.limits.stall_s,
        )
        self._sending = asyncio.create_task(
            self._guard(self._send_file(self._sender)), name=f"download of {self.site}"
        )

    async def _send_file(self, sender: FileSender) -> None:
        with contextlib.suppress(TransferStopped, ConnectionClosed):
            await sender.run()

    def _hear(self, message: Acknowledged | Rejected) -> None:
        if self._sender is None or self._sender.upload != message.upload:
            return
        if isinstance(message, Acknowledged):
            self._sender.acknowledged(message)
        else:
            self._sender.rejected(message)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Run one task of this session; what goes wrong ends the session, not the server."""
        try:
            await work
        except FednnunetError as exc:
            _log.info("a transfer of %s ends: %s", self.site, exc.code.value)
            await self.end(Refusal(code=exc.code.value, sentence=str(exc)[:300]))
        except Exception:  # noqa: BLE001 - the end of a task
            _log.exception("a transfer of %s broke", self.site)
            await close(self._socket, 1011, "internal error")


@dataclass(slots=True, kw_only=True)
class _Upload:
    receiver: FileReceiver
    kind: BlobKind
    blob: Blob
    restarts: int = 0

    @property
    def upload(self) -> bytes:
        return self.receiver.upload

    async def close(self) -> None:
        """Keep what is there for later."""
        with contextlib.suppress(OSError):  # the site sends again what the disk did not take
            await self.receiver.settle()
            await asyncio.to_thread(self.receiver.partial.sync)
        self.receiver.partial.close()


async def close(socket: ServerConnection, code: int, reason: str) -> None:
    """Close a connection politely, or cut it when the other end does not answer in a second."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await socket.close(code, reason)
    except TimeoutError:
        socket.transport.abort()


def _message(frame: str | bytes) -> AnyMessage:
    if isinstance(frame, str):
        raise PeerMistake("a message came as text")
    return codec.decode(frame)


def _nonce() -> bytes:

    return secrets.token_bytes(handshake.NONCE_BYTES)


def _select_subprotocol(
    connection: ServerConnection,  # noqa: ARG001 - the library's signature
    offered: Sequence[Subprotocol],
) -> Subprotocol | None:
    """Pick ours; with None the session still opens, so that the reason can be told in words."""
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


def _refusal_for(member: Member | None, public_key: bytes) -> Refusal | None:
    if member is None or member.public_key != public_key:
        return Refusal(
            code=ErrorCode.REVOKED.value, sentence="this site's key was replaced by another"
        )
    match member.state:
        case MemberState.REVOKED:
            return Refusal(
                code=ErrorCode.REVOKED.value, sentence="the coordinator has shut this site out"
            )
        case MemberState.LEFT:
            return Refusal(code=ErrorCode.REVOKED.value, sentence="this site has left the study")
        case MemberState.ACTIVE | MemberState.PENDING:
            return None
