"""What a check found: every finding, each with its case, sentence and remedy. Stays at the site."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.Enum):
    """How much a finding matters for training."""

    BLOCKS = "blocks"
    MAY_HARM = "may harm"
    HARMLESS = "harmless"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a check found.

    `check` is the stable name of the check (e.g. ``label-values``), `case` is None where the
    finding is about the folder, `path` is relative to the folder, `voxel` is an index (z, y, x)
    that a viewer can open at.
    """

    check: str
    severity: Severity
    sentence: str
    remedy: str
    case: str | None = None
    path: str | None = None
    voxel: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationReport:
    """All findings about one folder, with the digest of what was checked.

    `content_digest` is a SHA-256 over the sorted (relative path, size, modification time) of the
    checked files: an allowance or a fingerprint made for another digest is stale.
    """

    folder: str
    cases: int
    content_digest: str
    findings: tuple[Finding, ...]

    @property
    def blocks(self) -> bool:
        """True when at least one finding must be mended before training."""
        return any(finding.severity is Severity.BLOCKS for finding in self.findings)
