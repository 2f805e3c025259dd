import json
import os
import shutil

import pytest

from installer.product import Shell
from installer.verification import Notes
from installer.windows import standins
from installer.windows.tree import MINGW
from installer.windows.verify import judge

FACTS = {"seconds": 1.0, "bare_seconds": 1, "ratio": 1.2}
WINDOW = {"step": "window", "ok": True, "seconds": 3.0, "facts": FACTS}
SOUND = {
    "install-seconds": "60",
    "version": "fednnunet 1.2.3 (windows, commit abc of now, not signed)",
    "registry": 'DisplayVersion 1.2.3\n"C:\\x\\fednnunet-desktop.exe" "%1"\n'
    "Content Type application/x-fednnunet-invitation",
    "start-menu": "FednnU-Net Desktop.lnk",
    "self-test.json": json.dumps({"frozen": False, "steps": [WINDOW]}),
    "files-installed": "9",
    "files-after-self-test": "9",
    "running": "fednnunet-desktop.exe Z:\\root\\clinic.fedjoin",
    "status.json": '{"study": null}',
    "status-of-update": "0",
    "running-after-update": "",
    "version-after-update": "fednnunet 1.2.3 (windows",
    "home-before-update": "./site.sqlite\n./control.json",
    "home-after-update": "./site.sqlite",
    "registry-after": "",
    "files-after": "",
    "home-after": "./site.sqlite",
    "everything-after": "",
}
FILES = frozenset({"fednnunet.exe", "Lib/os.py"})
UPGRADED = {
    "version-of-older": "fednnunet 1.2.2 (windows, commit 012 of then, not signed)",
    "version-after-upgrade": SOUND["version"],
    "running-before-upgrade": "C:\\x\\fednnunet-desktop.exe",
    "older-status.json": SOUND["status.json"],
    "status-of-upgrade": "0",
    "running-after-upgrade": "",
    "home-before-upgrade": SOUND["home-before-update"],
    "home-after-upgrade": SOUND["home-after-update"],
    "files-after-upgrade": "Lib/os.py\nfednnunet.exe\nuninstall.exe",
}


@pytest.fixture
def found(tmp_path):
    def write(**changes):
        for name, text in {**SOUND, **changes}.items():
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


def failed(folder, files: frozenset[str] | None = None) -> list[str]:
    notes = Notes(folder)
    judge(notes, "1.2.3", files=files)
    return [answer.question for answer in notes.answers if not answer.holds]


def test_a_sound_product_has_every_answer_right(found):
    assert failed(found()) == []


@pytest.mark.parametrize(
    ("name", "text", "question"),
    [
        ("registry", "", "a double-click would start the program with it"),
        ("self-test.json", "", "the self-test of the installed product passes"),
        ("files-after-self-test", "10", "the self-test wrote nothing into the installation"),
        ("running", "", "the window opened with the invitation, and its service ran"),
        ("status-of-update", "5", "the update over the running program ended well"),
        ("running-after-update", "fednnunet.exe", "the update ended what ran"),
        ("home-after-update", "", "the update lost no file of the site"),
        ("registry-after", "DisplayName", "no key stayed in the registry"),
        ("files-after", "python311.dll", "no file of the program stayed"),
        ("home-after", "", "the workspace stayed"),
        ("everything-after", "x", "told to, removal took the workspace too"),
    ],
)
def test_what_is_wrong_is_named(found, name, text, question):
    assert question in failed(found(**{name: text}))


def test_a_sound_update_from_an_older_version_has_every_answer_right(found):
    assert failed(found(**UPGRADED), FILES) == []


@pytest.mark.parametrize(
    ("name", "text", "question"),
    [
        ("version-after-upgrade", "fednnunet 1.2.2 (", "an older version was brought up to"),
        ("running-before-upgrade", "", "its window and its service ran"),
        ("status-of-upgrade", "5", "the update from it ended well"),
        ("running-after-upgrade", "fednnunet.exe", "the update from it ended well"),
        ("home-after-upgrade", "", "the update from it lost no file of the site"),
        ("files-after-upgrade", "Lib/os.py", "the update left exactly the files"),
        (
            "files-after-upgrade",
            "Lib/os.py\nfednnunet.exe\nLib/only_in_the_older.py",
            "the update left exactly the files",
        ),
    ],
)
def test_what_is_wrong_with_an_update_is_named(found, name, text, question):
    (named,) = failed(found(**{**UPGRADED, name: text}), FILES)
    assert named.startswith(question)


# The stand-ins for Wine


def test_stubs_are_served_and_everything_else_is_forwarded():
    text, served = standins.runtime_source({"cabsl", "crealf", "cexpl", "_invoke_watson"})
    assert "double own_cabsl(double _Complex z) { return cabs(z); }" in text
    assert served["crealf"] == "crealf"
    lines = standins.definition({"cabsl", "crealf", "sin", "?mangled@@"}, served).splitlines()
    assert lines[2:] == ["  cabsl = own_cabsl", "  crealf", "  sin = ucrtorig.sin"]


def test_the_mark_of_wine_goes_and_nothing_else():
    library = bytes(64) + b"Wine builtin DLL".ljust(32, b"\1") + b"code"
    assert standins.without_mark(library) == bytes(96) + b"code"


def test_the_stand_ins_compile(tmp_path):
    if shutil.which(f"{MINGW}-gcc") is None:
        pytest.skip(f"{MINGW}-gcc is not installed")
    names = {"cabsl", "cpowl", "cexpl", "_aligned_recalloc", "_invoke_watson", "crealf"}
    text, served = standins.runtime_source(names)
    (tmp_path / "a.c").write_text(text)
    (tmp_path / "a.def").write_text(standins.definition({*names, "sin"}, served))
    (tmp_path / "b.c").write_text(
        standins.answering_nothing({"ucnv_open", "ucnv_close"}, standins._ICU)
    )
    shell = Shell(environment=os.environ)
    compiler = (f"{MINGW}-gcc", "-shared", "-static", "-w", "-fno-builtin")
    shell.run(*compiler, "-o", tmp_path / "a.dll", tmp_path / "a.c", tmp_path / "a.def")
    shell.run(*compiler, "-o", tmp_path / "b.dll", tmp_path / "b.c")
    listing = shell.ask(f"{MINGW}-objdump", "-p", tmp_path / "a.dll")
    assert "ucrtorig.sin" in listing
