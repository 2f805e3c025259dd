import subprocess
from pathlib import Path

import pytest

from installer.machine import SetupProblem
from installer.product import Shell
from installer.signing import AuthenticodeSigner, GpgSigner


class Tools:
    """Plays the signing tools: notes each command and makes the file that it would write."""

    def __init__(self, status: int = 0) -> None:
        self.commands: list[list[str]] = []
        self.passwords: list[str] = []
        self.status = status

    def __call__(self, words, **_):
        self.commands.append(words)
        if "-readpass" in words:
            path = Path(words[words.index("-readpass") + 1])
            assert path.stat().st_mode & 0o077 == 0
            self.passwords.append(path.read_text())
        if "-out" in words:
            Path(words[words.index("-out") + 1]).write_text("signed")
        return subprocess.CompletedProcess(words, self.status, "")

    @property
    def shell(self) -> Shell:
        return Shell(environment={}, run_command=self)


def test_without_a_key_nothing_is_signed():
    assert GpgSigner.of({}) is None
    assert AuthenticodeSigner.of({}) is None


@pytest.mark.parametrize(
    ("installed", "tool"), [({"dpkg-sig", "debsigs"}, "dpkg-sig"), ({"debsigs"}, "debsigs")]
)
def test_a_package_is_signed_by_the_tool_that_is_there(installed, tool):
    tools, signer = Tools(), GpgSigner.of({"FEDNNUNET_GPG_KEY": "0xABC"})
    signer.sign_package(
        Path("a.deb"), tools.shell, which=lambda name: name if name in installed else None
    )
    ((command, *words),) = tools.commands
    assert command == tool
    assert any("0xABC" in word for word in words)
    with pytest.raises(SetupProblem, match="neither"):
        signer.sign_package(Path("a.deb"), tools.shell, which=lambda _: None)


def test_a_signature_lies_beside_its_file():
    tools = Tools()
    signature = GpgSigner(key="K").sign_beside(Path("/x/a.run"), tools.shell)
    assert signature == Path("/x/a.run.asc")
    assert tools.commands[0][-2:] == ["--detach-sign", "/x/a.run"]


def test_a_windows_program_is_replaced_by_its_signed_self(tmp_path):
    program = tmp_path / "setup.exe"
    program.write_text("unsigned")
    tools = Tools()
    signer = AuthenticodeSigner.of(
        {
            "FEDNNUNET_SIGN_P12": "/keys/k.p12",
            "FEDNNUNET_SIGN_P12_PASSWORD": "secret",
            "FEDNNUNET_SIGN_NAME": "A Hospital",
            "FEDNNUNET_TIMESTAMP_URL": "http://time.example",
        }
    )
    signer.sign(program, tools.shell)
    assert program.read_text() == "signed"
    assert tools.passwords == ["secret"]
    assert "secret" not in tools.commands[0]
    assert "http://time.example" in tools.commands[0]
    assert [path.name for path in tmp_path.iterdir()] == ["setup.exe"]


def test_a_signature_that_fails_leaves_the_program_and_no_password(tmp_path):
    program = tmp_path / "setup.exe"
    program.write_text("unsigned")
    signer = AuthenticodeSigner(p12=Path("k"), password="secret", name="n")
    with pytest.raises(SetupProblem, match="osslsigncode"):
        signer.sign(program, Tools(status=1).shell)
    assert program.read_text() == "unsigned"
    assert not (tmp_path / "setup.exe.password").exists()


def test_a_certificate_needs_its_holders_name():
    with pytest.raises(SetupProblem, match="FEDNNUNET_SIGN_NAME is not"):
        AuthenticodeSigner.of({"FEDNNUNET_SIGN_P12": "/k"})
