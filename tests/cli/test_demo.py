import asyncio
import sys

import msgspec
import psutil
import pytest
from helpers.snapshots import empty

from app.cli import DONE, demo, run
from app.cli.demo import with_settings
from app.cli.parser import parse
from app.cli.services import free_port
from app.control.coordinator_messages import CoordinatorStatus
from app.control.messages import TrainingView
from app.control.server import find_service
from app.domain.errors import SetupProblem
from app.domain.segmentation import CaseScore, LabelScore
from app.federation.study_file import parse_study
from app.system.sample_study import SampleStudy, read_beginning, sample_folder


def score(case: str, *dice: float | None) -> CaseScore:
    return CaseScore(
        case=case,
        labels=tuple(
            LabelScore(
                label=str(number), dice=value, hausdorff95_mm=None, surface_dice=None,
                reference_ml=1.0, prediction_ml=1.0, reference_components=1,
                prediction_components=1,
            )
            for number, value in enumerate(dice)
        ),
    )  # fmt: skip


def test_the_sample_study_is_a_study_that_sites_may_join_without_a_person():
    terms = parse_study((sample_folder() / "study.toml").read_text(encoding="utf-8"))
    assert terms.admission.value == "invitation"
    assert terms.channel_names == ("MRI",)
    assert set(terms.labels) == {"background", "anterior", "posterior"}


def test_settings_replace_whole_numbers_and_nothing_else():
    text = (sample_folder() / "study.toml").read_text(encoding="utf-8")
    before, after = parse_study(text), parse_study(with_settings(text, rounds=2, seed=None))
    assert after.rounds == 2
    assert (after.seed, after.iterations_per_epoch) == (before.seed, before.iterations_per_epoch)
    with pytest.raises(SetupProblem, match="no setting colour"):
        with_settings(text, colour=3)


def test_the_table_ends_with_the_mean_over_all_held_out_cases(tmp_path, capsys):
    study = SampleStudy(home=tmp_path)
    scores = {
        "north": (score("a", 0.5, 0.7),),
        "harbour": (score("b", 0.3, None),),
        "valley": (score("c", 0.9, 0.5),),
    }
    figures = demo.collect_figures(study, scores, {"north": (score("a", 0.2, 0.2),)})
    demo.print_table(figures)
    out = capsys.readouterr().out
    # First label: (0.5 + 0.3 + 0.9) / 3, second: (0.7 + 0.5) / 2.
    assert out.splitlines()[-1] == f"mean foreground Dice {(1.7 / 3 + 0.6) / 2:.4f}"
    assert "0.2000" in out
    assert "alone" in out
    assert figures["sites"]["north"]["training_cases"] == 24


def test_without_baselines_the_table_has_no_column_for_them(tmp_path, capsys):
    scores = {name: (score("a", 0.5),) for name in ("north", "harbour", "valley")}
    demo.print_table(demo.collect_figures(SampleStudy(home=tmp_path), scores, {}))
    assert "alone" not in capsys.readouterr().out


def test_whoever_started_it_from_a_window_reads_why_it_cannot_begin(tmp_path, monkeypatch):
    async def broken(study):
        raise SetupProblem("no port is free")

    monkeypatch.setattr(demo, "_command", lambda *words: None)
    monkeypatch.setattr(demo, "start_coordinator", broken)
    asked = parse(["demo", "--home", str(tmp_path / "s")])
    with pytest.raises(SetupProblem):
        asked.command(asked)
    assert read_beginning(tmp_path / "s").problem == "no port is free"


def test_the_beginning_tells_each_step_and_then_that_the_window_opens(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        demo, "note_beginning", lambda home, one: told.append((one.step, one.sentence))
    )

    async def started(*_words, **_where):
        return None

    monkeypatch.setattr(demo, "_command", lambda *words: None)
    monkeypatch.setattr(demo, "start_service", started)
    asyncio.run(demo.start(SampleStudy(home=tmp_path)))
    assert told == [
        (0, "making the study and its invitations"),
        (1, "the coordinator starts"),
        (2, "north joins the study"),
        (3, "harbour joins the study"),
        (4, "valley joins the study"),
        (5, "the services of the sites start"),
    ]


def test_a_service_that_does_not_start_names_its_log(tmp_path):
    study = SampleStudy(home=tmp_path)
    with pytest.raises(SetupProblem, match=r"coordinator\.log says why"):
        asyncio.run(demo.start_coordinator(study))
    assert "there is no study" in study.log("coordinator").read_text(encoding="utf-8")


def test_removing_it_ends_its_services_and_leaves_only_what_is_not_its_own(tmp_path, capsys):
    study = SampleStudy(home=tmp_path / "study")
    words = ["coordinator", "create", str(sample_folder() / "study.toml"), "--host", "localhost"]
    where = ["--home", str(study.coordinator), "--port", str(free_port())]
    assert run([*words, *where]) == DONE
    asyncio.run(demo.start_coordinator(study))
    service = find_service(study.coordinator).holder.pid
    mine = study.home / "notes.txt"
    mine.write_text("not the study's", encoding="utf-8")
    asked = ["demo", "--remove", "--home", str(study.home)]
    assert run(asked) == DONE
    assert "are free again" in capsys.readouterr().out
    assert not psutil.pid_exists(service)
    assert list(study.home.iterdir()) == [mine]
    assert run(asked) != DONE
    assert "there is no sample study in" in capsys.readouterr().err
    assert mine.exists()


@pytest.mark.parametrize("wished", [True, False])
def test_the_window_removes_it_once_it_is_closed(tmp_path, monkeypatch, capsys, wished):
    window = pytest.importorskip("app.ui.main")
    study = SampleStudy(home=tmp_path / "study")

    async def started(one, **_settings):
        one.coordinator.mkdir(parents=True)
        (one.coordinator / "study.sqlite").touch()

    def shown(_home, *, homes, theme, remove):
        assert len(homes) == 3
        if wished:
            remove()
        assert study.begun, "what the window shows stays until it is closed"
        return DONE

    monkeypatch.setattr(demo, "start", started)
    monkeypatch.setattr(demo, "_finished", lambda _study: False)
    monkeypatch.setattr(window, "main", shown)
    assert run(["demo", "--home", str(study.home)]) == DONE
    assert study.begun is not wished
    told = "are free again" if wished else "training goes on"
    assert told in capsys.readouterr().out


def test_a_sample_study_whose_services_do_not_end_is_kept(tmp_path, monkeypatch):
    study = SampleStudy(home=tmp_path)
    study.coordinator.mkdir()
    (study.coordinator / "study.sqlite").touch()

    async def nobody_listens(_study):
        return None

    monkeypatch.setattr(demo, "stop", nobody_listens)
    monkeypatch.setattr("app.control.server.find_service", lambda home: home)
    with pytest.raises(SetupProblem, match="has not ended yet"):
        asyncio.run(demo.remove(study))
    assert study.begun


@pytest.mark.skipif(sys.platform == "win32", reason="the console is no file there")
def test_progress_without_a_terminal_is_one_line_per_change(capsys):
    status = CoordinatorStatus(
        study="s", study_id="0" * 32, running=True, address="", state="training",
        sentence="Round 1 of 2: waiting for 1 of 1 sites.", rounds=2, sites=(), invitations=(),
        closed_rounds=(), plan_digest=None, model_digest=None,
    )  # fmt: skip
    with demo._StudyProgress() as progress:
        for step in range(3):
            view = TrainingView(
                sentence=f"Round 1 of 2: training, {step} of 20 iterations, 9 s left."
            )
            progress.show(status, {"north": msgspec.structs.replace(empty(), training=view)})
    told = capsys.readouterr().err
    assert told.count("north") == 1
    assert told.count("coordinator") == 1
