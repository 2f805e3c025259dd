"""The coordinator's folder: what lies where, and how a study is made and a site invited.

The authority's key signs invitations. It lies in the home as a private file, because a coordinator
runs without a person who could unlock a key store; keep the home on an encrypted disk.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.coordinator.auditing import CoordinatorEntry, open_audit
from app.coordinator.members import MemberStore
from app.coordinator.spool import Spool
from app.coordinator.store import StudyStore
from app.domain.errors import DataProblem, ErrorCode, SetupProblem, safe_text
from app.domain.ids import StudyId, site_name, study_id
from app.domain.study import Admission, StudyTerms
from app.federation.study_file import parse_study, terms_from_json, terms_to_json
from app.system.atomic import make_folder, write_atomic
from app.system.clock import Clock, SystemClock
from app.system.tls import (
    Authority,
    ServerCertificate,
    create_authority,
    issue_server_certificate,
    load_server_certificate,
)
from app.wire.handshake import SigningKey
from app.wire.invitation import SUFFIX, is_address, seal

_AUTHORITY_KEY: Final = "authority.key"
_AUTHORITY_CERTIFICATE: Final = "authority.crt"
_DAY_S: Final = 24 * 3600
_LOOPBACK: Final = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorHome:
    """Where the parts of one study lie."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "study.sqlite"

    @property
    def members(self) -> Path:
        return self.folder / "members.sqlite"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def tls(self) -> Path:
        return self.folder / "tls"

    @property
    def jobs(self) -> Path:
        return self.folder / "jobs"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"


def create_study(study_file: Path, folder: Path, *, host: str, port: int, clock: Clock) -> str:
    """Make a study in `folder` from a study file; return its name.

    Raises:
        DataProblem: the study file cannot be read or an entry of it is wrong; no site could dial
            `host` and `port`.
        SetupProblem: the folder holds a study already or cannot be written.
    """
    try:
        text = study_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise DataProblem(
            f"the study file {study_file} cannot be read", code=ErrorCode.STUDY_FILE
        ) from exc
    terms = parse_study(text)
    if not is_address(address_of(host, port)):
        raise DataProblem(
            f"sites cannot dial {safe_text(host)!r} at port {port}", code=ErrorCode.ADDRESS
        )
    home = CoordinatorHome(folder=folder)
    if home.database.exists():
        raise SetupProblem(
            f"{folder} already holds a study; choose another --home", code=ErrorCode.WORKSPACE
        )
    make_folder(folder)
    identity = study_id(secrets.token_hex(16))
    authority = create_authority(identity, now=clock.now())
    make_folder(home.tls)
    write_atomic(home.tls / _AUTHORITY_KEY, authority.key.seed)
    write_atomic(home.tls / _AUTHORITY_CERTIFICATE, authority.certificate_pem.encode())
    hosts = tuple(dict.fromkeys((host, *_LOOPBACK)))
    issue_server_certificate(authority, hosts=hosts, now=clock.now(), folder=home.tls)
    # The database is written last: a study exists when it does.
    store = StudyStore(home.database)
    try:
        store.create(
            identity=identity,
            terms=terms_to_json(terms),
            host=host,
            port=port,
            created_at=clock.now(),
        )
    finally:
        store.close()
    with open_audit(folder, clock) as audit:
        audit.append(
            CoordinatorEntry.STUDY_CREATED,
            study=identity,
            terms=hashlib.sha256(terms_to_json(terms)).hexdigest(),
        )
    return terms.name


def write_invitation(folder: Path, *, site: str, out: Path, days: int, clock: Clock) -> None:
    """Write a signed invitation for `site` to `out`.

    Raises:
        DataProblem: the site's name is no name, it is a member already, or `days` is not 1 to 14.
        SetupProblem: there is no study, or `out` cannot be written.
    """
    home = CoordinatorHome(folder=folder)
    store = StudyStore.open(home.database)
    try:
        terms, (host, port) = terms_from_json(store.terms), store.address
        members = open_members(home, store.identity, terms, clock)
        try:
            invitation = members.create_invitation(
                site=site_name(site),
                title=terms.name,
                urls=(address_of(host, port),),
                authority_pem=(home.tls / _AUTHORITY_CERTIFICATE).read_text(encoding="ascii"),
                terms=store.terms,
                life_s=days * _DAY_S,
            )
        finally:
            members.close()
    finally:
        store.close()
    target = out if out.suffix == SUFFIX else out.with_name(out.name + SUFFIX)
    write_atomic(target, seal(invitation, load_authority(home).key.sign).encode())
    with open_audit(folder, clock) as audit:
        audit.append(CoordinatorEntry.SITE_INVITED, site=invitation.site)


def open_members(
    home: CoordinatorHome, identity: StudyId, terms: StudyTerms, clock: Clock
) -> MemberStore:
    """Open the study's invitations and members."""
    return MemberStore(
        home.members,
        study=identity,
        clock=clock,
        approval=terms.admission is Admission.APPROVAL,
    )


def load_authority(home: CoordinatorHome) -> Authority:
    """Read the study's authority; raises SetupProblem when it is missing."""
    try:
        return Authority(
            key=SigningKey((home.tls / _AUTHORITY_KEY).read_bytes()),
            certificate_pem=(home.tls / _AUTHORITY_CERTIFICATE).read_text(encoding="ascii"),
        )
    except OSError as exc:
        raise SetupProblem(f"the study's certificates are missing from {home.tls}") from exc


def load_certificate(home: CoordinatorHome) -> ServerCertificate:
    """Read the coordinator's own certificate; raises SetupProblem when it is missing."""
    return load_server_certificate(home.tls)


def study_terms(folder: Path) -> StudyTerms:
    """Read the terms of the study in `folder`; raises SetupProblem when there is none."""
    store = StudyStore.open(CoordinatorHome(folder=folder).database)
    try:
        return terms_from_json(store.terms)
    finally:
        store.close()


def artefact_file(folder: Path, name: str) -> Path:
    """Return the file of a blob that the coordinator made: plan, merged, initial, model-<round>.

    Raises:
        DataProblem: the study has not come so far yet.
    """
    home = CoordinatorHome(folder=folder)
    store = StudyStore.open(home.database)
    try:
        found = store.artefact(name)
        spool = Spool(home.spool, study=store.identity, clock=SystemClock())
        try:
            if found is not None and spool.holds(found[0]):
                return spool.path(found[0])
        finally:
            spool.close()
    finally:
        store.close()
    raise DataProblem(f"the study has no {name} yet", code=ErrorCode.STUDY_STATE)


def address_of(host: str, port: int) -> str:
    """Return the address that sites dial."""
    return f"wss://[{host}]:{port}" if ":" in host else f"wss://{host}:{port}"
