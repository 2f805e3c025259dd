"""Where the keys of this computer are kept: the system's key store, or an encrypted file.

Only 32-byte seeds and the like go in. Of `keyring`'s backends only those that the operating system
protects are used; one that keeps secrets in plain text is never used, whatever is installed. Where
there is none (servers, containers), an encrypted file takes its place: Argon2id and AES-256-GCM
under the passphrase in FEDNNUNET_PASSPHRASE, or, without one, under a random key in a file beside
it that only this user can read. The latter protects against other users and stray backups of the
one file, not against whoever can read both; `description` says so.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from msgspec import Meta

from app.domain.errors import ErrorCode, SetupProblem
from app.system.atomic import make_folder, write_atomic

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

PASSPHRASE_VARIABLE: Final = "FEDNNUNET_PASSPHRASE"  # noqa: S105 - a name
SERVICE: Final = "FednnU-Net Desktop"
LARGEST_SECRET: Final = 1024
"""Bytes; the Windows Credential Manager takes 2560 bytes of UTF-16, 1280 letters."""

_TRUSTED: Final = frozenset(
    {
        "keyring.backends.Windows.WinVaultKeyring",
        "keyring.backends.macOS.Keyring",
        "keyring.backends.SecretService.Keyring",
        "keyring.backends.kwallet.DBusKeyring",
        "keyring.backends.kwallet.DBusKeyringKWallet4",
        "keyring.backends.kwallet.DBusKeyringKWallet5",
        "keyring.backends.libsecret.Keyring",
    }
)
_CHAINER: Final = "keyring.backends.chainer.ChainerBackend"

# RFC 9106's second recommendation: 64 MiB, 3 passes, 4 lanes.
_MEMORY_KIB: Final = 64 * 1024
_PASSES: Final = 3
_LANES: Final = 4


class SecretStore(Protocol):
    """Keeps small secrets by name. Calls may block (a key store may ask to be unlocked)."""

    @property
    def description(self) -> str:
        """Say in a sentence where the secrets lie and what protects them."""
        ...

    def get(self, name: str) -> bytes | None:
        """Return a secret, None when there is none; raises SetupProblem when locked or damaged."""
        ...

    def set(self, name: str, secret: bytes) -> None:
        """Keep a secret, replacing an earlier one; raises SetupProblem when that fails."""
        ...

    def delete(self, name: str) -> None:
        """Forget a secret; forgetting what is not there is harmless."""
        ...


def open_store(
    folder: Path, *, passphrase: str | None = None, backend: KeyringBackend | None = None
) -> SecretStore:
    """Return the best store of this computer for secrets that belong to `folder`.

    An existing encrypted file in `folder` is used again, so that a key does not vanish when a
    server suddenly has a key store. A passphrase, given or in the environment, asks for the file.
    `backend` is the key store to judge instead of the system's. May block.

    Raises:
        SetupProblem: the encrypted file cannot be opened with this passphrase.
    """
    words = passphrase if passphrase is not None else os.environ.get(PASSPHRASE_VARIABLE)
    path = folder / "secrets.json"
    if not words and not path.exists():
        with contextlib.suppress(SetupProblem):
            return KeyringStore(_system_backend() if backend is None else backend, folder)
    return FileStore(path, passphrase=words or None)


# --- the system's key store --------------------------------------------------------------------


class KeyringStore:
    """The operating system's key store, if it is one of those that protect what they keep."""

    def __init__(self, backend: KeyringBackend, folder: Path) -> None:
        """Try the backend out.

        Raises:
            SetupProblem: it is not on the list, keeps plain text, or does not work here.
        """
        self._backend = backend
        self._prefix = f"{folder.resolve()}:"
        if not _trusted(backend):
            raise SetupProblem(
                f"the key store {_class_name(backend)} does not protect what it keeps",
                code=ErrorCode.SECRET_STORE,
            )
        probe, value = f"probe-{secrets.token_hex(8)}", secrets.token_bytes(32)
        self.set(probe, value)
        try:
            if self.get(probe) != value:
                raise SetupProblem(
                    "the key store returned another value than it was given",
                    code=ErrorCode.SECRET_STORE,
                )
        finally:
            self.delete(probe)

    @property
    def description(self) -> str:
        return f"in the key store of this computer ({self._backend.name})"

    def get(self, name: str) -> bytes | None:
        try:
            text = self._backend.get_password(SERVICE, self._prefix + name)
            return None if text is None else base64.b64decode(text, validate=True)
        except Exception as exc:  # backends raise what their system's bindings raise
            raise _failed("read from") from exc

    def set(self, name: str, secret: bytes) -> None:
        _check_size(secret)
        try:
            self._backend.set_password(
                SERVICE, self._prefix + name, base64.b64encode(secret).decode()
            )
        except Exception as exc:
            raise _failed("write to") from exc

    def delete(self, name: str) -> None:
        if self.get(name) is None:
            return
        try:
            self._backend.delete_password(SERVICE, self._prefix + name)
        except Exception as exc:
            raise _failed("delete from") from exc


def _system_backend() -> KeyringBackend:
    import keyring

    return keyring.get_keyring()


def _trusted(backend: KeyringBackend) -> bool:
    """Whether `backend`, and everything a chain of backends would use, is on the list."""
    name = _class_name(backend)
    if name == _CHAINER:
        chain = list(getattr(backend, "backends", ()))
        return bool(chain) and all(_class_name(link) in _TRUSTED for link in chain)
    return name in _TRUSTED


def _class_name(backend: object) -> str:
    kind = type(backend)
    return f"{kind.__module__}.{kind.__qualname__}"


def _failed(doing: str) -> SetupProblem:
    return SetupProblem(
        f"could not {doing} the key store of this computer; it may be locked",
        code=ErrorCode.SECRET_STORE,
    )


# --- an encrypted file -------------------------------------------------------------------------

_Bytes = Annotated[bytes, Meta(max_length=4 * LARGEST_SECRET)]


class _Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    nonce: Annotated[bytes, Meta(min_length=12, max_length=12)]
    sealed: _Bytes


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Annotated[int, Meta(ge=1, le=1)]
    by_passphrase: bool
    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
    check: _Sealed
    secrets: Annotated[dict[str, _Sealed], Meta(max_length=1000)]


_CHECK_NAME: Final = "\0check"
_CHECK_VALUE: Final = b"fednnunet"


class FileStore:
    """A file of secrets, each sealed with AES-256-GCM and bound to its name."""

    def __init__(self, path: Path, *, passphrase: str | None = None) -> None:
        """Open or make the file. Deriving the key takes about 0.1 s and 64 MiB.

        Raises:
            SetupProblem: wrong or missing passphrase, a damaged file, or no permission.
        """
        self._path = path
        self._key_path = path.with_suffix(".key")
        try:
            if path.exists():
                self._file = self._read()
                self._key = self._derive(passphrase, self._file.salt)
                self._unseal(_CHECK_NAME, self._file.check)
            else:
                make_folder(path.parent)
                salt = secrets.token_bytes(16)
                self._by_passphrase = passphrase is not None
                self._key = self._derive(passphrase, salt)
                self._file = _File(
                    version=1,
                    by_passphrase=self._by_passphrase,
                    salt=salt,
                    check=self._seal(_CHECK_NAME, _CHECK_VALUE),
                    secrets={},
                )
                self._write()
        except OSError as exc:
            raise SetupProblem(
                f"the file of secrets cannot be opened: {exc.strerror}",
                code=ErrorCode.NO_PERMISSION,
            ) from exc

    @property
    def description(self) -> str:
        if self._by_passphrase:
            return f"in an encrypted file, opened by the passphrase in {PASSPHRASE_VARIABLE}"
        return "in an encrypted file whose key lies beside it; both are readable only by this user"

    def get(self, name: str) -> bytes | None:
        sealed = self._file.secrets.get(name)
        return None if sealed is None else self._unseal(name, sealed)

    def set(self, name: str, secret: bytes) -> None:
        _check_size(secret)
        self._replace({**self._file.secrets, name: self._seal(name, secret)})

    def delete(self, name: str) -> None:
        kept = {other: value for other, value in self._file.secrets.items() if other != name}
        if len(kept) != len(self._file.secrets):
            self._replace(kept)

    def _replace(self, kept: dict[str, _Sealed]) -> None:
        self._file = msgspec.structs.replace(self._file, secrets=kept)
        self._write()

    def _derive(self, passphrase: str | None, salt: bytes) -> AESGCM:
        if self._by_passphrase:
            if not passphrase:
                raise SetupProblem(
                    f"the file of secrets needs its passphrase in {PASSPHRASE_VARIABLE}",
                    code=ErrorCode.SECRET_STORE,
                )
            derivation = Argon2id(
                salt=salt, length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB
            )
            return AESGCM(derivation.derive(passphrase.encode()))
        if not self._path.exists():
            write_atomic(self._key_path, secrets.token_bytes(32))
        key = self._key_path.read_bytes()
        if len(key) != 32:
            raise SetupProblem("the key of the file of secrets is damaged")
        return AESGCM(key)

    def _seal(self, name: str, secret: bytes) -> _Sealed:
        nonce = secrets.token_bytes(12)
        return _Sealed(nonce=nonce, sealed=self._key.encrypt(nonce, secret, name.encode()))

    def _unseal(self, name: str, sealed: _Sealed) -> bytes:
        try:
            return self._key.decrypt(sealed.nonce, sealed.sealed, name.encode())
        except InvalidTag as exc:
            raise SetupProblem(
                "the file of secrets does not open: wrong passphrase, or it was changed",
                code=ErrorCode.SECRET_STORE,
            ) from exc

    def _read(self) -> _File:
        try:
            file = msgspec.json.decode(self._path.read_bytes(), type=_File, strict=True)
        except (msgspec.MsgspecError, binascii.Error) as exc:
            raise SetupProblem(
                "the file of secrets is damaged", code=ErrorCode.SECRET_STORE
            ) from exc
        self._by_passphrase = file.by_passphrase
        return file

    def _write(self) -> None:
        write_atomic(self._path, msgspec.json.encode(self._file))


def _check_size(secret: bytes) -> None:
    if not 0 < len(secret) <= LARGEST_SECRET:
        raise SetupProblem(
            f"a secret of {len(secret)} bytes is not between 1 and {LARGEST_SECRET}",
            code=ErrorCode.SECRET_STORE,
        )
