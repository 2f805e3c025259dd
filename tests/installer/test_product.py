import os
import subprocess
import sys

import msgspec
import pytest

from app.system.build import Build
from installer import product
from installer.machine import SetupProblem
from installer.product import Shell, Source

SOURCE = Source(version="1.2.3", commit="a" * 40, made=1_700_000_000, clean=True)


def git(folder, *words):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_a_source_is_its_commit_and_says_when_it_was_changed(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "4.5"\n')
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    source = Source.of(tmp_path)
    assert (source.version, len(source.commit), source.clean) == ("4.5", 40, True)
    (tmp_path / "new").write_text("")
    assert not Source.of(tmp_path).clean


def test_what_is_no_checkout_is_named(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "4.5"\n')
    with pytest.raises(SetupProblem, match="is no git checkout"):
        Source.of(tmp_path)


def test_every_date_is_the_commits():
    assert SOURCE.date == "2023-11-14T22:13:20+00:00"
    environment = SOURCE.environment({"PATH": "/bin", "TZ": "Europe/Berlin"})
    assert environment["SOURCE_DATE_EPOCH"] == "1700000000"
    assert (environment["PATH"], environment["TZ"]) == ("/bin", "UTC")


@pytest.mark.parametrize(("clean", "suffix"), [(True, ""), (False, "-changed")])
def test_the_record_is_what_the_program_reads(clean, suffix):
    source = Source(version="1.2.3", commit="a" * 40, made=1_700_000_000, clean=clean)
    record = product.build_record(source, kind="linux", signed_by="")
    assert msgspec.json.decode(record, type=Build) == Build(
        version="1.2.3", kind="linux", commit="a" * 40 + suffix, made=SOURCE.date
    )


def test_tools_that_are_missing_are_named_with_their_packages():
    tools = {"makensis": "nsis", "strip": "binutils", "ld": "binutils"}
    product.need_tools(tools, lambda _: "/usr/bin/x")
    with pytest.raises(SetupProblem) as problem:
        product.need_tools(tools, lambda _: None)
    assert problem.value.remedy == "run: apt-get install -y binutils nsis"


def test_commands_that_fail_or_are_missing_end_the_build(capfd):
    shell = Shell(environment=os.environ)
    shell.run(sys.executable, "-c", "print('hello')")
    assert "hello" in capfd.readouterr().out
    with pytest.raises(SetupProblem, match="failed with exit status 3"):
        shell.run(sys.executable, "-c", "raise SystemExit(3)")
    with pytest.raises(SetupProblem, match="cannot be started"):
        shell.run("no-such-tool")
    shell.feed("x", sys.executable, "-c", "import sys; sys.exit(sys.stdin.read() != 'x')")
    with pytest.raises(SetupProblem, match="failed with exit status 1"):
        shell.feed("y", sys.executable, "-c", "import sys; sys.exit(sys.stdin.read() != 'x')")
    assert shell.ask("no-such-tool") == ""
    assert shell.ask(sys.executable, "-c", "print(5)").strip() == "5"
    assert shell.ask(sys.executable, "-c", "print(5); raise SystemExit(1)") == ""


def test_dates_and_sizes_of_a_tree(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("inside/file")
    product.set_dates(tmp_path, 1_700_000_000)
    assert {path.lstat().st_mtime for path in tmp_path.rglob("*")} == {1_700_000_000}
    assert product.size_of(tmp_path) == 5


def test_a_problem_is_told_without_a_traceback(capsys):
    def build(_):
        raise SetupProblem("it is broken", "mend it")

    assert product.run_main(build, []) == 1
    assert capsys.readouterr().err == "\nit is broken\nmend it\n"
    assert product.run_main(len, ["a", "b"]) == 2
