import argparse
import json
from pathlib import Path

import pytest

from app.cli import DONE, FAILED, run
from app.cli.site_commands import home_of
from app.federation.study_file import EXAMPLE
from app.system.settings import load_settings


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


@pytest.fixture
def invitation(tmp_path, unused_tcp_port):
    (tmp_path / "study.toml").write_text(EXAMPLE, encoding="utf-8")
    home, path = str(tmp_path / "coordinator"), str(tmp_path / "north.fedjoin")
    create = ["coordinator", "create", str(tmp_path / "study.toml"), "--home", home]
    assert run([*create, "--host", "127.0.0.1", "--port", str(unused_tcp_port)]) == DONE
    invite = ["coordinator", "invite", "--home", home, "--site", "north", "--out", path]
    assert run(invite) == DONE
    return path


def test_the_doctor_prints_a_ticket_or_json_and_fails_when_a_line_does(
    invitation, tmp_path, capsys, unused_tcp_port
):
    words = ["site", "doctor", invitation, "--home", str(tmp_path / "home")]
    capsys.readouterr()
    assert run(words) == FAILED
    text = capsys.readouterr().out
    assert f"Port:      {unused_tcp_port} " in text
    assert "[failed] Network (TCP): " in text
    assert run([*words, "--json", "--proxy", "none"]) == FAILED
    found = json.loads(capsys.readouterr().out)
    assert found["failed"]
    assert [line["step"] for line in found["lines"] if line["state"] == "failed"] == [
        "Network (TCP)"
    ]


def test_the_doctor_needs_an_invitation_or_a_study(tmp_path, capsys):
    assert run(["site", "doctor", "--home", str(tmp_path)]) == FAILED
    assert "no study is joined" in capsys.readouterr().err


def test_a_proxy_is_chosen_without_a_service(tmp_path, capsys):
    words = ["site", "proxy", "--home", str(tmp_path)]
    assert run([*words, "http://smith:hunter2@proxy:3128"]) == DONE
    assert capsys.readouterr().out == "proxy: http://proxy:3128\n"
    assert load_settings(tmp_path).proxy == "http://smith:hunter2@proxy:3128"
    assert run([*words, "proxy"]) == FAILED
    assert "not valid" in capsys.readouterr().err


def test_devices_are_chosen_without_a_service(tmp_path, capsys):
    words = ["site", "devices", "--home", str(tmp_path)]
    assert run([*words, "--device", "cuda", "--gpus", "2", "--batch", "1"]) == DONE
    assert capsys.readouterr().out == "device: cuda, 2 graphics card(s), patches in a step: 1\n"
    # What is not named stays; 0 goes back to what the plan and the computer say.
    assert run([*words, "--gpus", "0"]) == DONE
    assert capsys.readouterr().out == "device: cuda, all graphics cards, patches in a step: 1\n"
    kept = load_settings(tmp_path)
    assert (kept.device, kept.gpus, kept.batch_size) == ("cuda", None, 1)
    assert run([*words, "--device", "abacus"]) == FAILED
    assert "auto, cpu, cuda" in capsys.readouterr().err


def test_measuring_needs_a_service(tmp_path, capsys):
    assert run(["site", "calibrate", "--home", str(tmp_path)]) == FAILED
    assert "no service runs" in capsys.readouterr().err
