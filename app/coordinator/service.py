"""The coordinator service: tells the study what happened, saves it, then does what it wants.

Save, then send: after every event the study's state is durable before a site hears of it, so a
coordinator that is killed between any two lines goes on where its sites believe it is. Planning and
averaging are tasks that are started again after a restart (`Study.outstanding`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Final

import msgspec

from app.control.coordinator_messages import (
    ApproveSite,
    BeginStudy,
    ClosedRound,
    CoordinatorAnswer,
    CoordinatorCommand,
    CoordinatorRequest,
    CoordinatorStatus,
    GetStatus,
    OpenInvitation,
    PauseStudy,
    ResumeStudy,
    RevokeSite,
    StudySite,
)
from app.control.messages import Accepted, Refused as RefusedCommand
from app.control.server import ControlServer
from app.coordinator import asymmetric, translation
from app.coordinator.auditing import CoordinatorEntry, StudyAudit
from app.coordinator.averaging import UnfitUpdate, average_updates, check_weights, publish
from app.coordinator.members import MemberState, MemberStore
from app.coordinator.planning import UnfitFingerprint, plan_study
from app.coordinator.server import CoordinatorServer
from app.coordinator.server_steps import ServerFiles
from app.coordinator.spool import Spool
from app.coordinator.store import StudyStore
from app.coordinator.workspace import CoordinatorHome, load_certificate, open_members
from app.domain.errors import ErrorCode, FednnunetError, PeerMistake
from app.domain.ids import SiteName, digest, site_name
from app.domain.rounds import BlobRef, TensorSpec
from app.domain.study import Method, Transfer
from app.federation import identity, shared_codec, shared_network
from app.federation.asymmetric import SharedPart
from app.federation.server_optimiser import rule_of
from app.federation.study import Study
from app.federation.study_events import (
    AlignSites,
    AverageRound,
    AveragingFailed,
    Begin,
    DropSession,
    Effect,
    Event,
    FingerprintArrived,
    Left,
    MergeAndPlan,
    ModelScored,
    Pause,
    PlanAccepted,
    PlanMade,
    PlanningFailed,
    PlanRefused,
    Refused,
    Resume,
    Revoked,
    RoundAveraged,
    SiteAdmitted,
    SiteConnected,
    SiteDisconnected,
    SiteReported,
    SitesAligned,
    SiteShare,
    StudyFinished,
    TellSites,
    Tick,
    UpdateArrived,
    UpdateFailed,
    UploadProgressed,
)
from app.federation.study_file import terms_from_json
from app.federation.study_views import Step
from app.jobs.runner import JobRunner
from app.system.atomic import make_folder
from app.system.clock import Clock, SystemClock
from app.system.crash import watching_crashes
from app.system.locks import HomeLock
from app.system.logs import start_logging, stop_logging
from app.system.tensor_files import read_manifest
from app.system.tls import server_context
from app.wire import messages
from app.wire.messages import BlobKind, Refusal

logger = logging.getLogger(__name__)

TICK_S: Final = 10.0
_HEADER_ROOM: Final = 1 << 20
_BEGUN: Final = "enrolling"


class CoordinatorService:
    """One study on the air. Made by `open`, run by `run`; everything happens on one event loop."""

    def __init__(
        self,
        *,
        home: CoordinatorHome,
        store: StudyStore,
        members: MemberStore,
        spool: Spool,
        clock: Clock,
        runner: JobRunner,
    ) -> None:
        self._home, self._store, self._members, self._spool = home, store, members, spool
        self._clock, self._runner = clock, runner
        self._terms = terms_from_json(store.terms)
        saved = store.load()
        identity = store.identity
        self._study = Study.new(self._terms, identity) if saved is None else Study.load(saved)
        self._saved_serial = -1 if saved is None else self._study.serial
        self._server: CoordinatorServer | None = None
        self._control = ControlServer(home=home.folder, handler=self)
        self._work: dict[str, asyncio.Task[None]] = {}
        # Digest of each pass's first model, kept apart because `check_blob` runs in a thread and a
        # database connection belongs to the one that made it.
        self._firsts = self._first_models()
        self._manifests: dict[int, tuple[TensorSpec, ...]] = {}
        self._layers = asymmetric.SharedLayers(self._terms, spool=spool, folder=home.folder)
        # Digest of the plan, and the identity that every site must prove for it.
        self._identity: tuple[str, str] | None = None
        self._aligning: AlignSites | None = None
        self._parts: dict[str, SharedPart] = {}
        self._arriving: dict[SiteName, int] = {}
        self._audit = StudyAudit(home.folder, clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    # --- life

    async def run(self, *, host: str, port: int) -> None:
        """Serve until `stop`; raises OSError when the address cannot be had."""
        try:
            await self._serve(host, port)
        finally:
            self._loop = None
            self._audit.close()

    async def _serve(self, host: str, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        certificate = load_certificate(self._home)
        self._server = CoordinatorServer(
            study=self._store.identity,
            desk=self,
            members=self._members,
            spool=self._spool,
            context=server_context(certificate),
            leaf_sha256=certificate.leaf_sha256,
            host=host,
            port=port,
            clock=self._clock,
        )
        for member in self._members.members():
            if member.state is MemberState.ACTIVE:
                await self.tell(SiteAdmitted(site=member.site))
        await self._perform(self._study.outstanding())
        await self._server.start()
        await self._control.start()
        ticker = asyncio.create_task(self._tick(), name="tick")
        try:
            await self._stopping.wait()
        finally:
            # The doors first: what still comes in through them may start work.
            await self._control.stop()
            await self._server.stop()
            work = (ticker, *self._work.values())
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    def stop(self) -> None:
        """Ask `run` to end; harmless when it is ending already."""
        self._stopping.set()

    @property
    def port(self) -> int:
        """The port that sites reach, once `run` has opened it."""
        return 0 if self._server is None else self._server.port

    # --- the study

    async def tell(self, event: Event) -> None:
        """Tell the study an event, save what it became, then do what it wants."""
        effects = self._study.handle(event, self._clock.monotonic())
        if self._study.serial != self._saved_serial:
            self._store.save(self._study.save(), self._clock.now())
            self._saved_serial = self._study.serial
            self._audit.follow(self._study.view(self._clock.monotonic()))
        await self._perform(effects)

    async def _perform(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case TellSites():
                    await self._tell_sites(effect.sites)
                case MergeAndPlan():
                    self._start("planning", self._plan(effect))
                case AlignSites():
                    self._start_aligning(effect)
                case AverageRound():
                    self._start("averaging", self._average(effect))
                case Refused():
                    logger.info("site %s: %s", effect.site, effect.code.value)
                    self._note_refusal(effect.site, effect.code)
                case DropSession():
                    await self._drop(effect)
                case StudyFinished():
                    logger.info("the study is finished after round %d", effect.model.round)

    async def _tell_sites(self, sites: tuple[SiteName, ...] | None) -> None:
        if self._server is None:
            return
        # Each side keeps the other's head in its own log, so neither can cut its own unseen.
        head = self._audit.head
        for site in self._server.connected if sites is None else sites:
            instruction = self._study.instruction_for(site, self._clock.monotonic())
            directive = translation.directive(instruction)
            change, before = self._change_to(site, directive.base)
            directive = msgspec.structs.replace(
                directive, audit_head=head, delta=change, delta_from=before
            )
            await self._server.send(site, directive)

    async def _drop(self, effect: DropSession) -> None:
        if self._server is not None:
            refusal = Refusal(code=effect.code.value, sentence=effect.sentence[:300])
            await self._server.drop(effect.site, refusal)

    def _start(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Run planning or averaging; a newer one of its kind replaces an older one."""
        older = self._work.pop(name, None)
        if older is not None:
            older.cancel()
        self._work[name] = asyncio.create_task(work, name=name)

    def _start_aligning(self, effect: AlignSites) -> None:
        """Make late sites' shares, unless just that is being done."""
        running = self._work.get("aligning")
        if running is None or running.done() or effect != self._aligning:
            self._aligning = effect
            self._start("aligning", self._align(effect))

    async def _tick(self) -> None:
        while True:
            await self._note_uploads()
            await self.tell(Tick())
            await self._begin_when_complete()
            await asyncio.sleep(TICK_S)

    async def _note_uploads(self) -> None:
        """Count arriving bytes as progress: a slow upload is not a site that does nothing."""
        arriving = await asyncio.to_thread(self._spool.arriving)
        members = self._study.members()
        for site, size in arriving.items():
            if site in members and size > self._arriving.get(site, 0):
                await self.tell(UploadProgressed(site=site))
        self._arriving = arriving

    async def _begin_when_complete(self) -> None:
        """Close the roster when nobody is invited or waiting any more and all fingerprints are in."""
        status = self._study.view(self._clock.monotonic())
        if status.state != _BEGUN or len(status.sites) < self._terms.minimum_sites:
            return
        waiting = any(m.state is MemberState.PENDING for m in self._members.members())
        if waiting or self._members.open_invitations():
            return
        if all(site.has_fingerprint for site in status.sites):
            await self.tell(Begin())

    # --- work

    async def _plan(self, effect: MergeAndPlan) -> None:
        try:
            made = await self._planned(effect)
        except UnfitFingerprint as exc:
            await self.tell(
                PlanningFailed(attempt=effect.attempt, sentence=str(exc), site=exc.site)
            )
        except FednnunetError as exc:
            await self.tell(PlanningFailed(attempt=effect.attempt, sentence=str(exc)))
        except OSError as exc:
            logger.exception("planning failed")
            sentence = f"planning failed: {exc.strerror or type(exc).__name__}"
            await self.tell(PlanningFailed(attempt=effect.attempt, sentence=sentence))
        else:
            for name, blob in (
                ("plan", made.plan),
                ("merged", made.merged),
                *zip(self._first_names(), (made.base, *made.later_bases), strict=True),
            ):
                self._store.keep_artefact(name, blob.sha256, blob.size)
            self._firsts, self._manifests = self._first_models(), {}
            await self.tell(made)

    async def _planned(self, effect: MergeAndPlan) -> PlanMade:
        """Plan the study, or align its sites' own networks where each has planned for itself."""
        folder = self._home.folder
        if self._asymmetric:
            aligned = await asyncio.to_thread(self._layers.align_study, effect.fingerprints)
            return PlanMade(
                attempt=effect.attempt,
                plan=aligned.table,
                merged=aligned.table,
                base=aligned.firsts[0],
                later_bases=aligned.firsts[1:],
                shares=aligned.shares,
            )
        planned = await plan_study(
            self._terms,
            effect.fingerprints,
            spool=self._spool,
            runner=self._runner,
            workspace=folder / "planning",
        )
        return PlanMade(
            attempt=effect.attempt,
            plan=planned.plan,
            merged=planned.merged,
            base=planned.firsts[0],
            later_bases=planned.firsts[1:],
        )

    def _first_names(self) -> list[str]:
        """Names of the first models among what the coordinator keeps, one for each training."""
        return [_first_name(index) for index in range(len(self._terms.trainings))]

    def _first_models(self) -> tuple[str | None, ...]:
        """Return the digest of the model that each pass began with; folds of one have one form."""
        folds = len(self._terms.folds)
        kept = [
            self._store.artefact(_first_name(stage * folds))
            for stage in range(len(self._terms.passes))
        ]
        return tuple(None if one is None else one[0] for one in kept)

    async def _align(self, effect: AlignSites) -> None:
        try:
            shares = await asyncio.to_thread(self._layers.align_late, effect)
        except (FednnunetError, OSError):
            # The study asks for it again.
            logger.exception("late sites cannot be aligned now")
        else:
            await self.tell(SitesAligned(model=effect.model, shares=shares))

    async def _average(self, effect: AverageRound) -> None:
        before = self._study.record.shares
        try:
            model, shares = await self._averaged(effect)
        except UnfitUpdate as exc:
            await self._averaging_failed(effect, str(exc), exc.site)
        except FednnunetError as exc:
            await self._averaging_failed(effect, str(exc), None)
        except OSError as exc:
            logger.exception("averaging failed")
            await self._averaging_failed(effect, exc.strerror or type(exc).__name__, None)
        else:
            self._store.keep_artefact(f"model-{effect.round}", model.sha256, model.size)
            self._audit.averaging(effect.round, effect.updates)
            await self.tell(
                RoundAveraged(
                    round=effect.round, attempt=effect.attempt, model=model, shares=shares
                )
            )
            self._forget_before(effect, model, before)

    async def _averaged(self, effect: AverageRound) -> tuple[BlobRef, tuple[SiteShare, ...]]:
        if self._asymmetric:
            server = self._server_files(effect)
            before = self._store.artefact(f"master-{effect.round - 1}")
            averaged = await asyncio.to_thread(
                self._layers.average,
                effect,
                server,
                master=None if before is None else _blob_of(before),
            )
            await self._keep_server_state(effect, server)
            if averaged.master is not None:
                self._keep_master(effect, averaged.master)
            return averaged.model, averaged.shares
        return await self._average_of(effect), ()

    def _server_files(self, effect: AverageRound) -> ServerFiles | None:
        """Return the files of the coordinator's optimiser for a round, None where there is none."""
        rule = rule_of(self._terms)
        if rule is None:
            return None
        # Every fold is a training of its own: its optimiser remembers nothing of the one before.
        begins = self._terms.place_of(effect.round).begins
        kept = None if begins else self._store.artefact(f"server-{effect.round - 1}")
        return ServerFiles(
            rule=rule,
            kept=None if kept is None else self._spool.path(kept[0]),
            keeps=self._home.folder / f"server-{effect.round}.safetensors",
        )

    async def _keep_server_state(self, effect: AverageRound, files: ServerFiles | None) -> None:
        """Make durable what the optimiser keeps of a round, before the average is announced.

        Of earlier rounds it is needed no more, but the one before: this round may be averaged again.
        """
        if files is None:
            return
        state = await asyncio.to_thread(self._spool.keep_file, files.keeps)
        self._store.keep_artefact(f"server-{effect.round}", state.sha256, state.size)
        old = self._kept_as(f"server-{effect.round - 2}")
        for sha256 in old - self._kept_as(f"server-{effect.round - 1}", f"server-{effect.round}"):
            self._spool.discard(sha256)

    async def _average_of(self, effect: AverageRound) -> BlobRef:
        """Average, and return the model that sites get; doing it again gives the same."""
        transfer = self._terms.transfer
        target = self._home.folder / f"average-{effect.round}.safetensors"
        before = self._store.artefact(f"master-{effect.round - 1}")
        server = self._server_files(effect)
        master = await asyncio.to_thread(
            average_updates,
            effect.updates,
            base=effect.base if before is None else _blob_of(before),
            rule=self._terms.aggregation,
            spool=self._spool,
            target=target,
            transfer=transfer,
            server=server,
        )
        await self._keep_server_state(effect, server)
        if transfer is Transfer.FP32 or self._terms.place_of(effect.round).ends:
            # A fold's last model goes to everyone as it is.
            return master
        self._keep_master(effect, master)
        published = await asyncio.to_thread(
            publish,
            master,
            base=effect.base,
            spool=self._spool,
            transfer=transfer,
            target=target,
        )
        change = published.change
        for name, blob in (("change-to", change), ("change-from", effect.base)):
            self._store.keep_artefact(f"{name}-{published.model.sha256}", blob.sha256, blob.size)
        return published.model

    def _keep_master(self, effect: AverageRound, master: BlobRef) -> None:
        """Remember the exact average of a round, to which the next round's changes are added."""
        self._store.keep_artefact(f"master-{effect.round}", master.sha256, master.size)

    def _change_to(
        self, site: SiteName, base: messages.Blob | None
    ) -> tuple[messages.Blob | None, str | None]:
        """Return the change that makes `base` of the model before it, and which model that is."""
        if base is None or self._terms.transfer is Transfer.FP32:
            return None, None
        if self._asymmetric:
            share = self._study.record.share_of(site)
            if share is None or share.change is None or share.base.sha256 != base.sha256:
                return None, None
            return messages.Blob(sha256=share.change.sha256, size=share.change.size), share.before
        change = self._store.artefact(f"change-to-{base.sha256}")
        before = self._store.artefact(f"change-from-{base.sha256}")
        if change is None or before is None or not self._spool.holds(change[0]):
            return None, None
        return messages.Blob(sha256=change[0], size=change[1]), before[0]

    def _forget_before(
        self, effect: AverageRound, model: BlobRef, before: Sequence[SiteShare]
    ) -> None:
        """Remove what went into an average that is durable and announced, and what was there for it.

        Blobs are named by what they hold, so one may still be needed as something else: the change to
        the average of one site has the bytes of that site's update, and a round that changed nothing
        has the master of the one before.
        """
        number, record = effect.round, self._study.record
        used = self._kept_as(f"change-to-{effect.base.sha256}", f"master-{number - 1}")
        used |= _files_of(before) | {update.weights.sha256 for update in effect.updates}
        needed = self._kept_as(f"change-to-{model.sha256}", f"master-{number}")
        needed |= {model.sha256, effect.base.sha256}
        needed |= _files_of((*record.shares, *itertools.chain.from_iterable(record.fold_shares)))
        for sha256 in used - needed:
            self._spool.discard(sha256)

    def _kept_as(self, *names: str) -> set[str]:
        """Return the digests of those artefacts that there are."""
        found = (self._store.artefact(name) for name in names)
        return {artefact[0] for artefact in found if artefact is not None}

    async def _averaging_failed(
        self, effect: AverageRound, sentence: str, site: SiteName | None
    ) -> None:
        await self.tell(
            AveragingFailed(
                round=effect.round, attempt=effect.attempt, sentence=sentence, site=site
            )
        )

    # --- the desk of the server

    async def enrolled(self, site: SiteName, pending: bool) -> None:
        """Take a site into the study once it may take part."""
        member = self._members.member(site)
        if member is not None:
            self._audit.enrolled(site, public_key=member.public_key, pending=pending)
        if not pending:
            await self.tell(SiteAdmitted(site=site))

    async def opened(self, site: SiteName) -> None:
        """A member is connected."""
        await self.tell(SiteAdmitted(site=site))
        await self.tell(SiteConnected(site=site))

    async def closed(self, site: SiteName) -> None:
        """A member is gone."""
        await self.tell(SiteDisconnected(site=site))

    async def received(self, site: SiteName, message: messages.AnyMessage) -> None:
        """Take what a member says; what does not fit is refused by the study, never raised."""
        match message:
            case messages.Report():
                self._audit.reported(site, message)
                if message.plan is not None and not self._is_identical(message.identity):
                    message = msgspec.structs.replace(message, plan=None)
                await self.tell(SiteReported(site=site, report=translation.site_report(message)))
            case messages.FingerprintOffered():
                await self._fingerprint_offered(site, message)
            case messages.PlanAccepted():
                await self._plan_accepted(site, message)
            case messages.PlanRefused():
                await self.tell(
                    PlanRefused(
                        site=site,
                        plan=digest(message.plan),
                        code=message.code,
                        sentence=message.sentence,
                    )
                )
            case messages.UpdateOffered():
                if self._spool.has_from(site, BlobKind.WEIGHTS, message.weights):
                    self._audit.update_kept(site, message)
                    await self.tell(UpdateArrived(update=translation.model_update(site, message)))
            case messages.ModelScored():
                await self.tell(
                    ModelScored(
                        site=site,
                        model=digest(message.model),
                        score=translation.held_out_score(message.score),
                    )
                )
            case messages.UpdateFailed():
                await self.tell(
                    UpdateFailed(
                        site=site,
                        round=message.round,
                        attempt=message.attempt,
                        code=message.code,
                    )
                )
            case messages.Left():
                self._members.leave(site)
                self._audit.append(CoordinatorEntry.SITE_LEFT, site=site)
                await self.tell(Left(site=site))
                await self._members_changed()
                return
            case _:
                raise PeerMistake(f"a site may not send {type(message).__name__}")
        # Level-triggered: whatever was said, the answer is what is to be done now.
        await self._tell_sites((site,))

    async def _plan_accepted(self, site: SiteName, message: messages.PlanAccepted) -> None:
        plan = digest(message.plan)
        if self._is_identical(message.identity):
            await self.tell(
                PlanAccepted(
                    site=site,
                    plan=plan,
                    cases=message.training_cases,
                    fold_cases=message.fold_cases,
                )
            )
            return
        logger.warning("site %s would not train what the others train", site)
        await self.tell(
            PlanRefused(
                site=site,
                plan=plan,
                code=ErrorCode.VERSION.value,
                sentence="its images or its program are not those that the study was planned for",
            )
        )

    def _is_identical(self, claimed: str | None) -> bool:
        """Tell whether a site proves that it trains what all train; see `federation.identity`."""
        if self._asymmetric:
            return True
        plan = self._study.record.plan
        if plan is None:
            return False
        if self._identity is None or self._identity[0] != plan.sha256:
            document = self._spool.path(plan.sha256).read_bytes()
            self._identity = (plan.sha256, identity.expected(document, self._terms).digest)
        return claimed == self._identity[1]

    async def _fingerprint_offered(
        self, site: SiteName, message: messages.FingerprintOffered
    ) -> None:
        if not self._spool.has_from(site, BlobKind.FINGERPRINT, message.fingerprint):
            return  # the directive that follows asks for it
        path = self._spool.path(message.fingerprint.sha256)
        document = await asyncio.to_thread(path.read_bytes)
        shared = (
            shared_network.decode(document) if self._asymmetric else shared_codec.decode(document)
        )
        self._audit.fingerprint_kept(
            site, message.fingerprint, receipt=message.receipt, cases=shared.cases
        )
        await self.tell(
            FingerprintArrived(
                site=site,
                fingerprint=translation.reference(message.fingerprint),
                cases=shared.cases,
            )
        )
        await self._begin_when_complete()

    def refuse_upload(self, site: SiteName, kind: BlobKind, blob: messages.Blob) -> Refusal | None:
        """Say why a site may not send this now; None when it may."""
        instruction = self._study.instruction_for(site, self._clock.monotonic())
        wanted = {Step.SEND_FINGERPRINT: BlobKind.FINGERPRINT, Step.TRAIN: BlobKind.WEIGHTS}
        if wanted.get(instruction.step) is not kind:
            return Refusal(
                code=ErrorCode.STUDY_STATE.value, sentence="the study does not wait for this now"
            )
        if kind is BlobKind.WEIGHTS and blob.size > self._update_size(site) + _HEADER_ROOM:
            return Refusal(
                code=ErrorCode.TOO_LARGE.value, sentence="an update is larger than its model"
            )
        return None

    def check_blob(self, site: SiteName, kind: BlobKind, path: Path) -> None:
        """Refuse a fingerprint or an update that does not fit, before it is kept."""
        try:
            self._check_blob(site, kind, path)
        except FednnunetError as exc:
            loop, code = self._loop, exc.code
            if loop is not None:
                # This runs in a thread; the log's database belongs to the loop's.
                loop.call_soon_threadsafe(self._note_refusal, site, code)
            raise

    def _check_blob(self, site: SiteName, kind: BlobKind, path: Path) -> None:
        if kind is BlobKind.FINGERPRINT and self._asymmetric:
            shared_network.check_terms(shared_network.decode(path.read_bytes()), self._terms)
        elif kind is BlobKind.FINGERPRINT:
            shared_codec.check_terms(shared_codec.decode(path.read_bytes()), self._terms)
        elif kind is BlobKind.WEIGHTS:
            manifest, whole = self._update_manifest(site), self._sent_whole(site)
            check_weights(path, manifest, self._terms.transfer, whole)
        else:
            raise PeerMistake(f"{site} may not send a {kind.value}")

    def _note_refusal(self, site: SiteName, code: ErrorCode) -> None:
        if self._loop is not None:
            self._audit.refused(site, code, self._study.view(self._clock.monotonic()).round)

    def may_fetch(self, site: SiteName, sha256: str) -> bool:
        """Members may have the plan, the merged fingerprint and every average."""
        status = self._study.view(self._clock.monotonic())
        instruction = self._study.instruction_for(site, self._clock.monotonic())
        if instruction.step is Step.STOP:
            return False
        if self._asymmetric:
            # Of the average a site gets what its own network holds, and nothing of the others'.
            directive = translation.directive(instruction)
            change, _ = self._change_to(site, directive.base)
            own = [directive.merged, directive.base, directive.model, change]
            own += itertools.chain.from_iterable((end.model, end.merged) for end in directive.folds)
            return any(blob is not None and blob.sha256 == sha256 for blob in own)
        blobs = [status.plan, status.merged, instruction.base, instruction.model, status.model]
        blobs += [model.weights for model in status.models]
        if any(blob is not None and blob.sha256 == sha256 for blob in blobs):
            return True
        change, _ = self._change_to(site, translation.directive(instruction).base)
        return change is not None and change.sha256 == sha256

    @property
    def _asymmetric(self) -> bool:
        return self._terms.method is Method.ASYM

    def _update_size(self, site: SiteName) -> int:
        """Return how many bytes the tensors of a site's update have, 0 when none is wanted."""
        try:
            return sum(4 * math.prod(spec.shape) for spec in self._update_manifest(site))
        except FednnunetError:
            return 0

    def _update_manifest(self, site: SiteName) -> tuple[TensorSpec, ...]:
        """Names, shapes and types of what a site's update must hold."""
        if not self._asymmetric:
            return self._model_manifest()
        return self._part(self._share(site)).tensors

    def _sent_whole(self, site: SiteName) -> frozenset[str]:
        """Which tensors a site's update holds as they are, where it holds changes of the others."""
        if not self._asymmetric or self._terms.transfer is Transfer.FP32:
            return frozenset()
        share = self._share(site)
        try:
            return asymmetric.sent_whole(self._part(share), share, self._spool)
        except FileNotFoundError as exc:
            # The round was closed while the update arrived.
            raise PeerMistake("this round is over", code=ErrorCode.STUDY_STATE) from exc

    def _share(self, site: SiteName) -> SiteShare:
        share = self._study.record.share_of(site)
        if share is None:
            raise PeerMistake("no update is wanted of this site yet", code=ErrorCode.STUDY_STATE)
        return share

    def _part(self, share: SiteShare) -> SharedPart:
        known = self._parts.get(share.part.sha256)
        if known is None:
            site = share.site
            networks = asymmetric.read_networks(
                self._terms,
                [(site, share.network)],
                self._spool,
                stage=self._study.record.stage(self._terms),
            )
            part = asymmetric.read_part(site, share.part, networks[site], self._spool)
            known = self._parts[share.part.sha256] = part
        return known

    def _model_manifest(self) -> tuple[TensorSpec, ...]:
        """Names, shapes and types of the tensors that are trained now, from their first model."""
        stage = self._study.record.stage(self._terms)
        if stage not in self._manifests:
            first = self._firsts[stage]
            if first is None:
                raise PeerMistake("no update is wanted before the plan", code=ErrorCode.STUDY_STATE)
            self._manifests[stage] = read_manifest(self._spool.path(first))
        return self._manifests[stage]

    # --- the control API

    def snapshot(self) -> CoordinatorStatus:
        """Return the study as its coordinator sees it."""
        return status_of(
            self._study,
            members=self._members,
            address=self._store.address,
            now=self._clock.monotonic(),
            running=True,
        )

    async def answer(self, frame: bytes) -> CoordinatorAnswer | None:
        """Answer one frame of the control API; None when it is no request."""
        try:
            request = msgspec.json.decode(frame, type=CoordinatorRequest)
        except msgspec.DecodeError:
            return None
        try:
            answer = await self._answer(request.command)
        except FednnunetError as exc:
            answer = RefusedCommand(code=exc.code.value, sentence=str(exc), remedy=exc.remedy)
        return CoordinatorAnswer(number=request.number, answer=answer)

    async def _answer(
        self, command: CoordinatorCommand
    ) -> Accepted | RefusedCommand | CoordinatorStatus:
        match command:
            case GetStatus():
                return self.snapshot()
            case BeginStudy():
                await self.tell(Begin(without_missing=True))
            case PauseStudy():
                await self.tell(Pause())
            case ResumeStudy():
                await self.tell(Resume())
            case ApproveSite():
                site = site_name(command.site)
                self._members.approve(site)
                self._audit.append(CoordinatorEntry.SITE_APPROVED, site=site)
                await self.tell(SiteAdmitted(site=site))
                await self._members_changed()
            case RevokeSite():
                site = site_name(command.site)
                self._members.revoke(site)
                self._audit.append(CoordinatorEntry.SITE_REVOKED, site=site)
                await self.tell(Revoked(site=site))
                await self._members_changed()
        return Accepted()

    async def _members_changed(self) -> None:
        if self._server is not None:
            await self._server.members_changed()


def _first_name(index: int) -> str:
    """Return the name of the first model of the training at this position."""
    return f"initial-{index}" if index else "initial"


def _files_of(shares: Sequence[SiteShare]) -> set[str]:
    """Return the digests of what was made for sites for one round."""
    found = {share.base.sha256 for share in shares}
    return found | {share.change.sha256 for share in shares if share.change is not None}


def _blob_of(artefact: tuple[str, int]) -> BlobRef:
    return BlobRef(sha256=digest(artefact[0]), size=artefact[1])


def status_of(
    study: Study,
    *,
    members: MemberStore,
    address: tuple[str, int],
    now: float,
    running: bool,
) -> CoordinatorStatus:
    """Put the study, its members and its invitations into one status."""
    view = study.view(now)
    known = {member.site: member for member in members.members()}
    rows = {
        site.summary.name: StudySite(
            name=site.summary.name,
            state=site.summary.state,
            connected=site.summary.connected,
            words=known[site.summary.name].words if site.summary.name in known else "",
            cases=site.summary.cases,
            round=site.summary.round,
            epoch=site.summary.epoch,
            step=site.summary.step,
            steps=site.summary.steps,
            silent_s=site.summary.silent_s,
            problem=site.problem,
            problem_sentence=site.problem_sentence,
        )
        for site in view.sites
    }
    for name, member in known.items():
        if member.state is MemberState.PENDING:
            rows[name] = StudySite(
                name=name, state=member.state.value, connected=False, words=member.words,
                cases=0, round=0, epoch=0, step=0, steps=0, silent_s=0,
            )  # fmt: skip
    return CoordinatorStatus(
        study=view.name,
        study_id=view.study,
        running=running,
        address=f"{address[0]}:{address[1]}",
        state=view.state,
        sentence=view.sentence,
        rounds=view.rounds,
        sites=tuple(rows[name] for name in sorted(rows)),
        invitations=tuple(
            OpenInvitation(site=invitation.site, expires_at=float(invitation.not_after))
            for invitation in members.open_invitations()
        ),
        closed_rounds=tuple(
            ClosedRound(
                number=closed.number,
                contributors=closed.contributors,
                train_loss=closed.train_loss,
                validation_loss=closed.validation_loss,
                pseudo_dice=closed.pseudo_dice,
                held_out_dice=closed.held_out_dice,
                held_out_cases=closed.held_out_cases,
                model=model.weights.sha256,
            )
            for closed, model in zip(view.closed_rounds, view.models, strict=True)
        ),
        plan_digest=None if view.plan is None else view.plan.sha256,
        model_digest=None if view.model is None else view.model.sha256,
        best_round=view.best_round,
        folds=view.folds,
        stages=view.stages,
        best_rounds=view.best_rounds,
    )


def resting_status(folder: Path) -> CoordinatorStatus:
    """Return the status of a study whose service does not run, from its databases.

    Raises:
        SetupProblem: there is no study in `folder`.
    """
    home, clock = CoordinatorHome(folder=folder), SystemClock()
    store = StudyStore.open(home.database)
    try:
        terms, saved = terms_from_json(store.terms), store.load()
        study = Study.new(terms, store.identity) if saved is None else Study.load(saved)
        members = open_members(home, store.identity, terms, clock)
        try:
            return status_of(
                study,
                members=members,
                address=store.address,
                now=clock.monotonic(),
                running=False,
            )
        finally:
            members.close()
    finally:
        store.close()


async def serve_study(folder: Path, *, host: str | None = None, port: int | None = None) -> None:
    """Run the coordinator service of `folder` until SIGTERM or SIGINT.

    Raises:
        SetupProblem: there is no study, another service runs on it, or the address is taken.
    """
    home, clock = CoordinatorHome(folder=folder), SystemClock()
    store = StudyStore.open(home.database)
    make_folder(home.logs)
    with contextlib.ExitStack() as stack:
        stack.callback(store.close)
        stack.enter_context(HomeLock(folder))
        stack.callback(stop_logging, start_logging(home.logs, "coordinator"))
        stack.enter_context(watching_crashes(home.logs, "coordinator"))
        members = open_members(home, store.identity, terms_from_json(store.terms), clock)
        stack.callback(members.close)
        spool = Spool(home.spool, study=store.identity, clock=clock)
        stack.callback(spool.close)
        service = CoordinatorService(
            home=home,
            store=store,
            members=members,
            spool=spool,
            clock=clock,
            runner=JobRunner(folder=home.jobs),
        )
        if sys.platform != "win32":
            loop = asyncio.get_running_loop()
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(name, service.stop)
        bound_host, bound_port = store.address
        await service.run(
            host=bound_host if host is None else host, port=bound_port if port is None else port
        )
