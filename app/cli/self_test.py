"""`fednnunet self-test`: try out every part of an installation with the real pieces of the program.

Each step takes a part that a hospital will need and that an installation can lack: a display, a key
store, TLS sockets, a service that outlives its starter, a worker with torch and nnU-Net in a child
process, background augmenters, training, segmenting. What one step makes, later ones use. Nothing
outside a scratch folder is written, and nothing is sent anywhere but to 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import platform
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from app.cli import DONE, FAILED, MISUSE
from app.domain.errors import ErrorCode, FednnunetError, OurMistake, SetupProblem
from app.domain.study import Admission, StudyTerms
from app.system.clock import Clock, SystemClock

if TYPE_CHECKING:
    from app.jobs.events import AnyEvent, Result
    from app.jobs.spec import AnyJob

logger = logging.getLogger(__name__)

Facts = dict[str, object]
_Kind = TypeVar("_Kind")

STEPS: Final = 3
"""Training steps of the self-test."""
_SIDE: Final = 32
_CASES: Final = 6
_WINDOW_TRIES: Final = 3
_PART_S: Final = 120.0
_STOP_S: Final = 30.0
_LOG_LINES: Final = 15
_SCREENS: Final = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
_TERMS: Final = StudyTerms(
    name="Self-test",
    purpose="Tries out this installation.",
    contact="This study runs on this computer only.",
    channel_names=("MR",),
    labels={"background": 0, "ball": 1},
    rounds=1,
    iterations_per_epoch=STEPS,
    validation_iterations=1,
    minimum_sites=2,
    minimum_cases=5,
    admission=Admission.INVITATION,
)
_STUDY_FILE: Final = f"""\
name = "{_TERMS.name}"
purpose = "{_TERMS.purpose}"
contact = "{_TERMS.contact}"
channel_names = ["MR"]
admission = "invitation"

[labels]
background = 0
ball = 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one step went: a sentence either way, a remedy where it failed."""

    step: str
    what: str
    ok: bool
    seconds: float
    sentence: str
    remedy: str = ""
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where the steps work."""

    folder: Path
    device: str = "auto"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def base(self) -> Path:
        return self.folder / "base.safetensors"

    @property
    def update(self) -> Path:
        return self.folder / "update.safetensors"

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"


def self_test(parsed: argparse.Namespace) -> int:
    """Run the steps, tell each as it ends; exit code 1 when one failed."""
    if parsed.part is not None:
        return _run_part(parsed.part)
    wanted = tuple(parsed.only or SELF_TEST)
    unknown = [name for name in wanted if name not in SELF_TEST]
    if unknown:
        print(  # noqa: T201
            f"there is no step {unknown[0]}; the steps are {', '.join(SELF_TEST)}", file=sys.stderr
        )
        return MISUSE
    # A service of a failed step may still write for a moment; its files are no reason to fail.
    with tempfile.TemporaryDirectory(prefix="fednnunet-", ignore_cleanup_errors=True) as scratch:
        findings = run_steps(Bench(folder=Path(scratch), device=parsed.device), wanted)
    ok = all(finding.ok for finding in findings)
    if parsed.json is not None:
        parsed.json.write_text(json.dumps(report(findings), indent=2), encoding="utf-8")
    _say("everything works" if ok else "something does not work; see above")
    return DONE if ok else FAILED


def run_steps(
    bench: Bench,
    wanted: tuple[str, ...],
    *,
    steps: Mapping[str, Step] | None = None,
    clock: Clock | None = None,
) -> tuple[Finding, ...]:
    """Run the wanted steps in their order, each whatever became of the others."""
    clock = SystemClock() if clock is None else clock
    findings = []
    for name, step in (SELF_TEST if steps is None else steps).items():
        if name in wanted:
            finding = _try(name, step, bench, clock)
            mark = "ok    " if finding.ok else "FAILED"
            _say(f"[{mark}] {finding.what} ({finding.seconds:.1f} s): {finding.sentence}")
            if finding.remedy:
                _say(f"    What you can do: {finding.remedy}")
            findings.append(finding)
    return tuple(findings)


def report(findings: tuple[Finding, ...]) -> Facts:
    """Return everything found, as it is written with `--json`."""
    import msgspec

    from app.system.build import installed_versions, this_build

    return {
        "ok": all(finding.ok for finding in findings),
        "build": msgspec.to_builtins(this_build()),
        "versions": installed_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "frozen": bool(getattr(sys, "frozen", False)),
        "steps": [asdict(finding) for finding in findings],
    }


@dataclass(frozen=True, slots=True)
class Step:
    """`run` returns a sentence about what works and the facts behind it, or raises."""

    what: str
    run: Callable[[Bench], tuple[str, Facts]]


def _try(name: str, step: Step, bench: Bench, clock: Clock) -> Finding:
    begun = clock.monotonic()

    def found(sentence: str, *, remedy: str = "", facts: Facts | None = None) -> Finding:
        return Finding(
            step=name,
            what=step.what,
            ok=not remedy,
            seconds=round(clock.monotonic() - begun, 2),
            sentence=sentence,
            remedy=remedy,
            facts=facts or {},
        )

    try:
        sentence, facts = step.run(bench)
    except FednnunetError as exc:
        return found(str(exc), remedy=exc.remedy, facts={"logs": last_lines(bench.folder)})
    except Exception as exc:
        logger.exception("the step %s met an error it does not know", name)
        sentence = f"{type(exc).__name__}: {exc}"
        return found(
            sentence,
            remedy=SetupProblem(sentence, code=ErrorCode.INTERNAL).remedy,
            facts={"logs": last_lines(bench.folder)},
        )
    return found(sentence, facts=facts)


def last_lines(folder: Path) -> dict[str, list[str]]:
    """Return the ends of all logs below a scratch folder: there is no patient in them."""
    logs = [*folder.glob("*.log"), *folder.glob("jobs/*/log.txt")]
    return {
        path.relative_to(folder).as_posix(): path.read_text(
            encoding="utf-8", errors="replace"
        ).splitlines()[-_LOG_LINES:]
        for path in sorted(logs)
    }


# --- the window ----------------------------------------------------------------------------------


def _window(_: Bench) -> tuple[str, Facts]:
    """Show the window a few times, an empty one of Qt in between: a busy computer slows both."""
    tries: dict[str, list[float]] = {"window": [], "bare-window": []}
    last: Facts = {}
    for _number in range(_WINDOW_TRIES):
        for part, seconds in tries.items():
            told = asyncio.run(_start_part(part))
            seconds.append(float(str(told["seconds"])))
            if part == "window":
                last = told
    ours, bare = (statistics.median(tries[part]) for part in tries)
    facts = {
        **last,
        "seconds": ours,
        "bare_seconds": bare,
        "ratio": round(ours / bare, 2),
    }
    times = f"{ours / bare:.1f} times an empty window"
    return f"visible after {ours:.1f} s ({times}), drawn by “{last['platform']}”", facts


async def _start_part(part: str) -> Facts:
    """Run one part in a process of its own, because Qt ends a process that has no display."""
    from app.jobs.detached import fednnunet_command

    environment = dict(os.environ)
    if sys.platform == "linux" and not any(environment.get(name) for name in _SCREENS):
        environment["QT_QPA_PLATFORM"] = "offscreen"
    process = await asyncio.create_subprocess_exec(
        *fednnunet_command(),
        "self-test",
        "--part",
        part,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(_PART_S):
            out, err = await process.communicate()
    except TimeoutError as exc:
        process.kill()
        await process.wait()
        raise SetupProblem(
            f"the window did not come up within {_PART_S:.0f} s", code=ErrorCode.MISSING_LIBRARY
        ) from exc
    if process.returncode != DONE:
        lines = err.decode(errors="replace").strip().splitlines() or ["no reason was told"]
        raise SetupProblem(
            f"the window does not come up: {lines[-1]}", code=ErrorCode.MISSING_LIBRARY
        )
    told: Facts = json.loads(out.splitlines()[-1])
    return told


def _run_part(part: str) -> int:
    from app.ui.first_frame import show_bare, show_once

    shows = {"window": show_once, "bare-window": show_bare}
    if part not in shows:
        return MISUSE
    _say(json.dumps(asdict(shows[part]())))
    return DONE


# --- keys and the network ------------------------------------------------------------------------


def _key_store(bench: Bench) -> tuple[str, Facts]:
    """Keep a key and take it back, in the key store that a site would use."""
    from keyring.backend import get_all_keyring

    from app.system.secrets import open_store

    store = open_store(bench.folder / "keys")
    name, secret = "self-test", bytes(range(32))
    store.set(name, secret)
    try:
        if store.get(name) != secret:
            raise SetupProblem("the key store gave another key back", code=ErrorCode.SECRET_STORE)
    finally:
        store.delete(name)
    known = sorted({f"{type(one).__module__}.{type(one).__name__}" for one in get_all_keyring()})
    return f"keys are kept {store.description}", {"backends": known}


def _connection(bench: Bench) -> tuple[str, Facts]:
    """Make a study, serve it on 127.0.0.1, and reach it over TLS and a websocket as a site does."""
    from app.cli.services import free_port, start_service
    from app.coordinator.workspace import create_study, write_invitation
    from app.site.doctor import DoctorTarget, LineState, examine
    from app.site.joining import read_invitation

    clock = SystemClock()
    home, invitation = bench.folder / "coordinator", bench.folder / "self-test.fedjoin"
    study_file = bench.folder / "study.toml"
    study_file.write_text(_STUDY_FILE, encoding="utf-8")
    create_study(study_file, home, host="localhost", port=free_port(), clock=clock)
    write_invitation(home, site="self-test", out=invitation, days=1, clock=clock)

    async def reach() -> Facts:
        try:
            await start_service(
                ("coordinator", "serve", "--home", str(home)),
                home=home,
                log=bench.folder / "coordinator.log",
            )
            target = DoctorTarget.of_invitation(read_invitation(invitation))
            lines = await examine(target, proxy=None, clock=clock)
        finally:
            await _end_service(home)
        for line in lines:
            if line.state is LineState.FAILED:
                raise SetupProblem(f"{line.step.value}: {line.sentence}")
        return {line.step.value: line.state.value for line in lines}

    facts = asyncio.run(reach())
    return "a coordinator on this computer was reached over TLS 1.3 and a websocket", facts


def _service(bench: Bench) -> tuple[str, Facts]:
    """Start a site service that outlives its starter, attach to it as the window does, and stop it."""
    from app.cli.services import start_service
    from app.control.client import ControlClient
    from app.control.messages import StopService
    from app.control.server import find_service

    home = bench.folder / "site"

    async def attach() -> Facts:
        try:
            words = ("site", "run", "--home", str(home))
            await start_service(words, home=home, log=bench.folder / "site.log")
            async with await ControlClient.connect(home) as client:
                problem = client.snapshot.service.problem
                await client.request(StopService())
            async with asyncio.timeout(_STOP_S):
                while find_service(home) is not None:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.1)
        finally:
            await _end_service(home)
        if problem:
            raise SetupProblem(problem)
        return {}

    return "a site service started, answered and stopped", asyncio.run(attach())


async def _end_service(home: Path) -> None:
    """End what may still run for `home`, and wait until it is gone."""
    import psutil

    from app.control.server import find_service

    address = find_service(home)
    if address is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(address.holder.pid)
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, _STOP_S)
        except psutil.TimeoutExpired:
            process.kill()


# --- worker, training, segmentation --------------------------------------------------------------


def _worker(bench: Bench) -> tuple[str, Facts]:
    """Start a worker, which imports torch and looks nnU-Net's classes up by name."""
    from app.jobs.events import Probed
    from app.jobs.spec import ProbeJob

    found = _run(bench, ProbeJob(device=bench.device), Probed)
    computer = found.device_name or "the processor"
    software = f"PyTorch {found.torch} and nnU-Net {found.nnunet}"
    facts: Facts = {name: getattr(found, name) for name in found.__struct_fields__}
    return f"a child process computes with {software} on {computer}", facts


def _planning(bench: Bench) -> tuple[str, Facts]:
    """Check a small folder, take its fingerprint, merge, plan, and draw a first model."""
    from app.datasets.fingerprint_file import read_fingerprint
    from app.federation.merging import encode_merged, merge
    from app.jobs.events import Checked, Fingerprinted, ModelDrawn, Planned
    from app.jobs.spec import CheckJob, FingerprintJob, InitialModelJob, PlanJob
    from app.site.disclosure import share
    from app.system.atomic import write_atomic

    write_images(bench.data)
    checked = _run(bench, CheckJob(folder=str(bench.data)), Checked)
    if checked.report.blocks:
        blocking = [finding.sentence for finding in checked.report.findings]
        raise OurMistake(f"the folder of the self-test does not pass its check: {blocking[0]}")
    local = bench.folder / "fingerprint.json"
    _run(
        bench,
        FingerprintJob(
            folder=str(bench.data),
            content_digest=checked.report.content_digest,
            output=str(local),
        ),
        Fingerprinted,
    )
    shared = share(read_fingerprint(local), _TERMS.policy)
    merged = bench.folder / "merged.json"
    write_atomic(merged, encode_merged(merge([shared, shared], rule=_TERMS.aggregation)))
    planned = _run(
        bench,
        PlanJob(
            terms=_TERMS,
            merged=str(merged),
            workspace=str(bench.folder / "planning"),
            output=str(bench.plan),
        ),
        Planned,
    )
    drawn = _run(
        bench,
        InitialModelJob(
            plan=str(bench.plan),
            configuration=_TERMS.configuration,
            seed=_TERMS.seed,
            output=str(bench.base),
        ),
        ModelDrawn,
    )
    return (
        f"{_CASES} small images became a plan and a first model of {drawn.size / 1e6:.0f} MB",
        {"plan": planned.digest, "model_bytes": drawn.size},
    )


def _training(bench: Bench) -> tuple[str, Facts]:
    """Prepare the images and train a few steps, the images augmented by background processes."""
    from app.jobs.events import Preprocessed, Stepped
    from app.jobs.spec import PreprocessJob

    _needs(bench.base, "planning")
    _run(
        bench,
        PreprocessJob(
            plan=str(bench.plan),
            folder=str(bench.data),
            workspace=str(bench.workspace),
            configuration=_TERMS.configuration,
            fold=_TERMS.fold,
        ),
        Preprocessed,
    )
    told = asyncio.run(_train(bench))
    losses = [event.record.loss for event in told if isinstance(event, Stepped)]
    if len(losses) != STEPS or bench.update.read_bytes() == bench.base.read_bytes():
        raise SetupProblem(
            f"{len(losses)} of {STEPS} training steps were done", code=ErrorCode.JOB_FAILED
        )
    return (
        f"{STEPS} training steps with two background augmenters, loss {losses[-1]:.2f}",
        {"losses": [round(loss, 4) for loss in losses]},
    )


async def _train(bench: Bench) -> list[AnyEvent]:
    """Run one round in a training session and return all that it told."""
    from app.domain.errors import JobFailed
    from app.jobs.events import SessionEnded
    from app.jobs.runner import JobRunner
    from app.jobs.spec import TrainJob, TrainRound
    from app.site.session import TrainingSession

    told: list[AnyEvent] = []
    session = TrainingSession(told.append)
    job = TrainJob(
        plan=str(bench.plan),
        workspace=str(bench.workspace),
        configuration=_TERMS.configuration,
        fold=_TERMS.fold,
        total_epochs=_TERMS.total_epochs,
        iterations_per_epoch=_TERMS.iterations_per_epoch,
        validation_iterations=_TERMS.validation_iterations,
        seed=_TERMS.seed,
        checkpoint=str(bench.folder / "checkpoint.pth"),
        device=bench.device,
        loader_processes=2,
    )
    await session.start(JobRunner(folder=bench.folder / "jobs"), job, ended=lambda: None)
    try:
        await session.ready()
        await session.train(
            TrainRound(
                round=1,
                attempt=1,
                epochs=_TERMS.epochs_per_round,
                start_epoch=0,
                base=str(bench.base),
                update=str(bench.update),
            )
        )
        await session.finish()
    finally:
        await session.stop()
    outcome = session.outcome
    if outcome is None or not isinstance(outcome.result, SessionEnded):
        sentence = "the training session was lost" if outcome is None else outcome.sentence
        raise JobFailed(sentence, code=None if outcome is None else outcome.code)
    return told


def _segmentation(bench: Bench) -> tuple[str, Facts]:
    """Export the trained model as a zip of plain nnU-Net and segment one image with it."""
    from app.datasets.images import read_volume
    from app.datasets.scan import scan
    from app.jobs.events import Exported, Segmented
    from app.jobs.spec import ExportJob, SegmentJob

    _needs(bench.update, "training")
    model = bench.folder / "model.zip"
    _run(
        bench,
        ExportJob(
            plan=str(bench.plan),
            folds={_TERMS.fold: str(bench.update)},
            configuration=_TERMS.configuration,
            model_name="SelfTest",
            output=str(model),
        ),
        Exported,
    )
    case = scan(bench.data).training[0]
    segmented = _run(
        bench,
        SegmentJob(
            model=str(model),
            cases=(case,),
            output=str(bench.folder / "segmented"),
            device=bench.device,
            step_size=1.0,
        ),
        Segmented,
    )
    prediction = read_volume(Path(segmented.results[0].prediction))
    source = read_volume(Path(case.channels[0]))
    if prediction.array.shape != source.array.shape:
        raise SetupProblem(
            f"the segmentation is {prediction.array.shape}, the image {source.array.shape}",
            code=ErrorCode.JOB_FAILED,
        )
    values = sorted({int(value) for value in prediction.array.ravel()})
    if not set(values) <= {0, 1}:
        raise SetupProblem(f"the segmentation holds the values {values}", code=ErrorCode.JOB_FAILED)
    return "one image was segmented with the exported model", {"values": values}


def write_images(folder: Path) -> None:
    """Write an nnU-Net folder of small synthetic images: a bright ball in noise, axes z y x."""
    import numpy as np
    import SimpleITK

    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    axes = np.indices((_SIDE, _SIDE, _SIDE))
    for number in range(_CASES):
        random = np.random.default_rng(number)
        centre = _SIDE / 2 + random.uniform(-3, 3, size=(3, 1, 1, 1))
        ball = ((axes - centre) ** 2).sum(axis=0) < (_SIDE / 4 + random.uniform(-1, 1)) ** 2
        image = 100 + 80 * ball + random.normal(0, 15, ball.shape)
        case = f"ball_{number}"
        for array, path in (
            (image.astype(np.float32), folder / "imagesTr" / f"{case}_0000.nii.gz"),
            (ball.astype(np.uint8), folder / "labelsTr" / f"{case}.nii.gz"),
        ):
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
    description = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "ball": 1},
        "numTraining": _CASES,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


def _run(bench: Bench, job: AnyJob, kind: type[_Kind]) -> _Kind:
    from app.jobs.runner import JobRunner, run_job

    result: Result = asyncio.run(run_job(JobRunner(folder=bench.folder / "jobs"), job))
    if not isinstance(result, kind):
        raise OurMistake(f"a {type(job).__name__} gave {type(result).__name__}")
    return result


def _needs(path: Path, step: str) -> None:
    if not path.exists():
        raise SetupProblem(
            f"this step needs what the step “{step}” makes", code=ErrorCode.JOB_FAILED
        )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


SELF_TEST: Final[dict[str, Step]] = {
    "window": Step("the window", _window),
    "keys": Step("the key store", _key_store),
    "connection": Step("the connection", _connection),
    "service": Step("the site service", _service),
    "worker": Step("worker and nnU-Net", _worker),
    "planning": Step("check, fingerprint, plan", _planning),
    "training": Step("training", _training),
    "segmentation": Step("segmentation", _segmentation),
}
"""Name on the command line -> step, in the order in which they run."""
