import argparse
from pathlib import Path

from app.cli import DONE, FAILED, run
from app.cli.site_commands import home_of


def test_the_home_is_the_users_unless_said(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDNNUNET_HOME", str(tmp_path / "mine"))
    assert home_of(argparse.Namespace(home=None)) == tmp_path / "mine"
    assert home_of(argparse.Namespace(home=Path("/other"))) == Path("/other")


def test_stopping_what_does_not_run_is_done(tmp_path, capsys):
    assert run(["site", "stop", "--home", str(tmp_path)]) == DONE
    assert "no site service runs" in capsys.readouterr().out


def test_the_status_of_nothing_is_said(tmp_path, capsys):
    assert run(["site", "status", "--home", str(tmp_path)]) == FAILED
    assert "no service runs" in capsys.readouterr().err


def test_joining_by_what_is_no_invitation_changes_nothing(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "x.fedjoin").write_text("hello")
    words = ["site", "join", str(tmp_path / "x.fedjoin"), "--data", str(tmp_path / "data")]
    assert run([*words, "--home", str(tmp_path / "home")]) == FAILED
    assert "invitation" in capsys.readouterr().err
    assert not (tmp_path / "home" / "membership.json").exists()
