from __future__ import annotations

import json
import stat
import sys
import zipfile

import pytest
from helpers.nvml import RecordedNvml

from app.domain.errors import SetupProblem
from app.system.clock import SystemClock
from app.system.hardware import MachineProbe, NvmlProbe
from app.system.problem_report import ReportText, texts_of, write_report

SECRETS = ("Smith", "hippocampus_017", "19670304")


@pytest.fixture
def home(tmp_path):
    """A home whose logs are full of what must not get out."""
    bad = "/data/Smith/hippocampus_017.nii.gz of 19670304"
    for name in ("site.log", "site.log.1", "window-crash.log", "Smith.log"):
        path = tmp_path / "logs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            "2026-11-24 19:24:16,149 INFO app.site.service: the site service runs\n"
            f"2026-11-24 19:24:17,149 WARNING app.site.service: {bad}\n{bad}\n",
            encoding="utf-8",
        )
    for number in range(1, 8):
        job = tmp_path / "jobs" / f"{number:04d}-train"
        job.mkdir(parents=True)
        (job / "log.txt").write_text(f"Preprocessing case {bad}\n", encoding="utf-8")
        (job / "outcome.json").write_text(json.dumps({"state": "failed", "sentence": bad}))
        (job / "spec.json").write_text(json.dumps({"folder": bad}))
    (tmp_path / "jobs" / "Smith").mkdir()
    return tmp_path


def test_a_report_holds_stripped_logs_and_what_the_computer_is(home):
    probe = MachineProbe(home=home, clock=SystemClock(), card=NvmlProbe(RecordedNvml()))
    texts = texts_of(
        home,
        machine=probe.read(None),
        state={"phase": "training", "round": 3, "sentence": "Smith waits", "alarms": ["no-step"]},
    )
    names = [text.name for text in texts]
    assert names == [
        "README.txt",
        "computer.json",
        "state.json",
        "logs/site.log",
        "logs/site.log.1",
        "logs/window-crash.log",
        *(f"jobs/000{n}-train/{name}" for n in range(3, 8) for name in ("log.txt", "outcome.json")),
    ]
    by_name = {text.name: text.text for text in texts}
    for text in texts:
        for secret in SECRETS:
            assert secret not in text.text, text.name
            assert secret not in text.name
    assert "the site service runs" in by_name["logs/site.log"]
    assert json.loads(by_name["state.json"]) == {
        "phase": "training",
        "round": 3,
        "sentence": "[…] waits",
        "alarms": ["no-step"],
    }
    computer = json.loads(by_name["computer.json"])
    assert computer["graphics cards"][0]["name"] == "NVIDIA H100 80GB HBM3"
    assert computer["libraries"]["msgspec"]


def test_what_is_saved_is_what_was_shown(home, tmp_path):
    texts = texts_of(home)
    path = tmp_path / "report.zip"
    write_report(path, texts)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        saved = tuple(
            ReportText(name=name, text=archive.read(name).decode()) for name in archive.namelist()
        )
    assert saved == texts
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_of_a_long_log_the_end_is_taken_from_a_whole_line_on(home):
    line = "2026-11-24 19:24:16,149 INFO app.site.service: the site service runs\n"
    (home / "logs" / "site.log").write_text(line * 9000)
    text = next(text.text for text in texts_of(home) if text.name == "logs/site.log")
    assert 100_000 < len(text) <= 200 << 10
    assert set(text.splitlines(keepends=True)) == {line}


def test_a_new_home_gives_a_report_too(tmp_path):
    assert [text.name for text in texts_of(tmp_path)] == ["README.txt", "computer.json"]


def test_a_report_that_cannot_be_saved_says_so(tmp_path):
    with pytest.raises(SetupProblem):
        write_report(tmp_path / "nowhere" / "report.zip", ())
