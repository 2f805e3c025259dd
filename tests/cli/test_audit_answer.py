import sqlite3
from contextlib import closing

import pytest

from app.cli import DONE, FAILED, run
from app.cli.audit_answer import tell_audit
from app.federation.study_file import EXAMPLE
from app.site.audit import AuditKind, AuditLog
from app.site.home import SiteHome
from app.site.state import SiteStore
from app.system.audit import BrokenEntry


def test_a_log_that_holds_and_one_that_does_not(capsys):
    assert tell_audit(7, None) == DONE
    assert capsys.readouterr().out == "the audit log holds: 7 entries\n"
    assert tell_audit(7, BrokenEntry(number=3, reason="was changed")) == FAILED
    assert capsys.readouterr().out == "entry 3 of the audit log was changed\n"


@pytest.fixture
def coordinator(tmp_path):
    (tmp_path / "study.toml").write_text(EXAMPLE, encoding="utf-8")
    home = str(tmp_path / "home")
    assert run(["coordinator", "create", str(tmp_path / "study.toml"), "--home", home]) == DONE
    for site in ("north", "valley"):
        out = str(tmp_path / f"{site}.fedjoin")
        assert run(["coordinator", "invite", "--home", home, "--site", site, "--out", out]) == DONE
    return home


def test_a_coordinators_log_is_verified(coordinator, tmp_path, capsys):
    words = ["coordinator", "audit", "verify", "--home", coordinator]
    assert run(words) == DONE
    assert "holds: 3 entries" in capsys.readouterr().out
    assert run([*words, "--witness", str(tmp_path / "none")]) == FAILED
    assert "cannot be read" in capsys.readouterr().err
    with closing(sqlite3.connect(tmp_path / "home" / "audit.sqlite")) as database, database:
        database.execute('UPDATE audit SET facts=\'{"site":"south"}\' WHERE number=2')
    assert run(words) == FAILED
    assert "entry 2 of the audit log was changed" in capsys.readouterr().out


def test_a_sites_log_is_verified(tmp_path, capsys):
    words = ["site", "audit", "verify", "--home", str(tmp_path)]
    assert run(words) == FAILED
    assert "no audit log" in capsys.readouterr().err
    store = SiteStore(SiteHome(root=tmp_path).database)
    log = AuditLog(store.database, SiteHome(root=tmp_path).audit)
    log.append(AuditKind.STUDY_JOINED, now=1.0, study="0" * 32, site="north")
    store.close()
    assert run(words) == DONE
    (tmp_path / "audit.jsonl").write_bytes(b"{}\n")
    assert run(words) == FAILED
    assert "entry 1 of the audit log cannot be read" in capsys.readouterr().out
