"""What both verifications share, on notes written by the test and a played shell."""

import json
import os

import pytest

from installer import verification
from installer.machine import SetupProblem
from installer.product import Shell
from installer.verification import Notes, self_test_answer, tell


def step(name: str, *, ok: bool = True, seconds: float = 2.0, **facts) -> dict[str, object]:
    return {"step": name, "ok": ok, "seconds": seconds, "facts": facts}


def window(ratio: float) -> dict[str, object]:
    return step("window") | {"facts": {"seconds": 1.2, "bare_seconds": 1.0, "ratio": ratio}}


def report(*steps: dict[str, object], frozen: bool = True) -> str:
    return json.dumps({"frozen": frozen, "steps": steps})


def test_a_passed_self_test_tells_its_figures():
    answer = self_test_answer("package", report(window(1.2), step("keys")), "", frozen=True)
    assert answer.holds
    assert answer.worth_telling
    assert answer.found == "2 steps in 4 s, window 1.20 s, 1.20 times an empty one"


def test_a_failed_step_is_shown():
    keys = step("keys", ok=False) | {"sentence": "locked"}
    answer = self_test_answer("package", report(window(1.2), keys), "", frozen=True)
    assert not answer.holds
    assert "locked" in answer.found


@pytest.mark.parametrize(
    ("text", "frozen"),
    [
        ("", True),
        (report(window(3.1)), True),
        # A checkout is no frozen product, and the other way round.
        (report(window(1.2), frozen=False), True),
        (report(window(1.2)), False),
    ],
)
def test_a_self_test_that_shows_nothing_does_not_count(text, frozen):
    assert not self_test_answer("package", text, "what it printed", frozen=frozen).holds


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "found"
    folder.mkdir()
    return Notes(folder)


def write(notes: Notes, **texts: str) -> None:
    for name, text in texts.items():
        (notes.folder / name.replace("_", "-")).write_text(text)


@pytest.mark.parametrize(
    ("before", "after", "holds"),
    [
        ("00  ./a.sqlite\n00  ./control.json", "./a.sqlite", True),
        ("./a.sqlite\n./a.sqlite-wal", "./a.sqlite\n./new", True),
        ("./a.sqlite\n./b.json", "./a.sqlite", False),
        ("", "", False),  # nothing noted proves nothing
    ],
)
def test_an_update_may_lose_only_what_the_service_owns(notes, before, after, holds):
    write(notes, home_before_update=before, home_after_update=after)
    notes.ask_update("nothing was lost", "update")
    assert [answer.holds for answer in notes.answers] == [holds]


@pytest.mark.parametrize(
    ("older", "newer", "holds"),
    [
        ("fednnunet 1.2.2 (x)", "fednnunet 1.2.3 (x)", True),
        # Another build of the same version is an update too.
        ("fednnunet 1.2.3 (x, commit a)", "fednnunet 1.2.3 (x, commit b)", True),
        ("fednnunet 1.2.3 (x)", "fednnunet 1.2.3 (x)", False),
        ("fednnunet 1.2.2 (x)", "fednnunet 1.2.2 (x)", False),
        ("", "fednnunet 1.2.3 (x)", False),
    ],
)
def test_an_update_brings_another_build_of_this_version(notes, older, newer, holds):
    write(notes, version_of_older=older, version_after_upgrade=newer)
    notes.ask_newer("1.2.3")
    assert [answer.holds for answer in notes.answers] == [holds]


def test_answers_are_told_kept_and_counted(notes, tmp_path, capsys):
    notes.ask("the sun rises", True, "in the east")
    assert tell(notes, tmp_path / "kept") == 0
    notes.ask("the moon is full", False, "half of it")
    assert tell(notes, tmp_path / "kept") == 1
    told = capsys.readouterr().out
    assert "[ok    ] the sun rises\n[FAILED] the moon is full\n    half of it\n" in told
    assert "east" not in told
    assert f"1 of 2 questions have the right answer; the notes lie in {tmp_path / 'kept'}" in told
    assert json.loads((tmp_path / "kept" / "answers.json").read_text()) == {
        "the sun rises": True,
        "the moon is full": False,
    }


def test_no_question_at_all_is_no_success(notes, tmp_path):
    assert tell(notes, tmp_path / "kept") == 1


class Played(Shell):
    """Makes the root that debootstrap would make; real tar packs and unpacks it."""

    def run(self, *command, cwd=None):
        words = [str(word) for word in command]
        PLAYED.append(words[0])
        if words[0] == "debootstrap":
            etc = verification.Path(words[3]) / "etc"
            etc.mkdir(parents=True)
            (etc / "hostname").write_text("bare")
        elif words[0] == "tar":
            Shell(environment=self.environment).run(*command, cwd=cwd)


PLAYED: list[str] = []


def test_a_root_is_made_once_and_unpacked_afterwards(tmp_path):
    PLAYED.clear()
    root, shell = tmp_path / "root", Played(environment=os.environ)
    verification.make_root(root, "bookworm", None, shell, packages=("wine",))
    assert PLAYED == ["debootstrap", "chroot", "chroot", "tar"]
    (root / "etc" / "left-by-a-run").write_text("")
    verification.make_root(root, "bookworm", None, shell, packages=("wine",))
    assert PLAYED[4:] == ["tar"]
    assert [path.name for path in (root / "etc").iterdir() if path.name != "resolv.conf"] == [
        "hostname"
    ]


def test_products_are_carried_under_their_names(tmp_path):
    (tmp_path / "a.sh").write_text("#!/bin/sh\n")
    (tmp_path / "x_1.deb").write_bytes(b"product")
    (tmp_path / "root").mkdir()
    place = verification.carry(
        tmp_path / "root", tmp_path / "a.sh", {"older.deb": tmp_path / "x_1.deb"}
    )
    assert (place / "older.deb").read_bytes() == b"product"
    assert (place / "verify.sh").read_text() == "#!/bin/sh\n"


def test_without_root_or_a_product_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(verification.os, "geteuid", lambda: 1000)
    with pytest.raises(SetupProblem, match="a chroot needs root"):
        verification.need_root()
    with pytest.raises(SetupProblem, match=r"x\.deb is missing"):
        verification.need_product(tmp_path / "x.deb", "build_linux.py")
