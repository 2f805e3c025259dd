"""A site service in one loop with a scripted coordinator and scripted workers around it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path

from helpers.clock import HandClock
from helpers.fingerprints import make_cases, minimal
from helpers.plans import document_of, stock_plan, terms_of
from helpers.recorder import eventually
from helpers.scripted_runner import ScriptedRunner

from app.control.messages import LinkState
from app.domain.errors import ErrorCode, FednnunetError, LinkProblem
from app.domain.ids import SiteName, StudyId
from app.domain.segmentation import ModelKind
from app.domain.study import Aggregation, StudyTerms
from app.federation.merging import encode_merged, merge
from app.federation.study_file import terms_to_json
from app.site import membership
from app.site.membership import Membership
from app.site.service import SiteService, open_site
from app.site.state import Folder, StandingAllowance
from app.system.autostart import DesktopEntry
from app.system.hardware import MachineReading
from app.system.wakefulness import Wakefulness
from app.wire.messages import (
    Blob,
    Directive,
    FingerprintOffered,
    PlanAccepted,
    Report,
    Step,
    UpdateOffered,
)

STUDY = StudyId("5" * 32)
OPERATOR = "Ada Operator"


def study_terms(**changes) -> StudyTerms:
    terms = dataclasses.replace(
        terms_of(stock_plan("ExperimentPlanner", "")), rounds=3, epochs_per_round=2
    )
    return dataclasses.replace(terms, **changes)


def make_membership(**changes) -> Membership:
    return Membership(
        study=STUDY,
        title="A study",
        site=SiteName("alpha"),
        urls=("wss://localhost:1",),
        authority_pem="PEM",
        terms=terms_to_json(study_terms(**changes)),
        public_key=b"k" * 32,
        joined_at=1.0,
    )


def make_folder(folder: Path, *, cases: int = 6, held_out: int = 2) -> Path:
    """An nnU-Net folder whose image files are only names: the scripted workers do not read them."""
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (folder / name).mkdir(parents=True)
    for number in range(cases):
        (folder / "imagesTr" / f"case_{number:02d}_0000.nii.gz").write_bytes(b"image")
        (folder / "labelsTr" / f"case_{number:02d}.nii.gz").write_bytes(b"label")
    for number in range(held_out):
        (folder / "imagesTs" / f"test_{number:02d}_0000.nii.gz").write_bytes(b"image")
        (folder / "labelsTs" / f"test_{number:02d}.nii.gz").write_bytes(b"label")
    (folder / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "MRI"},
                "labels": {"background": 0, "anterior": 1, "posterior": 2},
                "numTraining": cases,
                "file_ending": ".nii.gz",
            }
        )
    )
    return folder


def tree_digest(folder: Path) -> str:
    """Digest of every name, content, size and modification time below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.stat()
        digest.update(f"{path.relative_to(folder)} {status.st_mode} {status.st_mtime_ns}".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


class ScriptedCoordinator:
    """What a coordinator does, without a network: keeps blobs, takes messages, gives directives."""

    def __init__(self):
        self.blobs: dict[str, bytes] = {}
        self.uploads: list[tuple[object, bytes]] = []
        self.messages: list[object] = []
        self.reports: list[Report] = []
        self.serial = 0
        self.directive: Directive | None = None
        self.links: list[ScriptedLink] = []
        self.refusals: list[FednnunetError] = []
        self.forgotten: list[Membership] = []
        self.online = asyncio.Event()
        self.online.set()
        self.ended: asyncio.Future[LinkProblem] = asyncio.get_running_loop().create_future()

    # Connections

    async def join(self, path):
        if path.read_text() != "invitation":
            raise LinkProblem("not an invitation", code=ErrorCode.INVITATION)
        return make_membership()

    async def open(self, joined, listener):
        link = ScriptedLink(self, listener)
        self.links.append(link)
        return link

    async def forget(self, joined):
        self.forgotten.append(joined)

    # The study

    def keep(self, content: bytes) -> Blob:
        sha256 = hashlib.sha256(content).hexdigest()
        self.blobs[sha256] = content
        return Blob(sha256=sha256, size=len(content))

    def direct(self, step: Step, **fields) -> Directive:
        self.serial += 1
        self.directive = Directive(
            serial=self.serial,
            step=step,
            study_state="open",
            sentence="",
            sites=(),
            closed_rounds=fields.pop("closed_rounds", ()),
            rounds=3,
            **fields,
        )
        self.repeat()
        return self.directive

    def repeat(self) -> None:
        if self.directive is not None and self.online.is_set():
            for link in self.links:
                if link.running:
                    link.listener.directive_received(self.directive)

    def told(self, kind: type) -> list:
        return [message for message in self.messages if isinstance(message, kind)]


class ScriptedLink:
    """Stands where `Link` stands; ends with its service."""

    def __init__(self, coordinator, listener):
        self._coordinator, self.listener = coordinator, listener
        self.sent_bytes = self.received_bytes = 0
        self.running = False

    async def run(self):
        self.running = True
        self.listener.link_changed(LinkState.CONNECTED, "Connected.")
        self._coordinator.repeat()
        try:
            raise await asyncio.shield(self._coordinator.ended)
        finally:
            self.running = False

    async def answers(self, within_s):
        return self._coordinator.online.is_set()

    def report(self, report):
        self._coordinator.reports.append(report)

    async def deliver(self, message):
        await self._coordinator.online.wait()
        self._coordinator.messages.append(message)

    async def upload(self, kind, path, blob):
        await self._coordinator.online.wait()
        if self._coordinator.refusals:
            raise self._coordinator.refusals.pop(0)
        content = path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == blob.sha256
        assert len(content) == blob.size
        self._coordinator.uploads.append((kind, content))
        self._coordinator.keep(content)
        self.sent_bytes += len(content)

    async def download(self, blob, destination):
        await self._coordinator.online.wait()
        if destination.exists():
            return
        content = self._coordinator.blobs[blob.sha256]
        assert len(content) == blob.size
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(content)
        self.received_bytes += len(content)


class Awake:
    """Stands where wakepy stands: counts how often it was held and given back."""

    def __init__(self, *, active: bool = True, error: Exception | None = None):
        self.active, self.error = active, error
        self.held = self.given_back = 0

    def __call__(self):
        if self.error is not None:
            raise self.error
        return self

    def __enter__(self):
        self.held += 1
        return self

    def __exit__(self, *_):
        self.given_back += 1


class StillProbe:
    """A machine that always reads the same."""

    def read(self, worker_pid):
        return MachineReading(
            at=1.0,
            cpu_percent=1.0,
            memory_percent=2.0,
            worker_memory_mb=3.0,
            disk_free_gb=4.0,
        )


class SiteHarness:
    """One home over any number of service lives; coordinator and folder live on."""

    def __init__(self, root: Path):
        self.home = root / "home"
        self.home.mkdir()
        self.folder = make_folder(root / "data")
        self.coordinator = ScriptedCoordinator()
        self.runner = ScriptedRunner()
        self.clock = HandClock()
        self.service: SiteService | None = None
        self.events: list[object] = []
        self._task: asyncio.Task | None = None
        self._crashed = False
        self.awake = Awake()
        self.plan = self.coordinator.keep(document_of(stock_plan("ExperimentPlanner", "")))
        merged = merge(
            [minimal(make_cases(1, 5)), minimal(make_cases(2, 7))], rule=Aggregation.CASES
        )
        self.merged = self.coordinator.keep(encode_merged(merged))

    def join(self, *, standing: bool = True, **terms) -> None:
        """As `site join --data … --allow-fingerprint NAME` leaves a home."""
        membership.save(self.home, make_membership(**terms))
        site = open_site(self.home, clock=self.clock, runner=self.runner)
        site.store.put(Folder(path=str(self.folder), serial=1))
        if standing:
            site.store.put(StandingAllowance(operator=OPERATOR))
        site.store.close()

    async def start(self) -> SiteService:
        site = open_site(self.home, clock=self.clock, runner=self.runner, threads=1)
        site.ended_unexpectedly, self._crashed = self._crashed, False
        site.board.broadcast = self.events.append
        self.service = SiteService(
            site,
            connections=self.coordinator,
            probe=StillProbe(),
            patience=lambda error, count: 0.01 if count < 3 else None,
            sample_every_s=0.01,
            autostart=DesktopEntry(self.home.parent / "autostart", "fednnunet-site"),
            wakefulness=Wakefulness(self.awake),
        )
        self._site = site
        self._task = asyncio.create_task(self.service.run())
        await asyncio.sleep(0)
        return self.service

    async def stop(self) -> None:
        if self._task is not None:
            self.service.stop()
            await self._task
            self._site.store.close()
            self._task = None

    async def crash(self) -> None:
        """End as SIGKILL would: nothing is tidied up, the workers go with their parent."""
        at_work = self._site.home.at_work
        noted = at_work.read_bytes() if at_work.exists() else None
        for job in tuple(self.runner.running):
            job.kill()
        # Cancelled without its `finally` having any worker left to stop.
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if noted is not None:
            # Ending tidied it up, which SIGKILL would not.
            at_work.write_bytes(noted)
        self._crashed = True
        self._site.store.close()
        self._task = None

    @contextlib.asynccontextmanager
    async def serving(self):
        await self.start()
        try:
            yield self.service
        finally:
            if self._task is not None:
                await self.stop()

    async def until(self, holds, what: str = "") -> None:
        await eventually(
            lambda: self._alive() and holds(), timeout_s=20.0, what=f"{what} {self._state()}"
        )

    def _alive(self) -> bool:
        if self._task.done():
            self._task.result()
            raise AssertionError("the service has ended")
        return True

    def _state(self) -> str:
        snapshot = self.service.snapshot()
        return f"{snapshot.training.phase}: {snapshot.training.sentence} {snapshot.service.problem}"

    @property
    def snapshot(self):
        return self.service.snapshot()

    def base(self, number: int) -> Blob:
        return self.coordinator.keep(b"global model before round %d" % number)

    @property
    def terms(self) -> StudyTerms:
        return self._site.joined.terms

    def train(self, number: int, *, attempt: int = 1, **fields) -> Directive:
        return self.coordinator.direct(
            Step.TRAIN,
            plan=self.plan,
            merged=self.merged,
            round=number,
            attempt=attempt,
            start_epoch=(number - 1) * 2,
            **({"base": self.base(number)} | fields),
        )

    def prepare(self) -> Directive:
        return self.coordinator.direct(Step.PREPARE, plan=self.plan, merged=self.merged)

    async def to_prepared(self, **terms) -> None:
        """Go from the start to a prepared plan with the training worker standing."""
        self.join(**terms)
        await self.start()
        self.coordinator.direct(Step.SEND_FINGERPRINT)
        await self.until(lambda: self.coordinator.told(FingerprintOffered), "fingerprint")
        self.prepare()
        await self.until(lambda: self.coordinator.told(PlanAccepted), "plan accepted")
        await self.until(lambda: self.snapshot.training.device == "cpu", "worker stands")

    async def to_finished(self) -> None:
        """Train all three rounds and take the final model."""
        for number in (1, 2, 3):
            self.train(number)
            await self.until(
                lambda n=number: (
                    [m.round for m in self.coordinator.told(UpdateOffered)][-1:] == [n]
                ),
                f"update {number}",
            )
        model = self.base(4)
        self.coordinator.direct(Step.FINISH, plan=self.plan, model=model)
        # Others may have come and gone by then: a round's average, a local baseline.
        await self.until(
            lambda: (
                {ModelKind.FINAL, ModelKind.PERSONAL}
                <= {model.kind for model in self.snapshot.review.models}
            ),
            "models",
        )
