"""Commands of a site, against a real service in a process of its own and without one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers.site_home import make_membership
from helpers.tcp_proxy import tcp_proxy

from app.cli import DONE, FAILED, run
from app.control.address import ForwardedService
from app.control.client import ControlClient
from app.control.server import find_service
from app.domain.errors import LinkProblem, SetupProblem
from app.site import membership

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The home of a running service that has joined a study nobody coordinates."""
    home = tmp_path_factory.mktemp("home")
    membership.save(home, make_membership())
    with (
        (home / "console.txt").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "app", "site", "run", "--home", str(home)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        ) as process,
    ):  # fmt: skip
        try:
            for _ in range(600):
                if find_service(home) is not None or process.poll() is not None:
                    break
                asyncio.run(asyncio.sleep(0.05))
            assert find_service(home) is not None, (home / "console.txt").read_text()
            yield home
        finally:
            process.terminate()


def site(*words, home):
    return run(["site", *words, "--home", str(home)])


def test_pause_and_resume_say_what_they_cost(service, capsys):
    assert site("pause", home=service) == DONE
    assert "Stopping now loses nothing" in capsys.readouterr().out
    assert site("status", "--json", home=service) == DONE
    assert json.loads(capsys.readouterr().out)["paused"] is True
    assert site("resume", home=service) == DONE
    assert "goes on from the last checkpoint" in capsys.readouterr().out
    assert site("resume", home=service) == DONE
    assert "not paused" in capsys.readouterr().out


def test_a_schedule_is_set_shown_and_taken_back(service, capsys):
    words = ("schedule", "--hours", "20:00-07:00", "--weekends", "--yield-card")
    assert site(*words, home=service) == DONE
    told = capsys.readouterr().out
    assert told == (
        "Trains from 20:00 to 07:00 and all day on Saturday and Sunday, and makes way for other "
        "programs on the graphics card.\n"
    )
    assert site("schedule", home=service) == DONE
    assert capsys.readouterr().out == told
    assert site("schedule", "--always", home=service) == DONE
    assert capsys.readouterr().out == "Trains at any time.\n"


@pytest.mark.parametrize("hours", ["20:00", "25:00-07:00", "a-b", "20-07", "1:2-3:4-5:6"])
def test_hours_that_are_none_are_refused(service, hours, capsys):
    assert site("schedule", "--hours", hours, home=service) == FAILED
    assert "20:00-07:00" in capsys.readouterr().err


def test_a_schedule_is_kept_where_no_service_runs(tmp_path, capsys):
    assert site("schedule", "--hours", "20:00-07:00", home=tmp_path) == DONE
    assert site("schedule", home=tmp_path) == DONE
    assert capsys.readouterr().out == "Trains from 20:00 to 07:00.\n" * 2
    assert site("schedule", "--hours", "20:00-20:00", home=tmp_path) == FAILED
    assert "two different times" in capsys.readouterr().err


def test_leaving_asks_and_without_a_terminal_nobody_agrees(service, capsys):
    assert site("leave", home=service) == FAILED
    told = capsys.readouterr().out
    assert "Leaving is for good" in told
    assert "say --yes to agree" in told
    assert membership.load(service) is not None


def test_a_report_is_shown_before_it_is_saved(service, tmp_path, capsys):
    out = tmp_path / "report.zip"
    assert site("report", "--out", str(out), home=service) == FAILED
    shown = capsys.readouterr().out
    assert "===== computer.json =====" in shown
    assert not out.exists()
    assert site("report", "--out", str(out), "--yes", home=service) == DONE
    shown = capsys.readouterr().out
    with zipfile.ZipFile(out) as archive:
        assert {"README.txt", "computer.json", "state.json", "logs/site.log"} <= set(
            archive.namelist()
        )
        for name in archive.namelist():
            assert f"===== {name} =====\n{archive.read(name).decode()}" in shown
            assert str(service) not in archive.read(name).decode()


def test_a_report_needs_no_service(tmp_path, capsys):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "site-crash.log").write_text("Fatal Python error: Aborted\n")
    out = tmp_path / "report.zip"
    assert site("report", "--out", str(out), "--yes", home=tmp_path) == DONE
    assert "logs/site-crash.log" in zipfile.ZipFile(out).namelist()
    assert "Fatal Python error" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="where the entry lies")
def test_starting_at_login_is_switched(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    for switch, told in (("show", "not start"), ("on", "starts when"), ("off", "not start")):
        assert site("autostart", switch, home=tmp_path) == DONE
        assert told in capsys.readouterr().out


def test_a_window_can_attach_through_a_forwarded_port(service, tmp_path):
    """As by ssh -L: another port of this computer leads to the service's."""
    address = find_service(service)
    copied = tmp_path / "token.json"
    copied.write_bytes((service / "control.json").read_bytes())
    plain = tmp_path / "token.txt"
    plain.write_text(f"{address.token}\n")
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("guessed")

    async def attach(file):
        async with tcp_proxy(address.port) as forwarded:
            where = ForwardedService.parse(f"localhost:{forwarded.port}", file)
            async with await ControlClient.connect(where) as client:
                return client.snapshot.service.pid

    assert asyncio.run(attach(copied)) == address.holder.pid
    assert asyncio.run(attach(plain)) == address.holder.pid
    with pytest.raises(LinkProblem):
        asyncio.run(attach(wrong))


@pytest.mark.parametrize("address", ["server:7777", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"])
def test_only_a_forwarded_port_is_dialled(address, tmp_path):
    with pytest.raises(SetupProblem, match="no forwarded port"):
        ForwardedService.parse(address, tmp_path / "token")


def test_a_missing_or_damaged_token_is_told(tmp_path):
    with pytest.raises(SetupProblem, match="copy the service's"):
        ForwardedService(port=1, token_file=tmp_path / "none").token()
    (tmp_path / "damaged").write_text("{")
    with pytest.raises(SetupProblem, match="is no control"):
        ForwardedService(port=1, token_file=tmp_path / "damaged").token()
