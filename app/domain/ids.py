"""Names of things: sites, studies, cases, digests. Checked once, on arrival."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NewType

from app.domain.errors import DataProblem, ErrorCode, PeerMistake

SiteName = NewType("SiteName", str)
"""Lower-case name of a site within one study: letters, digits and hyphens, at most 40."""

StudyId = NewType("StudyId", str)
"""32 hexadecimal digits, drawn when the study is created."""

CaseId = NewType("CaseId", str)
"""Name of a case as the hospital's files have it. Never leaves the site."""

Digest = NewType("Digest", str)
"""SHA-256 as 64 lower-case hexadecimal digits."""

_SITE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_STUDY: Final = re.compile(r"[0-9a-f]{32}")


def site_name(text: str) -> SiteName:
    """Return `text` as a site name.

    Raises:
        DataProblem: it is not 1-40 lower-case letters, digits or inner hyphens.
    """
    if not _SITE.fullmatch(text):
        raise DataProblem(
            f"a site's name is 1 to 40 lower-case letters, digits or hyphens, not {text!r}",
            code=ErrorCode.SITE_NAME,
        )
    return SiteName(text)


def digest(text: str) -> Digest:
    """Return `text` as a SHA-256 digest; raises PeerMistake when it is not one."""
    if not _DIGEST.fullmatch(text):
        raise PeerMistake(f"not a SHA-256 digest: {text[:80]!r}")
    return Digest(text)


def study_id(text: str) -> StudyId:
    """Return `text` as a study id; raises PeerMistake when it is not one."""
    if not _STUDY.fullmatch(text):
        raise PeerMistake(f"not a study id: {text[:80]!r}")
    return StudyId(text)


def digest_of(data: bytes) -> Digest:
    """SHA-256 of `data`."""
    return Digest(hashlib.sha256(data).hexdigest())
