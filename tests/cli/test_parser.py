import pytest

from app.cli import MISUSE, run
from app.cli.parser import parse

COMMANDS = [
    [],
    ["--home", "H"],
    ["study.fedjoin"],
    ["demo", "--headless", "--home", "H", "--json", "F", "--baselines"],
    ["check", "F", "--json"],
    ["fingerprint", "F", "--policy", "paper"],
    ["coordinator", "create", "S.toml", "--home", "H"],
    ["coordinator", "invite", "--home", "H", "--site", "a", "--out", "a.fedjoin"],
    ["coordinator", "serve", "--home", "H", "--host", "127.0.0.1", "--port", "1"],
    ["coordinator", "status", "--home", "H", "--json"],
    ["coordinator", "begin", "--home", "H"],
    ["coordinator", "approve", "a", "--home", "H"],
    ["coordinator", "export", "--home", "H", "--out", "model.zip"],
    ["site", "join", "a.fedjoin", "--data", "F", "--home", "H", "--allow-fingerprint", "N"],
    ["site", "run", "--home", "H"],
    ["site", "status", "--home", "H", "--json"],
    ["segment", "--model", "m.zip", "--input", "I", "--output", "O"],
    ["score", "--reference", "R", "--prediction", "P"],
    ["gpu-package", "install", "F.fedgpu", "--sha256", "S"],
    ["gpu-package", "status", "--verify"],
    ["gpu-package", "remove"],
    ["self-test", "--json", "F", "--device", "cpu", "--only", "worker", "--only", "window"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_documented_command_line_parses(words):
    assert callable(parse(words).command)


@pytest.mark.parametrize(
    "words", [["coordinator"], ["site", "join"], ["score"], ["check"], ["demo", "--what"]]
)
def test_misuse_has_exit_code_2(words, capsys):
    assert run(words) == MISUSE
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["site", "--help"], ["--version"]])
def test_help_has_exit_code_0(words, capsys):
    assert run(words) == 0
    assert "fednnunet" in capsys.readouterr().out
