"""A site's membership of a study, as a file in the site's home. The key is kept elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from app.domain.errors import ErrorCode, SetupProblem
from app.domain.ids import SiteName, StudyId
from app.system.atomic import make_folder, write_atomic
from app.wire import handshake
from app.wire.invitation import Invitation
from app.wire.messages import Name, PublicKey, StudyKey, Text

FILE_NAME: Final = "membership.json"
KEY_NAME: Final = "site-key"
"""Name of the site's seed in the secret store, before the study's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Everything a site needs to find and to trust its coordinator; `terms` is canonical JSON."""

    study: StudyId
    title: str
    site: SiteName
    urls: tuple[str, ...]
    authority_pem: str
    terms: bytes
    public_key: bytes
    joined_at: float

    @property
    def words(self) -> str:
        """The six words that both screens show."""
        return handshake.six_words(self.public_key)

    @property
    def key_name(self) -> str:
        """Under which name the site's seed lies in the secret store."""
        return f"{KEY_NAME}-{self.study}"


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Annotated[int, Meta(ge=1, le=1)]
    study: StudyKey
    title: Text
    site: Name
    urls: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=4)]
    authority_pem: Annotated[str, Meta(max_length=4000)]
    terms: bytes
    public_key: PublicKey
    joined_at: float


def of_invitation(invitation: Invitation, *, public_key: bytes, now: float) -> Membership:
    """Return the membership that an accepted invitation gives to the holder of `public_key`."""
    return Membership(
        study=invitation.study,
        title=invitation.title,
        site=invitation.site,
        urls=invitation.urls,
        authority_pem=invitation.authority_pem,
        terms=invitation.terms,
        public_key=public_key,
        joined_at=now,
    )


def save(home: Path, membership: Membership) -> None:
    """Write the membership to `home`, whole or not at all.

    Raises:
        SetupProblem: the folder cannot be written.
    """
    document = _File(
        version=1,
        study=membership.study,
        title=membership.title,
        site=membership.site,
        urls=membership.urls,
        authority_pem=membership.authority_pem,
        terms=membership.terms,
        public_key=membership.public_key,
        joined_at=membership.joined_at,
    )
    make_folder(home)
    write_atomic(home / FILE_NAME, msgspec.json.format(msgspec.json.encode(document), indent=1))


def load(home: Path) -> Membership | None:
    """Return the membership kept in `home`; None when this site has not joined a study.

    Raises:
        SetupProblem: the file is there but cannot be read.
    """
    try:
        data = (home / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise SetupProblem(
            f"the membership cannot be read: {exc.strerror}", code=ErrorCode.NO_PERMISSION
        ) from exc
    try:
        document = msgspec.json.decode(data, type=_File, strict=True)
    except msgspec.MsgspecError as exc:
        raise SetupProblem(f"the membership file is damaged: {exc}") from exc
    return Membership(
        study=StudyId(document.study),
        title=document.title,
        site=SiteName(document.site),
        urls=document.urls,
        authority_pem=document.authority_pem,
        terms=document.terms,
        public_key=document.public_key,
        joined_at=document.joined_at,
    )


def forget(home: Path) -> None:
    """Remove the membership; the key stays until the secret store is told to forget it."""
    (home / FILE_NAME).unlink(missing_ok=True)
