import logging
import sys
import types
from pathlib import Path

import pytest

from app.cli import FAILED, run
from app.control.address import ForwardedService


@pytest.fixture
def window(monkeypatch):
    """The window's module as if there were a Qt; give it a `main`."""
    quick = types.ModuleType("app.ui.quick_start")
    quick.begin_start = lambda: None
    monkeypatch.setitem(sys.modules, "app.ui.quick_start", quick)
    module = types.ModuleType("app.ui.main")
    monkeypatch.setitem(sys.modules, "app.ui.main", module)
    return module


def test_the_window_opens_on_the_home_with_the_invitation_shown(window, tmp_path):
    opened = []
    window.main = lambda home, **options: opened.append((home, options)) or 0
    assert run(["--home", str(tmp_path), "--theme", "dark", "north.fedjoin"]) == 0
    shown = {"invitation": Path("north.fedjoin"), "theme": "dark", "forwarded": None}
    assert opened == [(tmp_path, shown)]


def test_the_window_attaches_to_a_forwarded_port(window, tmp_path, capsys):
    opened = []
    window.main = lambda home, **options: opened.append((home, options["forwarded"])) or 0
    words = ["--home", str(tmp_path), "--attach", "127.0.0.1:7777"]
    assert run(words) == FAILED
    assert "--token-file" in capsys.readouterr().err
    token = tmp_path / "control.json"
    assert run([*words, "--token-file", str(token)]) == 0
    where = ForwardedService(port=7777, token_file=token)
    assert opened == [(tmp_path / "attached" / "port-7777", where)]


def test_what_a_window_says_when_it_dies_is_kept(window, tmp_path):
    def dies(home, **options):
        logging.getLogger("app.ui").info("the window is shown")
        raise ValueError("broken")

    window.main = dies
    with pytest.raises(ValueError, match="broken"):
        run(["--home", str(tmp_path)])
    assert "the window is shown" in (tmp_path / "logs" / "window.log").read_text()
    assert "ValueError: broken" in (tmp_path / "logs" / "window-crash.log").read_text()


def test_a_missing_library_is_said(window, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "app.ui.main", None)
    assert run(["--home", str(tmp_path)]) == FAILED
    assert "needs a library that is missing" in capsys.readouterr().err
