"""Reading an invitation, joining by it, and taking the link of a membership up again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from websockets.exceptions import InvalidProxy
from websockets.proxy import parse_proxy

from app.control.messages import InvitationView
from app.domain.errors import DataProblem, ErrorCode, FednnunetError, SetupProblem
from app.federation.study_file import terms_from_json
from app.site import enrolment, membership
from app.site.audit import AuditKind, AuditLog
from app.site.connecting import Proxy
from app.site.estimates import traffic_view
from app.site.home import SiteHome
from app.site.link import Link, LinkListener
from app.site.membership import Membership
from app.site.state import STUDY_RECORDS, Folder, MeasuredPace, SiteStore, StandingAllowance
from app.system.clock import Clock
from app.system.locks import HomeLock
from app.system.secrets import open_store
from app.system.settings import (
    NO_PROXY,
    SYSTEM_PROXY,
    Settings,
    load_settings,
    save_settings,
)
from app.wire.handshake import SigningKey
from app.wire.invitation import MAX_INVITATION, Invitation, unseal

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def read_invitation(path: Path) -> Invitation:
    """Return what an invitation file says; its signature is checked, nothing is joined.

    Raises:
        DataProblem: the file cannot be read.
        PeerMistake: it is not an invitation, or not intact.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INVITATION + 1)
    except OSError as exc:
        reason = exc.strerror or "no reason given"
        raise DataProblem(
            f"the invitation cannot be read: {reason}", code=ErrorCode.INVITATION
        ) from exc
    return unseal(data)


def invitation_view(
    invitation: Invitation, *, clock: Clock, already: bool, pace: MeasuredPace | None = None
) -> InvitationView:
    """Return what a person reads before joining, with the reason when it cannot be joined.

    Raises:
        PeerMistake: its terms cannot be used by this version.
    """
    terms = terms_from_json(invitation.terms)
    problem: FednnunetError | None = None
    if invitation.expired(clock.now()):
        problem = SetupProblem("this invitation has expired", code=ErrorCode.INVITATION_EXPIRED)
    elif already:
        problem = SetupProblem(
            "this site already takes part in a study; leave that one first",
            code=ErrorCode.STUDY_STATE,
        )
    return InvitationView(
        study=terms.name,
        purpose=terms.purpose,
        contact=terms.contact,
        coordinator=invitation.urls[0],
        site=invitation.site,
        policy=terms.discloses,
        expires_at=float(invitation.not_after),
        rounds=terms.total_rounds,
        folds=len(terms.folds),
        stages=len(terms.passes),
        method=terms.method.value,
        problem="" if problem is None else str(problem),
        remedy="" if problem is None else problem.remedy,
        traffic=traffic_view(terms, tensors=None, pace=pace, now=clock.now()),
    )


async def join_by(path: Path, *, home: Path, clock: Clock) -> Membership:
    """Join the study of an invitation file that a person has read.

    Raises:
        DataProblem, PeerMistake: the file cannot be used.
        LinkProblem: the coordinator cannot be reached or refuses.
        SetupProblem: the key or the membership cannot be kept.
    """
    invitation = await asyncio.to_thread(read_invitation, path)
    terms_from_json(invitation.terms)
    store = await asyncio.to_thread(open_store, home)
    enrolled = await enrolment.join(
        invitation, home=home, store=store, clock=clock, proxy=_proxy_of(home, invitation.urls)
    )
    return enrolled.membership


async def join_study(
    path: Path, *, home: Path, data: Path, allow_fingerprint: str | None, clock: Clock
) -> str:
    """Join without a running service (command line): also note the folder; return the study's title.

    `allow_fingerprint` is the name of the operator who allows the fingerprint to be shared as
    soon as the check lets it through; the audit log will name it so.

    Raises:
        SetupProblem: a service runs for this home (SERVICE_RUNNING), or it is in a study already.
        DataProblem, PeerMistake, LinkProblem: as `join_by`.
    """
    with HomeLock(home):
        if membership.load(home) is not None:
            raise SetupProblem(
                "this site already takes part in a study; leave that one first",
                code=ErrorCode.STUDY_STATE,
            )
        if not data.is_dir():
            raise DataProblem(f"{data} is not a folder", code=ErrorCode.FOLDER_MISSING)
        operator = None if allow_fingerprint is None else " ".join(allow_fingerprint.split())
        if operator == "":
            raise DataProblem("give the operator's name", code=ErrorCode.NOT_ALLOWED)
        store = SiteStore(SiteHome(root=home).database)
        store.close()
        joined = await join_by(path, home=home, clock=clock)
        remember_joining(home, joined, data=data, operator=operator, clock=clock)
        return joined.title


def remember_joining(
    home: Path, joined: Membership, *, data: Path, operator: str | None, clock: Clock
) -> None:
    """Keep the folder and the standing allowance, and write the joining to the audit log."""
    store = SiteStore(SiteHome(root=home).database)
    try:
        store.drop(*STUDY_RECORDS)
        store.drop_epochs()
        before = store.get(Folder)
        store.put(Folder(path=str(data), serial=1 if before is None else before.serial + 1))
        if operator is not None:
            store.put(StandingAllowance(operator=operator))
        AuditLog(store.database, SiteHome(root=home).audit).append(
            AuditKind.STUDY_JOINED,
            now=clock.now(),
            study=joined.study,
            site=joined.site,
            standing=operator is not None,
            operator=operator or "",
        )
    finally:
        store.close()


async def open_link(
    joined: Membership, listener: LinkListener, *, home: Path, clock: Clock
) -> Link:
    """Return the link of a membership, with the site's key from the secret store.

    Raises:
        SetupProblem: the secret store is locked, or the key is gone (SECRET_STORE).
    """
    store = await asyncio.to_thread(open_store, home)
    seed = await asyncio.to_thread(store.get, joined.key_name)
    if seed is None:
        raise SetupProblem(
            "this site's key is not in the key store of this computer; a new invitation is needed",
            code=ErrorCode.SECRET_STORE,
        )
    return Link(
        membership=joined,
        signer=SigningKey(seed),
        listener=listener,
        clock=clock,
        proxy=_proxy_of(home, joined.urls),
    )


async def forget(joined: Membership, *, home: Path) -> None:
    """Remove the membership and its key; raises SetupProblem when the secret store is locked."""
    membership.forget(home)
    store = await asyncio.to_thread(open_store, home)
    await asyncio.to_thread(store.delete, joined.key_name)


def choose_proxy(home: Path, proxy: str) -> Settings:
    """Keep a choice of proxy in the settings of `home`: "system", "none" or an address.

    Raises:
        SetupProblem: it is none of these, or the settings cannot be written.
    """
    chosen = proxy.strip()
    if chosen not in (SYSTEM_PROXY, NO_PROXY):
        try:
            known = parse_proxy(chosen).scheme in ("http", "https")
        except (InvalidProxy, ValueError):
            known = False
        if not known:
            # Without repeating the address, which may have a password in it.
            raise SetupProblem(
                "the proxy's address is not valid; write it as http://host:port",
                code=ErrorCode.SETTING,
            )
    settings = msgspec.structs.replace(load_settings(home), proxy=chosen)
    save_settings(home, settings)
    return settings


def shown_proxy(proxy: str) -> str:
    """Return a choice of proxy without name and password."""
    if proxy in (SYSTEM_PROXY, NO_PROXY):
        return proxy
    try:
        address = parse_proxy(proxy)
    except (InvalidProxy, ValueError):
        return "not valid"
    return f"{address.scheme}://{address.host}:{address.port}"


def proxy_for(urls: tuple[str, ...], *, setting: str = SYSTEM_PROXY) -> Proxy:
    """Return the proxy to use: the chosen one, else the system's.

    The system's is never asked for a coordinator on this very computer.
    """
    if setting == NO_PROXY:
        return None
    if setting != SYSTEM_PROXY:
        return setting
    return None if all(urlsplit(url).hostname in _LOOPBACK for url in urls) else True


def _proxy_of(home: Path, urls: tuple[str, ...]) -> Proxy:
    return proxy_for(urls, setting=load_settings(home).proxy)
