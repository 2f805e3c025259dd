from __future__ import annotations

import threading

import pytest
from helpers.clock import HandClock

from app.coordinator.members import Member, MemberState, MemberStore, OpenInvitation
from app.domain.errors import DataProblem, ErrorCode, LinkProblem
from app.domain.ids import SiteName, StudyId
from app.wire import handshake
from app.wire.handshake import SigningKey
from app.wire.messages import PROTOCOL

STUDY = StudyId("0123456789abcdef0123456789abcdef")
ALPHA = SiteName("alpha")
LEAF = bytes(32)
NONCE = bytes(range(32))


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def store(tmp_path, clock):
    store = MemberStore(tmp_path / "members.sqlite", study=STUDY, clock=clock, approval=True)
    yield store
    store.close()


def invite(store, site="alpha", **options):
    return store.create_invitation(
        site=SiteName(site),
        title="T",
        urls=("wss://h",),
        authority_pem="pem",
        terms=b"{}",
        **options,
    )


def claim_of(
    invitation, key, *, secret=None, nonce=NONCE, leaf=LEAF, terms_sha256=None, signer=None
):
    message = handshake.enrol_transcript(
        study=STUDY,
        nonce=nonce,
        leaf_sha256=leaf,
        protocol=PROTOCOL,
        invitation=invitation.invitation,
        public_key=key.public_key,
        terms_sha256=terms_sha256 or invitation.terms_sha256,
    )
    return {
        "invitation": invitation.invitation,
        "public_key": key.public_key,
        "proof": handshake.proof(handshake.proof_key(secret or invitation.secret), message),
        "signature": (signer or key).sign(message),
        "nonce": NONCE,
        "leaf_sha256": LEAF,
    }


def refused(store, claim) -> tuple[ErrorCode, str]:
    with pytest.raises(LinkProblem) as caught:
        store.claim(**claim)
    return caught.value.code, str(caught.value)


def test_an_invitation_admits_its_first_key_and_answers_it_again(store, clock):
    invitation, key = invite(store), SigningKey.generate()
    member = Member(
        site=ALPHA, public_key=key.public_key, state=MemberState.PENDING, since=clock.now()
    )
    assert store.open_invitations() == (
        OpenInvitation(
            invitation=invitation.invitation, site=ALPHA, not_after=invitation.not_after
        ),
    )
    assert store.claim(**claim_of(invitation, key)) == member
    clock.advance(10)
    assert store.claim(**claim_of(invitation, key)) == member
    assert store.members() == (member,)
    assert store.open_invitations() == ()
    assert refused(store, claim_of(invitation, SigningKey.generate())) == (
        ErrorCode.INVITATION_USED,
        "this invitation was already used on another computer",
    )
    approved = store.approve(ALPHA)
    assert (approved.state, approved.words) == (
        MemberState.ACTIVE,
        handshake.six_words(key.public_key),
    )
    assert store.claim(**claim_of(invitation, key)) == approved
    clock.advance(30 * 86400)
    assert store.claim(**claim_of(invitation, key)) == approved, "used before it expired"


def test_without_approval_a_valid_invitation_is_enough(tmp_path, clock):
    store = MemberStore(tmp_path / "m.sqlite", study=STUDY, clock=clock, approval=False)
    assert store.claim(**claim_of(invite(store), SigningKey.generate())).state is MemberState.ACTIVE
    store.close()


def test_what_does_not_prove_the_invitation_is_refused(store, clock):
    invitation, key = invite(store), SigningKey.generate()
    wrong = (ErrorCode.INVITATION, "the invitation's proof is wrong")
    for broken in (
        claim_of(invitation, key, secret=bytes(16)),
        claim_of(invitation, key, nonce=bytes(32)),
        claim_of(invitation, key, leaf=bytes(31) + b"x"),
        claim_of(invitation, key, terms_sha256=bytes(32)),
    ):
        assert refused(store, broken) == wrong
    assert store.claim(**claim_of(invitation, key)).site == ALPHA

    other = invite(store, "beta")
    for _ in range(5):
        assert refused(store, claim_of(other, key, signer=SigningKey.generate())) == wrong
    assert refused(store, claim_of(other, key))[1] == "this invitation was tried too often"
    unknown = {**claim_of(other, key), "invitation": bytes(16)}
    assert refused(store, unknown)[1] == "this coordinator knows no such invitation"


def test_an_invitation_ends_by_time_by_withdrawal_and_by_a_newer_one(store, clock):
    key = SigningKey.generate()
    late = invite(store, life_s=60)
    clock.advance(60)
    assert store.open_invitations() == ()
    assert refused(store, claim_of(late, key)) == (
        ErrorCode.INVITATION_EXPIRED,
        "this invitation has expired",
    )
    older, newer = invite(store), invite(store)
    assert refused(store, claim_of(older, key))[1] == "this invitation was withdrawn"
    store.withdraw(newer.invitation)
    assert refused(store, claim_of(newer, key))[1] == "this invitation was withdrawn"
    for life_s in (59, 14 * 86400 + 1):
        with pytest.raises(DataProblem):
            invite(store, life_s=life_s)


def test_a_key_belongs_to_one_site(store):
    key = SigningKey.generate()
    store.claim(**claim_of(invite(store, "alpha"), key))
    assert refused(store, claim_of(invite(store, "beta"), key)) == (
        ErrorCode.REFUSED,
        "this key already belongs to another site",
    )
    assert [member.site for member in store.members()] == ["alpha"]


def test_a_revoked_site_comes_back_only_by_a_new_invitation(store):
    invitation, key = invite(store), SigningKey.generate()
    store.claim(**claim_of(invitation, key))
    with pytest.raises(DataProblem, match="already"):
        invite(store)
    store.revoke(ALPHA)
    assert refused(store, claim_of(invitation, key))[0] is ErrorCode.REVOKED
    for change in (store.approve, store.leave):
        with pytest.raises(DataProblem):
            change(ALPHA)
    assert (
        store.claim(**claim_of(invite(store), SigningKey.generate())).state is MemberState.PENDING
    )


ALLOWED = {
    ("approve", MemberState.PENDING), ("approve", MemberState.ACTIVE),
    ("revoke", MemberState.PENDING), ("revoke", MemberState.ACTIVE), ("revoke", MemberState.REVOKED), ("revoke", MemberState.LEFT),
    ("leave", MemberState.PENDING), ("leave", MemberState.ACTIVE), ("leave", MemberState.LEFT),
}  # fmt: skip
ENDS = {"approve": MemberState.ACTIVE, "revoke": MemberState.REVOKED, "leave": MemberState.LEFT}


@pytest.mark.parametrize("state", MemberState)
@pytest.mark.parametrize("event", ENDS)
def test_every_state_and_event(store, state, event):
    store.claim(**claim_of(invite(store), SigningKey.generate()))
    {
        MemberState.PENDING: lambda: None,
        MemberState.ACTIVE: lambda: store.approve(ALPHA),
        MemberState.REVOKED: lambda: store.revoke(ALPHA),
        MemberState.LEFT: lambda: store.leave(ALPHA),
    }[state]()
    change = getattr(store, event)
    if (event, state) in ALLOWED:
        assert change(ALPHA).state is ENDS[event]
    else:
        with pytest.raises(DataProblem):
            change(ALPHA)
        assert store.member(ALPHA).state is state
    with pytest.raises(DataProblem, match="no site called “beta” has enrolled"):
        change(SiteName("beta"))


def test_of_a_hundred_keys_that_race_for_one_invitation_one_wins(tmp_path, clock):
    path = tmp_path / "members.sqlite"
    first = MemberStore(path, study=STUDY, clock=clock, approval=True)
    invitation = invite(first)
    outcomes: list[object] = []
    start = threading.Barrier(10)

    def claim_ten() -> None:
        store = MemberStore(path, study=STUDY, clock=clock, approval=True)
        claims = [claim_of(invitation, SigningKey.generate()) for _ in range(10)]
        start.wait()
        for claim in claims:
            try:
                outcomes.append(store.claim(**claim))
            except LinkProblem as exc:
                outcomes.append(exc.code)
        store.close()

    threads = [threading.Thread(target=claim_ten) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(ErrorCode.INVITATION_USED) == 99
    assert [outcome for outcome in outcomes if isinstance(outcome, Member)] == list(first.members())
    first.close()


def test_another_process_is_noticed_and_everything_survives_reopening(tmp_path, store, clock):
    version = store.version
    invite(store)
    assert store.version == version, "one's own writing is no news"
    other = MemberStore(tmp_path / "members.sqlite", study=STUDY, clock=clock, approval=True)
    other.claim(**claim_of(invite(other), SigningKey.generate()))
    assert store.version != version
    assert store.members() == other.members()
    assert (tmp_path / "members.sqlite").stat().st_mode & 0o077 == 0
    other.close()
