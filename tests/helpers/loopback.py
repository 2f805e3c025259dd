"""A coordinator's door and sites' links on 127.0.0.1, real down to TLS; only the desk records."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.control.messages import LinkState
from app.coordinator.members import MemberStore
from app.coordinator.server import CoordinatorServer, ServerLimits
from app.coordinator.spool import Spool
from app.domain.ids import SiteName, StudyId
from app.site.connecting import LinkSettings
from app.site.enrolment import enrol
from app.site.link import Link
from app.site.membership import Membership
from app.system import tls
from app.system.clock import Clock, SystemClock
from app.wire.handshake import SigningKey
from app.wire.invitation import Invitation
from app.wire.messages import AnyMessage, Blob, BlobKind, Directive, Refusal, Step

STUDY = StudyId("0123456789abcdef0123456789abcdef")
TERMS = b'{"name":"Loopback study"}'
QUICK = LinkSettings(
    open_s=5,
    ping_interval_s=1,
    ping_timeout_s=2,
    report_every_s=1,
    answer_s=10,
    commit_s=30,
    stall_s=5,
    first_delay_s=0.05,
    longest_delay_s=0.3,
    connects_per_minute=1000,
)


class RecordingDesk:
    """Keeps what the door told; refuses what it is asked to."""

    def __init__(self) -> None:
        self.events: list[tuple[str, SiteName]] = []
        self.messages: list[tuple[SiteName, AnyMessage]] = []
        self.refuse: Callable[[SiteName, BlobKind, Blob], Refusal | None] = lambda *_: None
        self.check: Callable[[SiteName, BlobKind, Path], None] = lambda *_: None
        self.may: Callable[[SiteName, str], bool] = lambda *_: True
        self.news = asyncio.Event()

    async def opened(self, site: SiteName) -> None:
        self._note("opened", site)

    async def closed(self, site: SiteName) -> None:
        self._note("closed", site)

    async def enrolled(self, site: SiteName, pending: bool) -> None:
        self._note("enrolled pending" if pending else "enrolled", site)

    async def received(self, site: SiteName, message: AnyMessage) -> None:
        self.messages.append((site, message))
        self.news.set()

    def refuse_upload(self, site: SiteName, kind: BlobKind, blob: Blob) -> Refusal | None:
        return self.refuse(site, kind, blob)

    def check_blob(self, site: SiteName, kind: BlobKind, path: Path) -> None:
        self.check(site, kind, path)

    def may_fetch(self, site: SiteName, sha256: str) -> bool:
        return self.may(site, sha256)

    def _note(self, event: str, site: SiteName) -> None:
        self.events.append((event, site))
        self.news.set()


class RecordingListener:
    """Keeps what the link told."""

    def __init__(self) -> None:
        self.states: list[tuple[LinkState, str]] = []
        self.directives: list[Directive] = []

    def link_changed(self, state: LinkState, sentence: str) -> None:
        self.states.append((state, sentence))

    def directive_received(self, directive: Directive) -> None:
        self.directives.append(directive)

    @property
    def state(self) -> LinkState:
        return self.states[-1][0] if self.states else LinkState.NONE

    @property
    def sentence(self) -> str:
        return self.states[-1][1] if self.states else ""


@dataclass(slots=True, kw_only=True)
class Door:
    """A coordinator's door with everything behind it."""

    home: Path
    authority: tls.Authority
    certificate: tls.ServerCertificate
    members: MemberStore
    spool: Spool
    desk: RecordingDesk
    server: CoordinatorServer
    clock: Clock = field(default_factory=SystemClock)

    @property
    def url(self) -> str:
        return f"wss://127.0.0.1:{self.server.port}"

    def invite(self, site: str = "alpha", *, url: str | None = None) -> Invitation:
        return self.members.create_invitation(
            site=SiteName(site),
            title="Loopback study",
            urls=(url or self.url,),
            authority_pem=self.authority.certificate_pem,
            terms=TERMS,
        )

    async def join(
        self, site: str = "alpha", *, url: str | None = None
    ) -> tuple[Membership, SigningKey]:
        key = SigningKey.generate()
        invitation = self.invite(site)
        enrolled = await enrol(invitation, signer=key, clock=self.clock, settings=QUICK)
        membership = enrolled.membership
        if url is not None:
            membership = with_url(membership, url)
        return membership, key


def with_url(membership: Membership, url: str) -> Membership:
    import dataclasses

    return dataclasses.replace(membership, urls=(url,))


def make_door(
    home: Path,
    *,
    approval: bool = False,
    limits: ServerLimits | None = None,
    port: int = 0,
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost"),
    clock: Clock | None = None,
    certificate_now: float | None = None,
) -> Door:
    """Make a door in `home`, or open the one that is there; not started."""
    used = clock or SystemClock()
    authority_file = home / "authority.pem"
    if authority_file.exists():
        pem, seed = authority_file.read_text().split("SEED ")
        authority = tls.Authority(key=SigningKey(bytes.fromhex(seed.strip())), certificate_pem=pem)
        certificate = tls.load_server_certificate(home)
    else:
        now = used.now() if certificate_now is None else certificate_now
        authority = tls.create_authority(STUDY, now=now)
        certificate = tls.issue_server_certificate(authority, hosts=hosts, now=now, folder=home)
        authority_file.write_text(authority.certificate_pem + "SEED " + authority.key.seed.hex())
    members = MemberStore(home / "members.sqlite", study=STUDY, clock=used, approval=approval)
    spool = Spool(home / "spool", study=STUDY, clock=used, reserve_bytes=0)
    desk = RecordingDesk()
    server = CoordinatorServer(
        study=STUDY,
        desk=desk,
        members=members,
        spool=spool,
        context=tls.server_context(certificate),
        leaf_sha256=certificate.leaf_sha256,
        host="127.0.0.1",
        port=port,
        clock=used,
        limits=limits or ServerLimits(ping_interval_s=1, ping_timeout_s=2),
    )
    return Door(
        home=home,
        authority=authority,
        certificate=certificate,
        members=members,
        spool=spool,
        desk=desk,
        server=server,
        clock=used,
    )


@contextlib.asynccontextmanager
async def open_door(door: Door) -> AsyncIterator[Door]:
    """Serve until the block ends."""
    await door.server.start()
    try:
        yield door
    finally:
        await door.server.stop()
        door.members.close()
        door.spool.close()


@dataclass(slots=True, kw_only=True)
class RunningLink:
    """A link that runs in a task."""

    link: Link
    listener: RecordingListener
    task: asyncio.Task[None]


@contextlib.asynccontextmanager
async def running_link(
    membership: Membership,
    key: SigningKey,
    *,
    settings: LinkSettings = QUICK,
    proxy: str | None = None,
) -> AsyncIterator[RunningLink]:
    """Run a link until the block ends; its own end must be a cancellation or already seen."""
    listener = RecordingListener()
    link = Link(
        membership=membership,
        signer=key,
        listener=listener,
        clock=SystemClock(),
        settings=settings,
        proxy=proxy,
    )
    task = asyncio.create_task(link.run())
    try:
        yield RunningLink(link=link, listener=listener, task=task)
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # looked at by the test, or the test failed already


async def until(condition: Callable[[], object], *, within_s: float = 10.0) -> None:
    """Wait until `condition` is true; fails after `within_s`."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what tests look at has no event
            await asyncio.sleep(0.01)


def directive(serial: int = 1, sentence: str = "wait") -> Directive:
    return Directive(
        serial=serial,
        step=Step.WAIT,
        study_state="open",
        sentence=sentence,
        sites=(),
        closed_rounds=(),
    )


def write_blob(path: Path, size: int, *, seed: int = 0) -> Blob:
    """Write `size` reproducible random bytes; return their name."""
    import hashlib
    import random

    data = random.Random(seed).randbytes(size)
    path.write_bytes(data)
    return Blob(sha256=hashlib.sha256(data).hexdigest(), size=size)
