"""The self-test: how it judges and tells, with played steps; and in full, with the real ones."""

import json
import sys

import pytest
from helpers.clock import HandClock

from app.cli import DONE, FAILED, MISUSE, run, self_test
from app.cli.self_test import SELF_TEST, Bench, Finding, Step, report, run_steps
from app.datasets.checks import check
from app.domain.errors import REMEDIES, ErrorCode, SetupProblem


def test_steps_that_fail_say_why_and_do_not_stop_the_others(tmp_path, capsys, expected_log):
    expected_log("app.cli.self_test", "the step broken met an error")
    clock = HandClock()

    def sound(bench):
        clock.advance(2.5)
        return "all is well", {"figure": 3}

    def lacking(bench):
        (bench.folder / "service.log").write_text("one\ntwo\n", encoding="utf-8")
        raise SetupProblem("a library is missing", code=ErrorCode.MISSING_LIBRARY)

    def broken(bench):
        raise KeyError("nobody expected this")

    steps = {name: Step(f"the {name} step", fn) for name, fn in locals().items() if callable(fn)}
    findings = run_steps(
        Bench(folder=tmp_path), ("sound", "lacking", "broken"), steps=steps, clock=clock
    )
    assert findings == (
        Finding(step="sound", what="the sound step", ok=True, seconds=2.5,
                sentence="all is well", facts={"figure": 3}),
        Finding(step="lacking", what="the lacking step", ok=False, seconds=0.0,
                sentence="a library is missing", remedy=REMEDIES[ErrorCode.MISSING_LIBRARY],
                facts={"logs": {"service.log": ["one", "two"]}}),
        Finding(step="broken", what="the broken step", ok=False, seconds=0.0,
                sentence="KeyError: 'nobody expected this'", remedy=REMEDIES[ErrorCode.INTERNAL],
                facts={"logs": {"service.log": ["one", "two"]}}),
    )  # fmt: skip
    assert not report(findings)["ok"]
    assert report(findings[:1])["ok"]
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "[ok    ] the sound step (2.5 s): all is well"
    assert told[1] == "[FAILED] the lacking step (0.0 s): a library is missing"


def test_a_failed_step_gives_the_exit_code(monkeypatch, tmp_path, capsys):
    def lacking(_):
        raise SetupProblem("no display")

    monkeypatch.setitem(SELF_TEST, "window", Step("the window", lacking))
    file = tmp_path / "found.json"
    assert run(["self-test", "--only", "window", "--json", str(file)]) == FAILED
    found = json.loads(file.read_text(encoding="utf-8"))
    assert not found["ok"]
    assert [step["sentence"] for step in found["steps"]] == ["no display"]
    assert "something does not work" in capsys.readouterr().out


@pytest.mark.window
def test_an_unknown_step_is_misuse(capsys):
    assert run(["self-test", "--only", "windows"]) == MISUSE
    assert "the steps are window, keys" in capsys.readouterr().err
    assert run(["self-test", "--part", "roof"]) == MISUSE


def test_a_step_without_what_an_earlier_one_makes_says_so(tmp_path):
    (finding,) = run_steps(Bench(folder=tmp_path), ("segmentation",))
    assert finding.sentence == "this step needs what the step “training” makes"


def test_the_images_pass_their_own_check(tmp_path):
    self_test.write_images(tmp_path / "data")
    found, dataset = check(
        tmp_path / "data", processes=1, progress=lambda *_: None, stopped=lambda: False
    )
    assert not found.blocks
    assert len(dataset.training) == 6


@pytest.mark.window
def test_a_display_that_is_missing_is_told_with_qts_own_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "no-such-platform")
    (finding,) = run_steps(Bench(folder=tmp_path), ("window",))
    assert not finding.ok
    assert finding.sentence.startswith("the window does not come up: ")


@pytest.mark.nnunet
@pytest.mark.window
@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform == "win32", reason="the installer's own verification runs it")
def test_every_part_of_this_checkout_works(tmp_path, capsys):
    file = tmp_path / "found.json"
    assert run(["self-test", "--json", str(file), "--device", "cpu"]) == DONE, capsys.readouterr()
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["ok"]
    assert [step["step"] for step in found["steps"]] == list(SELF_TEST)
    facts = {step["step"]: step["facts"] for step in found["steps"]}
    assert facts["window"]["ratio"] > 0
    assert facts["connection"]["Certificate (TLS)"] == "ok"
    assert facts["worker"]["trainers"] == ["nnUNetTrainer", "nnUNetTrainerNoMirroring"]
    assert len(facts["training"]["losses"]) == self_test.STEPS
    assert set(facts["segmentation"]["values"]) <= {0, 1}
