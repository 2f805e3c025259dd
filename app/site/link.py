"""The site's link to its coordinator: one outgoing connection that comes back by itself.

`run` keeps a session open until it is cancelled or a person must do something. `report` states
what the site does, `deliver` sends a small message once a session is open, `upload` and `download`
move blobs and go on where they stopped over any number of sessions. The coordinator's answer is
level-triggered: it tells what to do on every connect, so no lost message is missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

import app
from app.control.messages import LinkState
from app.domain.errors import ErrorCode, LinkProblem, PeerMistake, safe_text
from app.site import connecting
from app.site.connecting import Backoff, LinkSettings, Proxy
from app.site.enrolment import with_issuer
from app.site.membership import Membership
from app.system.allocation import keep_freed_memory
from app.system.blob_transfer import FileReceiver, FileSender, TransferStopped
from app.system.clock import Clock
from app.system.partial_files import PartialFile, file_sha256
from app.wire import codec, handshake
from app.wire.blobs import is_chunk, unpack_header
from app.wire.closing import named
from app.wire.handshake import Signer
from app.wire.messages import (
    PROTOCOL,
    Acknowledged,
    AnyMessage,
    Authenticate,
    Blob,
    BlobKind,
    Directive,
    DownloadBegin,
    DownloadState,
    Rejected,
    Report,
    UploadBegin,
    UploadCommit,
    UploadCommitted,
    UploadState,
    Welcome,
)

_log: Final = logging.getLogger(__name__)
_MAX_RESTARTS: Final = 3
_Answer = TypeVar("_Answer", bound=AnyMessage)


class LinkListener(Protocol):
    """Who is told what the link does. Called on the event loop; must not block."""

    def link_changed(self, state: LinkState, sentence: str) -> None:
        """Learn in which state the link is, with a sentence for the site operator."""
        ...

    def directive_received(self, directive: Directive) -> None:
        """Learn what the coordinator wants now; may come twice, late or out of order."""
        ...


class SessionLost(Exception):
    """Raised inside when a session ended before an answer came; the next session goes on."""


class Link:
    """The link of one membership. All methods belong to one event loop; `run` is called once."""

    def __init__(
        self,
        *,
        membership: Membership,
        signer: Signer,
        listener: LinkListener,
        clock: Clock,
        proxy: Proxy = None,
        settings: LinkSettings | None = None,
    ) -> None:
        self.settings = settings or LinkSettings()
        self.membership = membership
        self.clock = clock
        self.sent_bytes = 0
        self.received_bytes = 0
        self._signer = signer
        self._listener = listener
        self._proxy = proxy
        self._report: Report | None = None
        self._session: _Session | None = None
        self._open = asyncio.Event()
        self._over: LinkProblem | None = None
        self._uploading = asyncio.Lock()
        self._downloading = asyncio.Lock()
        self._connects = 0

    @property
    def connected(self) -> bool:
        """Whether a session is open and the site is a member."""
        return self._open.is_set() and self._over is None

    @property
    def connects(self) -> int:
        """Attempts to connect so far."""
        return self._connects

    # --- what the site service asks

    async def run(self) -> None:
        """Keep a session open until cancelled.

        Raises:
            LinkProblem: only a person can help: CERTIFICATE, REVOKED, REFUSED, VERSION.
        """
        keep_freed_memory()
        backoff = Backoff(self.settings)
        try:
            while True:
                await self._wait_before_connecting(backoff)
                url = self.membership.urls[self._connects % len(self.membership.urls)]
                self._connects += 1
                began = self.clock.monotonic()
                session = await self._try_once(url)
                lasted_s = self.clock.monotonic() - began if session is not None else 0.0
                moved = session is not None and session.moved_bytes
                backoff.ended(lasted_s=lasted_s, moved_bytes=moved)
        except LinkProblem as exc:
            self._finish(exc)
            self._tell(LinkState.REFUSED, str(exc))
            raise
        finally:
            self._finish(LinkProblem("the link to the coordinator was stopped"))

    def report(self, report: Report) -> None:
        """State what the site does: sent at once, on every connect, and every minute."""
        self._report = report
        if self._session is not None:
            self._session.report_changed.set()

    async def deliver(self, message: AnyMessage) -> None:
        """Send a small message on an open session; waits for one.

        Written is not read: a message may die with its session. The coordinator's next directive
        shows whether it arrived, and it takes the same message twice without harm.

        Raises:
            LinkProblem: the link has ended for good.
        """
        while True:
            session = await self._session_open()
            try:
                await session.send(message)
            except SessionLost:
                await session.ended()
            else:
                return

    async def answers(self, within_s: float) -> bool:
        """Ask for a sign of life: True when a ping is answered, or anything comes, in time.

        A frozen coordinator keeps its connection for minutes: the systems below go on talking.
        """
        session, before = self._session, self.received_bytes
        alive = session is not None and await session.pinged(within_s)
        return alive or self.received_bytes != before

    async def upload(self, kind: BlobKind, path: Path, blob: Blob) -> None:
        """Send a file; returns when the coordinator has it, durably. Resumes over any cut.

        Raises:
            LinkProblem: the coordinator refuses it, with its code and sentence, or the link ended.
            OSError: the file cannot be read.
        """
        async with self._uploading:
            restarts = 0
            while restarts < _MAX_RESTARTS:
                session = await self._session_open()
                try:
                    if await session.upload(kind, path, blob):
                        return
                except SessionLost:
                    await session.ended()
                    continue
                restarts += 1
            raise LinkProblem(
                "the coordinator received other bytes than were sent, three times over",
                code=ErrorCode.PROTOCOL,
            )

    async def download(self, blob: Blob, destination: Path) -> None:
        """Fetch a blob into `destination`, checked and whole or not at all. Resumes over any cut.

        Raises:
            LinkProblem: the coordinator does not have it for this site, or the link ended.
            PeerMistake: what came does not have the digest, twice.
            OSError: the disk does not take it.
        """
        async with self._downloading:
            if await asyncio.to_thread(_already_there, destination, blob):
                return
            part = destination.with_name(f".{destination.name}.{blob.sha256[:16]}.part")
            destination.parent.mkdir(parents=True, exist_ok=True)
            partial = await asyncio.to_thread(PartialFile, part)
            try:
                await self._fetch(partial, blob)
                await asyncio.to_thread(partial.commit, destination)
            finally:
                await asyncio.to_thread(partial.close)

    # --- sessions

    async def _wait_before_connecting(self, backoff: Backoff) -> None:
        wait_s = backoff.delay(self.clock.monotonic())
        if wait_s >= 1.0:
            _log.info("connecting again in %.0f s", wait_s)
        await asyncio.sleep(wait_s)

    async def _try_once(self, url: str) -> _Session | None:
        """Open one session and live it; returns it when it is over, None when there was none.

        Raises:
            LinkProblem: a final one.
        """
        self._tell(LinkState.CONNECTING, "Connecting to the coordinator.")
        session: _Session | None = None
        try:
            async with asyncio.timeout(self.settings.open_s):
                connection = await connecting.open_socket(
                    url,
                    authority_pem=self.membership.authority_pem,
                    proxy=self._proxy,
                    settings=self.settings,
                )
            session = _Session(self, connection)
            try:
                async with asyncio.timeout(self.settings.open_s):
                    await self._authenticate(connection)
                    first = await connecting.receive(connection)
                await self._live(session, first)
            finally:
                await session.close()
        except Exception as exc:  # explain raises what it does not know
            trouble = connecting.explain(exc, url)
            problem = trouble.problem
            if problem.code is ErrorCode.CERTIFICATE:
                problem = await with_issuer(problem, url, self._proxy)
            if trouble.final:
                raise problem from exc
            self._tell(LinkState.OFFLINE, f"{problem.sentence}. Trying again by itself.")
        return session if session is not None and session.welcomed else None

    async def _authenticate(self, connection: ClientConnection) -> None:
        challenge = await connecting.challenged(connection, study=self.membership.study)
        client_nonce = secrets.token_bytes(handshake.NONCE_BYTES)
        signed = handshake.authenticate_transcript(
            study=self.membership.study,
            nonce=challenge.nonce,
            leaf_sha256=connecting.seen_leaf(connection),
            protocol=PROTOCOL,
            site=self.membership.site,
            client_nonce=client_nonce,
        )
        answer = Authenticate(
            site=self.membership.site,
            client_nonce=client_nonce,
            signature=self._signer.sign(signed),
            version=app.__version__,
        )
        await connection.send(codec.encode(answer))

    async def _live(self, session: _Session, first: AnyMessage) -> None:
        """Read until the session ends; always raises why."""
        self._session = session
        reporter = asyncio.create_task(session.keep_reporting(), name="report to coordinator")
        try:
            session.take(first)
            await session.read()
        finally:
            self._open.clear()
            self._session = None
            reporter.cancel()
            await asyncio.wait({reporter})

    def welcomed(self, pending: bool) -> None:
        """Take note that the coordinator let this site in. Called by the session."""
        if pending:
            self._tell(LinkState.PENDING, "Waiting for the coordinator to approve this site.")
        else:
            self._tell(LinkState.CONNECTED, "Connected to the coordinator.")
            self._open.set()

    def directed(self, directive: Directive) -> None:
        """Pass a directive on. Called by the session."""
        try:
            self._listener.directive_received(directive)
        except Exception:  # noqa: BLE001 - the listener's bug must not cost the link
            _log.exception("a directive could not be taken")

    @property
    def newest_report(self) -> Report | None:
        """What `report` was last told."""
        return self._report

    async def _session_open(self) -> _Session:
        """Wait for an open session; raises LinkProblem when there will be none."""
        while True:
            if self._over is not None:
                raise self._over
            if self._open.is_set() and self._session is not None:
                return self._session
            await self._open.wait()

    def _finish(self, problem: LinkProblem) -> None:
        """Release everyone who waits for a session."""
        if self._over is None:
            self._over = problem
            self._open.set()

    def _tell(self, state: LinkState, sentence: str) -> None:
        self._listener.link_changed(state, sentence)

    # --- downloads

    async def _fetch(self, partial: PartialFile, blob: Blob) -> None:
        receiver = FileReceiver(partial=partial, size=blob.size, upload=b"")
        if partial.offset > blob.size:
            receiver.restart()
        for _ in range(2):
            while not receiver.complete:
                session = await self._session_open()
                try:
                    await session.download(blob, receiver)
                except SessionLost:
                    await session.ended()
                finally:
                    await receiver.settle()
            if await asyncio.to_thread(partial.sha256) == blob.sha256:
                return
            receiver.restart()
        raise PeerMistake("what the coordinator sent does not have its digest")


class _Session:
    """One open connection. Reading goes on in `read`; the rest waits for what `read` hears."""

    def __init__(self, link: Link, connection: ClientConnection) -> None:
        self.welcomed = False
        self.moved_bytes = False
        self.report_changed = asyncio.Event()
        self._link = link
        self._connection = connection
        self._over = asyncio.Event()
        self._active = asyncio.Event()
        self._upload_news: asyncio.Queue[UploadState | UploadCommitted] = asyncio.Queue(16)
        self._upload_sha256: str | None = None
        self._sender: FileSender | None = None
        self._download_news: asyncio.Queue[DownloadState] = asyncio.Queue(16)
        self._receiver: FileReceiver | None = None
        self._receive_error: OSError | PeerMistake | None = None
        self._received = asyncio.Event()

    # --- living

    async def read(self) -> None:
        """Take what comes until the connection is closed; always raises why."""
        while True:
            frame = await self._connection.recv()
            self._link.received_bytes += len(frame)
            if isinstance(frame, str):
                raise PeerMistake("the coordinator sent text")
            if is_chunk(frame):
                await self._take_chunk(frame)
                continue
            self.take(codec.decode(frame))

    async def keep_reporting(self) -> None:
        """Send the newest report when the session is active, on every change, and every minute."""
        with contextlib.suppress(SessionLost):
            await self._active.wait()
            while True:
                self.report_changed.clear()
                report = self._link.newest_report
                if report is not None:
                    await self.send(report)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._link.settings.report_every_s):
                        await self.report_changed.wait()

    async def send(self, message: AnyMessage) -> None:
        """Write one message; raises SessionLost when the connection is closed."""
        await self._send_bytes(codec.encode(message))

    async def pinged(self, within_s: float) -> bool:
        """Send a ping; False when no pong comes in time."""
        try:
            async with asyncio.timeout(within_s):
                await (await self._connection.ping())
        except (TimeoutError, ConnectionClosed):
            return False
        return True

    async def ended(self) -> None:
        """Wait until this session is over: who lost it must not ask for a session before."""
        await self._over.wait()

    async def close(self) -> None:
        """Close the connection, politely for a moment, and release everyone who waits on it."""
        self._over.set()
        self._received.set()
        if self._sender is not None:
            self._sender.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._connection.close(1001)
        self._connection.transport.abort()

    # --- uploads

    async def upload(self, kind: BlobKind, path: Path, blob: Blob) -> bool:
        """Send a file; True when it is committed, False when it must be sent from the start again.

        Raises:
            SessionLost: the session ended; go on in the next one.
            LinkProblem: the coordinator refuses it.
        """
        self._upload_sha256 = blob.sha256
        begins = 0
        answer = await self._begin(kind, blob)
        while True:
            if isinstance(answer, UploadCommitted):
                if answer.accepted:
                    return True
                raise LinkProblem(safe_text(answer.sentence), code=named(answer.code))
            if answer.complete:
                return True
            if answer.retry_after_s:
                _log.info("the coordinator asks to wait %d s", answer.retry_after_s)
                await self._rest(answer.retry_after_s)
                answer = await self._begin(kind, blob)
                continue
            if answer.offset == 0 and begins > 0:
                return False
            begins += 1
            answer = await self._send_from(answer, path, blob)

    async def _begin(self, kind: BlobKind, blob: Blob) -> UploadState | UploadCommitted:
        _drain(self._upload_news)
        await self.send(UploadBegin(kind=kind, blob=blob))
        return await self._answer(self._upload_news, self._link.settings.answer_s)

    async def _send_from(
        self, state: UploadState, path: Path, blob: Blob
    ) -> UploadState | UploadCommitted:
        """Send from the coordinator's offset to the end and commit; return what it says then."""
        settings = self._link.settings
        self._sender = FileSender(
            path=path,
            size=blob.size,
            upload=state.upload,
            offset=state.offset,
            send=self._send_bytes,
            clock=self._link.clock,
            patience_s=settings.ping_timeout_s / 4,
            stall_s=settings.stall_s,
        )
        try:
            if self._over.is_set():
                raise SessionLost
            await self._sender.run()
        except TransferStopped as exc:
            if self._upload_news.empty() or self._over.is_set():
                raise SessionLost from exc
            return self._upload_news.get_nowait()
        except PeerMistake as exc:
            _log.warning("an upload does not move; connecting again")
            self._connection.transport.abort()
            raise SessionLost from exc
        finally:
            self._sender = None
        await self.send(UploadCommit(upload=state.upload, sha256=blob.sha256))
        return await self._answer(self._upload_news, settings.commit_s)

    # --- downloads

    async def download(self, blob: Blob, receiver: FileReceiver) -> None:
        """Receive until complete; raises SessionLost when the session ends first."""
        upload = secrets.token_bytes(16)
        receiver.resume(upload)
        _drain(self._download_news)
        self._receiver, self._receive_error = receiver, None
        try:
            await self.send(
                DownloadBegin(upload=upload, sha256=blob.sha256, offset=receiver.offset)
            )
            state = await self._answer(self._download_news, self._link.settings.answer_s)
            if not state.known:
                raise LinkProblem(
                    f"the coordinator does not have {blob.sha256[:12]} for this site",
                    code=ErrorCode.REFUSED,
                )
            if state.size != blob.size:
                raise PeerMistake(f"the coordinator has {state.size} bytes, not {blob.size}")
            while not receiver.complete:
                self._received.clear()
                await self._within(self._link.settings.stall_s, self._received.wait)
                if self._receive_error is not None:
                    raise self._receive_error
        finally:
            self._receiver = None

    # --- hearing

    def take(self, message: AnyMessage) -> None:
        """Act on one message; raises LinkProblem when it is a refusal."""
        match message:
            case Welcome(pending=pending):
                self.welcomed = True
                if not pending:
                    self._active.set()
                self._link.welcomed(pending)
            case Directive():
                self._link.directed(message)
            case Acknowledged():
                if self._sender is not None and self._sender.upload == message.upload:
                    self.moved_bytes |= self._sender.acknowledged(message) > 0
            case Rejected():
                if self._sender is not None and self._sender.upload == message.upload:
                    self._sender.rejected(message)
            case UploadState() | UploadCommitted():
                self._hear_of_upload(message)
            case DownloadState():
                receiver = self._receiver
                if receiver is not None and receiver.upload == message.upload:
                    _offer(self._download_news, message)
            case _:
                raise connecting.refusal_or_mistake(message)

    def _hear_of_upload(self, message: UploadState | UploadCommitted) -> None:
        if message.sha256 != self._upload_sha256:
            return  # of an upload that was given up meanwhile
        _offer(self._upload_news, message)
        if self._sender is not None:
            # In the middle of sending: the disk is full, or it is refused after all.
            self._sender.stop()

    async def _take_chunk(self, frame: bytes) -> None:
        header = unpack_header(frame)
        receiver = self._receiver
        if receiver is None or receiver.upload != header.upload:
            return  # of a download that ended meanwhile
        try:
            answer = await receiver.take(header, frame)
        except (OSError, PeerMistake) as exc:
            # It is the download's to raise to its caller; the session is sound.
            self._receive_error = exc
            self._received.set()
            return
        self.moved_bytes = True
        self._received.set()
        if answer is not None:
            with contextlib.suppress(SessionLost):  # `read` meets the same end next
                await self.send(answer)

    # --- waiting

    async def _send_bytes(self, data: bytes | bytearray) -> None:
        try:
            await self._connection.send(data)
        except ConnectionClosed as exc:
            raise SessionLost from exc
        self._link.sent_bytes += len(data)

    async def _answer(self, news: asyncio.Queue[_Answer], within_s: float) -> _Answer:
        answers: list[_Answer] = []

        async def get() -> None:
            answers.append(await news.get())

        await self._within(within_s, get)
        return answers[0]

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        if self._over.is_set():
            raise SessionLost

    async def _within(self, seconds: float, what: Callable[[], Awaitable[object]]) -> None:
        """Wait for `what`, the session's end (SessionLost), or too long (cuts the connection)."""
        waiting = asyncio.ensure_future(what())
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait(
                {waiting, over}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if waiting.done():
                waiting.result()
                if not self._over.is_set():
                    return
                raise SessionLost
            if not self._over.is_set():
                _log.warning("the coordinator did not answer in %.0f s; connecting again", seconds)
                self._connection.transport.abort()
            raise SessionLost
        finally:
            for task in (waiting, over):
                task.cancel()
            await asyncio.wait({waiting, over})


def _already_there(destination: Path, blob: Blob) -> bool:
    return (
        destination.is_file()
        and destination.stat().st_size == blob.size
        and file_sha256(destination) == blob.sha256
    )


def _drain(queue: asyncio.Queue[_Answer]) -> None:
    while not queue.empty():
        queue.get_nowait()


def _offer(queue: asyncio.Queue[_Answer], message: _Answer) -> None:
    """Put a message in; a coordinator that says the same thing 16 times is not listened to."""
    if not queue.full():
        queue.put_nowait(message)
