"""Signing what was built, with a key named in the environment. Unsigned products say so.

FEDNNUNET_GPG_KEY            key for Debian packages and detached signatures (gpg, debsigs)
FEDNNUNET_SIGN_P12           certificate and key for Windows programs (osslsigncode), a PKCS#12
FEDNNUNET_SIGN_P12_PASSWORD  its password
FEDNNUNET_SIGN_NAME          what the certificate's holder is called, as users will see it
FEDNNUNET_TIMESTAMP_URL      a time-stamp service, so that signatures outlive the certificate
FEDNNUNET_MAC_IDENTITY       "Developer ID Application: ..." in the keychain (codesign)
FEDNNUNET_MAC_PROFILE        notarytool's keychain profile
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from installer.machine import SetupProblem
from installer.product import Shell

GPG_KEY: Final = "FEDNNUNET_GPG_KEY"
P12: Final = "FEDNNUNET_SIGN_P12"
P12_PASSWORD: Final = "FEDNNUNET_SIGN_P12_PASSWORD"  # noqa: S105 - a name
SIGNER_NAME: Final = "FEDNNUNET_SIGN_NAME"
TIMESTAMP_URL: Final = "FEDNNUNET_TIMESTAMP_URL"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GpgSigner:
    """Signs Debian packages inside, and any file beside, with gpg's `key`."""

    key: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> GpgSigner | None:
        """Return the signer that the environment names, None for an unsigned build."""
        key = environment.get(GPG_KEY)
        return cls(key=key) if key else None

    @property
    def name(self) -> str:
        return f"GPG key {self.key}"

    def sign_package(
        self, package: Path, shell: Shell, which: Callable[[str], str | None] = shutil.which
    ) -> None:
        """Put a signature into a .deb with dpkg-sig or, where that is gone, debsigs.

        Raises:
            SetupProblem: neither is installed, or it failed.
        """
        if which("dpkg-sig"):
            shell.run("dpkg-sig", "-k", self.key, "--sign", "builder", package)
        elif which("debsigs"):
            shell.run("debsigs", "--sign=origin", f"--default-key={self.key}", package)
        else:
            raise SetupProblem(
                "neither dpkg-sig nor debsigs is installed", "run: apt-get install -y debsigs"
            )

    def sign_beside(self, file: Path, shell: Shell) -> Path:
        """Write FILE.asc, a detached signature; raises SetupProblem when gpg fails."""
        signature = file.with_name(f"{file.name}.asc")
        shell.run(
            "gpg", "--batch", "--yes", "--local-user", self.key, "--armor",
            "--output", signature, "--detach-sign", file,
        )  # fmt: skip
        return signature


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticodeSigner:
    """Signs Windows programs with a PKCS#12 file through osslsigncode."""

    p12: Path
    password: str
    name: str
    timestamp_url: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> AuthenticodeSigner | None:
        """Return the signer that the environment names, None for an unsigned build.

        Raises:
            SetupProblem: a certificate is named without its holder's name.
        """
        path = environment.get(P12)
        if not path:
            return None
        name = environment.get(SIGNER_NAME, "")
        if not name:
            raise SetupProblem(f"{P12} is set, {SIGNER_NAME} is not", "set both or neither")
        return cls(
            p12=Path(path),
            password=environment.get(P12_PASSWORD, ""),
            name=name,
            timestamp_url=environment.get(TIMESTAMP_URL, ""),
        )

    def sign(self, program: Path, shell: Shell) -> None:
        """Replace a program by its signed self; raises SetupProblem when that fails.

        The password goes through a file that only this user can read, not through the command
        line, which every process on the machine can see.
        """
        signed = program.with_name(f"{program.name}.signed")
        password_file = program.with_name(f"{program.name}.password")
        password_file.touch(mode=0o600)
        try:
            password_file.write_text(self.password, encoding="utf-8")
            stamp = ("-ts", self.timestamp_url) if self.timestamp_url else ()
            shell.run(
                "osslsigncode", "sign", "-pkcs12", self.p12, "-readpass", password_file,
                "-n", "FednnU-Net Desktop", "-h", "sha256", *stamp,
                "-in", program, "-out", signed,
            )  # fmt: skip
        finally:
            password_file.unlink()
        signed.replace(program)
