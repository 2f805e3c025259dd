"""The sample study: one coordinator and three sites on this computer, on real MR images.

Every part is what a hospital runs: `coordinator create`, `invite`, `serve`; `site join`, `site run`;
separate processes, TLS on loopback, certificates made for the study. This module only starts them,
watches them through their control APIs, and scores the result.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.cli import DONE, FAILED
from app.cli.services import free_port, start_service
from app.domain.errors import ErrorCode, FednnunetError, JobFailed, SetupProblem
from app.domain.segmentation import ModelKind
from app.system.sample_study import (
    Beginning,
    SampleStudy,
    note_beginning,
    sample_folder,
    sample_study_home,
)

if TYPE_CHECKING:
    from app.control.client import ControlClient
    from app.control.coordinator_messages import CoordinatorStatus
    from app.control.messages import Snapshot
    from app.domain.segmentation import CaseScore

OPERATOR: Final = "Sample study"
_POLL_S: Final = 1.0
_END_S: Final = 30.0


def run_demo(parsed: argparse.Namespace) -> int:
    """Run the sample study in the window, or without one; or remove it."""
    if parsed.remove:
        return _remove(SampleStudy(home=(parsed.home or sample_study_home()).absolute()))
    if parsed.headless and parsed.home is None:
        with tempfile.TemporaryDirectory(prefix="fednnunet-sample-") as scratch:
            return _run(parsed, SampleStudy(home=Path(scratch)))
    return _run(parsed, SampleStudy(home=(parsed.home or sample_study_home()).absolute()))


def _run(parsed: argparse.Namespace, study: SampleStudy) -> int:
    if parsed.headless:
        return asyncio.run(_headless(parsed, study))
    try:
        asyncio.run(
            start(
                study,
                transfer=parsed.transfer,
                rounds=parsed.rounds,
                iterations_per_epoch=parsed.iterations,
            )
        )
    except FednnunetError as exc:
        # Whoever started this from a window has no terminal to read it from.
        with contextlib.suppress(SetupProblem):
            note_beginning(study.home, Beginning(problem=str(exc)))
        raise
    note_beginning(study.home, Beginning(step=1, open=True, sentence="the sample study is open"))
    if parsed.baselines or parsed.json:
        _say("figures and baselines belong to --headless; the window shows the scores itself")
    from app.ui.main import main

    homes = [study.site(name) for name in study.names]
    unwanted = threading.Event()
    code = main(homes[0], homes=homes, theme=parsed.theme, remove=unwanted.set)
    if unwanted.is_set():
        return _remove(study)
    if not study.begun:
        _say("the sample study was removed meanwhile")
    elif _finished(study):
        asyncio.run(stop(study))
    else:
        _say(f"training goes on; open the window again with: fednnunet demo --home {study.home}")
    return code


def _remove(study: SampleStudy) -> int:
    from rich.filesize import decimal

    freed = asyncio.run(remove(study))
    _say(f"the sample study in {study.home} is removed; {decimal(freed)} are free again")
    return DONE


async def _headless(parsed: argparse.Namespace, study: SampleStudy) -> int:
    try:
        await start(
            study,
            transfer=parsed.transfer,
            rounds=parsed.rounds,
            iterations_per_epoch=parsed.iterations,
        )
        await watch(study)
        scores = await segment_held_out(study)
        await asyncio.to_thread(export, study)
        baselines = await train_baselines(study) if parsed.baselines else {}
    finally:
        await stop(study)
    figures = collect_figures(study, scores, baselines)
    if parsed.json:
        parsed.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    print_table(figures)
    return DONE if figures["mean_foreground_dice"] is not None else FAILED


# Starting and stopping


async def start(study: SampleStudy, *, transfer: str | None = None, **settings: int | None) -> None:
    """Create the study, join its sites and start every service; goes on where it was before.

    `settings` replace whole numbers of the sample's study file when the study is new; `transfer`
    says how its weights travel.

    Raises:
        SetupProblem: a service did not start; its log is named.
    """
    from app.site.membership import load as load_membership

    for folder in ("logs", "invitations", "sites"):
        (study.home / folder).mkdir(parents=True, exist_ok=True)
    steps = len(study.names) + 3

    def begin(step: int, sentence: str) -> None:
        note_beginning(study.home, Beginning(step=step, steps=steps, sentence=sentence))

    begin(0, "making the study and its invitations")
    if not study.begun:
        _say(f"sample study in {study.home}")
        text = (sample_folder() / "study.toml").read_text(encoding="utf-8")
        study_file = study.home / "study.toml"
        if transfer is not None:
            text = f'transfer = "{transfer}"\n{text}'
        study_file.write_text(with_settings(text, **settings), encoding="utf-8")
        where = ("--home", study.coordinator)
        address = ("--host", "localhost", "--port", free_port())
        _command("coordinator", "create", study_file, *where, *address)
        for name in study.names:
            _command(
                "coordinator", "invite", *where, "--site", name, "--out", study.invitation(name)
            )
    begin(1, "the coordinator starts")
    await start_coordinator(study)
    for number, name in enumerate(study.names):
        home = study.site(name)
        begin(2 + number, f"{name} joins the study")
        if load_membership(home) is None:
            here = ("--home", home, "--data", sample_folder() / name)
            allow = ("--allow-fingerprint", OPERATOR)
            await asyncio.to_thread(_command, "site", "join", study.invitation(name), *here, *allow)
    begin(steps - 1, "the services of the sites start")
    for name in study.names:
        home = study.site(name)
        words = ("site", "run", "--home", str(home), "--threads", "1")
        await start_service(words, home=home, log=study.log(name))


async def start_coordinator(study: SampleStudy) -> None:
    """Start the coordinator service unless it runs; raises SetupProblem when it does not start."""
    words = ("coordinator", "serve", "--home", str(study.coordinator))
    await start_service(words, home=study.coordinator, log=study.log("coordinator"))


async def stop(study: SampleStudy) -> None:
    """Stop every service of the study that still runs; all of them keep their state.

    Returns when the processes and their workers are gone, not only the addresses they answered at:
    until then they write.
    """
    import psutil

    from app.control.client import ControlClient
    from app.control.messages import StopService
    from app.control.server import find_service

    running = {home: one.holder.pid for home in study.services if (one := find_service(home))}
    processes: list[psutil.Process] = []
    for pid in running.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            service = psutil.Process(pid)
            processes += (service, *service.children(recursive=True))
    # The sites first: without its coordinator a site would begin to look for it.
    coordinator = running.pop(study.coordinator, None)
    for home in running:
        with contextlib.suppress(FednnunetError):
            async with await ControlClient.connect(home) as client:
                await client.request(StopService())
    if coordinator is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(coordinator, signal.SIGTERM)
    await asyncio.to_thread(psutil.wait_procs, processes, timeout=_END_S)


async def remove(study: SampleStudy) -> int:
    """End the study's services and delete all that it wrote; returns how many bytes that were.

    What somebody else put into its folder stays there, and the folder with it.

    Raises:
        SetupProblem: there is no sample study, a service does not end, or a file cannot be deleted.
            After the latter two the same command goes on, unless the study is run again.
    """
    from app.control.server import find_service

    if not study.begun:
        raise SetupProblem(f"there is no sample study in {study.home}", code=ErrorCode.STUDY_STATE)
    await stop(study)
    for home in study.services:
        if find_service(home) is not None:
            raise SetupProblem(
                f"the service in {home} has not ended yet; try again in a minute",
                code=ErrorCode.SERVICE_RUNNING,
            )
    files = [file for part in study.parts for file in (part, *part.rglob("*")) if file.is_file()]
    freed = sum(file.stat().st_size for file in files)
    try:
        # The coordinator's folder is the first part and goes last: until then there is a study.
        for part in reversed(study.parts):
            if part.is_dir():
                await asyncio.to_thread(shutil.rmtree, part)
            else:
                part.unlink(missing_ok=True)
    except OSError as exc:
        raise SetupProblem(
            f"{exc.filename} cannot be deleted: {exc.strerror}", code=ErrorCode.NO_PERMISSION
        ) from exc
    with contextlib.suppress(OSError):
        study.home.rmdir()
    return freed


def with_settings(text: str, **settings: int | None) -> str:
    """Return a study file with some of its whole-number settings replaced."""
    for name, value in settings.items():
        if value is not None:
            text, count = re.subn(rf"(?m)^{name} = \d+$", f"{name} = {value}", text)
            if count != 1:
                raise SetupProblem(
                    f"the sample study has no setting {name}", code=ErrorCode.SETTING
                )
    return text


def _command(*words: str | Path | int) -> None:
    from app.cli import run

    line = [str(word) for word in words]
    if run(line) != DONE:
        raise SetupProblem(f"“fednnunet {' '.join(line)}” failed")


# Watching


@asynccontextmanager
async def _attached(study: SampleStudy) -> AsyncIterator[dict[str, ControlClient]]:
    """Clients of all sites, each drained in the background so that its snapshot stays true."""
    from app.control.client import ControlClient

    async with contextlib.AsyncExitStack() as stack:
        clients = {}
        for name in study.names:
            client = await stack.enter_async_context(await ControlClient.connect(study.site(name)))
            task = asyncio.create_task(_drain(client))
            stack.callback(task.cancel)
            clients[name] = client
        yield clients


async def _drain(client: ControlClient) -> None:
    async for _ in client.events():
        pass


def _finished(study: SampleStudy) -> bool:
    from app.coordinator.service import resting_status

    return resting_status(study.coordinator).state == "finished"


async def watch(study: SampleStudy) -> None:
    """Show progress until every site holds the final model.

    Raises:
        JobFailed: the study failed, or a site cannot go on.
    """
    from app.control.coordinator_client import study_status

    with _StudyProgress() as progress:
        async with _attached(study) as clients:
            while True:
                status = await study_status(study.coordinator)
                snapshots = {name: client.snapshot for name, client in clients.items()}
                progress.show(status, snapshots)
                if status.state == "failed":
                    raise JobFailed(f"the study failed: {status.sentence}")
                for name, snapshot in snapshots.items():
                    if snapshot.service.problem:
                        raise JobFailed(f"site {name}: {snapshot.service.problem}")
                if status.state == "finished" and all(map(_has_final, snapshots.values())):
                    return
                await asyncio.sleep(_POLL_S)


def _has_final(snapshot: Snapshot) -> bool:
    """Whether a site holds the final model; averages of rounds can segment before it."""
    return any(model.kind is ModelKind.FINAL for model in snapshot.review.models)


class _StudyProgress:
    """A bar per site on a terminal; else a line whenever something changes."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("[bold]{task.fields[site]:<12}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, str] = {}

    def __enter__(self) -> _StudyProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, status: CoordinatorStatus, snapshots: dict[str, Snapshot]) -> None:
        self._row("coordinator", status.sentence, len(status.closed_rounds), status.rounds)
        for name, snapshot in snapshots.items():
            training = snapshot.training
            total = max(1, training.total_epochs * training.steps_per_epoch)
            done = max(0, training.epoch - 1) * training.steps_per_epoch + training.step
            sentence = training.sentence or snapshot.federation.sentence
            self._row(name, sentence, done, total)

    def _row(self, name: str, sentence: str, done: int, total: int) -> None:
        if not self._console.is_terminal:
            # Digits change with every step; a new line only when the words or the round do.
            words = re.sub(r"\d+ (min|s|%|of \d+ iterations)", "", sentence)
            if words and words != self._told.get(name):
                self._told[name] = words
                self._console.print(f"{name:<12} {sentence}", highlight=False)
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task("", site=name)
        self._progress.update(
            self._tasks[name], description=sentence, completed=done, total=max(total, 1)
        )


# The result


async def segment_held_out(study: SampleStudy) -> dict[str, tuple[CaseScore, ...]]:
    """Let every site segment its held-out cases with the global model; scores by site."""
    from app.control.messages import Accepted, SegmentCases

    async with _attached(study) as clients:
        for name, client in clients.items():
            review = client.snapshot.review
            if _review_done(client):
                continue
            answer = await client.request(
                SegmentCases(model=review.models[-1].path, mirroring=False)
            )
            if not isinstance(answer, Accepted):
                raise JobFailed(f"site {name} does not segment: {answer}")
        while not all(_review_done(client) for client in clients.values()):
            for name, client in clients.items():
                job = client.snapshot.review.job
                if job is not None and job.failed:
                    raise JobFailed(f"site {name} could not segment: {job.outcome}")
            await asyncio.sleep(_POLL_S)
        return {name: client.snapshot.review.scores for name, client in clients.items()}


def _review_done(client: ControlClient) -> bool:
    dataset = client.snapshot.data.dataset
    expected = len(dataset.held_out) if dataset is not None else 0
    job = client.snapshot.review.job
    return 0 < expected <= len(client.snapshot.review.scores) and not (
        job is not None and job.running
    )


def export(study: SampleStudy) -> None:
    """Write the global model as a zip that plain nnU-Net installs."""
    _command("coordinator", "export", "--home", study.coordinator, "--out", study.model)


async def train_baselines(study: SampleStudy) -> dict[str, tuple[CaseScore, ...]]:
    """Train each site alone, for as many epochs as the study had; scores by site."""
    from app.cli.baseline import train_baseline

    _say("training each site alone for the same number of iterations")
    async with asyncio.TaskGroup() as group:
        tasks = {
            name: group.create_task(
                train_baseline(
                    coordinator=study.coordinator,
                    data=sample_folder() / name,
                    home=study.home / "baselines" / name,
                )
            )
            for name in study.names
        }
    return {name: task.result() for name, task in tasks.items()}


def collect_figures(
    study: SampleStudy,
    scores: dict[str, tuple[CaseScore, ...]],
    baselines: dict[str, tuple[CaseScore, ...]],
) -> dict[str, object]:
    """Gather what the table and the JSON file say."""
    from app.review.scores import mean_foreground_dice

    everything = [score for site in scores.values() for score in site]
    return {
        "mean_foreground_dice": mean_foreground_dice(everything),
        "sites": {
            name: {
                "training_cases": len(list((sample_folder() / name / "labelsTr").iterdir())),
                "held_out_cases": len(scores[name]),
                "global_dice": mean_foreground_dice(scores[name]),
                "baseline_dice": (
                    mean_foreground_dice(baselines[name]) if name in baselines else None
                ),
            }
            for name in study.names
        },
        "cases": {score.case: score.mean_dice for score in everything},
        "model": str(study.model),
    }


def print_table(figures: dict[str, object]) -> None:
    """Print the figures; the last line is `mean foreground Dice <number>`."""
    from rich.console import Console
    from rich.table import Table

    sites = figures["sites"]
    if not isinstance(sites, dict):
        raise TypeError(sites)
    with_baselines = any(site["baseline_dice"] is not None for site in sites.values())
    table = Table(title="Held-out cases, which no site trained on")
    columns = ["site", "training cases", "held-out cases", "Dice, global model"]
    for column in [*columns, "Dice, trained alone"] if with_baselines else columns:
        table.add_column(column, justify="left" if column == "site" else "right")
    for name, site in sites.items():
        row = [name, str(site["training_cases"]), str(site["held_out_cases"])]
        row.append(_figure(site["global_dice"]))
        if with_baselines:
            row.append(_figure(site["baseline_dice"]))
        table.add_row(*row)
    Console().print(table)
    _say(f"mean foreground Dice {_figure(figures['mean_foreground_dice'])}")


def _figure(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-"


def _say(line: str) -> None:
    print(line)  # noqa: T201
    sys.stdout.flush()
