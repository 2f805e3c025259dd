from __future__ import annotations

import asyncio
import dataclasses

import pytest
from helpers.clock import HandClock
from helpers.loopback import QUICK, make_door, open_door, running_link, until

from app.coordinator.members import MemberState
from app.domain.errors import ErrorCode, LinkProblem
from app.domain.ids import SiteName, StudyId
from app.site import membership
from app.site.enrolment import enrol, join
from app.system.clock import SystemClock
from app.system.secrets import FileStore
from app.wire.handshake import SigningKey

ALPHA = SiteName("alpha")


@pytest.mark.asyncio
async def test_joining_keeps_key_and_membership_and_the_link_uses_them(tmp_path):
    async with open_door(make_door(tmp_path / "coordinator")) as door:
        store = FileStore(tmp_path / "secrets.json")
        home = tmp_path / "site"
        invitation = door.invite()
        enrolled = await join(
            invitation, home=home, store=store, clock=SystemClock(), settings=QUICK
        )
        assert not enrolled.pending
        kept = membership.load(home)
        assert kept == enrolled.membership
        seed = store.get(kept.key_name)
        async with running_link(kept, SigningKey(seed)) as run:
            await until(lambda: run.link.connected)
        assert door.members.member(ALPHA).words == kept.words, "the same words on both screens"
        # Trying again, as after a lost answer, gives the same membership with the same key.
        again = await join(invitation, home=home, store=store, clock=SystemClock(), settings=QUICK)
        assert again.membership == dataclasses.replace(kept, joined_at=again.membership.joined_at)
        assert store.get(kept.key_name) == seed


@pytest.mark.asyncio
async def test_each_reason_to_refuse_is_told(tmp_path):
    async with open_door(make_door(tmp_path, approval=True)) as door:
        clock, key = SystemClock(), SigningKey.generate()

        async def refused(invitation, signer) -> tuple[ErrorCode, str]:
            with pytest.raises(LinkProblem) as caught:
                await enrol(invitation, signer=signer, clock=clock, settings=QUICK)
            return caught.value.code, str(caught.value)

        invitation = door.invite()
        assert (await enrol(invitation, signer=key, clock=clock, settings=QUICK)).pending
        assert await refused(invitation, SigningKey.generate()) == (
            ErrorCode.INVITATION_USED,
            "this invitation was already used on another computer",
        )
        door.members.revoke(ALPHA)
        assert (await refused(invitation, key))[0] is ErrorCode.REVOKED
        forged = dataclasses.replace(door.invite("beta"), secret=bytes(16))
        assert (await refused(forged, key))[0] is ErrorCode.INVITATION
        foreign = dataclasses.replace(door.invite("gamma"), study=StudyId("f" * 32))
        assert (await refused(foreign, key)) == (
            ErrorCode.REFUSED,
            "this coordinator runs another study",
        )
        other_terms = dataclasses.replace(door.invite("delta"), terms=b'{"rounds":1}')
        assert (await refused(other_terms, SigningKey.generate()))[0] is ErrorCode.INVITATION
        assert [member.state for member in door.members.members()] == [MemberState.REVOKED]


@pytest.mark.asyncio
async def test_an_expired_invitation_is_refused_without_asking(tmp_path):
    clock = HandClock()
    door = make_door(tmp_path, clock=clock)
    invitation = door.invite(url="wss://127.0.0.1:9")
    clock.advance(8 * 86400)
    with pytest.raises(LinkProblem) as caught:
        await enrol(invitation, signer=SigningKey.generate(), clock=clock, settings=QUICK)
    assert caught.value.code is ErrorCode.INVITATION_EXPIRED
    door.members.close()
    door.spool.close()


@pytest.mark.asyncio
async def test_every_address_is_tried_and_the_last_reason_told(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        dead = "wss://127.0.0.1:9"
        invitation = dataclasses.replace(door.invite(), urls=(dead, door.url))
        key = SigningKey.generate()
        enrolled = await enrol(invitation, signer=key, clock=SystemClock(), settings=QUICK)
        assert enrolled.membership.site == ALPHA
        with pytest.raises(LinkProblem, match=r"nobody answers at 127\.0\.0\.1") as caught:
            await enrol(
                dataclasses.replace(invitation, urls=(dead,)),
                signer=key,
                clock=SystemClock(),
                settings=QUICK,
            )
        assert caught.value.code is ErrorCode.UNREACHABLE


@pytest.mark.asyncio
async def test_of_many_keys_that_race_for_one_invitation_one_wins(tmp_path):
    async with open_door(make_door(tmp_path)) as door:
        invitation = door.invite()
        keys = [SigningKey.generate() for _ in range(8)]
        results = await asyncio.gather(
            *(enrol(invitation, signer=key, clock=SystemClock(), settings=QUICK) for key in keys),
            return_exceptions=True,
        )
        winners = [result for result in results if not isinstance(result, Exception)]
        assert len(winners) == 1
        assert all(
            result.code is ErrorCode.INVITATION_USED
            for result in results
            if isinstance(result, Exception)
        )
        assert door.members.member(ALPHA).public_key == winners[0].membership.public_key
