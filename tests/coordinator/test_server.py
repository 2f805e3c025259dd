from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
import socket
import time

import msgspec
import pytest
from helpers.loopback import (
    directive,
    make_door,
    open_door,
    running_link,
    until,
    write_blob,
)
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from app.coordinator.gate import GateLimits
from app.coordinator.server import ServerLimits
from app.domain.errors import ErrorCode, OurMistake
from app.domain.ids import SiteName
from app.site.link import Link
from app.system import tls
from app.system.partial_files import PartialFile
from app.wire import codec, handshake
from app.wire.blobs import MAX_FRAME
from app.wire.closing import Closing
from app.wire.messages import (
    PROTOCOL,
    SUBPROTOCOL,
    Authenticate,
    Blob,
    BlobKind,
    Challenge,
    DownloadBegin,
    Left,
    Refusal,
    Report,
    SitePhase,
    SiteSummary,
    UploadBegin,
    UploadCommit,
    UploadState,
    Welcome,
)

ALPHA = SiteName("alpha")
QUICK_LIMITS = ServerLimits(open_s=1, authentication_s=1, ping_interval_s=1, ping_timeout_s=2)


def raw(door, **options):
    """A bare websocket to the door, as a hostile or foreign program would open it."""
    settings = {
        "ssl": tls.client_context(door.authority.certificate_pem),
        "subprotocols": [SUBPROTOCOL],
        "compression": None,
        "proxy": None,
        "max_size": None,
    }
    return connect(door.url, **{**settings, **options})


async def closing_of(websocket, *, within_s: float = 5) -> int | None:
    """Read until it is closed; return the code that the door gave."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                await websocket.recv()
    except ConnectionClosed as exc:
        return exc.rcvd.code if exc.rcvd else None


async def receive(websocket):
    async with asyncio.timeout(5):
        return codec.decode(await websocket.recv())


async def signed(websocket, door, key, *, site=ALPHA, leaf=None, nonce=None) -> Authenticate:
    challenge = await receive(websocket)
    assert isinstance(challenge, Challenge)
    message = handshake.authenticate_transcript(
        study=door.server.study,
        nonce=nonce or challenge.nonce,
        leaf_sha256=leaf or door.certificate.leaf_sha256,
        protocol=PROTOCOL,
        site=site,
        client_nonce=bytes(32),
    )
    return Authenticate(site=site, client_nonce=bytes(32), signature=key.sign(message), version="t")


@contextlib.asynccontextmanager
async def member(door, key):
    """A bare websocket on which a member has authenticated."""
    async with raw(door) as websocket:
        await websocket.send(codec.encode(await signed(websocket, door, key)))
        assert await receive(websocket) == Welcome(site=ALPHA, pending=False)
        yield websocket


# --- opening -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_signature_counts_for_its_session_and_its_certificate_only(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        _, key = await door.join()
        async with raw(door) as websocket:
            answer = await signed(websocket, door, key)
            await websocket.send(codec.encode(answer))
            assert await receive(websocket) == Welcome(site=ALPHA, pending=False)
        for kind in ("replayed", "other certificate", "other site"):
            async with raw(door) as websocket:
                match kind:
                    case "replayed":
                        await receive(websocket)
                        said = answer
                    case "other certificate":
                        said = await signed(websocket, door, key, leaf=bytes(32))
                    case _:
                        said = await signed(websocket, door, key, site=SiteName("beta"))
                await websocket.send(codec.encode(said))
                refusal = await receive(websocket)
                assert isinstance(refusal, Refusal)
                assert refusal.code == ErrorCode.REFUSED.value
                assert await closing_of(websocket) == Closing.NOT_AUTHENTICATED


@pytest.mark.asyncio
async def test_another_protocol_is_told_in_words(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        for offered in (["fednnunet.v0"], ["fednnunet.v2"], None):
            async with raw(door, subprotocols=offered) as websocket:
                refusal = await receive(websocket)
                assert refusal == Refusal(
                    code="version",
                    sentence="this coordinator runs version 0.1.0 and speaks fednnunet.v1;"
                    " the site speaks another protocol",
                )
                assert await closing_of(websocket) == Closing.VERSION


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "frame",
    [b"", b"rubbish", "text", codec.encode(Left()), bytes([0xC1]) * 100, bytes(MAX_FRAME)],
    ids=["empty", "rubbish", "text", "not yet", "chunk", "large"],
)
async def test_what_is_no_proof_ends_the_session(tmp_path, frame):
    async with open_door(make_door(tmp_path)) as door, raw(door) as websocket:
        await receive(websocket)
        await websocket.send(frame)
        refusal = await receive(websocket)
        assert isinstance(refusal, Refusal)
        assert await closing_of(websocket) == Closing.PROTOCOL
        assert door.desk.events == []


@pytest.mark.asyncio
async def test_a_silent_stranger_is_closed_in_time(tmp_path):
    async with open_door(make_door(tmp_path, limits=QUICK_LIMITS)) as door, raw(door) as websocket:
        began = time.monotonic()
        assert await closing_of(websocket) == Closing.NOT_AUTHENTICATED
        assert 0.8 < time.monotonic() - began < 3


@pytest.mark.asyncio
async def test_silent_sockets_without_tls_or_upgrade_are_closed_in_time(tmp_path):
    async with open_door(make_door(tmp_path, limits=QUICK_LIMITS)) as door:
        silent, _ = await asyncio.open_connection("127.0.0.1", door.server.port)
        context = tls.client_context(door.authority.certificate_pem)
        upgraded, writer = await asyncio.open_connection("127.0.0.1", door.server.port, ssl=context)
        writer.write(b"GET / HT")
        async with asyncio.timeout(5):
            assert await silent.read() == b""
            with contextlib.suppress(OSError):
                await upgraded.read()
        writer.transport.abort()
        silent._transport.abort()
        await until(lambda: door.server._gate.connections == 0)


def sockets_from_many_addresses(port: int, count: int) -> list[socket.socket]:
    """Open TCP connections from 127.0.1.x, five per address."""
    opened = []
    for n in range(count):
        one = socket.socket()
        one.bind((f"127.0.1.{1 + n // 5}", 0))
        one.settimeout(5)
        one.connect(("127.0.0.1", port))
        opened.append(one)
    return opened


@pytest.mark.asyncio
async def test_300_idle_sockets_do_not_keep_a_site_out(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        idle = await asyncio.to_thread(sockets_from_many_addresses, door.server.port, 300)
        began = time.monotonic()
        async with running_link(membership, key) as run:
            await until(lambda: run.link.connected)
            assert time.monotonic() - began < 2
            assert door.server._gate.strangers <= 64
        for one in idle:
            one.close()


@pytest.mark.asyncio
async def test_no_compression_is_spoken(tmp_path):
    # A zip bomb needs an extension that was never agreed on.
    async with (
        open_door(make_door(tmp_path)) as door,
        raw(door, compression="deflate") as websocket,
    ):
        assert "Sec-WebSocket-Extensions" not in websocket.response.headers
        assert "Server" not in websocket.response.headers


@pytest.mark.asyncio
async def test_frames_and_fragments_are_bounded(tmp_path):
    def sent_raw(websocket, frame: Frame) -> None:
        websocket.transport.write(frame.serialize(mask=True, extensions=[]))

    async with open_door(make_door(tmp_path)) as door:
        _, key = await door.join()
        async with member(door, key) as websocket:
            await websocket.send(bytes(MAX_FRAME + 1))
            assert await closing_of(websocket) == 1009
        async with member(door, key) as websocket:
            # Says that a gigabyte follows; the header alone is enough to be refused.
            websocket.transport.write(b"\x82\xff" + (1 << 30).to_bytes(8, "big") + bytes(4))
            assert await closing_of(websocket) == 1009
        async with member(door, key) as websocket:
            sent_raw(websocket, Frame(Opcode.BINARY, b"x", fin=False))
            for _ in range(5000):
                sent_raw(websocket, Frame(Opcode.CONT, b"", fin=False))
            assert await closing_of(websocket) in (1008, 1009)


# --- members -------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "frame",
    [
        b"rubbish",
        "text",
        codec.encode(Welcome(site="alpha", pending=False)),
        codec.encode(UploadCommit(upload=bytes(16), sha256="a" * 64)),
        bytes([0xC1]) * 100,
    ],
    ids=["rubbish", "text", "not a site's", "commit of nothing", "broken chunk"],
)
async def test_a_member_that_breaks_the_protocol_loses_its_session_only(tmp_path, frame):
    async with open_door(make_door(tmp_path)) as door:
        _, key = await door.join()
        async with member(door, key) as websocket:
            await websocket.send(frame)
            assert isinstance(await receive(websocket), Refusal)
            assert await closing_of(websocket) == Closing.PROTOCOL
        async with member(door, key):
            assert door.server.connected == {ALPHA}


@pytest.mark.asyncio
async def test_a_site_that_waits_is_not_listened_to(tmp_path):
    async with open_door(make_door(tmp_path, approval=True)) as door:
        _, key = await door.join()
        async with raw(door) as websocket:
            await websocket.send(codec.encode(await signed(websocket, door, key)))
            assert await receive(websocket) == Welcome(site=ALPHA, pending=True)
            blob = Blob(sha256="a" * 64, size=10)
            for message in (
                Report(phase=SitePhase.TRAINING),
                UploadBegin(kind=BlobKind.WEIGHTS, blob=blob),
                DownloadBegin(upload=bytes(16), sha256=blob.sha256, offset=0),
                Left(),
            ):
                await websocket.send(codec.encode(message))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await websocket.recv()
        assert (door.desk.messages, door.server.waiting) == ([], {ALPHA})


@pytest.mark.asyncio
async def test_messages_are_slowed_down_not_lost(tmp_path):
    limits = dataclasses.replace(QUICK_LIMITS, messages_per_s=50, burst=10)
    async with open_door(make_door(tmp_path, limits=limits)) as door:
        _, key = await door.join()
        async with member(door, key) as websocket:
            began = time.monotonic()
            for number in range(60):
                await websocket.send(codec.encode(Report(phase=SitePhase.TRAINING, step=number)))
            await until(lambda: len(door.desk.messages) == 60)
            assert 0.9 < time.monotonic() - began < 4
        assert [message.step for _, message in door.desk.messages] == list(range(60))


@pytest.mark.asyncio
async def test_a_directive_that_waits_is_replaced_by_a_newer_one(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        _, key = await door.join()
        async with member(door, key) as websocket:
            for serial in range(100):
                assert await door.server.send(ALPHA, directive(serial))
            assert (await receive(websocket)).serial == 99
            assert not await door.server.send(SiteName("beta"), directive(1))


@pytest.mark.asyncio
async def test_a_message_that_is_too_large_is_told_to_whoever_made_it(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        _, key = await door.join()
        async with member(door, key) as websocket:
            summary = SiteSummary(
                name="a" * 40, state="x" * 300, connected=True, cases=1, round=1, epoch=1,
                step=1, steps=1, silent_s=1,
            )  # fmt: skip
            large = msgspec.structs.replace(directive(), sites=(summary,) * 500)
            with pytest.raises(OurMistake, match="larger than 65536"):
                await door.server.send(ALPHA, large)
            assert await door.server.send(ALPHA, directive(5))
            assert (await receive(websocket)).serial == 5, "the session goes on"


@pytest.mark.asyncio
async def test_forgotten_uploads_are_cleared_at_the_start(tmp_path):
    door = make_door(tmp_path)
    old = tmp_path / "spool" / "partial" / f"alpha.{'0' * 32}.part"
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    async with open_door(door):
        await until(lambda: not old.exists())


@pytest.mark.asyncio
async def test_a_site_that_reads_nothing_is_cut_off(tmp_path, expected_log):
    expected_log("app.coordinator.server", "site alpha does not read its messages")
    async with open_door(make_door(tmp_path)) as door:
        _, key = await door.join()
        async with member(door, key) as websocket:
            websocket.transport.pause_reading()
            refusal = Refusal(code="refused", sentence="x" * 300)
            for _ in range(100_000):
                if not await door.server.send(ALPHA, refusal):
                    break
            assert not await door.server.send(ALPHA, refusal)
            websocket.transport.abort()
        await until(lambda: not door.server.connected)


@pytest.mark.asyncio
async def test_dropping_tells_why(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        _, key = await door.join()
        async with member(door, key) as websocket:
            refusal = Refusal(code="study-state", sentence="the study is over")
            await door.server.drop(ALPHA, refusal)
            assert await receive(websocket) == refusal
            assert await closing_of(websocket) == Closing.CONFLICT
        await door.server.drop(ALPHA, refusal)


@pytest.mark.asyncio
async def test_a_desk_that_breaks_costs_one_session(tmp_path, expected_log):
    expected_log("app.coordinator.server", "a session broke")
    async with open_door(make_door(tmp_path)) as door:
        _, key = await door.join()

        async def broken(site, message):
            raise ZeroDivisionError

        door.desk.received, kept = broken, door.desk.received
        async with member(door, key) as websocket:
            await websocket.send(codec.encode(Left()))
            assert await closing_of(websocket) in (1011, None)
        door.desk.received = kept
        async with member(door, key) as websocket:
            await websocket.send(codec.encode(Left()))
            await until(lambda: door.desk.messages == [(ALPHA, Left())])


# --- the disk ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_full_disk_asks_to_wait_and_nothing_is_torn(tmp_path, monkeypatch, expected_log):
    expected_log("app.coordinator.server", "no room for an upload|the spool cannot take bytes")
    monkeypatch.setattr("app.coordinator.server._RETRY_AFTER_S", 1)
    full = {"before": True, "during": True}
    append = PartialFile.append

    def failing(self, data, sha256):
        if self.offset > 500_000 and full.pop("during", False):
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, data, sha256)

    monkeypatch.setattr(PartialFile, "append", failing)
    async with open_door(make_door(tmp_path)) as door:
        monkeypatch.setattr(door.spool, "room_for", lambda size: not full.pop("before", False))
        membership, key = await door.join()
        blob = write_blob(tmp_path / "update", 2_000_000)
        async with running_link(membership, key) as run:
            await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
            assert run.link.connects == 1
        door.spool.verify(blob.sha256)
        assert full == {}


@pytest.mark.asyncio
async def test_a_restarted_coordinator_goes_on_where_it_was(tmp_path):
    size = 3_000_000
    blob = write_blob(tmp_path / "update", size)
    door = make_door(tmp_path)
    await door.server.start()
    membership, key = await door.join()
    async with running_link(membership, key) as run:
        uploading = asyncio.create_task(
            run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
        )
        await until(lambda: run.link.sent_bytes > 1_000_000)
        port = door.server.port
        await door.server.stop()
        door.members.close()
        door.spool.close()
        async with open_door(make_door(tmp_path, port=port)) as again:
            await uploading
            again.spool.verify(blob.sha256)
            assert run.link.sent_bytes < size + 10 * (1 << 18)


@pytest.mark.asyncio
async def test_repeated_begin_and_commit_are_harmless(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        blob = write_blob(tmp_path / "update", 100_000)
        begin = codec.encode(UploadBegin(kind=BlobKind.WEIGHTS, blob=blob))
        async with member(door, key) as websocket:
            await websocket.send(begin)
            await websocket.send(begin)
            first, second = await receive(websocket), await receive(websocket)
            assert first == second == UploadState(upload=first.upload, sha256=blob.sha256, offset=0)
            await websocket.send(
                codec.encode(UploadCommit(upload=first.upload, sha256=blob.sha256))
            )
            assert await receive(websocket) == first, "not complete: go on at the offset"
        async with running_link(membership, key) as run:
            await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
        async with member(door, key) as websocket:
            await websocket.send(begin)
            state = await receive(websocket)
            assert (state.complete, state.offset) == (True, blob.size)


@pytest.mark.asyncio
async def test_two_sites_may_send_the_same_bytes(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        blob = write_blob(tmp_path / "update", 2_000_000)
        sites = [await door.join(name) for name in ("alpha", "beta")]
        async with (
            running_link(*sites[0]) as one,
            running_link(*sites[1]) as other,
        ):
            links: list[Link] = [one.link, other.link]
            await asyncio.gather(
                *(link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob) for link in links)
            )
        assert all(link.sent_bytes > blob.size for link in links), (
            "having it is no proof of having sent it"
        )
        door.spool.verify(blob.sha256)


@pytest.mark.asyncio
async def test_what_is_no_websocket_gets_no_session(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        context = tls.client_context(door.authority.certificate_pem)
        reader, writer = await asyncio.open_connection("127.0.0.1", door.server.port, ssl=context)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await reader.read(300)).startswith(b"HTTP/1.1 426 ")
        writer.transport.abort()
        assert door.desk.events == []


@pytest.mark.asyncio
async def test_an_address_that_keeps_failing_is_turned_away(tmp_path):
    limits = dataclasses.replace(QUICK_LIMITS, gate=GateLimits(failures=3))
    async with open_door(make_door(tmp_path, limits=limits)) as door:
        for _ in range(3):
            async with raw(door) as websocket:
                await websocket.send(b"rubbish")
                await closing_of(websocket)
        with pytest.raises((OSError, InvalidStatus)):
            async with raw(door):
                pass


@pytest.mark.asyncio
async def test_a_new_key_of_a_site_shuts_out_the_old_one_at_once(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        _, old = await door.join()
        door.members.revoke(ALPHA)
        await door.server.members_changed()
        _, new = await door.join()
        async with member(door, new) as websocket:
            assert door.server.connected == {ALPHA}
            door.members.leave(ALPHA)
            # The next invitation is taken up while the session of the last key is open.
            _, newest = await door.join()
            assert await closing_of(websocket) == Closing.REVOKED
        async with member(door, newest):
            assert door.server.connected == {ALPHA}
        assert len({old.public_key, new.public_key, newest.public_key}) == 3
