"""Who belongs to a study: invitations and members, in SQLite, one transaction per change.

An invitation is used once, by the first key that proves it; the same key asking again gets the
same answer, any other key is told that it is used. Several processes may open the store at once
(the service and a command line); `version` tells when another one wrote.
"""

from __future__ import annotations

import enum
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.domain.errors import DataProblem, ErrorCode, LinkProblem
from app.domain.ids import SiteName, StudyId
from app.system.clock import Clock
from app.wire import handshake
from app.wire.invitation import DEFAULT_LIFE_S, LONGEST_LIFE_S, Invitation
from app.wire.messages import PROTOCOL

WRONG_PROOFS: Final = 5
"""Wrong proofs after which an invitation is burnt."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS invitations (
    id BLOB PRIMARY KEY, site TEXT NOT NULL, proof_key BLOB NOT NULL, terms_sha256 BLOB NOT NULL,
    issued_at INTEGER NOT NULL, not_after INTEGER NOT NULL, used_by BLOB,
    wrong INTEGER NOT NULL DEFAULT 0, withdrawn INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS members (
    site TEXT PRIMARY KEY, public_key BLOB NOT NULL UNIQUE, state TEXT NOT NULL,
    since REAL NOT NULL) STRICT;
"""


_Run = Callable[..., sqlite3.Cursor]


class MemberState(enum.Enum):
    """Where a site stands with the study."""

    PENDING = "waiting for approval"
    ACTIVE = "member"
    REVOKED = "revoked"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One site that has enrolled; `since` is when it came into this state (seconds since 1970)."""

    site: SiteName
    public_key: bytes
    state: MemberState
    since: float

    @property
    def words(self) -> str:
        """The six words that its operator reads out before it is approved."""
        return handshake.six_words(self.public_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInvitation:
    """An invitation that was given out and not used yet."""

    invitation: bytes
    site: SiteName
    not_after: int


class MemberStore:
    """Invitations and members of one study.

    With `approval` a new site waits until `approve`; without, a valid invitation is enough.
    """

    def __init__(self, path: Path, *, study: StudyId, clock: Clock, approval: bool) -> None:
        self._study = study
        self._clock = clock
        self._approval = approval
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        # One thread uses it: the event loop's, or a test's main thread.
        self._database = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the store; it cannot be used afterwards."""
        self._database.close()

    @property
    def version(self) -> int:
        """A number that changes when another process wrote to the store."""
        (version,) = self._database.execute("PRAGMA data_version").fetchone()
        return int(version)

    # --- invitations

    def create_invitation(
        self,
        *,
        site: SiteName,
        title: str,
        urls: tuple[str, ...],
        authority_pem: str,
        terms: bytes,
        life_s: int = DEFAULT_LIFE_S,
    ) -> Invitation:
        """Draw and keep an invitation for `site`; `app.wire.invitation.seal` makes it a file.

        A site that was revoked, left or lost its key gets a new one in the same way; an earlier
        unused invitation of the site is withdrawn.

        Raises:
            DataProblem: the site is a member already, or `life_s` is not 1 minute to 14 days.
        """
        if not 60 <= life_s <= LONGEST_LIFE_S:
            raise DataProblem(
                f"an invitation lasts between 1 minute and 14 days, not {life_s} seconds",
                code=ErrorCode.INVITATION,
            )
        member = self.member(site)
        if member is not None and member.state in (MemberState.ACTIVE, MemberState.PENDING):
            raise DataProblem(
                f"the site “{site}” is “{member.state.value}” already; revoke it first",
                code=ErrorCode.INVITATION,
            )
        now = int(self._clock.now())
        invitation = Invitation(
            study=self._study,
            title=title,
            site=site,
            urls=urls,
            authority_pem=authority_pem,
            invitation=secrets.token_bytes(handshake.INVITATION_BYTES),
            secret=secrets.token_bytes(handshake.SECRET_BYTES),
            issued_at=now,
            not_after=now + life_s,
            protocol_minimum=PROTOCOL,
            protocol_maximum=PROTOCOL,
            terms=terms,
        )
        with self._transaction() as run:
            run("UPDATE invitations SET withdrawn=1 WHERE site=? AND used_by IS NULL", (site,))
            run(
                "INSERT INTO invitations (id, site, proof_key, terms_sha256, issued_at, not_after)"
                " VALUES (?,?,?,?,?,?)",
                (
                    invitation.invitation,
                    site,
                    handshake.proof_key(invitation.secret),
                    invitation.terms_sha256,
                    invitation.issued_at,
                    invitation.not_after,
                ),
            )
        return invitation

    def open_invitations(self) -> tuple[OpenInvitation, ...]:
        """Return the invitations that a site could still use."""
        rows = self._database.execute(
            "SELECT id, site, not_after FROM invitations WHERE used_by IS NULL AND withdrawn=0"
            " AND wrong<? AND not_after>? ORDER BY site",
            (WRONG_PROOFS, self._clock.now()),
        )
        return tuple(
            OpenInvitation(invitation=row[0], site=SiteName(row[1]), not_after=row[2])
            for row in rows
        )

    def withdraw(self, invitation: bytes) -> None:
        """Make an unused invitation worthless."""
        self._database.execute(
            "UPDATE invitations SET withdrawn=1 WHERE id=? AND used_by IS NULL", (invitation,)
        )

    def claim(
        self,
        *,
        invitation: bytes,
        public_key: bytes,
        proof: bytes,
        signature: bytes,
        nonce: bytes,
        leaf_sha256: bytes,
    ) -> Member:
        """Enrol the holder of `public_key` by an invitation, or repeat the earlier answer.

        Raises:
            LinkProblem: INVITATION (unknown, withdrawn, wrong proof), INVITATION_USED (by another
                key), INVITATION_EXPIRED, REVOKED (the key was revoked since).
        """
        with self._transaction() as run:
            row = run(
                "SELECT site, proof_key, terms_sha256, not_after, used_by, wrong, withdrawn"
                " FROM invitations WHERE id=?",
                (invitation,),
            ).fetchone()
            if row is None:
                raise _refused("this coordinator knows no such invitation", ErrorCode.INVITATION)
            site, key, terms_sha256, not_after, used_by, wrong, withdrawn = row
            if wrong >= WRONG_PROOFS:
                raise _refused("this invitation was tried too often", ErrorCode.INVITATION)
            message = handshake.enrol_transcript(
                study=self._study,
                nonce=nonce,
                leaf_sha256=leaf_sha256,
                protocol=PROTOCOL,
                invitation=invitation,
                public_key=public_key,
                terms_sha256=terms_sha256,
            )
            proved = handshake.proof_holds(key, message, proof)
            signed = handshake.signature_holds(public_key, message, signature)
            if proved and signed:
                if used_by is not None:
                    return self._again(used_by == public_key, public_key)
                if withdrawn:
                    raise _refused("this invitation was withdrawn", ErrorCode.INVITATION)
                if self._clock.now() >= not_after:
                    raise _refused("this invitation has expired", ErrorCode.INVITATION_EXPIRED)
                return self._admit(run, invitation, SiteName(site), public_key)
            run("UPDATE invitations SET wrong=wrong+1 WHERE id=?", (invitation,))
        # Raised outside, so that the count above is kept.
        raise _refused("the invitation's proof is wrong", ErrorCode.INVITATION)

    # --- members

    def member(self, site: SiteName) -> Member | None:
        """Return the site's membership, whatever its state; None when it never enrolled."""
        return self._one("site=?", site)

    def members(self) -> tuple[Member, ...]:
        """Return every site that ever enrolled, by name."""
        rows = self._database.execute(
            "SELECT site, public_key, state, since FROM members ORDER BY site"
        )
        return tuple(_member(row) for row in rows)

    def approve(self, site: SiteName) -> Member:
        """Let a waiting site in; approving twice is harmless.

        Raises:
            DataProblem: the site is neither waiting nor a member.
        """
        return self._move(site, MemberState.ACTIVE, {MemberState.PENDING, MemberState.ACTIVE})

    def revoke(self, site: SiteName) -> Member:
        """Shut a site out; it may come back only by a new invitation.

        Raises:
            DataProblem: there is no such site.
        """
        return self._move(site, MemberState.REVOKED, set(MemberState))

    def leave(self, site: SiteName) -> Member:
        """Note that a site left by its own wish.

        Raises:
            DataProblem: there is no such site, or it was revoked.
        """
        return self._move(site, MemberState.LEFT, set(MemberState) - {MemberState.REVOKED})

    def _move(self, site: SiteName, state: MemberState, allowed: set[MemberState]) -> Member:
        with self._transaction() as run:
            member = self.member(site)
            if member is None:
                raise DataProblem(
                    f"no site called “{site}” has enrolled", code=ErrorCode.STUDY_STATE
                )
            if member.state not in allowed:
                raise DataProblem(
                    f"the site “{site}” is “{member.state.value}” and cannot become"
                    f" “{state.value}”",
                    code=ErrorCode.STUDY_STATE,
                )
            if member.state is state:
                return member
            run(
                "UPDATE members SET state=?, since=? WHERE site=?",
                (state.value, self._clock.now(), site),
            )
            moved = self.member(site)
            assert moved is not None  # noqa: S101 - just updated in this transaction
            return moved

    def _admit(self, run: _Run, invitation: bytes, site: SiteName, public_key: bytes) -> Member:
        """Bind the invitation to its first key and make its holder a member."""
        state = MemberState.PENDING if self._approval else MemberState.ACTIVE
        since = self._clock.now()
        run("UPDATE invitations SET used_by=? WHERE id=?", (public_key, invitation))
        try:
            run(
                "INSERT INTO members (site, public_key, state, since) VALUES (?,?,?,?)"
                " ON CONFLICT (site) DO UPDATE SET"
                " public_key=excluded.public_key, state=excluded.state, since=excluded.since",
                (site, public_key, state.value, since),
            )
        except sqlite3.IntegrityError as exc:
            raise _refused("this key already belongs to another site", ErrorCode.REFUSED) from exc
        return Member(site=site, public_key=public_key, state=state, since=since)

    def _again(self, same_key: bool, public_key: bytes) -> Member:
        """Answer a second claim of a used invitation."""
        if not same_key:
            raise _refused(
                "this invitation was already used on another computer", ErrorCode.INVITATION_USED
            )
        member = self._one("public_key=?", public_key)
        if member is None or member.state in (MemberState.REVOKED, MemberState.LEFT):
            raise _refused("this site's membership has ended", ErrorCode.REVOKED)
        return member

    def _one(self, condition: str, value: str | bytes) -> Member | None:
        row = self._database.execute(
            f"SELECT site, public_key, state, since FROM members WHERE {condition}",  # noqa: S608
            (value,),
        ).fetchone()
        return None if row is None else _member(row)

    @contextmanager
    def _transaction(self) -> Iterator[_Run]:
        """Run statements that happen together or not at all; IMMEDIATE: writers take turns."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database.execute
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _member(row: tuple[str, bytes, str, float]) -> Member:
    site, public_key, state, since = row
    return Member(site=SiteName(site), public_key=public_key, state=MemberState(state), since=since)


def _refused(sentence: str, code: ErrorCode) -> LinkProblem:
    return LinkProblem(sentence, code=code)
