"""A file that arrives in chunks and survives a crash at any moment.

Beside the growing file lies a journal with one record per chunk (offset, length, checksum). After
a crash, whole chunks that the journal vouches for are kept and the rest is cut off, so nothing is
sent twice but what was in flight, and a torn write or rotten bit does not count as received. Every
8 MiB the bytes should be forced to disk (`sync_due`), so that a power failure costs no more. The same
call reads them back and takes them into the file's SHA-256, in a thread beside the transfer: at the
end only the last few MiB are left to hash (decision 0020).

Commit is: check the digest of what was read back, force it out, rename, force the folder out.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.domain.errors import OurMistake
from app.system.atomic import sync_folder
from app.wire import blobs

SYNC_EVERY: Final = 8 << 20
_RECORD: Final = struct.Struct(">QII")
_BLOCK: Final = 1 << 20


class PartialFile:
    """One arriving file; `offset` bytes from its beginning are there and intact.

    Every method may block on the disk; only `append`, which takes 0.1 ms a chunk, may be called on
    an event loop. Calls from several threads take
    turns, and after `close` nothing is written any more: a thread that comes late must not write
    into whatever file has the same descriptor by then. OSError is the caller's to explain (a full
    disk is ENOSPC, a closed file EBADF).
    """

    def __init__(self, path: Path) -> None:
        """Open what an earlier run left at `path`, or start anew; reads what is there once."""
        self.path = path
        self._turn = threading.RLock()
        self._hashing = threading.Lock()
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._journal_path = path.with_name(path.name + ".journal")
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        self._file = os.open(path, flags, 0o600)
        try:
            self._journal = os.open(self._journal_path, flags, 0o600)
        except OSError:
            os.close(self._file)
            raise
        self.offset = self._recover()
        self._unsynced = 0

    def append(self, data: bytes | memoryview, checksum: int) -> None:
        """Keep `data`, whose checksum (see `app.wire.blobs`) is known, at the offset."""
        with self._turn:
            _write_at(self._file, data, self.offset)
            record = _RECORD.pack(self.offset, len(data), checksum)
            # Only after the bytes: a record speaks of bytes that were written.
            _write_at(self._journal, record, self._records * _RECORD.size)
            self._records += 1
            self.offset += len(data)
            self._unsynced += len(data)

    @property
    def sync_due(self) -> bool:
        """Whether so much was appended that `sync` should be called now."""
        return self._unsynced >= SYNC_EVERY

    def sync(self) -> None:
        """Hash what was appended so far and force it to the disk; appending may go on meanwhile."""
        with self._turn:
            # Of copies, so that appending goes on meanwhile.
            copies = [os.dup(self._file), os.dup(self._journal)]
            self._unsynced = 0
        try:
            self._take_into_digest()
            for copy in copies:
                force_data(copy)
        finally:
            for copy in copies:
                os.close(copy)

    def restart(self) -> None:
        """Throw away every byte."""
        with self._hashing, self._turn:
            os.ftruncate(self._file, 0)
            os.ftruncate(self._journal, 0)
            self.offset = self._records = self._unsynced = 0
            self._digest, self._hashed = hashlib.sha256(), 0

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes below the offset, in hexadecimal.

        Each byte is read back once, after it was written. Whoever changes the file behind our back
        afterwards is found when the blob is read again before it is used.
        """
        self._take_into_digest()
        return self._digest.hexdigest()

    def commit(self, target: Path) -> None:
        """Give the file its final name; after this returns it survives a power failure."""
        with self._turn:
            force_data(self._file)
            self.close()
            self.path.replace(target)
            sync_folder(target.parent)
        self._journal_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Close and remove the file and its journal."""
        self.close()
        self.path.unlink(missing_ok=True)
        self._journal_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files and keep them for later; closing twice is harmless."""
        with self._turn:
            if self._file >= 0:
                os.close(self._file)
                os.close(self._journal)
                self._file = self._journal = -1

    def _take_into_digest(self) -> None:
        """Read back and hash what was appended since the last time."""
        buffer = bytearray(_BLOCK)
        with self._hashing, memoryview(buffer) as view, self.path.open("rb", buffering=0) as file:
            file.seek(self._hashed)
            end = self.offset
            while self._hashed < end:
                count = file.readinto(view[: min(_BLOCK, end - self._hashed)])
                if not count:
                    raise OurMistake("an arriving file has become shorter")
                self._digest.update(view[:count])
                self._hashed += count

    def _recover(self) -> int:
        """Keep and hash the chunks that the journal vouches for; return where they end."""
        offset = records = 0
        with self._journal_path.open("rb") as journal, self.path.open("rb") as file:
            while len(raw := journal.read(_RECORD.size)) == _RECORD.size:
                start, length, given = _RECORD.unpack(raw)
                if start != offset or not 0 < length <= _BLOCK:
                    break
                data = file.read(length)
                if len(data) != length or blobs.checksum(data) != given:
                    break
                self._digest.update(data)
                offset += length
                records += 1
        self._hashed = offset
        os.ftruncate(self._file, offset)
        os.ftruncate(self._journal, records * _RECORD.size)
        self._records = records
        return offset


def file_sha256(path: Path, *, progress: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file in hexadecimal, 1 MiB in memory at a time."""
    digest = hashlib.sha256()
    buffer = bytearray(_BLOCK)
    with path.open("rb", buffering=0) as file, memoryview(buffer) as view:
        while count := file.readinto(view):
            digest.update(view[:count])
            if progress is not None:
                progress(count)
    return digest.hexdigest()


def force_data(descriptor: int) -> None:
    """Force a file's bytes to the disk (fdatasync where there is one)."""
    if sys.platform == "linux":
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def _write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`; a short write (a full disk) is tried until it raises."""
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            if sys.platform == "win32":
                written = os.write(descriptor, view[done:])
            else:
                written = os.pwrite(descriptor, view[done:], offset + done)
            if written == 0:
                raise OurMistake("the disk takes no byte and gives no reason")
            done += written
