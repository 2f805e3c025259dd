import json

import pytest

from installer.linux import verify
from installer.linux.verify import judge, left_behind, self_test_answer

WINDOW = {"step": "window", "ok": True, "facts": {"seconds": 1.0, "bare_seconds": 1, "ratio": 1.2}}
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


@pytest.fixture
def found(tmp_path):
    def write(**changes):
        for name, text in {**SOUND, **changes}.items():
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


def failed(folder) -> list[str]:
    return [answer.question for answer in judge(folder, "1.2.3") if not answer.holds]


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


def test_a_failed_step_is_shown():
    step = {"step": "keys", "ok": False, "sentence": "locked", "facts": {}}
    _, holds, shown = self_test_answer("package", json.dumps({"steps": [WINDOW, step]}), "")
    assert not holds
    assert "locked" in shown


def test_a_self_test_of_a_checkout_does_not_count():
    report = json.dumps({"frozen": False, "steps": [WINDOW]})
    assert not self_test_answer("package", report, "")[1]


def test_our_name_is_never_excused():
    extra = {"/etc/fonts/x", "/usr/share/mime/packages/fednnunet.xml", "/srv/odd"}
    assert left_behind(set(), extra) == {"/usr/share/mime/packages/fednnunet.xml", "/srv/odd"}


def test_without_root_or_products_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(verify.os, "geteuid", lambda: 1000)
    assert verify.main(["--out", str(tmp_path)]) == 1
    assert "a chroot needs root" in capsys.readouterr().err
    monkeypatch.setattr(verify.os, "geteuid", lambda: 0)
    monkeypatch.setattr(verify.product, "need_tools", lambda *_: None)
    assert verify.main(["--out", str(tmp_path)]) == 1
    assert "is missing" in capsys.readouterr().err
