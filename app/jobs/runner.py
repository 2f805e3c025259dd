"""Starting children, reading what they tell, and ending them with everything they started.

A child is `python -P -m app.worker SPEC` (a frozen program stands for `python -P`). It gets a folder of its own with `spec.json` and
`log.txt`; its events come as JSON lines over the pipe that is its standard output at the start,
commands go as JSON lines to its standard input, and the end of that input asks it to stop. So a
child also stops when this process dies.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

import app
from app.domain.errors import ErrorCode, JobFailed, OurMistake, SetupProblem
from app.jobs.detached import worker_python
from app.jobs.events import AnyEvent, Failed, Result
from app.jobs.machine import JobEvent, JobState, advance
from app.jobs.outcome import JobOutcome, outcome_of
from app.jobs.process_group import ProcessGroup, process_group
from app.jobs.spec import (
    AnyCommand,
    AnyJob,
    CheckJob,
    FingerprintJob,
    PlanJob,
    PreprocessJob,
    TrainJob,
)
from app.jobs.workspace import Workspace
from app.system.atomic import disk_errors, make_folder, write_atomic
from app.system.clock import Clock, SystemClock
from app.system.gpu_package import PACKAGE_VARIABLE, active_package

_log = logging.getLogger(__name__)

_LONGEST_LINE: Final = 64 << 20  # a check of thousands of cases is one line
_TERMINATE_GRACE_S: Final = 5.0
_DRAIN_S: Final = 5.0
_LOOK_S: Final = 1.0
_KEPT_FOLDERS: Final = 50
_FOLDER: Final = re.compile(r"(\d+)-[a-z-]+")
_SPEC_FILE: Final = "spec.json"
_LOG_FILE: Final = "log.txt"
_OUTCOME_FILE: Final = "outcome.json"
_RESULTS: Final = Result.__args__
_Stream = TypeVar("_Stream")


class JobRunner:
    """Starts jobs, each in its own folder below `folder`."""

    def __init__(
        self,
        *,
        folder: Path,
        python: Sequence[str] | None = None,
        clock: Clock | None = None,
        low_priority: bool = True,
        package: Path | None = None,
    ) -> None:
        """Make a runner; its children take torch from `package` instead of the one in use."""
        self._folder = folder
        self._package = package
        self._python = worker_python() if python is None else tuple(python)
        self._clock: Clock = SystemClock() if clock is None else clock
        self._low_priority = low_priority

    async def start(self, job: AnyJob, *, on_event: Callable[[AnyEvent], None]) -> RunningJob:
        """Start a child for `job` and return at once; `on_event` is called in this loop.

        An `on_event` that raises ends the child; `RunningJob.wait` raises the same.

        Raises:
            SetupProblem: the folder cannot be written or Python cannot be started.
        """
        folder = self._new_folder(job)
        spec = folder / _SPEC_FILE
        write_atomic(spec, msgspec.json.encode(job))
        state = advance(JobState.QUEUED, JobEvent.START)
        started = self._clock.now()
        with disk_errors(folder / _LOG_FILE), (folder / _LOG_FILE).open("ab") as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._python,
                    "-m",
                    "app.worker",
                    str(spec),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=folder,
                    env=child_environment(job, folder, package=self._package),
                    limit=_LONGEST_LINE,
                    **_OWN_GROUP,
                )
            except OSError as exc:
                raise SetupProblem(
                    f"{self._python[0]} cannot be started: {exc.strerror}",
                    code=ErrorCode.MISSING_LIBRARY,
                ) from exc
        group = process_group(process.pid)
        if self._low_priority:
            group.lower_priority()
        _log.info("job %s started as process %d", folder.name, process.pid)

        def ended(outcome: JobOutcome) -> None:
            self._record(folder, outcome, started=started)

        return RunningJob(
            job=job,
            process=process,
            group=group,
            folder=folder,
            state=state,
            on_event=on_event,
            on_end=ended,
        )

    def _new_folder(self, job: AnyJob) -> Path:
        make_folder(self._folder)
        taken: dict[int, Path] = {}
        for entry in self._folder.iterdir():
            match = _FOLDER.fullmatch(entry.name)
            if match is not None:
                taken[int(match.group(1))] = entry
        for number in sorted(taken)[:-_KEPT_FOLDERS]:
            shutil.rmtree(taken[number], ignore_errors=True)
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind_of(job).removesuffix("Job")).lower()
        return make_folder(self._folder / f"{max(taken, default=0) + 1:04d}-{name}")

    def _record(self, folder: Path, outcome: JobOutcome, *, started: float) -> None:
        _log.info("job %s: %s", folder.name, outcome.state.value)
        record = {
            "state": outcome.state.value,
            "sentence": outcome.sentence,
            "code": None if outcome.code is None else outcome.code.value,
            "started": started,
            "ended": self._clock.now(),
        }
        try:
            write_atomic(folder / _OUTCOME_FILE, msgspec.json.encode(record))
        except SetupProblem as exc:
            # The outcome itself still reaches its waiter; a full disk must not hide it.
            _log.warning("the outcome of job %s was not written: %s", folder.name, exc)


class RunningJob:
    """A child at work. Made by `JobRunner.start`; ends only through `wait` or `stop`."""

    def __init__(
        self,
        *,
        job: AnyJob,
        process: asyncio.subprocess.Process,
        group: ProcessGroup,
        folder: Path,
        state: JobState,
        on_event: Callable[[AnyEvent], None],
        on_end: Callable[[JobOutcome], None],
    ) -> None:
        self.job = job
        self.folder = folder
        self.state = state
        self._process = process
        self._commands = _open(process.stdin)
        self._events = _open(process.stdout)
        self._group = group
        self._on_event = on_event
        self._on_end = on_end
        self._result: Result | None = None
        self._failure: Failed | None = None
        self._watch = asyncio.create_task(self._live(), name=f"job {folder.name}")

    @property
    def pid(self) -> int:
        """The child's process number, which is also its group's."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """Where everything goes that the child and its children print."""
        return self.folder / _LOG_FILE

    async def send(self, command: AnyCommand) -> None:
        """Send a command; raises JobFailed (JOB_LOST) when the child no longer listens."""
        try:
            self._commands.write(msgspec.json.encode(command) + b"\n")
            await self._commands.drain()
        except (ConnectionError, RuntimeError) as exc:
            raise JobFailed("the worker no longer takes commands", code=ErrorCode.JOB_LOST) from exc

    async def stop(self, grace_s: float = 20.0) -> JobOutcome:
        """Ask the child to stop, end its group when it does not, and return its outcome.

        Safe to call twice, after the end, and when cancelled: the child then is killed at once.
        """
        if not self._watch.done():
            self.state = advance(self.state, JobEvent.STOP)
            self._commands.close()
            try:
                for patience_s, next_step in (
                    (grace_s, self._group.ask_to_end),
                    (min(grace_s, _TERMINATE_GRACE_S), self._group.kill),
                ):
                    done, _ = await asyncio.wait({self._watch}, timeout=patience_s)
                    if done:
                        break
                    next_step()
            except asyncio.CancelledError:
                self._group.kill()
                raise
        return await self.wait()

    async def wait(self) -> JobOutcome:
        """Return how the child ended; cancelling the wait does not end the child."""
        return await asyncio.shield(self._watch)

    async def _live(self) -> JobOutcome:
        reader = asyncio.create_task(self._read(), name=f"events of {self.folder.name}")
        ending = asyncio.create_task(self._exit_code(), name=f"end of {self.folder.name}")
        try:
            await asyncio.wait({reader, ending}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done() and reader.exception() is not None:
                self._group.kill()
            exit_code = await ending
        finally:
            # Whatever the child started ends with it: augmenters outlive a trainer that died.
            self._group.kill()
            # A grandchild may have held the pipe open; now its end comes.
            await asyncio.wait({reader, ending}, timeout=_DRAIN_S)
            for task in (reader, ending):
                task.cancel()
        if reader.done():
            reader.result()
        outcome = outcome_of(
            kind_of(self.job),
            state=self.state,
            exit_code=exit_code,
            failure=self._failure,
            result=self._result,
        )
        self.state = outcome.state
        self._on_end(outcome)
        return outcome

    async def _exit_code(self) -> int:
        # WORKAROUND https://github.com/python/cpython/issues/119710: in some releases `wait`
        # returns only when the pipes are closed too, and a grandchild may hold them open.
        # Goes when 3.13 is the oldest Python.
        waiting = asyncio.create_task(self._process.wait(), name=f"wait for {self.folder.name}")
        try:
            while self._process.returncode is None:
                await asyncio.wait({waiting}, timeout=_LOOK_S)
        finally:
            waiting.cancel()
        return self._process.returncode

    async def _read(self) -> None:
        while line := await self._events.readline():
            try:
                event = _DECODER.decode(line)
            except msgspec.MsgspecError:
                # Something wrote to the pipe before the worker took it away. No content in our
                # log: it may name a case.
                _log.warning(
                    "job %s: a line of %d bytes is not an event", self.folder.name, len(line)
                )
                continue
            if self.state is JobState.STARTING:
                self.state = advance(self.state, JobEvent.FIRST_WORD)
            if isinstance(event, Failed):
                self._failure = event
            elif isinstance(event, _RESULTS):
                self._result = event
            self._on_event(event)


def _open(stream: _Stream | None) -> _Stream:
    if stream is None:
        raise OurMistake("a child was started without its pipes")
    return stream


async def run_job(
    runner: JobRunner, job: AnyJob, on_event: Callable[[AnyEvent], None] | None = None
) -> Result:
    """Run `job` to its end and return its result; cancelling it stops the child.

    Without `on_event` only the result is wanted, and what the job tells on its way is dropped.

    Raises:
        JobFailed: with the outcome's code and sentence, unless it succeeded.
    """
    running = await runner.start(job, on_event=on_event or (lambda _: None))
    try:
        outcome = await running.wait()
    except asyncio.CancelledError:
        await running.stop()
        raise
    if outcome.result is None:
        raise JobFailed(outcome.sentence, code=outcome.code)
    return outcome.result


def kind_of(job: AnyJob) -> str:
    """Return the kind of a job as its spec carries it."""
    return type(job).__name__


def child_environment(job: AnyJob, folder: Path, *, package: Path | None = None) -> dict[str, str]:
    """Return the environment of a child: ours, with threads, nnU-Net's folders and pools set.

    Torch comes from `package`, else from the GPU package that is in use, if there is one.

    Everything is set before the child starts, because numpy, torch and nnU-Net read much of it
    while they are imported.
    """
    threads = str(max(1, job.threads))
    root = Path(job.workspace) if isinstance(job, _WITH_WORKSPACE) else folder / "workspace"
    processes = job.processes if isinstance(job, _WITH_PROCESSES) else 1
    # nnU-Net's planner calls torch.set_num_threads with this number and fails on 0; only the
    # trainer takes 0 for "no background process".
    augmenters = job.loader_processes if isinstance(job, TrainJob) else 1
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("nnUNet_")
    }
    environment |= {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "NUMEXPR_NUM_THREADS": threads,
        "VECLIB_MAXIMUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        # 3-D convolutions that Apple's graphics processor lacks are done by the CPU.
        "PYTORCH_ENABLE_MPS_FALLBACK": "1",
        "PYTHONPATH": _with_our_code(environment.get("PYTHONPATH")),
        "nnUNet_n_proc_DA": str(augmenters),
        "nnUNet_def_n_proc": str(max(1, processes)),
        # Images and labels are compressed by blosc2, whose threads are not counted above.
        "BLOSC_NTHREADS": threads,
        **Workspace(root=root).environment,
    }
    torch_from = active_package() if package is None else package
    if torch_from is not None:
        environment[PACKAGE_VARIABLE] = str(torch_from)
    if isinstance(job, TrainJob):
        # glibc gives every large tensor fresh pages and takes them back, step after step. Keeping
        # them made a step of a 5.6 M network 7 % quicker on one core, at equal peak memory.
        environment |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}
    return environment


def _with_our_code(path: str | None) -> str:
    """The child must import this very program, wherever it was started from."""
    ours = str(Path(app.__file__).parents[1])
    return ours if not path else os.pathsep.join((ours, path))


_WITH_WORKSPACE: Final = (PlanJob, PreprocessJob, TrainJob)
_WITH_PROCESSES: Final = (CheckJob, FingerprintJob, PreprocessJob)
_DECODER: Final = msgspec.json.Decoder(AnyEvent)

if sys.platform == "win32":
    _OWN_GROUP: Final[dict[str, Any]] = {
        "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    }
else:
    _OWN_GROUP: Final[dict[str, Any]] = {"start_new_session": True}
