"""The coordinator's Dockerfile and systemd unit, checked without Docker and without installing."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.parser import parse

HERE = Path(__file__).parents[2] / "installer" / "coordinator"
UNIT = (HERE / "fednnunet-coordinator.service").read_text(encoding="utf-8")
DOCKERFILE = (HERE / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
def test_systemd_takes_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "fednnunet-coordinator.service"
    # The program is not installed here, and the user is made by whoever installs the unit.
    path.write_text(UNIT.replace("/usr/bin/fednnunet", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "fednnunet-coordinator" in line]
    assert ours == []


def test_both_start_a_command_that_exists():
    (start,) = re.findall(r"^ExecStart=/usr/bin/fednnunet (.*)$", UNIT, re.MULTILINE)
    assert callable(parse(start.split()).command)
    (words,) = re.findall(r"^CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    (entry,) = re.findall(r"^ENTRYPOINT \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    program, *command = re.findall(r'"([^"]*)"', f"{entry}, {words}")
    assert program == "fednnunet"
    parsed = parse(command)
    assert (str(parsed.home), parsed.host) == ("/study", "0.0.0.0")
    (check,) = re.findall(r"^    CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    assert callable(parse(re.findall(r'"([^"]*)"', check)[1:]).command)


def test_the_image_copies_what_exists_and_runs_as_nobody_special():
    root = HERE.parents[1]
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        for word in line.split()[:-1]:
            assert (root / word).exists(), word
    assert DOCKERFILE.index("USER fednnunet") < DOCKERFILE.index("ENTRYPOINT")
