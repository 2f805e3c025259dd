"""A job runner whose workers are scripts in this process: they tell what real workers tell.

The training worker keeps a checkpoint file after every epoch and goes on from it, as the real
one does, and the runner counts every epoch that was trained.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from app.datasets.confirmed import confirm, propose
from app.datasets.digest import content_digest
from app.datasets.fingerprint_file import write_fingerprint
from app.datasets.scan import scan
from app.domain.dataset import Case
from app.domain.errors import ErrorCode, JobFailed
from app.domain.findings import ValidationReport
from app.domain.fingerprint import CaseFingerprint, ChannelStatistics, Fingerprint
from app.domain.folds import folds_of
from app.domain.rounds import TensorSpec
from app.domain.segmentation import CaseScore, CaseVolumes, LabelScore, SegmentationResult
from app.domain.shared import intensity_bin
from app.domain.training import EpochRecord, HeldOutScore, StepRecord
from app.federation.plan_rules import summarise
from app.federation.transfer import encode
from app.jobs.events import (
    Calibrated,
    CaseSegmented,
    CasesFound,
    Checked,
    Checkpointed,
    EpochEnded,
    Exported,
    Failed,
    Fingerprinted,
    FirstPassSegmented,
    HeldOutScored,
    LayoutConfirmed,
    ModelDrawn,
    ModelInspected,
    Planned,
    Preprocessed,
    Progressed,
    RoundTrained,
    Scored,
    Segmented,
    SessionEnded,
    SessionReady,
    Stepped,
    UpdateWritten,
)
from app.jobs.machine import JobState
from app.jobs.outcome import JobOutcome
from app.jobs.spec import Finish, InitialModelJob, PlanJob, TrainRound

PID = 4_000_000  # above any real process


def changes_of(command: TrainRound, trained: bytes) -> bytes:
    """Write an update as the real worker does where a part of a network is shared, in numpy alone."""
    base, after = load(Path(command.base).read_bytes()), load(trained)
    before = command.remainder_before
    owed = {} if before is None else load(Path(before).read_bytes())
    sent, kept = {}, {}
    for name in command.sent:
        if name in command.whole:
            sent[name] = after[name]
            continue
        spec = TensorSpec(name=name, shape=after[name].shape)
        change = after[name] - base[name] + owed.get(name, np.float32(0))
        parts, made = encode(spec, change, command.transfer)
        sent |= parts
        kept[name] = change - made
    Path(command.remainder).write_bytes(save(kept))
    return save(sent)


class ScriptedJob:
    """One worker; its script runs as a task."""

    def __init__(self, runner, job, on_event):
        self.job, self.state, self.pid = job, JobState.RUNNING, PID
        self._runner, self._on_event = runner, on_event
        self.commands: asyncio.Queue = asyncio.Queue()
        self.stopping = asyncio.Event()
        self.result = None
        self.failure: Failed | None = None
        name = f"_{type(job).__name__.removesuffix('Job').lower()}"
        self._script = asyncio.create_task(getattr(runner, name)(self, job))
        self._task = asyncio.create_task(self._live())

    async def send(self, command):
        if self._task.done():
            raise JobFailed("gone", code=ErrorCode.JOB_LOST)
        self.commands.put_nowait(command)

    async def stop(self, grace_s=20.0):
        self.stopping.set()
        return await self.wait()

    async def wait(self):
        return await asyncio.shield(self._task)

    def kill(self):
        """End as SIGKILL would: at once, without a word."""
        self._script.cancel()

    def tell(self, event):
        self._on_event(event)

    async def _live(self):
        stopped = asyncio.create_task(self.stopping.wait())
        await asyncio.wait({self._script, stopped}, return_when=asyncio.FIRST_COMPLETED)
        asked_to_stop = self.stopping.is_set()
        for task in (self._script, stopped):
            task.cancel()
        await asyncio.gather(self._script, stopped, return_exceptions=True)
        self._runner.running.discard(self)
        if self._script.done() and not self._script.cancelled():
            self._script.result()
        if self.result is not None:
            return JobOutcome(
                state=JobState.SUCCEEDED, sentence="done", code=None, result=self.result
            )
        if self.failure is not None:
            return JobOutcome(
                state=JobState.FAILED,
                sentence=self.failure.sentence,
                code=ErrorCode(self.failure.code),
                result=None,
            )
        if asked_to_stop:
            return JobOutcome(
                state=JobState.STOPPED, sentence="stopped", code=ErrorCode.JOB_STOPPED, result=None
            )
        return JobOutcome(
            state=JobState.LOST, sentence="lost", code=ErrorCode.JOB_LOST, result=None
        )


class ScriptedRunner:
    """Stands where `JobRunner` stands. `gates` hold a kind of work until they are set."""

    steps = 3

    def __init__(self):
        self.running: set[ScriptedJob] = set()
        self.started: list[object] = []
        self.trained: Counter[tuple[int, int]] = Counter()
        self.gates: dict[str, asyncio.Event] = {}
        self.failures: dict[str, list[Failed]] = {}
        self.findings = ()
        self.spacing_mm = (1.0, 1.0, 1.0)
        self.asked: list[TrainRound] = []
        self.base_score = lambda running, command: (
            held_out(command.round - 1) if command.score_base else None
        )
        self.measured: Calibrated | None = None
        # What a real worker computes; a test that reads tensors puts functions of its own here.
        self.update_of: Callable[[int, bytes], bytes] = update_content
        self.plan_of: Callable[[PlanJob], bytes] | None = None
        self.drawn = b"first weights"
        self.drawn_of: Callable[[InitialModelJob], bytes] = lambda _: self.drawn

    async def start(self, job, *, on_event):
        self.started.append(job)
        running = ScriptedJob(self, job, on_event)
        self.running.add(running)
        return running

    def kinds(self) -> list[str]:
        return [type(job).__name__ for job in self.started]

    def hold(self, place: str) -> asyncio.Event:
        self.gates[place] = asyncio.Event()
        return self.gates[place]

    def kill(self, kind: str) -> None:
        for job in tuple(self.running):
            if type(job.job).__name__ == kind:
                job.kill()

    async def _gate(self, place):
        if place in self.gates:
            await self.gates[place].wait()

    def _fails(self, running, place):
        if self.failures.get(place):
            running.failure = self.failures[place].pop(0)
            running.tell(running.failure)
            return True
        return False

    async def _check(self, running, job):
        await self._gate("check")
        if self._fails(running, "check"):
            return
        dataset = scan(Path(job.folder))
        running.tell(Progressed(done=1, total=1, what="checking cases"))
        report = ValidationReport(
            folder=job.folder,
            cases=len(dataset.training),
            content_digest=content_digest(dataset),
            findings=self.findings,
        )
        running.result = Checked(report=report, dataset=dataset, proposal=propose(Path(job.folder)))
        running.tell(running.result)

    async def _convert(self, running, job):
        await self._gate("convert")
        if self._fails(running, "convert"):
            return
        confirmation = confirm(Path(job.folder), job.proposal, Path(job.output))
        running.result = LayoutConfirmed(
            output=job.output, cases=len(confirmation.cases), findings=0
        )
        running.tell(running.result)

    async def _fingerprint(self, running, job):
        await self._gate("fingerprint")
        if self._fails(running, "fingerprint"):
            return
        dataset = scan(Path(job.folder))
        cases = tuple(
            case_fingerprint(case.name, self.spacing_mm)
            for case in dataset.training
            if case.name not in job.leave_out
        )
        fingerprint = Fingerprint(
            content_digest=job.content_digest,
            channel_names=dataset.description.channel_names,
            cases=cases,
        )
        write_fingerprint(fingerprint, Path(job.output))
        running.result = Fingerprinted(output=job.output, cases=len(cases))
        running.tell(running.result)

    async def _plan(self, running, job):
        await self._gate("plan")
        if self._fails(running, "plan"):
            return
        document = self.plan_of(job)
        Path(job.output).write_bytes(document)
        running.result = Planned(
            output=job.output,
            digest=hashlib.sha256(document).hexdigest(),
            summary=summarise(document, job.terms.configuration),
        )
        running.tell(running.result)

    async def _initialmodel(self, running, job):
        drawn = self.drawn_of(job)
        Path(job.output).write_bytes(drawn)
        running.result = ModelDrawn(
            output=job.output,
            sha256=hashlib.sha256(drawn).hexdigest(),
            size=len(drawn),
            tensors=(),
        )
        running.tell(running.result)

    async def _preprocess(self, running, job):
        await self._gate("prepare")
        if self._fails(running, "prepare"):
            return
        folds = len(folds_of(job.fold))
        running.result = Preprocessed(
            training_cases=4, validation_cases=2, fold_cases=(4,) * folds if folds > 1 else ()
        )
        running.tell(running.result)

    async def _train(self, running, job):
        checkpoint = Path(job.checkpoint)
        state = {"epoch": 0, "round": None, "attempt": None, "epochs": []}
        if checkpoint.exists():
            state = json.loads(checkpoint.read_text())
        await self._gate("open")
        if self._fails(running, "open"):
            return
        running.tell(
            SessionReady(
                training_cases=4,
                validation_cases=2,
                device="cpu",
                epoch=state["epoch"],
                tensors=(TensorSpec(name="w", shape=(1,)),),
            )
        )
        while True:
            command = await running.commands.get()
            if isinstance(command, Finish):
                running.result = SessionEnded(epoch=state["epoch"])
                running.tell(running.result)
                return
            self.asked.append(command)
            if (state["round"], state["attempt"]) != (command.round, command.attempt):
                state |= {"round": command.round, "attempt": command.attempt, "epochs": []}
                state["epoch"] = command.start_epoch
            while len(state["epochs"]) < command.epochs:
                number = state["epoch"] + 1
                for step in range(1, self.steps + 1):
                    if step == 2:
                        await self._gate("step")
                        if self._fails(running, "step"):
                            return
                    running.tell(Stepped(record=step_record(command.round, number, step)))
                    await asyncio.sleep(0)
                record = epoch_record(command.round, number)
                self.trained[command.round, number] += 1
                state["epochs"].append(number)
                state["epoch"] = number
                running.tell(EpochEnded(record=record))
                checkpoint.write_text(json.dumps(state))
                running.tell(Checkpointed(epoch=number))
                await self._gate("epoch")
            content = trained = self.update_of(command.round, Path(command.base).read_bytes())
            if command.sent is not None:
                content = changes_of(command, trained)
            Path(command.update).write_bytes(content)
            update = {
                "round": command.round,
                "attempt": command.attempt,
                "update": command.update,
                "sha256": hashlib.sha256(content).hexdigest(),
                "size": len(content),
            }
            for path in (command.remainder, command.own):
                if path is not None and command.sent is None:
                    Path(path).write_bytes(b"kept after " + content)
            if command.sent is not None:
                Path(command.own).write_bytes(trained)
            running.tell(UpdateWritten(**update))
            await self._gate("trained")
            running.tell(
                RoundTrained(
                    **update,
                    cases=4,
                    epochs=tuple(epoch_record(command.round, n) for n in state["epochs"]),
                    base_score=self.base_score(running, command),
                )
            )

    async def _heldout(self, running, job):
        await self._gate("score model")
        running.result = HeldOutScored(score=held_out(0))
        running.tell(running.result)

    async def _firstpass(self, running, job):
        running.tell(Progressed(done=1, total=4, what="segmenting training cases"))
        await self._gate("first pass")
        if self._fails(running, "first pass"):
            return
        running.result = FirstPassSegmented(cases=4)
        running.tell(running.result)

    async def _export(self, running, job):
        await self._gate("export")
        files = (*job.first_pass.values(), *job.folds.values())
        weights = [Path(file).read_bytes() for file in files]
        content = b"zip of " + b" and ".join(weights)
        Path(job.output).write_bytes(content)
        running.result = Exported(output=job.output, sha256=hashlib.sha256(content).hexdigest())
        running.tell(running.result)

    async def _inspectmodel(self, running, job):
        if self._fails(running, "inspect"):
            return
        running.result = ModelInspected(
            digest="d" * 64,
            channels=("MRI",),
            labels=("anterior", "posterior"),
            configuration="3d_fullres",
            folds=1,
            trainer="nnUNetTrainer",
        )
        running.tell(running.result)

    async def _calibrate(self, running, job):
        await self._gate("calibrate")
        running.result = self.measured
        running.tell(running.result)

    async def _segment(self, running, job):
        await self._gate("segment")
        if self._fails(running, "segment"):
            return
        results = []
        cases = job.cases or tuple(
            Case(name=path.name.split(".")[0], channels=(str(path),), label=None)
            for path in sorted(Path(job.folder).iterdir())
        )
        running.tell(CasesFound(cases=cases, labels=job.labels or {"background": 0, "anterior": 1}))
        for case in cases:
            await self._gate(case.name)
            result = SegmentationResult(
                case=case.name,
                channels=case.channels,
                prediction=str(Path(job.output) / f"{case.name}.nii.gz"),
                reference=None,
                model_digest="m",
            )
            running.tell(CaseSegmented(result=result))
            results.append(result)
        running.result = Segmented(results=tuple(results))
        running.tell(running.result)

    async def _score(self, running, job):
        await self._gate("score")
        running.result = Scored(
            scores=tuple(case_score(case) for case, _, _ in job.pairs),
            volumes=tuple(CaseVolumes(case=case, labels=()) for case, _ in job.alone),
        )
        running.tell(running.result)


def held_out(number: int) -> HeldOutScore:
    """Stand for how the average of a round does; 0 for the last one."""
    return HeldOutScore(cases=2, dice=(0.5 + number / 100, None))


def update_content(number: int, base: bytes) -> bytes:
    return b"update of round %d from " % number + base


def step_record(number: int, epoch: int, step: int) -> StepRecord:
    return StepRecord(
        round=number,
        epoch=epoch,
        step=step,
        steps_per_epoch=ScriptedRunner.steps,
        loss=1.0 / step,
        seconds=0.5,
    )


def epoch_record(number: int, epoch: int) -> EpochRecord:
    return EpochRecord(
        round=number,
        epoch=epoch,
        train_loss=1.0 / epoch,
        validation_loss=0.5,
        pseudo_dice=(0.5, None),
        pseudo_dice_average=0.5,
        learning_rate=0.01,
        seconds=2.0,
    )


def case_fingerprint(
    name: str,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    *,
    shape: tuple[int, int, int] = (30, 40, 50),
    mean: float = 100.0,
) -> CaseFingerprint:
    return CaseFingerprint(
        case=name,
        spacing_mm=spacing_mm,
        shape=shape,
        relative_size=1.0,
        channels=(
            ChannelStatistics(
                voxels=4,
                mean=mean,
                mean_square=mean * mean,
                minimum=mean,
                maximum=mean,
                histogram=((intensity_bin(mean), 4),),
            ),
        ),
    )


def case_score(case: str) -> CaseScore:
    label = LabelScore(
        label="anterior",
        dice=0.8,
        hausdorff95_mm=1.0,
        surface_dice=0.9,
        reference_ml=1.0,
        prediction_ml=1.0,
        reference_components=1,
        prediction_components=1,
    )
    return CaseScore(case=case, labels=(label,))
