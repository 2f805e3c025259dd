from __future__ import annotations

import asyncio
import dataclasses
import time

import msgspec
import pytest
from helpers.answering_server import answering_server
from helpers.loopback import (
    QUICK,
    STUDY,
    directive,
    make_door,
    open_door,
    running_link,
    until,
    with_url,
    write_blob,
)
from helpers.tcp_proxy import connect_proxy, tcp_proxy

from app.control.messages import LinkState
from app.coordinator.members import MemberStore
from app.domain.errors import ErrorCode, LinkProblem, PeerMistake
from app.domain.ids import SiteName
from app.site.connecting import Backoff, LinkSettings
from app.system import tls
from app.system.clock import SystemClock
from app.wire.handshake import SigningKey
from app.wire.messages import (
    BlobKind,
    FingerprintOffered,
    PlanAccepted,
    Refusal,
    Report,
    SitePhase,
)

ALPHA = SiteName("alpha")


@pytest.mark.asyncio
async def test_a_site_enrols_reports_and_is_directed(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        async with running_link(membership, key) as run:
            run.link.report(Report(phase=SitePhase.WAITING))
            await until(lambda: door.desk.messages)
            assert door.desk.messages[0] == (ALPHA, Report(phase=SitePhase.WAITING))
            assert await door.server.send(ALPHA, directive(7, "hello"))
            await until(lambda: run.listener.directives)
            assert run.listener.directives == [directive(7, "hello")]
            run.link.report(Report(phase=SitePhase.TRAINING, round=2))
            await until(lambda: len(door.desk.messages) > 1)
            assert door.desk.messages[1][1] == Report(phase=SitePhase.TRAINING, round=2)
            await run.link.deliver(PlanAccepted(plan="a" * 64, training_cases=3))
            await until(
                lambda: door.desk.messages[-1][1] == PlanAccepted(plan="a" * 64, training_cases=3)
            )
            assert run.listener.state is LinkState.CONNECTED
        await until(lambda: ("closed", ALPHA) in door.desk.events)
        assert door.desk.events == [("enrolled", ALPHA), ("opened", ALPHA), ("closed", ALPHA)]


@pytest.mark.asyncio
async def test_a_blob_goes_up_and_comes_down_unchanged(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        blob = write_blob(tmp_path / "update", 3_000_001)
        async with running_link(membership, key) as run:
            await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
            assert door.spool.received(ALPHA) == {blob.sha256}
            assert door.spool.path(blob.sha256).read_bytes() == (tmp_path / "update").read_bytes()
            await run.link.download(blob, tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == (tmp_path / "update").read_bytes()
            sent = run.link.sent_bytes
            assert 3_000_001 < sent < 3_020_000
            await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
            assert run.link.sent_bytes - sent < 1000, "a kept blob is not sent again"


# --- cuts ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_upload_goes_on_where_it_was_cut(tmp_path):
    size = 6_000_000
    blob = write_blob(tmp_path / "update", size)
    async with open_door(make_door(tmp_path)) as door, tcp_proxy(door.server.port) as network:
        membership, key = await door.join(url=network.url)
        network.weather.cut_after = 1_500_000
        async with running_link(membership, key) as run:
            await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
        assert network.connections >= 5
        # What is in flight at a cut is lost: at most the window, here 2 to 5 chunks of 256 KiB.
        assert network.to_server < 1.5 * size
        assert door.spool.verify(blob.sha256).stat().st_size == size


@pytest.mark.asyncio
async def test_a_download_goes_on_where_it_was_cut(tmp_path):
    size = 5_000_000
    source = write_blob(tmp_path / "model", size)
    async with open_door(make_door(tmp_path)) as door, tcp_proxy(door.server.port) as network:
        blob = await asyncio.to_thread(door.spool.keep_file, tmp_path / "model")
        assert blob == source
        membership, key = await door.join(url=network.url)
        async with running_link(membership, key) as run:
            fetching = asyncio.create_task(run.link.download(blob, tmp_path / "got"))
            for _ in range(3):
                seen = network.to_client
                await until(
                    lambda seen=seen: network.to_client > seen + 1_000_000 or fetching.done()
                )
                network.cut()
            await fetching
        assert (tmp_path / "got").read_bytes() == door.spool.path(blob.sha256).read_bytes()
        assert network.to_client < 2 * size
        assert [path.name for path in tmp_path.glob(".got*")] == []


@pytest.mark.asyncio
async def test_a_corrupt_byte_on_the_way_costs_a_session_and_nothing_more(tmp_path):
    # TLS notices it and ends the connection; the next one goes on.
    blob = write_blob(tmp_path / "update", 3_000_000)
    async with open_door(make_door(tmp_path)) as door, tcp_proxy(door.server.port) as network:
        membership, key = await door.join(url=network.url)
        network.weather.corrupt_at = 1_000_000
        async with running_link(membership, key) as run:
            await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
        assert network.connections >= 2
        door.spool.verify(blob.sha256)


@pytest.mark.asyncio
async def test_a_silent_partition_is_noticed_by_both_ends(tmp_path):
    # Defaults: 20 s + 60 s. Here 1 s + 2 s.
    async with open_door(make_door(tmp_path)) as door, tcp_proxy(door.server.port) as network:
        membership, key = await door.join(url=network.url)
        async with running_link(membership, key) as run:
            await until(lambda: run.link.connected)
            network.weather.black_hole = True
            began = time.monotonic()
            await until(lambda: not door.server.connected)
            await until(lambda: not run.link.connected)
            assert time.monotonic() - began < 6
            network.weather.black_hole = False
            network.cut()
            await until(lambda: run.link.connected)


@pytest.mark.asyncio
async def test_a_slow_link_keeps_its_heartbeats_while_it_uploads(tmp_path):
    # Unwindowed sends made the library's own keepalive end such a link (security.md 2.7).
    size = 1_500_000
    blob = write_blob(tmp_path / "update", size)
    async with open_door(make_door(tmp_path)) as door, tcp_proxy(door.server.port) as network:
        membership, key = await door.join(url=network.url)
        network.weather.bytes_per_s = 300_000
        async with running_link(membership, key) as run:
            await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
            assert run.link.connects == 1
        assert network.to_server < 1.1 * size


@pytest.mark.asyncio
async def test_each_lost_directive_is_told_again_on_connect(tmp_path):
    # MediSwarm#466: one lost message hung a study for ever. Here the state is asked again.
    door = make_door(tmp_path)

    async def opened(site: SiteName) -> None:
        await door.server.send(site, directive(3, "train"))

    door.desk.opened = opened
    async with open_door(door), tcp_proxy(door.server.port) as network:
        membership, key = await door.join(url=network.url)
        async with running_link(membership, key) as run:
            run.link.report(Report(phase=SitePhase.WAITING))
            await until(lambda: run.listener.directives)
            reports = len(door.desk.messages)
            network.cut()
            await until(lambda: len(run.listener.directives) == 2)
            await until(lambda: len(door.desk.messages) > reports)


@pytest.mark.asyncio
async def test_reports_are_repeated_while_nothing_changes(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        settings = dataclasses.replace(QUICK, report_every_s=0.1)
        async with running_link(membership, key, settings=settings) as run:
            run.link.report(Report(phase=SitePhase.WAITING))
            await until(lambda: len(door.desk.messages) >= 4)


# --- commits -------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "commits",
    [10, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])],
)
async def test_a_lost_commit_answer_loses_no_commit(tmp_path, commits):
    # FLIP#684: the server had the result, its acknowledgement was lost, the run was aborted.
    async with open_door(make_door(tmp_path)) as door, tcp_proxy(door.server.port) as network:
        membership, key = await door.join(url=network.url)
        loop = asyncio.get_running_loop()
        async with running_link(membership, key) as run:
            for number in range(commits):
                blob = write_blob(tmp_path / "update", 50_000, seed=number)
                door.desk.check = lambda *_: loop.call_soon_threadsafe(network.cut)
                await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
                assert blob.sha256 in door.spool.received(ALPHA)
        assert network.connections >= commits + 1
        assert network.to_server < commits * 75_000


@pytest.mark.asyncio
async def test_a_refused_blob_is_refused_with_its_sentence_and_nothing_is_kept(tmp_path):
    def check(site, kind, path):
        raise PeerMistake(
            "“head” holds a value that is not a number", code=ErrorCode.TENSORS_REFUSED
        )

    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        blob = write_blob(tmp_path / "update", 600_000)
        async with running_link(membership, key) as run:
            door.desk.check = check
            with pytest.raises(LinkProblem, match="“head” holds a value") as caught:
                await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
            assert caught.value.code is ErrorCode.TENSORS_REFUSED
            assert not door.spool.holds(blob.sha256)
            assert list((tmp_path / "spool" / "partial").iterdir()) == []
            door.desk.check = lambda *_: None
            await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
            assert run.link.connects == 1


@pytest.mark.asyncio
async def test_the_desk_and_the_limits_refuse_an_upload_before_a_byte_is_sent(tmp_path):
    refusal = Refusal(code="study-state", sentence="the round is closed")
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        blob = write_blob(tmp_path / "update", 600_000)
        async with running_link(membership, key) as run:
            door.desk.refuse = lambda *_: refusal
            with pytest.raises(LinkProblem, match="the round is closed"):
                await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
            door.desk.refuse = lambda *_: None
            for kind, named, code in (
                (
                    BlobKind.FINGERPRINT,
                    msgspec.structs.replace(blob, size=20 << 20),
                    ErrorCode.TOO_LARGE,
                ),
                (BlobKind.PLAN, blob, ErrorCode.NOT_ALLOWED),
            ):
                with pytest.raises(LinkProblem) as caught:
                    await run.link.upload(kind, tmp_path / "update", named)
                assert caught.value.code is code
            assert run.link.sent_bytes < 2_000


@pytest.mark.asyncio
async def test_a_file_that_is_not_what_its_name_says_is_given_up(tmp_path, expected_log):
    expected_log("app.coordinator.server", "did not have its digest")
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        blob = write_blob(tmp_path / "update", 300_000)
        (tmp_path / "update").write_bytes(bytes(300_000))
        async with running_link(membership, key) as run:
            with pytest.raises(LinkProblem):
                await run.link.upload(BlobKind.WEIGHTS, tmp_path / "update", blob)
            assert run.link.sent_bytes < 4 * 310_000


@pytest.mark.asyncio
async def test_an_offer_counts_only_for_what_the_site_itself_has_sent(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        alpha, alpha_key = await door.join("alpha")
        beta, beta_key = await door.join("beta")
        blob = write_blob(tmp_path / "update", 300_000)
        offer = FingerprintOffered(fingerprint=blob, receipt="0" * 64)
        async with running_link(alpha, alpha_key) as one, running_link(beta, beta_key) as other:
            await one.link.upload(BlobKind.FINGERPRINT, tmp_path / "update", blob)
            await other.link.deliver(offer)
            await other.link.deliver(PlanAccepted(plan="a" * 64, training_cases=1))
            await until(lambda: door.desk.messages)
            await one.link.deliver(offer)
            await until(lambda: len(door.desk.messages) == 2)
        assert [site for site, _ in door.desk.messages] == ["beta", "alpha"]


@pytest.mark.asyncio
async def test_what_a_site_may_not_have_is_not_there_for_it(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        blob = door.spool.keep_bytes(b"someone else's fingerprint")
        door.desk.may = lambda site, sha256: False
        async with running_link(membership, key) as run:
            with pytest.raises(LinkProblem, match="does not have"):
                await run.link.download(blob, tmp_path / "got")
            assert not (tmp_path / "got").exists()


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_revoked_site_stops_within_a_second_and_stays_stopped(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        async with running_link(membership, key) as run:
            await until(lambda: run.link.connected)
            # From another process: the door watches the store.
            other = MemberStore(
                tmp_path / "members.sqlite", study=STUDY, clock=SystemClock(), approval=False
            )
            began = time.monotonic()
            other.revoke(ALPHA)
            other.close()
            with pytest.raises(LinkProblem, match="shut this site out") as caught:
                await run.task
            assert time.monotonic() - began < 1
            assert caught.value.code is ErrorCode.REVOKED
            assert run.listener.state is LinkState.REFUSED
            with pytest.raises(LinkProblem):
                await run.link.deliver(PlanAccepted(plan="a" * 64, training_cases=3))
        async with running_link(membership, key) as again:
            with pytest.raises(LinkProblem):
                await again.task
            assert again.link.connects == 1


@pytest.mark.asyncio
async def test_a_site_waits_for_approval_and_is_let_in_on_the_same_session(tmp_path):
    async with open_door(make_door(tmp_path, approval=True)) as door:
        membership, key = await door.join()
        async with running_link(membership, key) as run:
            await until(lambda: run.listener.state is LinkState.PENDING)
            run.link.report(Report(phase=SitePhase.WAITING))
            assert not door.server.connected
            assert not await door.server.send(ALPHA, directive())
            door.members.approve(ALPHA)
            await door.server.members_changed()
            await until(lambda: door.desk.messages)
            assert run.link.connects == 1
        assert door.desk.events[:2] == [("enrolled pending", ALPHA), ("opened", ALPHA)]


@pytest.mark.asyncio
async def test_a_door_that_accepts_and_closes_is_not_hammered():
    backoff = Backoff(LinkSettings(), chance=lambda: 0.5)
    now, connects = 0.0, 0
    while now < 3600:
        now += backoff.delay(now)
        connects += 1
        backoff.ended(lasted_s=0.01, moved_bytes=False)
    assert connects < 40


@pytest.mark.asyncio
async def test_a_flapping_network_gets_the_work_done_without_hammering():
    # 5 s up, 5 s down; bytes move in every session.
    backoff = Backoff(LinkSettings(), chance=lambda: 0.1)
    now, attempts = 0.0, []
    while now < 600:
        now += backoff.delay(now)
        attempts.append(now)
        up = now % 10 < 5
        now += 5 - now % 5 if up else 0.0
        backoff.ended(lasted_s=5 - now % 5 if up else 0.0, moved_bytes=up)
    for start in range(0, 540, 10):
        assert sum(start <= at < start + 60 for at in attempts) <= 12
    assert len(attempts) > 30


@pytest.mark.asyncio
async def test_a_newer_session_of_a_site_replaces_the_older(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        slow = dataclasses.replace(QUICK, first_delay_s=60, longest_delay_s=60)
        async with running_link(membership, key, settings=slow) as old:
            await until(lambda: old.link.connected)
            async with running_link(membership, key) as new:
                await until(lambda: new.link.connected)
                await until(lambda: not old.link.connected)
                assert door.server.connected == {ALPHA}
                assert not old.task.done()


@pytest.mark.asyncio
async def test_another_key_is_refused_once_and_for_all(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, _ = await door.join()
        async with running_link(membership, SigningKey.generate()) as run:
            with pytest.raises(LinkProblem, match="does not know this site's key") as caught:
                await run.task
            assert caught.value.code is ErrorCode.REFUSED
            assert run.link.connects == 1


# --- certificates and proxies --------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_certificate_of_another_authority_is_fatal_and_named(tmp_path):
    async with (
        open_door(make_door(tmp_path / "ours")) as ours,
        open_door(make_door(tmp_path / "theirs")) as theirs,
        tcp_proxy(theirs.server.port) as network,
    ):
        membership, key = await ours.join(url=network.url)
        async with running_link(membership, key) as run:
            with pytest.raises(LinkProblem, match="replaces certificates") as caught:
                await run.task
        assert caught.value.code is ErrorCode.CERTIFICATE
        assert "It was issued by CN=study 0123" in str(caught.value)
        assert theirs.desk.events == []
        assert network.connections == 2  # the attempt, and one look at the issuer's name


@pytest.mark.asyncio
async def test_another_host_and_another_time_are_fatal_and_named(tmp_path):
    cases = (
        ({"hosts": ("coordinator.example",)}, "is for another computer"),
        ({"certificate_now": time.time() - 11 * 365 * 86400}, "check this computer's clock"),
        ({"certificate_now": time.time() + 30 * 86400}, "check this computer's clock"),
    )
    for number, (options, sentence) in enumerate(cases):
        async with open_door(make_door(tmp_path / str(number), **options)) as door:
            with pytest.raises(LinkProblem, match=sentence) as caught:
                await door.join()
            assert caught.value.code is ErrorCode.CERTIFICATE


@pytest.mark.asyncio
async def test_a_proxy_lets_us_through_or_is_explained(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()
        async with connect_proxy() as proxy, running_link(membership, key, proxy=proxy) as run:
            await until(lambda: run.link.connected)
        for answer, sentence in (
            ("407 Proxy Authentication Required", "asks for a name and password"),
            ("502 Bad Gateway", "does not let us through (502)"),
            ("503 Service Unavailable", "does not let us through (503)"),
        ):
            async with (
                connect_proxy(answer) as proxy,
                running_link(membership, key, proxy=proxy) as run,
            ):
                await until(
                    lambda run=run: (
                        run.link.connects >= 2 and run.listener.state is LinkState.OFFLINE
                    )
                )
                assert any(sentence in told for _, told in run.listener.states)


@pytest.mark.asyncio
async def test_a_redirect_is_never_followed(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        membership, key = await door.join()

        redirect = (
            b"HTTP/1.1 302 Found\r\nLocation: wss://127.0.0.1:%d\r\nContent-Length: 0\r\n\r\n"
            % door.server.port
        )
        context = tls.server_context(door.certificate)
        async with (
            answering_server(redirect, context=context) as port,
            running_link(with_url(membership, f"wss://127.0.0.1:{port}"), key) as run,
        ):
            await until(lambda: run.link.connects >= 2)
            assert any("never followed" in told for _, told in run.listener.states)
        assert ("opened", ALPHA) not in door.desk.events
