"""The site service: it owns the desks, the lanes, the link and the control API of one home.

One task per lane, one for the link, one for the device readings; `SiteService.run` owns them all.
Commands of windows are answered here and change what is wanted; the lanes do the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import msgspec

import app
from app.control.messages import (
    Accepted,
    AllowFingerprint,
    Answer,
    AnyCommand,
    AnyReply,
    Calibrate,
    CardSample,
    Changed,
    CheckFolder,
    ChooseFolder,
    ComputeFingerprint,
    ConfirmLayout,
    DeviceSample,
    ForgetRun,
    InspectModel,
    JoinStudy,
    LeaveStudy,
    LinkState,
    Logged,
    LogLine,
    PauseTraining,
    PrepareReport,
    ProposeLayout,
    ReadInvitation,
    Refused,
    ReportView,
    Request,
    ResumeTraining,
    RunDoctor,
    Sampled,
    SegmentCases,
    ServiceView,
    SetDevices,
    SetProxy,
    SetSchedule,
    SetStartAtLogin,
    Snapshot,
    StopCosts,
    StopJob,
    StopService,
    TrainBaseline,
    WithdrawAllowance,
)
from app.control.server import ControlServer
from app.domain.errors import (
    DataProblem,
    ErrorCode,
    FednnunetError,
    LinkProblem,
    OurMistake,
    PeerMistake,
    SetupProblem,
)
from app.jobs.detached import fednnunet_command
from app.jobs.runner import JobRunner
from app.site import joining, membership, reporting, views
from app.site.agenda import Work, WorkKind, next_data_work, next_study_work, phase_of
from app.site.audit import AuditKind, AuditLog
from app.site.baseline_desk import BaselineDesk
from app.site.board import Board
from app.site.context import JoinedStudy, SiteContext, SiteLink
from app.site.costs import CostFacts, stop_costs
from app.site.data_desk import DataDesk
from app.site.device_desk import DeviceDesk
from app.site.doctor_desk import DoctorDesk
from app.site.estimates import traffic_view
from app.site.home import SiteHome
from app.site.lane import Lane, patience
from app.site.link import LinkListener
from app.site.membership import Membership
from app.site.review_desk import ReviewDesk
from app.site.rounds import RoundState
from app.site.schedule import schedule_of
from app.site.schedule_desk import ScheduleDesk
from app.site.speed_desk import SpeedDesk
from app.site.spoken import time_of_day
from app.site.state import (
    STUDY_RECORDS,
    Allowance,
    CheckedFolder,
    Folder,
    LastCheckpoint,
    MeasuredPace,
    OperatorPause,
    Plan,
    SiteStore,
    StandingAllowance,
)
from app.site.study_desk import StudyDesk
from app.site.watch_desk import WatchDesk
from app.system.autostart import Autostart, autostart_of
from app.system.clock import Clock, SystemClock
from app.system.crash import watching_crashes
from app.system.hardware import MachineProbe, MachineReading, NvmlProbe
from app.system.locks import HomeLock
from app.system.logs import LineHandler, LoggedLine, start_logging, stop_logging
from app.system.problem_report import texts_of
from app.system.settings import load_settings
from app.system.wakefulness import Wakefulness
from app.wire.messages import Directive, Left, Report, SitePhase, Step

logger = logging.getLogger(__name__)

_REPORT_EVERY_S: Final = 2.0
_SHOW_EVERY_S: Final = 5.0
_SAMPLE_EVERY_S: Final = 1.0
_KEY_RETRY_S: Final = 30.0
_FAREWELL_S: Final = 10.0
_STOP_AFTER_ANSWER_S: Final = 0.1
_KEEPS_AWAKE: Final = frozenset({WorkKind.TRAIN, WorkKind.SEGMENT_COARSELY, WorkKind.DELIVER})
_STUDY_JOBS: Final = frozenset({"train", "prepare", "export"})


class Connections(Protocol):
    """How the service joins, links and forgets; tests put an in-memory coordinator here."""

    async def join(self, path: Path) -> Membership:
        """Join by an invitation file."""
        ...

    async def open(self, joined: Membership, listener: LinkListener) -> SiteLink:
        """Return the link of a membership, not yet running."""
        ...

    async def forget(self, joined: Membership) -> None:
        """Remove a membership and its key."""
        ...


class Probe(Protocol):
    """Reads the machine."""

    def read(self, worker_pid: int | None) -> MachineReading:
        """Return a reading now."""
        ...


class NetworkConnections:
    """The real ones, over the network."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self._home, self._clock = home, clock

    async def join(self, path: Path) -> Membership:
        return await joining.join_by(path, home=self._home, clock=self._clock)

    async def open(self, joined: Membership, listener: LinkListener) -> SiteLink:
        return await joining.open_link(joined, listener, home=self._home, clock=self._clock)

    async def forget(self, joined: Membership) -> None:
        await joining.forget(joined, home=self._home)


class SiteService:
    """One site's service. Make it, `run` it; `stop` ends it in peace from anywhere on its loop."""

    def __init__(
        self,
        site: SiteContext,
        *,
        connections: Connections,
        probe: Probe,
        patience: Callable[[FednnunetError, int], float | None] = patience,
        sample_every_s: float = _SAMPLE_EVERY_S,
        autostart: Autostart | None = None,
        wakefulness: Wakefulness | None = None,
    ) -> None:
        self._site = site
        self._connections = connections
        self._probe = probe
        self._sample_every_s = sample_every_s
        self._autostart = autostart or autostart_of(site.home.root)
        self._wakefulness = wakefulness or Wakefulness()
        self._stopping = asyncio.Event()
        self._link_state, self._link_sentence = LinkState.NONE, ""
        self._link_problem: FednnunetError | None = None
        self._link_task: asyncio.Task[None] | None = None
        self._reading: MachineReading | None = None
        self._shown_at = 0.0
        self._show_planned = False
        self._reported: Report | None = None
        self._reported_at = 0.0
        self._joining = asyncio.Lock()
        self.data = DataDesk(site, changed=self._changed)
        self.study = StudyDesk(site, data=self.data, changed=self._changed, stepped=self._stepped)
        self.review = ReviewDesk(site, changed=self._changed)
        self.schedule = ScheduleDesk(
            site, study=self.study, trains=self._trains, changed=self._changed
        )
        self.speed = SpeedDesk(site, study=self.study)
        self.watch = WatchDesk(site, study=self.study, trains=self._trains, changed=self._plan_show)
        self.baseline = BaselineDesk(site, study=self.study, changed=self._changed)
        self.doctor = DoctorDesk(site, changed=self._changed)
        self.devices = DeviceDesk(
            site,
            computes=self._computes,
            rounds_left=self._rounds_left,
            changed=self._changed,
        )
        self._data_lane = Lane(
            name="data",
            decide=lambda: next_data_work(self.data.facts()),
            perform=self.data.perform,
            changed=self._plan_show,
            failed=self._failed,
            patience=patience,
        )
        self._study_lane = Lane(
            name="study",
            decide=lambda: next_study_work(self.study.facts()),
            perform=self.study.perform,
            changed=self._plan_show,
            failed=self._failed,
            patience=patience,
        )

    # --- life ----------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the service: training stops at a checkpoint and goes on at the next start."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop`; everything begun is ended before this returns."""
        training = self._site.board.snapshot.training
        self._site.board.change(
            Changed(training=msgspec.structs.replace(training, epochs=self._site.store.epochs()))
        )
        await self.data.start()
        await self.study.start()
        self.schedule.start()
        self._start_link()
        tasks = [
            asyncio.create_task(self._data_lane.run(), name="data lane"),
            asyncio.create_task(self._study_lane.run(), name="study lane"),
            asyncio.create_task(self._sample(), name="device readings"),
            asyncio.create_task(self.watch.listen(), name="signs of the coordinator"),
        ]
        stopping = asyncio.create_task(self._stopping.wait(), name="wait for the end")
        try:
            ended, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in ended - {stopping}:
                # A lane never ends by itself: this raises what ended it.
                task.result()
        finally:
            # The lanes first: they stop their workers, which need the loop.
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            self._wakefulness.follow(False)
            await self.study.stop()
            await self.baseline.close()
            await self.review.stop()
            await self.doctor.stop()
            await self.devices.stop()
            await self._stop_link()

    async def _sample(self) -> None:
        while True:
            session = self.study.session
            pid = None if session is None else session.pid
            reading = await asyncio.to_thread(self._probe.read, pid)
            self._reading = reading
            sample = sample_of(reading)
            self.devices.gpus_here = len(reading.cards)
            self._site.board.tell(Sampled(sample=sample))
            self.watch.sampled(sample)
            self.schedule.sampled(sample)
            self.speed.sampled()
            await self._stay_awake()
            await asyncio.sleep(self._sample_every_s)

    # --- the link ------------------------------------------------------------------------------

    def _start_link(self) -> None:
        joined = self._site.joined
        if joined is not None:
            self._link_state, self._link_sentence = LinkState.CONNECTING, ""
            self.watch.link_changed(LinkState.CONNECTING)
            self._link_task = asyncio.create_task(self._keep_link(joined.membership), name="link")

    async def _stop_link(self) -> None:
        task, self._link_task = self._link_task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        self.study.link = None
        self._reported = None

    async def _keep_link(self, joined: Membership) -> None:
        self._link_problem = None
        while True:
            try:
                link = await self._connections.open(joined, self)
            except FednnunetError as exc:
                logger.warning("the link cannot be set up: %s", exc)
                self.link_changed(LinkState.OFFLINE, str(exc))
                await asyncio.sleep(_KEY_RETRY_S)
                continue
            self.study.link = link
            self._report()
            self._study_lane.forgive()
            try:
                await link.run()
            except LinkProblem as exc:
                self._link_problem = exc
                self.link_changed(LinkState.REFUSED, str(exc))
                self.study.refused()
                return
            except Exception:
                logger.exception("the link ended by a mistake of this program")
                self.link_changed(LinkState.OFFLINE, "the link failed; it is set up again")
                await asyncio.sleep(_KEY_RETRY_S)

    def link_changed(self, state: LinkState, sentence: str) -> None:
        """Take note of the link's state (LinkListener)."""
        self._link_state, self._link_sentence = state, sentence
        self.watch.link_changed(state)
        if state is LinkState.CONNECTED:
            self.study.session_began()
        self._changed()

    def directive_received(self, directive: Directive) -> None:
        """Take note of what the coordinator wants (LinkListener)."""
        self.study.directive_received(directive)

    # --- commands ------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return what a window shows (ControlHandler)."""
        self._show()
        return self._site.board.snapshot

    async def answer(self, frame: bytes) -> Answer | None:
        """Answer one command (ControlHandler); None when the frame is no request."""
        try:
            request = msgspec.json.decode(frame, type=Request)
        except msgspec.DecodeError:
            return None
        return Answer(number=request.number, answer=await self.command(request.command))

    async def command(self, command: AnyCommand) -> AnyReply:
        """Do what a person wishes, or say why not."""
        try:
            return await self._do(command)
        except FednnunetError as exc:
            return Refused(code=exc.code.value, sentence=str(exc), remedy=exc.remedy)
        except Exception as exc:
            logger.exception("a command failed")
            mistake = OurMistake(f"the command failed by a mistake of this program: {exc!r}")
            return Refused(code=mistake.code.value, sentence=str(mistake), remedy=mistake.remedy)

    async def _do(self, command: AnyCommand) -> AnyReply:
        match command:
            case ChooseFolder(folder=folder):
                self._refuse_other_folder(folder)
                self.data.choose(folder)
                self._data_lane.forgive()
            case CheckFolder():
                # A conversion that failed must not stand before the check for ever.
                self.data.forget_layout_wish()
                self.data.check_again()
                self._data_lane.forgive()
                self._study_lane.forgive()
            case ConfirmLayout():
                self._refuse_after_sending()
                self.data.confirm(command)
                self._data_lane.forgive()
            case ProposeLayout():
                self._refuse_after_sending()
                self.data.propose_again()
                self._data_lane.forgive()
            case ComputeFingerprint(leave_out=leave_out):
                self._refuse_after_sending()
                self.data.compute(leave_out)
                self._data_lane.forgive()
            case AllowFingerprint(operator=operator, digest=digest):
                self.data.allow(operator, digest)
                self._study_lane.forgive()
            case WithdrawAllowance():
                self.data.withdraw()
            case ReadInvitation(path=path):
                invitation = await asyncio.to_thread(joining.read_invitation, Path(path))
                return joining.invitation_view(
                    invitation,
                    clock=self._site.clock,
                    already=self._site.joined is not None,
                    pace=self._site.store.get(MeasuredPace),
                )
            case JoinStudy(path=path):
                await self._join(Path(path))
            case RunDoctor(path=path):
                await self.doctor.begin(None if path is None else Path(path))
            case SetDevices():
                await self.devices.choose(command)
                self._study_lane.forgive()
            case Calibrate(path=path):
                await self.devices.calibrate(None if path is None else Path(path))
            case SetProxy(proxy=proxy):
                await self._set_proxy(proxy)
            case LeaveStudy():
                await self._leave()
            case PauseTraining(at_checkpoint=at_checkpoint):
                self._pause(at_checkpoint=at_checkpoint)
            case ResumeTraining():
                # The study comes first; the baseline goes on after it.
                await self.baseline.halt()
                self._site.store.drop(OperatorPause)
                if self._link_problem is not None:
                    await self._stop_link()
                    self._start_link()
                self._study_lane.forgive()
                self._changed()
            case SetSchedule():
                self.schedule.choose(schedule_of(command))
            case PrepareReport():
                return await self._prepare_report()
            case SetStartAtLogin(on=on):
                await asyncio.to_thread(self._start_at_login, on)
                self._changed()
            case SegmentCases():
                self.review.segment(command)
            case InspectModel(path=path):
                self.review.inspect(Path(path))
            case ForgetRun(serial=serial):
                self.review.forget(serial)
            case TrainBaseline():
                self.baseline.begin()
            case StopJob(kind=kind):
                await self._stop_job(kind)
            case StopService():
                # After the answer has gone out.
                asyncio.get_running_loop().call_later(_STOP_AFTER_ANSWER_S, self.stop)
        return Accepted()

    def _start_at_login(self, on: bool) -> None:
        if on:
            words = ("site", "run", "--home", str(self._site.home.root))
            self._autostart.enable((*fednnunet_command(), *words))
        else:
            self._autostart.disable()

    async def _prepare_report(self) -> ReportView:
        home, store = self._site.home.root, self._site.store
        # The database belongs to this thread; the logs are read in another.
        private = tuple(reporting.private_words(home, store))
        state = reporting.state_of(self.snapshot())
        texts = await asyncio.to_thread(
            partial(texts_of, home, machine=self._reading, state=state, private=private)
        )
        return reporting.view_of(texts)

    def _refuse_other_folder(self, folder: str) -> None:
        """Raise when the study already goes on with another folder's images."""
        chosen = self._site.store.get(Folder)
        if chosen is not None and chosen.path != folder and self._in_study_with_data():
            raise SetupProblem(
                "the study already goes on with this site's other folder; leave the study first",
                code=ErrorCode.STUDY_STATE,
            )

    def _refuse_after_sending(self) -> None:
        if self._in_study_with_data():
            raise SetupProblem(
                "this site's fingerprint was sent; a study takes one fingerprint of each site",
                code=ErrorCode.STUDY_STATE,
            )

    def _in_study_with_data(self) -> bool:
        allowance, directive = self._site.store.get(Allowance), self.study.directive
        over = directive is not None and directive.step in (Step.FINISH, Step.STOP)
        return (
            self._site.joined is not None and allowance is not None and allowance.sent and not over
        )

    async def _join(self, path: Path) -> None:
        async with self._joining:
            if self._site.joined is not None:
                raise SetupProblem(
                    "this site already takes part in a study; leave that one first",
                    code=ErrorCode.STUDY_STATE,
                )
            joined = JoinedStudy(membership=await self._connections.join(path))
            self._site.store.drop(*STUDY_RECORDS)
            self._site.audit.append(
                AuditKind.STUDY_JOINED,
                now=self._site.clock.now(),
                study=joined.membership.study,
                site=joined.membership.site,
            )
            self._site.joined = joined
            self._start_link()
            self._data_lane.forgive()
            self._changed()

    async def _set_proxy(self, proxy: str) -> None:
        """Keep the choice and connect again by it."""
        async with self._joining:
            root = self._site.home.root
            kept = await asyncio.to_thread(joining.choose_proxy, root, proxy)
            self._site.settings = msgspec.structs.replace(self._site.settings, proxy=kept.proxy)
            await self._stop_link()
            self._start_link()
            self._changed()

    async def _leave(self) -> None:
        """Tell the coordinator if it can be reached, then forget everything of the study."""
        async with self._joining:
            site, joined, link = self._site, self._site.joined, self.study.link
            if joined is None:
                raise SetupProblem("this site takes part in no study", code=ErrorCode.STUDY_STATE)
            self.study.directive = None
            await self.baseline.stop()
            await self._study_lane.settled()
            await self.study.stop()
            if link is not None and self._link_state is LinkState.CONNECTED:
                with contextlib.suppress(TimeoutError, FednnunetError):
                    async with asyncio.timeout(_FAREWELL_S):
                        await link.deliver(Left())
            await self._stop_link()
            site.joined = None
            self._link_state, self._link_sentence, self._link_problem = LinkState.NONE, "", None
            self.watch.link_changed(LinkState.NONE)
            await asyncio.to_thread(self._clear_study)
            site.store.drop(*STUDY_RECORDS)
            site.store.drop_epochs()
            site.audit.append(
                AuditKind.STUDY_LEFT, now=site.clock.now(), study=joined.membership.study
            )
            await self._connections.forget(joined.membership)
            self.study.forget()
            training = site.board.snapshot.training
            site.board.change(
                Changed(training=msgspec.structs.replace(training, epochs=(), steps=()))
            )
            self._study_lane.forgive()
            self._data_lane.forgive()
            self._changed()

    def _clear_study(self) -> None:
        """Remove what was made for the study; exported models stay."""
        home = self._site.home
        for folder in (home.study, home.workspace, home.training, home.baseline):
            shutil.rmtree(folder, ignore_errors=True)
        for kept in home.models.glob("best-*.safetensors"):
            kept.unlink(missing_ok=True)

    async def _stop_job(self, kind: str) -> None:
        match kind:
            case "check":
                self._data_lane.park(WorkKind.CHECK)
            case "convert":
                self.data.forget_layout_wish()
            case "fingerprint":
                self.data.forget_fingerprint_wish()
            case "segment" | "score" | "inspect":
                await self.review.stop()
            case "baseline":
                await self.baseline.stop()
            case "calibrate":
                await self.devices.stop()
            case _ if kind in _STUDY_JOBS:
                self._pause(at_checkpoint=False)
            case _:
                raise DataProblem(f"there is no job {kind}", code=ErrorCode.STUDY_STATE)

    def _pause(self, *, at_checkpoint: bool) -> None:
        """Pause at once, or where nothing is lost: there is nothing to wait for without training."""
        self._site.store.put(
            OperatorPause(at=self._site.clock.now(), at_checkpoint=at_checkpoint and self._trains())
        )
        self._changed()

    def _trains(self) -> bool:
        work = self._study_lane.work
        return work is not None and work.kind is WorkKind.TRAIN

    def _computes(self) -> bool:
        work = self._study_lane.work
        return self._trains() or (work is not None and work.kind is WorkKind.SEGMENT_COARSELY)

    # --- problems ------------------------------------------------------------------------------

    def _failed(self, work: Work, error: FednnunetError, delay_s: float | None) -> None:
        again = "" if delay_s is None else f"; trying again in {delay_s:.0f} s"
        logger.warning("%s: %s (%s)%s", work.kind.value, error, error.code.value, again)

    def _problem(self) -> FednnunetError | None:
        """Return what keeps this site from going on until a person does something."""
        if self._link_problem is not None:
            return self._link_problem
        for lane in (self._study_lane, self._data_lane):
            if lane.problem is not None:
                return lane.problem
        store = self._site.store
        plan = store.get(Plan)
        if plan is not None and plan.refused_code and self.study.directive is not None:
            return PeerMistake(plan.refused_sentence, code=ErrorCode(plan.refused_code))
        checked, folder = store.get(CheckedFolder), store.get(Folder)
        if store.get(StandingAllowance) is not None and checked is not None and folder is not None:
            # Nobody sits before a window here: what a page would show must be said.
            if checked.serial == folder.serial and checked.report.blocks:
                return DataProblem("the check of the folder found something that blocks training")
            blocked = self.data.blocked()
            if blocked and self._data_lane.work is None and checked.serial == folder.serial:
                return DataProblem(blocked, code=ErrorCode.NOT_ALLOWED)
        return None

    # --- showing and reporting -----------------------------------------------------------------

    def _changed(self) -> None:
        self.baseline.consider()
        self._data_lane.wake()
        self._study_lane.wake()
        self._plan_show()

    def _plan_show(self) -> None:
        """Show soon, once for however many changes come before."""
        if not self._show_planned:
            self._show_planned = True
            asyncio.get_running_loop().call_soon(self._show)

    def _stepped(self) -> None:
        if self._site.clock.monotonic() - self._shown_at >= _SHOW_EVERY_S:
            self._plan_show()
        self._report()

    def _phase(self, problem: FednnunetError | None) -> SitePhase:
        return phase_of(
            data=self._data_lane.work,
            study=self._study_lane.work,
            facts=self.study.facts(),
            failed=problem is not None,
        )

    def _show(self) -> None:
        self._show_planned = False
        self._shown_at = self._site.clock.monotonic()
        problem = self._problem()
        self.data.show()
        self.review.show(self.baseline.view())
        self._show_study(problem)
        self._report()

    async def _stay_awake(self) -> None:
        """Hold sleep off while a round is trained, its cases segmented or its update sent; only then."""
        work = self._study_lane.work
        wanted = work is not None and work.kind in _KEEPS_AWAKE
        if wanted != self._wakefulness.wanted:
            # A desktop's services may take their time to answer.
            await asyncio.to_thread(self._wakefulness.follow, wanted)
            self._plan_show()

    def _show_study(self, problem: FednnunetError | None) -> None:
        site, study, store = self._site, self.study, self._site.store
        joined, task, step = site.joined, study.task, study.step
        plan, pause = store.get(Plan), store.get(OperatorPause)
        paused = pause is not None and not pause.at_checkpoint
        schedule = self.schedule.view()
        expected_at = self._round_expected_at()
        phase = self._phase(problem)
        service = site.board.snapshot.service
        training = site.board.snapshot.training
        checkpoint = store.get(LastCheckpoint)
        last = training.epochs[-1].epoch if training.epochs else 0
        iterations = 0 if joined is None else joined.terms.iterations_per_epoch
        asked = study.directive
        site.board.change(
            Changed(
                service=msgspec.structs.replace(
                    service,
                    problem="" if problem is None else str(problem),
                    remedy="" if problem is None else problem.remedy,
                    starts_at_login=self._autostart.enabled,
                    awake_sentence=self._wakefulness.sentence,
                ),
                federation=self.doctor.show(
                    views.federation_view(
                        joined=joined,
                        link=self._link_state,
                        link_sentence=self._link_sentence,
                        directive=asked,
                        rounds=study.closed_rounds.rounds,
                        plan=plan,
                        summary=study.plan_summary,
                        coverage=None if study.network is None else study.network.coverage,
                        transfer=study.link,
                        heard_at=study.heard_at,
                        traffic=None
                        if joined is None
                        else traffic_view(
                            joined.terms,
                            tensors=study.tensors,
                            pace=store.get(MeasuredPace),
                            now=site.clock.now(),
                            rounds_left=self._rounds_left(),
                        ),
                    )
                ),
                training=msgspec.structs.replace(
                    training,
                    sentence=views.training_sentence(
                        joined=joined,
                        phase=phase,
                        work=self._study_lane.work,
                        directive=asked,
                        task=task,
                        step=step,
                        seconds_left=study.seconds_left,
                        paused=paused,
                        rests=schedule.sentence if schedule.resting else "",
                        expected=""
                        if expected_at is None
                        else time_of_day(expected_at, now=site.clock.now()),
                        link=self._link_state,
                        problem="" if problem is None else str(problem),
                        blocked=self.data.blocked(),
                    ),
                    phase=phase.value,
                    job=study.job,
                    round=0 if task is None else task.round,
                    rounds=0 if joined is None else joined.terms.total_rounds,
                    folds=1 if joined is None else len(joined.terms.folds),
                    stages=1 if joined is None else len(joined.terms.passes),
                    epoch=last if step is None else step.epoch,
                    total_epochs=0 if joined is None else joined.terms.total_epochs,
                    step=(iterations if last else 0) if step is None else step.step,
                    steps_per_epoch=iterations if step is None else step.steps_per_epoch,
                    seconds_left=study.seconds_left,
                    device=study.device,
                    paused=paused,
                    pausing=pause is not None and not paused,
                    costs=self._costs(pause),
                    schedule=schedule,
                    round_expected_at=expected_at,
                    alarms=self.watch.alarms,
                    speed=self.speed.view(),
                    interruptions=study.risk.account,
                    devices=self.devices.devices(
                        0 if study.plan_summary is None else study.plan_summary.batch_size
                    ),
                    calibration=self.devices.calibration(),
                    calibration_job=self.devices.job,
                    last_checkpoint_at=None if checkpoint is None else checkpoint.at,
                ),
            )
        )

    def _rounds_left(self) -> int:
        """Rounds of the joined study that are not closed yet."""
        joined = self._site.joined
        closed = max((one.number for one in self.study.closed_rounds.rounds), default=0)
        return 0 if joined is None else max(0, joined.terms.total_rounds - closed)

    def _round_expected_at(self) -> float | None:
        study, joined, now = self.study, self._site.joined, self._site.clock.now()
        if joined is None:
            return None
        return views.round_expected_at(
            study.directive,
            here=joined.membership.site,
            epochs_per_round=joined.terms.epochs_per_round,
            began_at=study.round_began_at,
            heard_at=study.heard_at,
            own_end=None if study.seconds_left is None else now + study.seconds_left,
        )

    def _costs(self, pause: OperatorPause | None) -> StopCosts:
        study, step = self.study, self.study.step
        checkpoint, task = self._site.store.get(LastCheckpoint), study.task
        left_s = None if step is None else study.pace.seconds_left(step, last_epoch=step.epoch)
        return stop_costs(
            CostFacts(
                now=self._site.clock.now(),
                joined=self._site.joined is not None,
                training=self._trains() and not study.paused,
                checkpoint_at=None if checkpoint is None else checkpoint.at,
                lost_s=study.risk.lost_s,
                next_checkpoint_s=left_s,
                last_epoch=step is not None and step.epoch == study.last_epoch_of_round(),
                sending=task is not None and task.state is RoundState.TRAINED,
                paused=pause is not None and not pause.at_checkpoint,
                pausing=pause is not None and pause.at_checkpoint,
            )
        )

    def _report(self) -> None:
        """Tell the coordinator: a change of phase at once, progress every two seconds."""
        link = self.study.link
        if link is None or self._site.joined is None:
            return
        report = self._report_now()
        now = self._site.clock.monotonic()
        if report == self._reported:
            return
        urgent = self._reported is None or _essence(report) != _essence(self._reported)
        if urgent or now - self._reported_at >= _REPORT_EVERY_S:
            self._reported, self._reported_at = report, now
            link.report(report)

    def _report_now(self) -> Report:
        problem = self._problem()
        plan, task, step = self._site.store.get(Plan), self.study.task, self.study.step
        phase = self._phase(problem)
        ready = plan is not None and plan.prepared and not plan.refused_code
        work, job = self._study_lane.work, self.study.job
        # Cases that are segmented for the second pass are a sign of progress, too.
        segmenting = job if work is not None and work.kind is WorkKind.SEGMENT_COARSELY else None
        return Report(
            phase=phase,
            plan=plan.sha256 if plan is not None and ready else None,
            training_cases=plan.training_cases if plan is not None and ready else 0,
            fold_cases=plan.fold_cases if plan is not None and ready else (),
            round=0 if task is None else task.round,
            attempt=0 if task is None else task.attempt,
            epoch=0 if step is None else step.epoch,
            step=segmenting.done if segmenting else 0 if step is None else step.step,
            steps=segmenting.total if segmenting else 0 if step is None else step.steps_per_epoch,
            problem=None if problem is None else problem.code.value,
            audit_head=self._site.audit.head,
            identity=plan.identity if plan is not None and ready else None,
        )


def _essence(report: Report) -> tuple[object, ...]:
    return (report.phase, report.plan, report.round, report.attempt, report.problem)


def sample_of(reading: MachineReading) -> DeviceSample:
    """Return a reading of the machine as windows show it."""
    return DeviceSample(
        at=reading.at,
        cpu_percent=reading.cpu_percent,
        memory_percent=reading.memory_percent,
        worker_memory_mb=reading.worker_memory_mb,
        disk_free_gb=reading.disk_free_gb,
        memory_free_gb=reading.memory_free_gb,
        worker_cpu_percent=reading.worker_cpu_percent,
        disk_read_mb_s=reading.disk_read_mb_s,
        disk_write_mb_s=reading.disk_write_mb_s,
        network_in_mb_s=reading.network_in_mb_s,
        network_out_mb_s=reading.network_out_mb_s,
        cards=tuple(
            CardSample(
                name=card.name,
                percent=card.percent,
                memory_percent=card.memory_percent,
                memory_gb=card.memory_gb,
                temperature_c=card.temperature_c,
                power_w=card.power_w,
                throttled=card.throttled,
                others=tuple(
                    sorted(
                        {user.name for user in card.users if user.pid not in reading.worker_pids}
                    )
                ),
            )
            for card in reading.cards
        ),
    )


def _line_of(line: LoggedLine) -> LogLine:
    return LogLine(at=line.at, level=line.level, source=line.source, text=line.text)


def open_site(
    home: Path,
    *,
    clock: Clock,
    runner: JobRunner | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> SiteContext:
    """Open the home of a site; `threads` and `device` override its settings for this run.

    Raises:
        SetupProblem: the home, its settings or its database cannot be used.
    """
    settings = load_settings(home)
    if threads:
        settings = msgspec.structs.replace(settings, threads=threads)
    if device is not None:
        settings = msgspec.structs.replace(settings, device=device)
    layout = SiteHome(root=home)
    store = SiteStore(layout.database)
    joined = membership.load(home)
    return SiteContext(
        home=layout,
        store=store,
        audit=AuditLog(store.database, layout.audit),
        board=Board(
            ServiceView(
                version=app.__version__,
                pid=os.getpid(),
                home=str(home),
                started_at=clock.now(),
            )
        ),
        runner=runner
        or JobRunner(folder=layout.jobs, clock=clock, low_priority=settings.low_priority),
        clock=clock,
        settings=settings,
        joined=None if joined is None else JoinedStudy(membership=joined),
    )


async def serve(
    home: Path,
    *,
    threads: int | None = None,
    device: str | None = None,
    control_port: int = 0,
) -> None:
    """Run the site service of `home` until a signal or `StopService`.

    `control_port` is where windows attach; 0 takes a free one.

    Raises:
        SetupProblem: another service runs (SERVICE_RUNNING), or the home cannot be used.
    """
    clock = SystemClock()
    with HomeLock(home) as lock:
        logs = SiteHome(root=home).logs
        log = start_logging(logs, "site")
        try:
            site = open_site(home, clock=clock, threads=threads, device=device)
            site.ended_unexpectedly = lock.replaced_stale
            try:
                with watching_crashes(logs, "site"):
                    await _serve(site, home, clock, control_port=control_port)
            finally:
                site.store.close()
        finally:
            stop_logging(log)


async def _serve(site: SiteContext, home: Path, clock: Clock, *, control_port: int) -> None:
    service = SiteService(
        site,
        connections=NetworkConnections(home, clock),
        probe=MachineProbe(home=home, clock=clock, card=NvmlProbe()),
    )
    server = ControlServer(home=home, handler=service, port=control_port)
    site.board.broadcast = server.broadcast
    loop = asyncio.get_running_loop()
    lines = LineHandler(
        lambda line: _threadsafe(loop, partial(site.board.tell, Logged(line=_line_of(line))))
    )
    logging.getLogger("app").addHandler(lines)
    with _signals(loop, service.stop):
        await server.start()
        logger.info("the site service runs (version %s)", app.__version__)
        try:
            await service.run()
        finally:
            logger.info("the site service ends")
            logging.getLogger("app").removeHandler(lines)
            await server.stop()


def _threadsafe(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended: nobody looks any more
        loop.call_soon_threadsafe(call)


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Iterator[None]:
    """Stop in peace on the signals with which systems and terminals end programs."""
    if sys.platform == "win32":
        kinds = (signal.SIGINT, signal.SIGBREAK)
    else:
        kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.getsignal(kind) for kind in kinds}
    for kind in kinds:
        signal.signal(kind, lambda *_: _threadsafe(loop, stop))
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
