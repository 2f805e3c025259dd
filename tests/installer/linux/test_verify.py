import json

import pytest

from installer import verification
from installer.linux import verify
from installer.linux.verify import judge, left_behind
from installer.verification import Notes

FACTS = {"seconds": 1.0, "bare_seconds": 1, "ratio": 1.2}
WINDOW = {"step": "window", "ok": True, "seconds": 3.0, "facts": FACTS}
PASSED = json.dumps({"ok": True, "frozen": True, "steps": [WINDOW]})
SOUND = {
    "tools-that-should-be-missing": "",
    "version": "fednnunet 1.2.3 (linux, commit abc of now, not signed)",
    "self-test.json": PASSED,
    "portable.json": PASSED,
    "file-type": "  standard::content-type: application/x-fednnunet-invitation\n"
    "Default application: fednnunet.desktop",
    "portable-file-type": "  standard::content-type: application/x-fednnunet-invitation",
    "status.json": '{"study": null}',
    "windows.txt": '0x1 "FednnU-Net Desktop"',
    "opened-by.txt": "12 /opt/fednnunet/fednnunet /home/tester/clinic.fedjoin",
    "services-before-update": "1",
    "processes-after-update": "0",
    "home-before-update": "00  .local/share/fednnunet/site.sqlite\n"
    "00  .local/share/fednnunet/control.json",
    "home-after-update": ".local/share/fednnunet/site.sqlite",
    "files-before": "/bin\n/etc",
    "files-after": "/bin\n/etc\n/etc/ld.so.cache",
    "packages-before": "a\nb",
    "packages-after": "a\nb",
    "home-after": "./.local/share/fednnunet/site.sqlite",
    "home-before-portable": "./study.toml",
    "home-after-portable": "./study.toml\n./.local/share/mime/globs2",
}
UPGRADED = {
    "version-of-older": "fednnunet 1.2.2 (linux, commit 012 of then, not signed)",
    "version-after-upgrade": SOUND["version"],
    "services-before-upgrade": "1",
    "older-status.json": SOUND["status.json"],
    "newer-status.json": SOUND["status.json"],
    "processes-after-upgrade": "0",
    "processes-after-purge": "0",
    "home-before-upgrade": SOUND["home-before-update"],
    "home-after-upgrade": SOUND["home-after-update"],
    "files-after-upgrade": "/bin\n/usr/lib/libegl.so",
}


@pytest.fixture
def found(tmp_path):
    def write(**changes):
        for name, text in {**SOUND, **changes}.items():
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


def failed(folder, *, updated: bool = False) -> list[str]:
    notes = Notes(folder)
    judge(notes, "1.2.3", updated=updated)
    return [answer.question for answer in notes.answers if not answer.holds]


def test_a_sound_installation_has_every_answer_right(found):
    assert failed(found()) == []


@pytest.mark.parametrize(
    ("name", "text", "question"),
    [
        ("tools-that-should-be-missing", "python3", "no Python and no compiler were there"),
        ("version", "fednnunet 0.9", "the version is told"),
        ("self-test.json", "", "the self-test of the package passes"),
        ("file-type", "text/plain", "an invitation has its type"),
        (
            "opened-by.txt",
            "",
            "xdg-open opens the window with the invitation, and its service runs",
        ),
        ("services-before-update", "", "a service ran when the update came"),
        ("processes-after-update", "1", "the update ended it"),
        ("home-after-update", "", "the update lost no file of the site"),
        ("files-after", "/bin\n/etc\n/opt/fednnunet", "no file stayed after removal"),
        ("packages-after", "a\nb\nfednnunet", "no package stayed after removal"),
        ("home-after", "", "the workspace of the user stayed"),
        ("home-after-portable", "./.local/opt/x", "the self-extracting file removed itself"),
    ],
)
def test_what_is_wrong_is_named(found, name, text, question):
    assert question in failed(found(**{name: text}))


def test_a_sound_update_from_an_older_version_has_every_answer_right(found):
    assert failed(found(**UPGRADED), updated=True) == []


@pytest.mark.parametrize(
    ("name", "text", "question"),
    [
        ("version-of-older", UPGRADED["version-after-upgrade"], "an older version was brought up"),
        ("older-status.json", "", "its service ran when the update came"),
        ("services-before-upgrade", "0", "its service ran when the update came"),
        ("processes-after-upgrade", "1", "the update from it ended that"),
        ("home-after-upgrade", "", "the update from it lost no file of the site"),
        ("newer-status.json", "", "the newer service goes on with its workspace"),
        ("files-after-upgrade", "/opt/fednnunet/x", "removal ended the service"),
        ("processes-after-purge", "1", "removal ended the service"),
    ],
)
def test_what_is_wrong_with_an_update_is_named(found, name, text, question):
    (named,) = failed(found(**{**UPGRADED, name: text}), updated=True)
    assert named.startswith(question)


def test_our_name_is_never_excused():
    extra = {"/etc/fonts/x", "/usr/share/mime/packages/fednnunet.xml", "/srv/odd"}
    assert left_behind(set(), extra) == {"/usr/share/mime/packages/fednnunet.xml", "/srv/odd"}


def test_without_root_or_products_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(verification.os, "geteuid", lambda: 1000)
    assert verify.main(["--out", str(tmp_path)]) == 1
    assert "a chroot needs root" in capsys.readouterr().err
    monkeypatch.setattr(verification.os, "geteuid", lambda: 0)
    monkeypatch.setattr(verification.product, "need_tools", lambda *_: None)
    assert verify.main(["--out", str(tmp_path)]) == 1
    assert "is missing" in capsys.readouterr().err
