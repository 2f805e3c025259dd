import sys
import types
from pathlib import Path

from app.cli import FAILED, run


def test_the_window_opens_on_the_home_with_the_invitation_shown(monkeypatch, tmp_path):
    opened = []
    fake = types.ModuleType("app.ui.main")
    fake.main = lambda home, **options: opened.append((home, options)) or 0
    monkeypatch.setitem(sys.modules, "app.ui.main", fake)
    assert run(["--home", str(tmp_path), "--theme", "dark", "north.fedjoin"]) == 0
    assert opened == [(tmp_path, {"invitation": Path("north.fedjoin"), "theme": "dark"})]


def test_a_missing_library_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "app.ui.main", None)
    assert run(["--home", str(tmp_path)]) == FAILED
    assert "needs a library that is missing" in capsys.readouterr().err
