"""This site's part of the study: plan, preparation, rounds, final model.

Directives come in at any time and change what is wanted; the agenda compares that with what is on
disk. Every piece of work ends with one write to disk, so a kill between two of them costs at most
the piece in hand, and a trained update is never trained again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from app.control.messages import (
    Changed,
    EpochFinished,
    HistogramView,
    JobView,
    ModelView,
    StepTaken,
)
from app.datasets.fingerprint_file import read_fingerprint
from app.domain.errors import (
    DataProblem,
    ErrorCode,
    FednnunetError,
    JobFailed,
    LinkProblem,
    OurMistake,
    PeerMistake,
    SetupProblem,
)
from app.domain.ids import digest_of
from app.domain.plans import PlanSummary
from app.domain.rounds import TensorSpec
from app.domain.segmentation import ModelKind
from app.domain.study import Transfer
from app.domain.training import EpochRecord, HeldOutScore, StepRecord
from app.federation import identity
from app.federation.merging import decode_merged
from app.federation.network import manifest
from app.federation.plan_rules import check_plan, network_of, summarise, unpack
from app.jobs.events import (
    AnyEvent,
    Checkpointed,
    EpochEnded,
    Exported,
    FirstPassSegmented,
    HeldOutScored,
    Noted,
    Preprocessed,
    RoundTrained,
    SessionReady,
    Stepped,
    UpdateWritten,
)
from app.jobs.spec import FirstPassJob, HeldOutJob, PreprocessJob, TrainJob, TrainRound
from app.site import fingerprinting
from app.site.agenda import StudyFacts, Work, WorkKind
from app.site.audit import AuditKind
from app.site.context import JoinedStudy, SiteContext, SiteLink
from app.site.data_desk import DataDesk
from app.site.fold_ends import best_of, ends_of, name_of
from app.site.interruptions import WorkAtRisk
from app.site.own_network import OwnNetwork, first_weights, keep_plan
from app.site.pace import Pace
from app.site.rounds import RoundEvent, RoundState, RoundTask, TrainedUpdate
from app.site.schedule import Rest
from app.site.segmenting import export_job, first_pass_weights, keep_if_best
from app.site.session import TrainingSession
from app.site.state import (
    Allowance,
    AverageScore,
    CheckedFolder,
    ClosedRounds,
    FinalModel,
    FirstPass,
    Folder,
    LastCheckpoint,
    LocalFingerprint,
    MemoryFailure,
    Models,
    OperatorPause,
    Outgoing,
    OwnWeights,
    Plan,
    Remainders,
    Task,
    Wish,
)
from app.site.working import run_for
from app.system.atomic import disk_problem, make_folder
from app.system.partial_files import file_sha256
from app.system.tensor_files import apply_change
from app.system.versions import library_versions
from app.wire.messages import (
    Blob,
    BlobKind,
    Directive,
    FingerprintOffered,
    FoldEnd,
    HeldOut,
    ModelScored,
    PlanAccepted,
    PlanRefused,
    Step,
    UpdateFailed,
    UpdateOffered,
)

logger = logging.getLogger(__name__)

_UNHEARD_AFTER_S: Final = 20.0
"""A directive may cross with what it asks for; only a later one shows that it did not arrive."""
_MOST_LOSSES: Final = 3
_ONLY_AGAIN: Final = frozenset(
    {
        ErrorCode.GPU_MEMORY,
        ErrorCode.NOT_FINITE,
        ErrorCode.TENSORS_REFUSED,
        ErrorCode.PROTOCOL,
        ErrorCode.TOO_LARGE,
    }
)
"""What would fail in the same way again: the round is told as failed instead."""


@dataclass(frozen=True, slots=True)
class EarlyUpload:
    """An update on its way before its round is told as trained."""

    sha256: str
    task: asyncio.Task[None]


class StudyDesk:
    """Owns the directive, the plan, the round, the training session and the final model."""

    def __init__(
        self,
        site: SiteContext,
        *,
        data: DataDesk,
        changed: Callable[[], None],
        stepped: Callable[[], None],
    ) -> None:
        self._site, self._data = site, data
        self._changed, self._stepped = changed, stepped
        self.link: SiteLink | None = None
        self.directive: Directive | None = None
        self.heard_at: float | None = None
        """When the directive came; None for one that was kept from before a restart."""
        self.session: TrainingSession | None = None
        self.device = ""
        self.tensors: tuple[tuple[TensorSpec, ...], ...] | None = None
        """Those that go round, of each pass; None before there is a plan."""
        self._summaries: tuple[PlanSummary, ...] = ()
        self._networks: tuple[OwnNetwork, ...] = ()
        self.job: JobView | None = None
        self.step: StepRecord | None = None
        self.seconds_left: float | None = None
        self.pace = Pace()
        self.risk = WorkAtRisk(site.store, site.home.at_work, clock=site.clock)
        self.round_began_at: float | None = None
        """When this round was first asked for; None for one from before a restart."""
        self.rest = Rest.NONE
        """What the schedule asks for."""
        self.sign_at = site.clock.monotonic()
        """When training last showed a sign of life (monotonic)."""
        self.lost_at: float | None = None
        """When the worker was lost (monotonic); None again with the next step."""
        self._told_at: dict[str, float] = {}
        self._fingerprint_unheard = False
        self._early: EarlyUpload | None = None
        self._computes_with = self._chosen()
        self._session_fold = 0

    async def start(self) -> None:
        """Take up what lies on disk: the last directive and the plan."""
        store = self._site.store
        self.pause_now()
        if self._site.joined is not None:
            self.risk.service_starts(
                unclean=self._site.ended_unexpectedly,
                delivering=self.task is not None and self.task.state is RoundState.TRAINED,
            )
        wish = store.get(Wish)
        if wish is not None and self._site.joined is not None:
            try:
                self.directive = msgspec.json.decode(wish.directive, type=Directive)
            except msgspec.DecodeError:
                logger.info("the kept directive is of another version; waiting for a new one")
        plan = store.get(Plan)
        if plan is not None and plan.refused_code == ErrorCode.VERSION.value:
            store.drop(Plan)  # this program may have been updated since
        elif plan is not None and not plan.refused_code and self._site.joined is not None:
            try:
                await self._look_at_plan(plan, self._site.joined)
            except (OSError, FednnunetError) as exc:
                logger.warning("the plan on disk cannot be used and is taken anew: %s", exc)
                store.drop(Plan)

    async def stop(self) -> None:
        """Stop the training worker; training goes on from its last checkpoint."""
        session, self.session = self.session, None
        if session is not None:
            await session.stop()
        await self._end_early()
        self.risk.ended()

    def pause_now(self) -> None:
        """Let a pause that waits for a checkpoint begin: there is none to wait for any more."""
        pause = self._site.store.get(OperatorPause)
        if pause is not None and pause.at_checkpoint:
            self._site.store.put(OperatorPause(at=self._site.clock.now()))
            self._changed()
        if self.rest is Rest.AT_CHECKPOINT:
            self.rest = Rest.NOW
            self._changed()

    @property
    def paused(self) -> bool:
        """Whether the operator or the schedule lets training wait now."""
        pause = self._site.store.get(OperatorPause)
        return (pause is not None and not pause.at_checkpoint) or self.rest is Rest.NOW

    def session_began(self) -> None:
        """Take note of a new session: what it asks for again did not arrive in an earlier one."""
        self._told_at.clear()

    def refused(self) -> None:
        """Take note that the coordinator refuses this site: nothing is wanted any more."""
        self.directive = None
        self._changed()

    def forget(self) -> None:
        """Forget the study in memory; the service has removed what was on disk."""
        self.directive, self.link, self.tensors = None, None, None
        self._summaries, self._networks = (), ()
        self.job, self.step, self.seconds_left, self.device = None, None, None, ""
        self.pace = Pace()
        self.risk.ended()
        self._told_at.clear()
        self._fingerprint_unheard = False
        self._data.merged_pictures, self._data.merged_sentence = (), ""

    # --- deciding ------------------------------------------------------------------------------

    def facts(self) -> StudyFacts:
        """Return what the agenda decides from."""
        store = self._site.store
        kept, segmented = store.get(Task), store.get(FirstPass)
        return StudyFacts(
            directive=self.directive if self._site.joined is not None else None,
            allowed=self._data.allowed(),
            fingerprint_unheard=self._fingerprint_unheard,
            plan=store.get(Plan),
            task=None if kept is None else kept.task,
            paused=self.paused,
            session_alive=self.session is not None and self.session.alive,
            session_stands=self.session is not None
            and self.session.stands
            and self._session_fold == self.fold,
            model=store.get(FinalModel),
            has_update=bool(self._own_folds()),
            score_unheard=self._long_ago("score"),
            fold=self.fold,
            second_pass=self.stage > 0,
            first_pass="" if segmented is None else segmented.name,
        )

    @property
    def plan_summary(self) -> PlanSummary | None:
        """What a person reads of the plan of the network that is trained now, or next."""
        return self._summaries[self.stage] if self._summaries else None

    @property
    def network(self) -> OwnNetwork | None:
        """This site's own network that is trained now, or next, where it planned for itself."""
        return self._networks[self.stage] if self._networks else None

    @property
    def stage(self) -> int:
        """The pass, from 0, that is trained now, or next."""
        joined = self._site.joined
        return 0 if joined is None else joined.terms.trainings[self.fold].stage

    @property
    def fold(self) -> int:
        """Position in the study of the fold of a pass that is trained now, or next."""
        joined, directive, task = self._site.joined, self.directive, self.task
        if joined is None:
            return 0
        if directive is not None and directive.step is Step.TRAIN and task is not None:
            return joined.terms.place_of(task.round).index
        closed = max((one.number for one in self.closed_rounds.rounds), default=0)
        return joined.terms.place_of(closed + 1).index

    @property
    def delivered_at(self) -> float | None:
        """When this site's part of the open round was delivered (monotonic), if it was."""
        task = self.task
        done = task is not None and task.state is RoundState.DELIVERED
        return self._told_at.get("round") if done else None

    @property
    def closed_rounds(self) -> ClosedRounds:
        """Every closed round that this site heard of."""
        return self._site.store.get(ClosedRounds) or ClosedRounds(rounds=())

    @property
    def task(self) -> RoundTask | None:
        """The round this site works on, or did last."""
        kept = self._site.store.get(Task)
        return None if kept is None else kept.task

    def directive_received(self, directive: Directive) -> None:
        """Take note of what the coordinator wants; an older directive is dropped."""
        if self.directive is not None and directive.serial < self.directive.serial:
            return
        before, self.directive = self.directive, directive
        self.heard_at = self._site.clock.now()
        records: list[Wish | Task | Plan | ClosedRounds] = []
        if before is None or _essence(before) != _essence(directive):
            records.append(Wish(directive=msgspec.Raw(msgspec.json.encode(directive))))
        known = self.closed_rounds
        closed = known.with_newest(directive.closed_rounds)
        if closed != known:
            records.append(closed)
        records += self._unheard(directive)
        if records:
            self._site.store.put(*records)
        self._changed()

    def _unheard(self, directive: Directive) -> list[Wish | Task | Plan]:
        """Return what changes because this directive asks, or still asks, for something."""
        match directive.step:
            case Step.TRAIN if directive.base is not None:
                return self._asked_to_train(directive, directive.base)
            case Step.SEND_FINGERPRINT:
                allowance = self._site.store.get(Allowance)
                if allowance is not None and allowance.sent and self._long_ago("fingerprint"):
                    self._fingerprint_unheard = True
            case Step.PREPARE:
                plan = self._site.store.get(Plan)
                if plan is not None and plan.told and self._long_ago("plan"):
                    return [msgspec.structs.replace(plan, told=False)]
            case _:
                pass
        return []

    def _asked_to_train(self, directive: Directive, base: Blob) -> list[Wish | Task | Plan]:
        wish = RoundTask(
            round=directive.round,
            attempt=directive.attempt,
            base=base.sha256,
            base_size=base.size,
            start_epoch=directive.start_epoch,
        )
        if self._site.asymmetric and directive.merged is not None:
            wish = msgspec.structs.replace(
                wish, part=directive.merged.sha256, part_size=directive.merged.size
            )
        current = self.task
        task = wish if current is None else current.asked(wish)
        if (
            task == current
            and task.state in (RoundState.DELIVERED, RoundState.TOLD)
            and self._long_ago("round")
        ):
            task = task.after(RoundEvent.UNHEARD)
        if task == current:
            return []
        if current is None or current.identity != task.identity:
            self.round_began_at = self._site.clock.now()
        if current is not None and current.identity != task.identity:
            self.step, self.seconds_left = None, None
            if current.state is RoundState.TRAINED:
                logger.info("round %d is over; its update is not delivered", current.round)
        return [Task(task=task)]

    def _long_ago(self, what: str) -> bool:
        told = self._told_at.get(what)
        return told is None or self._site.clock.monotonic() - told >= _UNHEARD_AFTER_S

    def _told(self, what: str) -> None:
        self._told_at[what] = self._site.clock.monotonic()

    # --- work ----------------------------------------------------------------------------------

    async def perform(self, work: Work) -> None:
        """Do one piece of work of the study lane."""
        joined, link, directive = self._site.joined, self.link, self.directive
        if work.kind is WorkKind.CLOSE_SESSION:
            await self._close_session(directive)
            return
        if joined is None or link is None or directive is None:
            raise LinkProblem("there is no link to a study yet")
        match work.kind:
            case WorkKind.SEND_FINGERPRINT:
                await self._send_fingerprint(link)
            case WorkKind.TAKE_PLAN:
                await self._take_plan(joined, link, directive)
            case WorkKind.TELL_REFUSED:
                await self._tell_refused(link)
            case WorkKind.PREPARE:
                await self._prepare(joined)
            case WorkKind.TELL_ACCEPTED:
                await self._tell_accepted(link)
            case WorkKind.SEGMENT_COARSELY:
                await self._segment_first_pass(joined, link, directive)
            case WorkKind.OPEN_SESSION:
                await self._open_session(joined)
            case WorkKind.TRAIN:
                await self._train(joined, link)
            case WorkKind.DELIVER:
                await self._deliver(link)
            case WorkKind.TELL_SPOILT:
                await self._tell_spoilt(link)
            case WorkKind.TAKE_MODEL:
                await self._take_model(joined, link, directive)
            case WorkKind.EXPORT:
                await self._export(joined, directive)
            case WorkKind.EXPORT_PERSONAL:
                await self._export_personal(joined)
            case WorkKind.SCORE_MODEL:
                await self._score_model(joined, directive)
            case WorkKind.TELL_SCORE:
                await self._tell_score(link, directive)
            case WorkKind.EXPORT_BEST:
                await self._export_best(joined, link, directive)
            case _:
                raise OurMistake(f"the study desk does not {work.kind.value}")

    async def _send_fingerprint(self, link: SiteLink) -> None:
        """Send exactly the allowed bytes, if the folder still is what they were made from."""
        site = self._site
        allowance, outgoing = self._data.allowed(), site.store.get(Outgoing)
        if allowance is None or outgoing is None:
            return
        if not allowance.sent and not await self._data.folder_is_as_checked():
            logger.warning("the folder has changed: the allowance is void")
            return
        document = await asyncio.to_thread(site.home.outgoing.read_bytes)
        if digest_of(document) != allowance.digest:
            raise DataProblem(
                "the bytes on disk are not those that were allowed; nothing was sent",
                code=ErrorCode.NOT_ALLOWED,
            )
        if site.joined is not None and site.asymmetric:
            # What is sent is of this plan; later folders and fingerprints do not change it.
            await asyncio.to_thread(keep_plan, site, site.joined, allowance.digest)
        blob = Blob(sha256=allowance.digest, size=len(document))
        await link.upload(BlobKind.FINGERPRINT, site.home.outgoing, blob)
        await link.deliver(FingerprintOffered(fingerprint=blob, receipt=allowance.receipt))
        self._told("fingerprint")
        self._fingerprint_unheard = False
        if not allowance.sent:
            site.audit.append(
                AuditKind.FINGERPRINT_SENT,
                now=site.clock.now(),
                sha256=blob.sha256,
                size=blob.size,
                receipt=allowance.receipt,
            )
            site.store.put(msgspec.structs.replace(allowance, sent=True))
        logger.info("the fingerprint was sent: %d bytes", blob.size)

    async def _take_plan(self, joined: JoinedStudy, link: SiteLink, directive: Directive) -> None:
        wanted, merged = directive.plan, directive.merged
        if wanted is None:
            return
        site = self._site
        await asyncio.to_thread(make_folder, site.home.study)
        if site.asymmetric:
            await asyncio.to_thread(keep_plan, site, joined, wanted.sha256)
        else:
            await link.download(wanted, site.home.plan(wanted.sha256))
        if merged is not None:
            await link.download(merged, site.home.merged(merged.sha256))
        plan = Plan(
            sha256=wanted.sha256,
            merged=None if merged is None else merged.sha256,
            merged_stage=self.stage if site.asymmetric else 0,
        )
        try:
            plan = await self._identified(plan, joined)
            await self._look_at_plan(plan, joined)
        except PeerMistake as exc:
            logger.warning("the plan is refused: %s", exc)
            plan = msgspec.structs.replace(
                plan, refused_code=exc.code.value, refused_sentence=str(exc)[:300]
            )
        before = site.store.get(Plan)
        if before is not None and before.sha256 != plan.sha256:
            # Another plan is another network: the old session cannot go on.
            await asyncio.to_thread(self._drop_checkpoints, keep=None)
        site.store.put(plan)

    async def _identified(self, plan: Plan, joined: JoinedStudy) -> Plan:
        """Return the plan with the proof that this site would train what all others train.

        Raises:
            PeerMistake: (VERSION) it would not; the sentence says what differs.
        """
        checked = self._site.store.get(CheckedFolder)
        if self._site.asymmetric or checked is None or checked.dataset is None:
            return plan
        document = await asyncio.to_thread(self._site.home.plan(plan.sha256).read_bytes)
        form = checked.dataset.description
        here = identity.found(
            document,
            channel_names=form.channel_names,
            labels=form.labels,
            installed=library_versions(),
        )
        why = identity.difference(here, identity.expected(document, joined.terms))
        if why:
            raise PeerMistake(why, code=ErrorCode.VERSION)
        return msgspec.structs.replace(plan, identity=here.digest)

    async def _look_at_plan(self, plan: Plan, joined: JoinedStudy) -> None:
        """Check the plan and say what it means here.

        Raises:
            PeerMistake: this site does not use such a plan.
        """
        home = self._site.home
        document = await asyncio.to_thread(home.plan(plan.sha256).read_bytes)
        passes = joined.terms.passes
        if self._site.asymmetric:
            self._networks = tuple(
                [
                    await asyncio.to_thread(OwnNetwork, document, joined, stage=stage)
                    for stage in range(len(passes))
                ]
            )
            self._summaries = tuple(network.summary for network in self._networks)
            await self._look_at_part(plan.merged, plan.merged_stage)
            return
        await asyncio.to_thread(check_plan, document, joined.terms)
        self._summaries = tuple(summarise(document, one) for one in passes)
        self.tensors = tuple(manifest(network_of(document, one)) for one in passes)
        pictures: tuple[HistogramView, ...] = ()
        sentence = ""
        if plan.merged is not None:
            path = home.merged(plan.merged)
            merged = decode_merged(await asyncio.to_thread(path.read_bytes))
            pictures = fingerprinting.merged_pictures(merged)
            if self._site.store.get(LocalFingerprint) is not None:
                local = await asyncio.to_thread(read_fingerprint, home.local_fingerprint)
                sentence = fingerprinting.what_changes(
                    local,
                    self._summaries[-1],
                    axes=_axes_of(document),
                    merged_cases=merged.cases,
                )
        self._data.merged_pictures, self._data.merged_sentence = pictures, sentence

    async def _look_at_part(self, sha256: str | None, stage: int) -> None:
        """Read what of this site's network is shared, where the coordinator has said it already."""
        if self._networks and sha256 is not None:
            document = await asyncio.to_thread(self._site.home.merged(sha256).read_bytes)
            self._networks[stage].take_part(document)
            # Of a pass that nobody has spoken of yet, all may be shared.
            self.tensors = tuple(one.shared or one.tensors for one in self._networks)
            self._data.merged_sentence = str(self._networks[stage].coverage)

    async def _fetch_part(self, link: SiteLink, part: Blob | None, stage: int) -> None:
        if part is None:
            raise PeerMistake("the coordinator does not say what this site shares")
        site, plan = self._site, self._plan()
        await link.download(part, site.home.merged(part.sha256))
        await self._look_at_part(part.sha256, stage)
        if (plan.merged, plan.merged_stage) != (part.sha256, stage):
            site.store.put(msgspec.structs.replace(plan, merged=part.sha256, merged_stage=stage))

    async def _tell_refused(self, link: SiteLink) -> None:
        plan = self._plan()
        await link.deliver(
            PlanRefused(plan=plan.sha256, code=plan.refused_code, sentence=plan.refused_sentence)
        )
        self._site.audit.append(
            AuditKind.PLAN_REFUSED,
            now=self._site.clock.now(),
            plan=plan.sha256,
            code=plan.refused_code,
        )
        self._told("plan")
        self._site.store.put(msgspec.structs.replace(plan, told=True))

    async def _prepare(self, joined: JoinedStudy) -> None:
        site, plan, terms = self._site, self._plan(), joined.terms
        folder, local = site.store.get(Folder), site.store.get(LocalFingerprint)
        if folder is None:
            raise DataProblem("no folder is chosen", code=ErrorCode.FOLDER_MISSING)
        done = await run_for(
            site,
            PreprocessJob(
                plan=str(site.home.plan(plan.sha256)),
                folder=folder.used,
                workspace=str(site.home.workspace),
                configuration=terms.configuration,
                fold=terms.fold,
                leave_out=() if local is None else local.leave_out,
                seed=terms.seed,
                threads=site.settings.worker_threads,
                processes=site.settings.worker_threads,
            ),
            Preprocessed,
            kind="prepare",
            show=self._show_job,
            done=lambda result: f"{result.training_cases} cases prepared for training",
        )
        # What the first pass made of other prepared images would be stale.
        site.store.drop(FirstPass)
        site.store.put(
            msgspec.structs.replace(
                plan,
                prepared=True,
                training_cases=done.training_cases,
                fold_cases=done.fold_cases,
                validation_cases=done.validation_cases,
            )
        )

    async def _tell_accepted(self, link: SiteLink) -> None:
        plan = self._plan()
        await link.deliver(
            PlanAccepted(
                plan=plan.sha256,
                training_cases=plan.training_cases,
                fold_cases=plan.fold_cases,
                identity=plan.identity,
            )
        )
        if "plan" not in self._told_at:
            self._site.audit.append(
                AuditKind.PLAN_ACCEPTED,
                now=self._site.clock.now(),
                plan=plan.sha256,
                cases=plan.training_cases,
            )
        self._told("plan")
        self._site.store.put(msgspec.structs.replace(plan, told=True))

    async def _segment_first_pass(
        self, joined: JoinedStudy, link: SiteLink, directive: Directive
    ) -> None:
        """Segment each training case with the model of the first pass's fold that held it out.

        What comes out is written where nnU-Net's second pass reads it, and stays here. A kill costs
        the case in hand: the worker goes on with what is missing.
        """
        site, plan, ends = self._site, self._plan(), directive.folds
        await asyncio.to_thread(make_folder, site.home.study)
        for end in ends:
            await self._take_end(joined, link, end)
        untrained = [end for end in ends if not self._can_use(joined, end)]
        if untrained:
            raise DataProblem(
                f"this site trained nothing in fold {untrained[0].fold} of the first pass, so layers "
                "of its own network are as they were drawn and cannot segment the cases that this "
                "fold held out; this site has no part in the second pass",
                code=ErrorCode.STUDY_STATE,
            )
        await run_for(
            site,
            FirstPassJob(
                plan=str(site.home.plan(plan.sha256)),
                workspace=str(site.home.workspace),
                folds={end.fold: str(self._final_weights(end.model.sha256)) for end in ends},
                device=site.settings.device,
                threads=site.settings.worker_threads,
            ),
            FirstPassSegmented,
            kind="prepare",
            show=self._show_job,
            done=lambda made: f"{made.cases} training cases segmented for the second pass",
        )
        site.store.put(
            FirstPass(
                name=name_of([end.model for end in ends]),
                models=tuple((end.fold, end.model.sha256) for end in ends),
            )
        )

    # --- the training session ------------------------------------------------------------------

    async def _open_session(self, joined: JoinedStudy) -> TrainingSession:
        """Return the standing session; starts one where none lives.

        Cancelled while it starts, the session goes on starting: whoever comes next waits for it,
        or closes it.
        """
        session = self.session
        wanted = (self._chosen(), self.fold)
        if (
            session is not None
            and session.alive
            and wanted
            != (
                self._computes_with,
                self._session_fold,
            )
        ):
            # Another device or batch was chosen, and the trainer is built anew, from its checkpoint;
            # or another fold begins: other cases, a schedule and a checkpoint of its own.
            await session.finish()
            self.pace = Pace()
        if session is None or not session.alive:
            session = await self._start_session(joined)
        resumed = self._site.home.checkpoint(self._session_fold).exists()
        try:
            ready = await session.ready()
        except JobFailed as exc:
            self._show_job(JobView(kind="train", running=False, outcome=str(exc), failed=True))
            if resumed and exc.code is ErrorCode.WORKSPACE:
                await asyncio.to_thread(self._set_checkpoint_aside)
                raise JobFailed(
                    "the checkpoint could not be used; training starts from the last round",
                    code=ErrorCode.JOB_LOST,
                ) from exc
            raise
        logger.info("the training worker stands at epoch %d on %s", ready.epoch, ready.device)
        return session

    async def _start_session(self, joined: JoinedStudy) -> TrainingSession:
        site, plan, terms = self._site, self._plan(), joined.terms
        await asyncio.to_thread(make_folder, site.home.training)
        self._computes_with, self._session_fold = self._chosen(), self.fold
        fold = self._session_fold
        training = terms.trainings[fold]
        await asyncio.to_thread(self._drop_checkpoints, keep=fold)
        session = self.session = TrainingSession(self._heard)
        self._show_job(JobView(kind="train", running=True, what="starting the training worker"))
        await session.start(
            site.runner,
            TrainJob(
                plan=str(site.home.plan(plan.sha256)),
                workspace=str(site.home.workspace),
                configuration=training.configuration,
                fold=training.fold,
                total_epochs=terms.fold_epochs,
                epochs_before=fold * terms.fold_epochs,
                iterations_per_epoch=terms.iterations_per_epoch,
                validation_iterations=terms.validation_iterations,
                seed=terms.seed_of(fold),
                checkpoint=str(site.home.checkpoint(fold)),
                device=site.settings.device,
                loader_processes=site.settings.loader_processes,
                threads=site.settings.worker_threads,
                batch_size=site.settings.batch_size,
                gpus=site.settings.gpus,
            ),
            ended=self._session_ended,
        )
        return session

    def _chosen(self) -> tuple[str, int | None, int | None]:
        settings = self._site.settings
        return settings.device, settings.gpus, settings.batch_size

    def _drop_checkpoints(self, *, keep: int | None) -> None:
        """Remove the checkpoints of all folds but one: no round of an earlier one comes again."""
        joined, home = self._site.joined, self._site.home
        folds = 0 if joined is None else len(joined.terms.trainings)
        for fold in range(folds):
            if fold != keep:
                home.checkpoint(fold).unlink(missing_ok=True)

    def _set_checkpoint_aside(self) -> None:
        checkpoint = self._site.home.checkpoint(self._session_fold)
        checkpoint.replace(checkpoint.with_suffix(".damaged"))

    async def _close_session(self, directive: Directive | None) -> None:
        session, self.session = self.session, None
        if session is None:
            return
        if directive is not None and directive.step in (Step.FINISH, Step.STOP):
            await session.finish()
        else:
            await session.stop()
        self._show_job(JobView(kind="train", running=False, outcome="training is stopped"))

    def _session_ended(self) -> None:
        self.pause_now()
        self._show_job(
            JobView(kind="train", running=False, outcome="the training worker has ended")
        )
        self._changed()

    async def _train(self, joined: JoinedStudy, link: SiteLink) -> None:
        """Train the wanted round to its update; the update is kept before anyone hears of it."""
        site, task = self._site, self._wanted_task()
        await self._end_early()
        base = site.home.weights(task.base)
        await asyncio.to_thread(make_folder, site.home.study)
        await self._make_base(joined, link, task)
        await link.download(Blob(sha256=task.base, size=task.base_size), base)
        await asyncio.to_thread(self._clear_weights, keep=task.base)
        if self.network is not None:
            base = await self._whole_base(joined, link, task)
        if task.state is RoundState.WANTED:
            task = task.begun_as()
            if task.losses == 0:
                self._audit_round(task)
            site.store.put(Task(task=task))
            self._changed()
        try:
            session = await self._open_session(joined)
            self.sign_at = site.clock.monotonic()
            command = self._command(joined, task, base)
            trained = await session.train(await asyncio.to_thread(self._leaving, command, task))
        except JobFailed as exc:
            await self._end_early()
            self._lost(exc)
            return
        except asyncio.CancelledError:
            # Another round is wanted, or a pause: the worker stops at its last checkpoint.
            session_now, self.session = self.session, None
            if session_now is not None:
                await session_now.stop()
            await self._end_early()
            self.risk.ended()
            self.lost_at = None
            raise
        trained = self._in_study_order(trained)
        update = TrainedUpdate.of(trained)
        if site.store.get(MemoryFailure) is not None:
            site.store.drop(MemoryFailure)
        # The attempt may have been renewed meanwhile; the work is the same.
        current = self._wanted_task()
        # What was trained here is what stays local of the next round's base.
        site.store.put(Task(task=current.trained(update)), self._own_after(joined, task))
        keep_if_best(site, task, base, trained.base_score)
        self._keep_untold(trained)
        self.risk.ended()
        self.pause_now()
        self.step, self.seconds_left = None, None
        logger.info("round %d is trained: update of %d bytes", task.round, update.size)

    def _keep_untold(self, trained: RoundTrained) -> None:
        """Put epochs into the history that a worker trained while no service listened."""
        store, board = self._site.store, self._site.board
        known = {epoch.epoch for epoch in board.snapshot.training.epochs}
        if all(record.epoch in known for record in trained.epochs):
            return
        store.fill_epochs(trained.epochs)
        training = board.snapshot.training
        board.change(Changed(training=msgspec.structs.replace(training, epochs=store.epochs())))

    async def _make_base(self, joined: JoinedStudy, link: SiteLink, task: RoundTask) -> None:
        """Make the round's base of the one before and a small change, where both are to be had.

        What comes out is used only if it is the base to the last bit; else it is fetched whole.
        """
        directive, home, transfer = self.directive, self._site.home, joined.terms.transfer
        base = home.weights(task.base)
        if (
            transfer is Transfer.FP32
            or directive is None
            or directive.base is None
            or directive.base.sha256 != task.base
            or directive.delta is None
            or directive.delta_from is None
            or base.exists()
            or not home.weights(directive.delta_from).exists()
        ):
            return
        change = home.change(directive.delta.sha256)
        await link.download(directive.delta, change)
        try:
            before = home.weights(directive.delta_from)
            network = None if self.network is None else self.network.tensors
            await asyncio.to_thread(apply_change, before, change, transfer, base, network=network)
            if await asyncio.to_thread(file_sha256, base) != task.base:
                logger.warning("the change does not make the model of round %d", task.round)
                base.unlink()
        except PeerMistake as exc:
            logger.warning("the change to the model of round %d is refused: %s", task.round, exc)
        except OSError as exc:
            raise disk_problem(exc, base) from exc
        finally:
            change.unlink(missing_ok=True)

    def _command(self, joined: JoinedStudy, task: RoundTask, base: Path) -> TrainRound:
        home, transfer = self._site.home, joined.terms.transfer
        command = TrainRound(
            round=task.round,
            attempt=task.begun,
            epochs=joined.terms.epochs_per_round,
            start_epoch=task.start_epoch,
            base=str(base),
            update=str(home.update(task.round, task.base)),
            score_base=self.directive is not None and self.directive.score_base,
        )
        if joined.terms.proximal_mu:
            # Only what came from the coordinator holds: layers of this site's own are free.
            command = msgspec.structs.replace(
                command,
                proximal_mu=joined.terms.proximal_mu,
                anchor=str(home.weights(task.base)),
            )
        if transfer is Transfer.FP32:
            return command
        remainders = self._site.store.get(Remainders)
        before = None if remainders is None else remainders.before(task.round)
        if before is not None and before[0] < self._fold_begins(joined, task.round):
            before = None  # what another fold's training rounded away is no part of this one
        return msgspec.structs.replace(
            command,
            transfer=transfer,
            remainder_before=None if before is None else str(home.remainder(*before)),
            remainder=str(home.remainder(task.round, task.base)),
            own=str(home.own_weights(task.round, task.base)),
        )

    def _leaving(self, command: TrainRound, task: RoundTask) -> TrainRound:
        """Say which tensors the update holds, where only a part of this network is shared."""
        if self.network is None or command.transfer is Transfer.FP32:
            return command
        leaving = self.network.leaving(self._site.home.weights(task.base))
        return msgspec.structs.replace(command, sent=leaving.sent, whole=leaving.whole)

    def _begin_early(self, written: UpdateWritten) -> None:
        """Begin to send an update while its epoch is still being validated."""
        task, link, path = self.task, self.link, Path(written.update)
        if task is None or link is None or path != self._site.home.update(task.round, task.base):
            return
        whole = Blob(sha256=written.sha256, size=written.size)
        upload = asyncio.create_task(self._send(link, path, whole), name="early upload")
        self._early = EarlyUpload(sha256=written.sha256, task=upload)

    async def _end_early(self) -> None:
        """Stop an early upload; what has arrived of it is not sent again."""
        early, self._early = self._early, None
        if early is not None:
            early.task.cancel()
            await asyncio.wait({early.task})
            if not early.task.cancelled():
                early.task.exception()  # it is tried again when the round is delivered

    async def _sent_early(self, update: str) -> bool:
        """Wait for the early upload of an update; tell whether it arrived.

        Raises:
            FednnunetError: it was refused, and would be again.
        """
        early = self._early
        if early is None or early.sha256 != update:
            return False
        await asyncio.wait({early.task})
        self._early = None
        error = None if early.task.cancelled() else early.task.exception()
        if isinstance(error, FednnunetError) and error.code in _ONLY_AGAIN:
            raise error
        return error is None and not early.task.cancelled()

    async def _send(self, link: SiteLink, path: Path, whole: Blob) -> None:
        sent, blob = await self._what_leaves(path, whole)
        await link.upload(BlobKind.WEIGHTS, sent, blob)

    async def _what_leaves(self, path: Path, whole: Blob) -> tuple[Path, Blob]:
        """Return the file of an update that is sent: all of it, or the shared tensors alone."""
        joined = self._site.joined
        changes = joined is not None and joined.terms.transfer is not Transfer.FP32
        if self.network is None or changes:
            # A file of changes holds nothing but what leaves.
            return path, whole
        outbox = self._site.home.outbox
        return outbox, await asyncio.to_thread(self.network.cut_shared, path, outbox)

    async def _whole_base(self, joined: JoinedStudy, link: SiteLink, task: RoundTask) -> Path:
        """Add this site's own tensors to a round's base; once made, the file does not change."""
        site, network = self._site, self._own_network()
        base = site.home.weights(task.base)
        part = Blob(sha256=task.part, size=task.part_size) if task.part else None
        await self._fetch_part(link, part, self.stage)
        whole = site.home.own_base(task.round, task.base)
        if not whole.exists():
            own = await self._last_own(joined, joined.terms.place_of(task.round).index)
            await asyncio.to_thread(make_folder, site.home.training)
            await asyncio.to_thread(network.add_own, base, own, whole)
            for older in site.home.training.glob("base-*.safetensors"):
                if older != whole:
                    older.unlink(missing_ok=True)
        return whole

    async def _last_own(self, joined: JoinedStudy, fold: int) -> Path:
        """Return the newest weights of a fold that were trained here, or those that it begins with."""
        site, trained = self._site, self._own_folds().get(fold)
        if trained is not None:
            return trained
        plan = site.home.plan(self._plan().sha256)
        await asyncio.to_thread(make_folder, site.home.training)
        return await first_weights(site, joined, plan, index=fold, show=self._show_job)

    def _own_after(self, joined: JoinedStudy, task: RoundTask) -> OwnWeights:
        """Return what is kept of this site's own weights now that a round is trained."""
        home = self._site.home
        whole = joined.terms.transfer is Transfer.FP32
        file = (home.update if whole else home.own_weights)(task.round, task.base).name
        kept = self._site.store.get(OwnWeights)
        if kept is None:
            return OwnWeights(file=file, round=task.round)
        begins = self._fold_begins(joined, task.round)
        return kept.after(task.round, file, fold_begins=begins)

    def _own_folds(self) -> dict[int, Path]:
        """Return this site's own newest weights of each fold, by its position, as far as there are."""
        joined, kept = self._site.joined, self._site.store.get(OwnWeights)
        if joined is None or kept is None:
            return {}
        folder = self._site.home.training
        return {
            joined.terms.place_of(number).index: folder / file
            for number, file in sorted(kept.files.items())
            if (folder / file).is_file()
        }

    def _fold_begins(self, joined: JoinedStudy, round_number: int) -> int:
        """Return the first round of the fold that a round is in."""
        return round_number - joined.terms.place_of(round_number).round + 1

    def _own_network(self) -> OwnNetwork:
        if self.network is None:
            raise OurMistake("this site has not planned for itself")
        return self.network

    def _lost(self, error: JobFailed) -> None:
        """Count a lost worker; what would be lost in the same way again is told instead."""
        task = self._wanted_task()
        self.session = None
        if error.code in (ErrorCode.JOB_STOPPED, ErrorCode.DISK_FULL):
            # Not the round's fault: it goes on from its checkpoint when it can.
            raise error
        if error.code in (ErrorCode.GPU_MEMORY, ErrorCode.MEMORY_FULL):
            chosen = self._site.settings.batch_size
            self._site.store.put(MemoryFailure(round=task.round, batch_size=chosen))
        if error.code in _ONLY_AGAIN or task.losses + 1 >= _MOST_LOSSES:
            logger.warning("round %d gives nothing that counts: %s", task.round, error)
            self._site.store.put(Task(task=task.spoilt(error.code.value)))
            self.risk.ended()
            self.lost_at = None
            return
        self.risk.worker_lost()
        self.lost_at = self._site.clock.monotonic()
        self._site.store.put(Task(task=task.after(RoundEvent.LOST)))
        raise JobFailed(str(error), code=ErrorCode.JOB_LOST) from error

    def _audit_round(self, task: RoundTask) -> None:
        self._site.audit.append(
            AuditKind.ROUND_BEGUN,
            now=self._site.clock.now(),
            round=task.round,
            attempt=task.attempt,
            base=task.base,
            **self._witness(),
        )

    def _witness(self) -> dict[str, str]:
        """Return the coordinator's head, kept here as ours is kept there.

        So neither can cut its log unseen.
        """
        head = None if self.directive is None else self.directive.audit_head
        return {} if head is None else {"coordinator_head": head}

    async def _deliver(self, link: SiteLink) -> None:
        site, task = self._site, self._wanted_task()
        update, path = task.update, self._update_of(task)
        if update is None or path is None:
            logger.warning("the update of round %d is gone; it is trained again", task.round)
            site.store.put(Task(task=task.after(RoundEvent.LOST)))
            return
        whole = Blob(sha256=update.sha256, size=update.size)
        try:
            arrived = await self._sent_early(update.sha256)
            sent, blob = await self._what_leaves(path, whole)
            if not arrived:
                await link.upload(BlobKind.WEIGHTS, sent, blob)
        except FednnunetError as exc:
            if exc.code in _ONLY_AGAIN:
                logger.warning("the update of round %d is refused: %s", task.round, exc)
                site.store.put(Task(task=task.spoilt(exc.code.value)))
                return
            raise
        await link.deliver(
            UpdateOffered(
                round=task.round,
                attempt=task.attempt,
                base=task.base,
                weights=blob,
                cases=update.cases,
                train_loss=update.train_loss,
                validation_loss=update.validation_loss,
                pseudo_dice=update.pseudo_dice,
                epoch_seconds=update.epoch_seconds,
                base_score=None if update.base_score is None else _told_score(update.base_score),
            )
        )
        site.audit.append(
            AuditKind.UPDATE_SENT,
            now=site.clock.now(),
            round=task.round,
            attempt=task.attempt,
            base=task.base,
            sha256=blob.sha256,
            size=blob.size,
            cases=update.cases,
        )
        self._told("round")
        remainders = site.store.get(Remainders) or Remainders(rounds=())
        remainders = remainders.after(task.round, task.base)
        site.store.put(Task(task=task.after(RoundEvent.DELIVERED)), remainders)
        await asyncio.to_thread(self._clear_updates, task, remainders)
        logger.info("the update of round %d was delivered: %d bytes", task.round, blob.size)

    async def _tell_spoilt(self, link: SiteLink) -> None:
        task = self._wanted_task()
        await link.deliver(UpdateFailed(round=task.round, attempt=task.attempt, code=task.code))
        self._site.audit.append(
            AuditKind.UPDATE_SPOILT,
            now=self._site.clock.now(),
            round=task.round,
            attempt=task.attempt,
            code=task.code,
        )
        self._told("round")
        self._site.store.put(Task(task=task.after(RoundEvent.TOLD)))

    # --- the final model -----------------------------------------------------------------------

    async def _take_model(self, joined: JoinedStudy, link: SiteLink, directive: Directive) -> None:
        """Take the last average of every fold; of a network of this site's own, all the rest too."""
        site, ends = self._site, ends_of(directive)
        await asyncio.to_thread(make_folder, site.home.study)
        for end in ends:
            await self._take_end(joined, link, end)
        if self.task is not None:
            # The end of the study may have cut short what follows the last delivery.
            remainders = site.store.get(Remainders) or Remainders(rounds=())
            await asyncio.to_thread(self._clear_updates, self.task, remainders)
        closed = max((closed.number for closed in self.closed_rounds.rounds), default=0)
        sha256 = name_of([end.model for end in ends])
        site.store.put(FinalModel(sha256=sha256, round=closed or directive.rounds))

    async def _take_end(self, joined: JoinedStudy, link: SiteLink, end: FoldEnd) -> None:
        site, blob = self._site, end.model
        shared = site.home.weights(blob.sha256)
        await link.download(blob, shared)
        index = self._index_of(joined, end)
        if self._networks:
            await self._fetch_part(link, end.merged, end.stage)
            own = await self._last_own(joined, index)
            whole = site.home.own_model(blob.sha256)
            await asyncio.to_thread(self._networks[end.stage].add_own, shared, own, whole)
        site.audit.append(
            AuditKind.MODEL_RECEIVED,
            now=site.clock.now(),
            sha256=blob.sha256,
            size=blob.size,
            **self._witness(),
        )

    def _index_of(self, joined: JoinedStudy, end: FoldEnd) -> int:
        """Return a fold's position in the study; raises PeerMistake where it has no such one."""
        folds = joined.terms.folds
        fold = end.fold or folds[0]
        if fold not in folds or end.stage >= len(joined.terms.passes):
            raise PeerMistake("the coordinator names a fold that the study does not have")
        return end.stage * len(folds) + folds.index(fold)

    async def _export(self, joined: JoinedStudy, directive: Directive) -> None:
        model = self._site.store.get(FinalModel)
        if model is None:
            return
        folds = {
            self._index_of(joined, end): self._final_weights(end.model.sha256)
            for end in ends_of(directive)
            if self._can_use(joined, end)
        }
        if not _is_whole(joined, folds):
            logger.info(
                "nothing was trained here: this network's own layers are as they were drawn"
            )
            self._site.store.put(msgspec.structs.replace(model, exported=True))
            return
        view = await self._export_zip(
            joined,
            folds=folds,
            name=f"{joined.terms.name}, global model",
            file=f"global-{model.sha256[:12]}.zip",
            round_number=model.round,
            kind=ModelKind.FINAL,
        )
        models = self._site.store.get(Models) or Models(models=())
        others = tuple(other for other in models.models if other.path != view.path)
        self._site.store.put(
            Models(models=(*others, view)), msgspec.structs.replace(model, exported=True)
        )

    def _final_weights(self, sha256: str) -> Path:
        """Return the file of a last average: as it came, or with this site's own layers added."""
        home = self._site.home
        return home.own_model(sha256) if self._networks else home.weights(sha256)

    def _can_use(self, joined: JoinedStudy, end: FoldEnd) -> bool:
        """Tell whether a last average makes a model here: what it lacks must have been trained."""
        coverage = self._networks[end.stage].coverage if self._networks else None
        if coverage is None or coverage.shared == coverage.weights:
            return True
        return self._index_of(joined, end) in self._own_folds()

    async def _export_personal(self, joined: JoinedStudy) -> None:
        """Keep this site's own last weights as a model too: trained on from the last average."""
        model, own = self._site.store.get(FinalModel), self._own_folds()
        newest = self._site.store.get(OwnWeights)
        # The second pass was trained on what the last averages of the first one made.
        own |= first_pass_weights(self._site, joined)
        if model is None or newest is None:
            return
        if not _is_whole(joined, own):
            self._site.store.put(msgspec.structs.replace(model, personal_exported=True))
            return
        view = await self._export_zip(
            joined,
            folds=own,
            name=f"{joined.terms.name}, personalised for {joined.membership.site}",
            file=f"personal-{model.sha256[:12]}.zip",
            round_number=newest.round,
            kind=ModelKind.PERSONAL,
        )
        models = self._site.store.get(Models) or Models(models=())
        others = tuple(other for other in models.models if other.path != view.path)
        # The global model stays last: it is the one that a person is offered first.
        self._site.store.put(
            Models(models=(view, *others)), msgspec.structs.replace(model, personal_exported=True)
        )

    async def _score_model(self, joined: JoinedStudy, directive: Directive) -> None:
        """Score a fold's last average on its held-out cases here, as every average before it."""
        site, plan, model = self._site, self._plan(), self._site.store.get(FinalModel)
        if model is None:
            return
        wished = (end for end in ends_of(directive) if end.score_wanted)
        end = next((end for end in wished if model.score_of(end.model.sha256) is None), None)
        if end is None:
            return
        sha256, training = end.model.sha256, joined.terms.trainings[self._index_of(joined, end)]
        done = await run_for(
            site,
            HeldOutJob(
                plan=str(site.home.plan(plan.sha256)),
                workspace=str(site.home.workspace),
                configuration=training.configuration,
                fold=training.fold,
                weights=str(self._final_weights(sha256)),
                device=site.settings.device,
                threads=site.settings.worker_threads,
            ),
            HeldOutScored,
            kind="score",
            show=self._show_job,
            done=lambda _: "the final model is scored on the held-out cases",
        )
        score = AverageScore(sha256=sha256, score=done.score)
        site.store.put(msgspec.structs.replace(model, scores=(*model.scores, score)))

    async def _tell_score(self, link: SiteLink, directive: Directive) -> None:
        model = self._site.store.get(FinalModel)
        if model is None:
            return
        for end in ends_of(directive):
            score = model.score_of(end.model.sha256) if end.score_wanted else None
            if score is not None:
                await link.deliver(ModelScored(model=end.model.sha256, score=_told_score(score)))
        self._told("score")

    async def _export_best(self, joined: JoinedStudy, link: SiteLink, directive: Directive) -> None:
        """Keep the averages that did best over all sites as a model too."""
        ends, model = ends_of(directive), self._site.store.get(FinalModel)
        best = best_of(ends)
        if not best or model is None:
            return
        site, folds = self._site, {}
        await asyncio.to_thread(make_folder, site.home.study)
        for end, blob in zip(ends, best, strict=True):
            weights = folds[self._index_of(joined, end)] = site.home.weights(blob.sha256)
            await link.download(blob, weights)
            site.audit.append(
                AuditKind.MODEL_RECEIVED,
                now=site.clock.now(),
                sha256=blob.sha256,
                size=blob.size,
                **self._witness(),
            )
        name = name_of(best)
        newest = max(end.best_round for end in ends)
        of_round = f", after round {newest}" if len(ends) == 1 else " in each fold"
        view = await self._export_zip(
            joined,
            folds=folds,
            name=f"{joined.terms.name}, best average of all sites{of_round}",
            file=f"best-{name[:12]}.zip",
            round_number=newest if len(ends) == 1 else 0,
            kind=ModelKind.BEST,
        )
        models = site.store.get(Models) or Models(models=())
        # Another average may have been the best before all sites had scored the last one.
        others = tuple(other for other in models.models if other.kind is not ModelKind.BEST)
        site.store.put(Models(models=(view, *others)), msgspec.structs.replace(model, best=name))

    async def _export_zip(
        self,
        joined: JoinedStudy,
        *,
        folds: Mapping[int, Path],
        name: str,
        file: str,
        round_number: int,
        kind: ModelKind,
    ) -> ModelView:
        site, plan = self._site, self._plan()
        await asyncio.to_thread(make_folder, site.home.models)
        output = site.home.models / file
        done = await run_for(
            site,
            export_job(
                site,
                joined,
                plan=plan,
                weights=folds,
                output=output,
            ),
            Exported,
            kind="export",
            show=self._show_job,
            done=lambda _: "the model is exported",
        )
        return ModelView(
            name=name, path=str(output), digest=done.sha256, round=round_number, kind=kind
        )

    # --- what the worker tells -----------------------------------------------------------------

    def _heard(self, event: AnyEvent) -> None:
        site = self._site
        self.sign_at = site.clock.monotonic()
        match event:
            case SessionReady():
                self.device = event.device
                self.risk.session_ready(event.epoch)
                self._show_job(JobView(kind="train", running=True, what="ready for the next round"))
            case Stepped(record=record):
                self.pace.stepped(record)
                self.risk.stepped(record)
                self.lost_at = None
                self.step = record
                self.seconds_left = self.pace.seconds_left(
                    record, last_epoch=self.last_epoch_of_round()
                )
                site.board.tell(StepTaken(record=record, seconds_left=self.seconds_left))
                self._stepped()
            case UpdateWritten():
                self._begin_early(event)
            case EpochEnded(record=record):
                self._epoch_ended(self._ordered(record))
            case Checkpointed(epoch=epoch):
                site.store.put(LastCheckpoint(at=site.clock.now(), epoch=epoch))
                self.risk.checkpointed(epoch)
                if epoch != self.last_epoch_of_round():
                    # After the last one the update is still to be written.
                    self.pause_now()
                self._changed()
            case Noted(text=text):
                logger.info("train: %s", text)
            case _:
                pass

    def _in_study_order(self, trained: RoundTrained) -> RoundTrained:
        """Give figures of single structures in the study's order, whatever this site marks."""
        if self.network is None:
            return trained
        score = trained.base_score
        if score is not None:
            score = dataclasses.replace(score, dice=self.network.in_study_order(score.dice))
        epochs = tuple(map(self._ordered, trained.epochs))
        return msgspec.structs.replace(trained, epochs=epochs, base_score=score)

    def _ordered(self, record: EpochRecord) -> EpochRecord:
        if self.network is None:
            return record
        ordered = self.network.in_study_order(record.pseudo_dice)
        return dataclasses.replace(record, pseudo_dice=ordered)

    def _epoch_ended(self, record: EpochRecord) -> None:
        if self.step is not None:
            self.pace.epoch_ended(record, steps=self.step.steps_per_epoch)
        self._site.store.add_epoch(record)
        self._site.board.tell(EpochFinished(record=record))

    def last_epoch_of_round(self) -> int:
        task, joined = self.task, self._site.joined
        if task is None or joined is None:
            return 0
        return task.start_epoch + joined.terms.epochs_per_round

    # --- helpers -------------------------------------------------------------------------------

    def _plan(self) -> Plan:
        plan = self._site.store.get(Plan)
        if plan is None:
            raise SetupProblem("there is no plan on disk", code=ErrorCode.STUDY_STATE)
        return plan

    def _wanted_task(self) -> RoundTask:
        task = self.task
        if task is None:
            raise OurMistake("no round is wanted")
        return task

    def _update_of(self, task: RoundTask) -> Path | None:
        """Return the file of a task's update if it lies there whole."""
        if task.update is None:
            return None
        path = self._site.home.update(task.round, task.base)
        try:
            return path if path.stat().st_size == task.update.size else None
        except OSError:
            return None

    def _clear_weights(self, *, keep: str) -> None:
        """Remove the bases of earlier rounds; what segmented for a second pass goes into its models."""
        home, segmented = self._site.home, self._site.store.get(FirstPass)
        kept = {home.weights(keep)}
        if segmented is not None:
            kept |= {home.weights(sha256) for _, sha256 in segmented.models}
        for path in home.study.glob("weights-*.safetensors"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def _clear_updates(self, task: RoundTask, remainders: Remainders) -> None:
        """Remove what earlier rounds left; each fold's last weights are of this site's own model."""
        home = self._site.home
        own = self._site.store.get(OwnWeights)
        kept = set() if own is None else {home.training / file for file in own.files.values()}
        kept |= {home.update(task.round, task.base), home.own_weights(task.round, task.base)}
        kept |= {home.remainder(*one) for one in remainders.rounds}
        for pattern in ("update-*", "own-*", "remainder-*"):
            for path in home.training.glob(f"{pattern}.safetensors"):
                if path not in kept:
                    path.unlink(missing_ok=True)

    def _show_job(self, job: JobView) -> None:
        self.job = job
        self._changed()


def _essence(directive: Directive) -> tuple[object, ...]:
    """Return what makes a directive worth a write to disk: not who is at which step."""
    return (
        directive.step,
        directive.plan,
        directive.merged,
        directive.base,
        directive.round,
        directive.attempt,
        directive.start_epoch,
        directive.model,
        directive.folds,
        len(directive.closed_rounds),
    )


def _is_whole(joined: JoinedStudy, weights: Mapping[int, Path]) -> bool:
    """Tell whether weights make a model: of a cascade, some fold of either pass must be there."""
    stages = {joined.terms.trainings[index].stage for index in weights}
    return len(stages) == len(joined.terms.passes)


def _axes_of(document: bytes) -> tuple[int, ...]:
    """Return a plan's order of the axes z, y, x; nnU-Net puts the coarsest first."""
    order = unpack(document)[0]["transpose_forward"]
    axes = [axis for axis in order if isinstance(axis, int)] if isinstance(order, list) else []
    if sorted(axes) != [0, 1, 2]:
        raise PeerMistake("the plan has no order of axes", code=ErrorCode.PLANS_REFUSED)
    return tuple(axes)


def _told_score(score: HeldOutScore) -> HeldOut:
    return HeldOut(cases=score.cases, dice=score.dice)
