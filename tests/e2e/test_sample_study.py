"""The main job with real processes, real images, real certificates: shortened, but nothing played.

The short form trains two rounds of two iterations and kills the coordinator (SIGKILL) after the first
round. `--slow` runs the sample study in full and holds it to its Dice and its time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
import zipfile
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("PySide6")

from helpers.live_window import LiveWindow

from app.cli import DONE, demo, run
from app.control.client import ControlClient
from app.control.coordinator_client import study_status
from app.control.messages import RunView
from app.control.server import find_service
from app.coordinator.service import resting_status
from app.domain.segmentation import ModelKind
from app.federation import shared_codec
from app.system.sample_study import SampleStudy, sample_folder

pytestmark = [
    pytest.mark.nnunet,
    pytest.mark.e2e,
    pytest.mark.window,
    pytest.mark.qt_log_ignore("This plugin does not support propagateSizeHints"),
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL"),
]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def mean_dice(run: RunView, name: str) -> float:
    dice = [label.dice for case in run.scores for label in case.labels if label.label == name]
    return sum(dice) / len(dice)


async def closed_rounds(study: SampleStudy, number: int, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while len((await study_status(study.coordinator)).closed_rounds) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def run_study(study: SampleStudy) -> dict[str, object]:
    # Changes of one byte: what every message, file and restart of a study must carry.
    await demo.start(
        study,
        transfer="int8",
        rounds=2,
        iterations_per_epoch=2,
        validation_iterations=1,
        score_every=1,
    )
    try:
        await closed_rounds(study, 1, 300)
        address = find_service(study.coordinator)
        assert address is not None
        os.kill(address.holder.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while find_service(study.coordinator) is not None:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
        await demo.start_coordinator(study)
        await demo.watch(study)
        benefit = compare_alone_and_together(study)
        scores = await demo.segment_held_out(study)
        await asyncio.to_thread(demo.export, study)
        async with await ControlClient.connect(study.site("north")) as client:
            snapshot = client.snapshot
    finally:
        await demo.stop(study)
    return {
        "figures": demo.collect_figures(study, scores, {}),
        "snapshot": snapshot,
        "benefit": benefit,
    }


def compare_alone_and_together(study: SampleStudy) -> list[list[str]]:
    """Do at one site what its operator does in the window after a study; return the table."""
    shown = LiveWindow(study.site("north"), study.home / "window.ini")
    try:
        shown.train_baseline()
        shown.segment_held_out("Local baseline, trained here alone")
        shown.segment_held_out("Best average on this site's validation cases")
        return shown.benefit()
    finally:
        shown.close()


@pytest.mark.timeout(900)
def test_three_sites_train_one_model_though_the_coordinator_is_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDNNUNET_HOME", str(tmp_path / "unused"))
    study = SampleStudy(home=tmp_path / "study")
    before = digests(sample_folder())
    told = asyncio.run(run_study(study))

    # Every round has all three sites, and nobody trained twice.
    status = resting_status(study.coordinator)
    assert status.state == "finished"
    assert [closed.contributors for closed in status.closed_rounds] == [
        ("harbour", "north", "valley")
    ] * 2
    # One plan, the same bytes everywhere.
    for name in study.names:
        plans = list((study.site(name) / "study").glob("plan-*.json"))
        assert [hashlib.sha256(plan.read_bytes()).hexdigest() for plan in plans] == [
            status.plan_digest
        ]
    # What left as a fingerprint is what the page showed and the operator allowed.
    view = told["snapshot"].fingerprint
    spool = study.coordinator / "spool" / "blobs"
    sent = spool / view.outgoing_digest
    assert sent.read_bytes() == view.outgoing.encode()
    assert view.allowance.digest == view.outgoing_digest
    assert view.allowance.sent
    assert shared_codec.decode(sent.read_bytes()).cases == 24
    # Nothing of a hospital's names is anywhere at the coordinator.
    for path in study.coordinator.rglob("*"):
        if path.is_file():
            assert b"hippocampus_" not in path.read_bytes(), path
    # The sites' source files are as they were.
    assert digests(sample_folder()) == before
    # The result: a model zip, and a score for every held-out case.
    assert zipfile.ZipFile(study.model).testzip() is None
    figures = told["figures"]
    assert set(figures["sites"]) == {"north", "harbour", "valley"}
    assert [site["held_out_cases"] for site in figures["sites"].values()] == [5, 5, 5]
    assert 0.0 <= figures["mean_foreground_dice"] <= 1.0
    # The local baseline and the best average were chosen in the window, and stand side by side.
    alone, together = told["snapshot"].review.runs
    assert [run.model.kind for run in (alone, together)] == [ModelKind.BASELINE, ModelKind.BEST]
    assert alone.cases == together.cases
    rows = told["benefit"]
    assert [row[0] for row in rows] == ["Anterior", "Posterior"]
    for row in rows:
        own, shared = (mean_dice(run, row[0].lower()) for run in (alone, together))
        assert row[1] == "5"
        assert [float(figure) for figure in row[2:5]] == pytest.approx(
            [own, shared, shared - own], abs=6e-4
        )
    # Every process ended.
    homes = [study.coordinator, *(study.site(name) for name in study.names)]
    assert [find_service(home) for home in homes] == [None] * 4


@pytest.mark.slow
@pytest.mark.window
@pytest.mark.timeout(300)
def test_the_window_starts_it_as_a_process_of_its_own(qtbot, tmp_path):
    from app.ui.presenters.sample_study import SampleStudyStart

    study = SampleStudy(home=tmp_path / "study")
    start = SampleStudyStart(study.home)
    try:
        start.begin()
        qtbot.waitUntil(lambda: not start.state.running, timeout=240_000)
        assert start.state.problem == ""
        assert start.state.open
        homes = [study.coordinator, *(study.site(name) for name in study.names)]
        assert None not in [find_service(home) for home in homes]
    finally:
        os.kill(start._pid, signal.SIGTERM)
        asyncio.run(demo.stop(study))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_sample_study_learns_within_its_time(tmp_path, capsys):
    figures = tmp_path / "figures.json"
    words = ["demo", "--headless", "--home", str(tmp_path / "study"), "--json", str(figures)]
    started = time.monotonic()
    assert run(words) == DONE
    minutes = (time.monotonic() - started) / 60
    told = msgspec.json.decode(figures.read_bytes())
    assert told["mean_foreground_dice"] >= 0.50
    assert minutes <= 20, f"{minutes:.1f} minutes: {json.dumps(told)}"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"mean foreground Dice {told['mean_foreground_dice']:.4f}"


@pytest.mark.slow
@pytest.mark.timeout(6000)
def test_rounded_changes_cost_no_dice(tmp_path):
    """The sample study once with whole weights, once with changes of one byte."""
    found = {}
    for transfer in ("fp32", "int8"):
        figures = tmp_path / f"{transfer}.json"
        home = str(tmp_path / transfer)
        words = ["demo", "--headless", "--transfer", transfer, "--home", home, "--json"]
        assert run([*words, str(figures)]) == DONE
        found[transfer] = msgspec.json.decode(figures.read_bytes())["mean_foreground_dice"]
    assert found["int8"] >= found["fp32"] - 0.005, found
