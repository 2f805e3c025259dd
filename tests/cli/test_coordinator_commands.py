import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.studies import TERMS, Bench

from app.cli import DONE, FAILED, run
from app.coordinator.store import StudyStore
from app.coordinator.workspace import CoordinatorHome
from app.domain.folds import CASCADE
from app.federation.study_file import EXAMPLE, parse_study
from app.wire.invitation import unseal


@pytest.fixture
def home(tmp_path):
    (tmp_path / "study.toml").write_text(EXAMPLE, encoding="utf-8")
    folder = str(tmp_path / "home")
    assert run(["coordinator", "create", str(tmp_path / "study.toml"), "--home", folder]) == DONE
    return folder


def test_the_example_is_a_study_file(capsys):
    assert run(["coordinator", "example"]) == DONE
    assert parse_study(capsys.readouterr().out) == parse_study(EXAMPLE)


def test_a_study_is_made_and_sites_invited(home, tmp_path, capsys):
    out = tmp_path / "north.fedjoin"
    assert run(["coordinator", "invite", "--home", home, "--site", "north", "--out", str(out)]) == 0
    assert unseal(out.read_bytes()).site == "north"
    assert "works once" in capsys.readouterr().out


def test_the_status_needs_no_running_service(home, tmp_path, capsys):
    out = str(tmp_path / "north.fedjoin")
    run(["coordinator", "invite", "--home", home, "--site", "north", "--out", out])
    capsys.readouterr()
    assert run(["coordinator", "status", "--home", home, "--json"]) == DONE
    status = json.loads(capsys.readouterr().out)
    assert (status["state"], status["running"]) == ("enrolling", False)
    assert [invitation["site"] for invitation in status["invitations"]] == ["north"]
    assert run(["coordinator", "status", "--home", home]) == DONE
    text = capsys.readouterr().out
    assert "not running" in text
    assert "invited, not joined yet: north" in text


@pytest.mark.parametrize(
    "words", [["begin"], ["pause"], ["resume"], ["approve", "a"], ["revoke", "a"]]
)
def test_orders_need_the_service(home, words, capsys):
    assert run(["coordinator", *words, "--home", home]) == FAILED
    assert "no service runs" in capsys.readouterr().err


def test_there_is_nothing_to_export_before_a_round_is_closed(home, tmp_path, capsys):
    words = ["coordinator", "export", "--home", home, "--out", str(tmp_path / "model.zip")]
    assert run(words) == FAILED
    assert "no round" in capsys.readouterr().err
    assert not (tmp_path / "model.zip").exists()


@pytest.mark.parametrize("command", ["status", "serve", "export"])
def test_a_folder_without_a_study_is_said(tmp_path, command, capsys):
    extra = ["--out", "m.zip"] if command == "export" else []
    assert run(["coordinator", command, "--home", str(tmp_path / "none"), *extra]) == FAILED
    assert "coordinator create" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def status_of(bench: Bench, home: str, capsys) -> str:
    """Return what the command tells of a study that stands as it does on a bench."""
    store = StudyStore.open(CoordinatorHome(folder=Path(home)).database)
    store.save(bench.study.save(), 1.0)
    store.close()
    assert run(["coordinator", "status", "--home", home]) == DONE
    return capsys.readouterr().out


def test_the_status_of_a_cascade_says_which_pass(home, capsys):
    terms = replace(TERMS, configuration=CASCADE, fold="0-4", rounds=1)
    bench = Bench(terms)
    bench.train("a", "b")
    for _ in range(6):
        bench.average(bench.deliver("a", "b"))
    told = status_of(bench, home, capsys)
    assert "Second pass, fold 2 of 5, round 1 of 1: waiting for 2 of 2" in " ".join(told.split())
    assert "first pass, fold 5 of 5, round 1 of 1: a, b; training loss" in told


def test_the_status_of_a_study_of_folds_says_which_round_of_which_fold(home, capsys):
    bench = Bench(replace(TERMS, fold="0-4", rounds=2))
    bench.train("a", "b")
    for _ in range(3):
        bench.average(bench.deliver("a", "b"))
    told = status_of(bench, home, capsys)
    assert "Fold 2 of 5, round 2 of 2: waiting for 2 of 2" in told
    assert "fold 1 of 5, round 2 of 2: a, b; training loss" in told
