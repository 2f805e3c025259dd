"""Blobs on the coordinator's disk: what sites send, what it publishes, each named by its SHA-256.

`blobs/<sha256>` is whole and checked. `partial/` holds what is on its way. Which site sent which
blob is in `spool.sqlite`: a site may only refer to what it sent itself. The order on the way in
is write, force out, rename, force the folder out, record, answer; so an answer is never lost.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.domain.errors import ErrorCode, OurMistake, PeerMistake
from app.domain.ids import SiteName, StudyId, digest
from app.system.atomic import sync_folder
from app.system.clock import Clock
from app.system.partial_files import PartialFile, file_sha256, force_data
from app.wire.messages import Blob, BlobKind

PARTIAL_LIFE_S: Final = 24 * 3600
RESERVE_BYTES: Final = 2 << 30
"""Free space that uploads leave alone, for the database and the averages."""

_PARTIAL: Final = re.compile(r"(?P<site>[a-z0-9-]{1,40})\.[0-9a-f]{32}\.part(\.journal)?")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS received (
    site TEXT NOT NULL, sha256 TEXT NOT NULL, kind TEXT NOT NULL, size INTEGER NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (site, sha256)) STRICT;
"""


class Spool:
    """The coordinator's blobs. Its database belongs to the thread that made it."""

    def __init__(
        self, folder: Path, *, study: StudyId, clock: Clock, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        self._study = study
        self._clock = clock
        self._reserve_bytes = reserve_bytes
        self._blobs = folder / "blobs"
        self._partial = folder / "partial"
        for part in (self._blobs, self._partial):
            part.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(folder / "spool.sqlite", isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database; it cannot be used afterwards."""
        self._database.close()

    # --- blobs

    def path(self, sha256: str) -> Path:
        """Return where the blob lies or would lie."""
        return self._blobs / digest(sha256)

    def holds(self, sha256: str) -> bool:
        """Whether the blob is here, whole."""
        return self.path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """Return the blob's bytes; raises FileNotFoundError when it is not here."""
        return self.path(sha256).stat().st_size

    def keep_bytes(self, data: bytes) -> Blob:
        """Keep bytes of our own as a blob; durable when this returns."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.holds(sha256):
            partial = self._partial / f"own.{sha256[:32]}.part"
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                force_data(file.fileno())
            partial.replace(self.path(sha256))
            sync_folder(self._blobs)
        return Blob(sha256=sha256, size=len(data))

    def keep_file(self, path: Path) -> Blob:
        """Move a file of our own in as a blob; durable when this returns. Belongs in a thread."""
        sha256 = file_sha256(path)
        size = path.stat().st_size
        with path.open("rb+") as file:
            force_data(file.fileno())
        # A rename across file systems is a copy; copy next to the target first, then rename.
        partial = self._partial / f"own.{sha256[:32]}.part"
        if path != partial:
            shutil.move(path, partial)
            with partial.open("rb+") as file:
                force_data(file.fileno())
        partial.replace(self.path(sha256))
        sync_folder(self._blobs)
        return Blob(sha256=sha256, size=size)

    def verify(self, sha256: str) -> Path:
        """Return the blob's path after reading it again. Belongs in a thread.

        Raises:
            OurMistake: it is missing, or the disk has changed it; a changed one is removed, so
                that the site is asked to send it again.
        """
        path = self.path(sha256)
        try:
            found = file_sha256(path)
        except FileNotFoundError as exc:
            raise OurMistake(f"the blob {sha256[:12]} is not in the spool") from exc
        if found != sha256:
            path.unlink(missing_ok=True)
            raise OurMistake(f"the disk has changed the blob {sha256[:12]}; it was removed")
        return path

    def discard(self, sha256: str) -> None:
        """Forget a blob that is no longer needed; a missing one is harmless."""
        self._database.execute("DELETE FROM received WHERE sha256=?", (sha256,))
        self.path(sha256).unlink(missing_ok=True)

    # --- receiving

    def room_for(self, size: int) -> bool:
        """Whether a blob of `size` bytes can be taken in without filling the disk."""
        return shutil.disk_usage(self._blobs).free >= size * 1.1 + self._reserve_bytes

    def upload_id(self, site: SiteName, kind: BlobKind, blob: Blob) -> bytes:
        """Return the upload's 16 bytes: the same after any crash, so it resumes."""
        name = f"{self._study}/{site}/{kind.value}/{blob.sha256}/{blob.size}"
        return hashlib.sha256(name.encode()).digest()[:16]

    def partial(self, site: SiteName, upload: bytes) -> PartialFile:
        """Open or make the site's arriving file and remove its others. Belongs in a thread."""
        path = self._partial / f"{site}.{upload.hex()}.part"
        for other in self._partial.iterdir():
            match = _PARTIAL.fullmatch(other.name)
            if match and match["site"] == site and not other.name.startswith(path.name):
                other.unlink(missing_ok=True)
        return PartialFile(path)

    def check_and_place(
        self, partial: PartialFile, blob: Blob, check: Callable[[Path], None]
    ) -> bool:
        """Make an arrived file a blob; False when its bytes are not those of its name.

        Reads it again, asks `check`, which raises to refuse, then renames it. Belongs in a
        thread. Anything that `check` raises passes through; the file is then removed.

        Raises:
            PeerMistake: the file has another size than the blob.
        """
        if partial.offset != blob.size:
            raise PeerMistake(
                f"an upload of {partial.offset} bytes was committed as one of {blob.size}",
                code=ErrorCode.PROTOCOL,
            )
        if partial.sha256() != blob.sha256:
            partial.restart()
            return False
        try:
            check(partial.path)
        except Exception:
            partial.discard()
            raise
        partial.commit(self.path(blob.sha256))
        return True

    def record(self, site: SiteName, kind: BlobKind, blob: Blob) -> None:
        """Note that `site` sent `blob`; durable when this returns."""
        self._database.execute(
            "INSERT OR REPLACE INTO received (site, sha256, kind, size, at) VALUES (?,?,?,?,?)",
            (site, blob.sha256, kind.value, blob.size, self._clock.now()),
        )

    def has_from(self, site: SiteName, kind: BlobKind, blob: Blob) -> bool:
        """Whether `site` itself has sent this blob as this kind, and it is still here."""
        row = self._database.execute(
            "SELECT 1 FROM received WHERE site=? AND sha256=? AND kind=? AND size=?",
            (site, blob.sha256, kind.value, blob.size),
        ).fetchone()
        return row is not None and self.holds(blob.sha256)

    def received(self, site: SiteName) -> frozenset[str]:
        """Return the digests of what `site` has sent and is still here."""
        rows = self._database.execute("SELECT sha256 FROM received WHERE site=?", (site,))
        return frozenset(row[0] for row in rows if self.holds(row[0]))

    def arriving(self) -> dict[SiteName, int]:
        """Return how many bytes each site's arriving files hold: they grow while it sends."""
        sizes: dict[SiteName, int] = {}
        for path in self._partial.iterdir():
            match = _PARTIAL.fullmatch(path.name)
            if match is None or match[2] is not None:
                continue
            try:
                site = SiteName(match["site"])
                sizes[site] = sizes.get(site, 0) + path.stat().st_size
            except OSError:  # it was committed or removed meanwhile
                continue
        return sizes

    def expire(self) -> int:
        """Remove arriving files that nobody has touched for a day; return how many."""
        removed = 0
        oldest = self._clock.now() - PARTIAL_LIFE_S
        for path in self._partial.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
            except OSError:  # it was committed or removed meanwhile
                continue
        return removed
