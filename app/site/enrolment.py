"""Joining a study: making the site's key, proving the invitation, keeping the membership.

Only a person's wish leads here; opening an invitation never does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from websockets.asyncio.client import ClientConnection

import app
from app.domain.errors import ErrorCode, LinkProblem, PeerMistake
from app.site import connecting, membership
from app.site.connecting import LinkSettings, Proxy
from app.site.membership import Membership
from app.system.clock import Clock
from app.system.secrets import SecretStore
from app.wire import codec, handshake
from app.wire.handshake import Signer, SigningKey
from app.wire.invitation import Invitation
from app.wire.messages import PROTOCOL, Enrol, Welcome

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """The coordinator's answer; `pending` while it has not approved the site yet."""

    membership: Membership
    pending: bool


async def join(
    invitation: Invitation,
    *,
    home: Path,
    store: SecretStore,
    clock: Clock,
    proxy: Proxy = None,
    settings: LinkSettings | None = None,
) -> Enrolled:
    """Enrol this site and keep its key and membership in `home` and `store`.

    The key is kept before it is used, and used again when joining is tried again, so a lost
    answer costs nothing: the same key gets the same answer.

    Raises:
        LinkProblem: the coordinator cannot be reached or refuses, with its reason.
        SetupProblem: the key or the membership cannot be kept.
    """
    name = f"{membership.KEY_NAME}-{invitation.study}"
    seed = await asyncio.to_thread(store.get, name)
    key = SigningKey.generate() if seed is None else SigningKey(seed)
    if seed is None:
        await asyncio.to_thread(store.set, name, key.seed)
    enrolled = await enrol(invitation, signer=key, clock=clock, proxy=proxy, settings=settings)
    await asyncio.to_thread(membership.save, home, enrolled.membership)
    return enrolled


async def enrol(
    invitation: Invitation,
    *,
    signer: Signer,
    clock: Clock,
    proxy: Proxy = None,
    settings: LinkSettings | None = None,
) -> Enrolled:
    """Enrol the holder of `signer` by `invitation`; tries each of its addresses once.

    Raises:
        LinkProblem: INVITATION_EXPIRED, INVITATION_USED, INVITATION, VERSION, CERTIFICATE, REVOKED,
            or UNREACHABLE when no address answers.
    """
    if invitation.expired(clock.now()):
        raise LinkProblem("this invitation has expired", code=ErrorCode.INVITATION_EXPIRED)
    times = settings or LinkSettings()
    last: LinkProblem | None = None
    for url in invitation.urls:
        try:
            async with asyncio.timeout(2 * times.open_s):
                pending = await _enrol_at(url, invitation, signer, proxy, times)
        except Exception as exc:
            trouble = connecting.explain(exc, url)
            last = trouble.problem
            if last.code is ErrorCode.CERTIFICATE:
                last = await with_issuer(last, url, proxy)
            if trouble.final:
                raise last from exc
            _log.info("enrolling failed: %s", last)
            continue
        member = membership.of_invitation(invitation, public_key=signer.public_key, now=clock.now())
        return Enrolled(membership=member, pending=pending)
    assert last is not None  # noqa: S101 - an invitation has at least one address
    raise last


async def with_issuer(problem: LinkProblem, url: str, proxy: Proxy) -> LinkProblem:
    """Return a certificate problem that also names who issued what was seen."""
    issuer = await connecting.issuer_seen(url, proxy=proxy)
    if issuer is None:
        return problem
    return LinkProblem(f"{problem.sentence}. It was issued by {issuer}", code=problem.code)


async def _enrol_at(
    url: str, invitation: Invitation, signer: Signer, proxy: Proxy, times: LinkSettings
) -> bool:
    connection = await connecting.open_socket(
        url, authority_pem=invitation.authority_pem, proxy=proxy, settings=times
    )
    try:
        return await _prove(connection, invitation, signer)
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await connection.close()
        connection.transport.abort()


async def _prove(connection: ClientConnection, invitation: Invitation, signer: Signer) -> bool:
    challenge = await connecting.challenged(connection, study=invitation.study)
    message = handshake.enrol_transcript(
        study=invitation.study,
        nonce=challenge.nonce,
        leaf_sha256=connecting.seen_leaf(connection),
        protocol=PROTOCOL,
        invitation=invitation.invitation,
        public_key=signer.public_key,
        terms_sha256=invitation.terms_sha256,
    )
    await connection.send(
        codec.encode(
            Enrol(
                invitation=invitation.invitation,
                public_key=signer.public_key,
                proof=handshake.proof(handshake.proof_key(invitation.secret), message),
                signature=signer.sign(message),
                version=app.__version__,
            )
        )
    )
    answer = await connecting.receive(connection)
    if not isinstance(answer, Welcome) or answer.site != invitation.site:
        raise PeerMistake("the coordinator did not welcome this site")
    return answer.pending
