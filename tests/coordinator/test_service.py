"""The coordinator service on its real server and stores; sites are real links, jobs are played."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from helpers.coordinator_service import PlayedSite, living, serving
from helpers.fingerprints import make_cases, minimal
from helpers.loopback import until
from helpers.plans import document_of, stock_plan, terms_of
from helpers.played_jobs import PlayedRunner
from safetensors.numpy import load_file, save_file

from app.control.coordinator_client import ask_coordinator, study_status
from app.control.coordinator_messages import ApproveSite, PauseStudy, ResumeStudy, RevokeSite
from app.control.messages import Accepted, LinkState, Refused
from app.coordinator.auditing import audit_copy, verify_study
from app.coordinator.service import resting_status
from app.coordinator.store import StudyStore
from app.coordinator.workspace import (
    CoordinatorHome,
    artefact_file,
    create_study,
    write_invitation,
)
from app.domain.errors import ErrorCode, JobFailed
from app.domain.plans import PlanSummary
from app.domain.rounds import TensorSpec
from app.domain.study import Admission, StudyTerms, Transfer
from app.federation import identity, shared_codec
from app.federation.study_events import UploadProgressed
from app.federation.transfer import encode
from app.jobs.events import ModelDrawn, Planned, Result
from app.jobs.spec import AnyJob, InitialModelJob, PlanJob
from app.system.audit import read_copy
from app.system.clock import SystemClock
from app.system.tensor_files import apply_change
from app.wire.messages import (
    Blob,
    BlobKind,
    Directive,
    FingerprintOffered,
    HeldOut,
    Left,
    ModelScored,
    PlanAccepted,
    Report,
    SitePhase,
    Step,
    UpdateOffered,
)

ENTRY = stock_plan("ExperimentPlanner", "hippocampus")
CASES = {"north": 24, "valley": 10}
MANIFEST = {"encoder.weight": (4, 3, 3), "encoder.bias": (4,)}


def terms(**changes: object) -> StudyTerms:
    return dataclasses.replace(
        terms_of(ENTRY), rounds=2, minimum_sites=2, minimum_cases=5,
        admission=Admission.INVITATION, **changes,
    )  # fmt: skip


def study_file(made: StudyTerms) -> str:
    labels = "\n".join(f'"{name}" = {value}' for name, value in made.labels.items())
    channels = ", ".join(f'"{name}"' for name in made.channel_names)
    return (
        f'name = "{made.name}"\npurpose = "p"\ncontact = "c"\nchannel_names = [{channels}]\n'
        f"rounds = {made.rounds}\nminimum_sites = {made.minimum_sites}\nminimum_cases = 5\n"
        f'configuration = "{made.configuration}"\nplanner = "{made.planner}"\n'
        f'admission = "{made.admission.value}"\ntransfer = "{made.transfer.value}"\n'
        f'fold = "{made.fold}"\n'
        f"[labels]\n{labels}\n"
    )


def play(job: AnyJob) -> Result:
    """Plan with a stock plan that was recorded; draw a tiny model."""
    if isinstance(job, PlanJob):
        Path(job.output).write_bytes(document_of(ENTRY))
        return Planned(output=job.output, digest="0" * 64, summary=SUMMARY)
    assert isinstance(job, InitialModelJob)
    for one in (job, *job.also):
        random = np.random.default_rng(one.seed)
        save_file(
            {
                name: random.normal(size=shape).astype(np.float32)
                for name, shape in MANIFEST.items()
            },
            one.output,
        )
    specs = tuple(TensorSpec(name=name, shape=shape) for name, shape in MANIFEST.items())
    return ModelDrawn(output=job.output, sha256="0" * 64, size=1, tensors=specs)


SUMMARY = PlanSummary(
    configuration="3d_fullres", spacing_mm=(1.0, 1.0, 1.0), patch=(8, 8, 8), batch_size=2,
    stages=2, features=(32,), normalisation=("ZScoreNormalization",), network="PlainConvUNet",
)  # fmt: skip


class PlannedSite(PlayedSite):
    """A site of a study with one plan; `spoil` may change its update."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.spoil = lambda tensors, _: tensors
        self.installed = {"nnunetv2": "2.8.1"}
        self.trained: list[tuple[int, int]] = []
        self.transfer = Transfer.FP32
        self.step = np.float32(CASES[name] / 8)
        self.dice: dict[int, float] = {}
        self.fetched: list[str] = []
        self.fold_cases: tuple[int, ...] = ()

    async def do(self, wish: Directive) -> None:
        if wish.step is Step.SEND_FINGERPRINT:
            data = shared_codec.encode(minimal(make_cases(len(self.name), CASES[self.name])))
            blob = self.file("fingerprint", data)
            await self.link.upload(BlobKind.FINGERPRINT, self.folder / "fingerprint", blob)
            await self.link.deliver(FingerprintOffered(fingerprint=blob, receipt="0" * 64))
        elif wish.step is Step.PREPARE and wish.plan is not None:
            await self.link.download(wish.plan, self.folder / "plan")
            found = identity.found(
                (self.folder / "plan").read_bytes(),
                channel_names=terms().channel_names,
                labels=terms().labels,
                installed=self.installed,
            )
            await self.link.deliver(
                PlanAccepted(
                    plan=wish.plan.sha256,
                    training_cases=CASES[self.name],
                    fold_cases=self.fold_cases,
                    identity=found.digest,
                )
            )
        elif wish.step is Step.TRAIN and wish.base is not None:
            await self._train(wish, wish.base)
        elif wish.step is Step.FINISH and wish.model is not None:
            await self.link.download(wish.model, self.folder / "model.safetensors")
            if wish.score_wanted and self.dice:
                score = self._score(wish.rounds)
                await self.link.deliver(ModelScored(model=wish.model.sha256, score=score))
            for end in wish.folds:
                await self.link.download(end.model, self.folder / f"fold-{end.fold}.safetensors")
            if wish.best is not None:
                await self.link.download(wish.best, self.folder / "best.safetensors")

    def _score(self, number: int) -> HeldOut:
        """Score the average of a round."""
        return HeldOut(cases=CASES[self.name], dice=(self.dice[number],))

    async def _train(self, wish: Directive, base: Blob) -> None:
        await self._fetch(wish, base)
        tensors = load_file(self.folder / "base.safetensors")
        step = self.step
        if self.transfer is Transfer.FP32:
            trained = {name: tensor + step for name, tensor in tensors.items()}
        else:
            trained = {}
            for name, tensor in tensors.items():
                spec = TensorSpec(name=name, shape=tensor.shape)
                trained |= encode(spec, np.full_like(tensor, step), self.transfer)[0]
        save_file(self.spoil(trained, wish.round), self.folder / "update")
        self.trained.append((wish.round, wish.attempt))
        blob = self.file("update", (self.folder / "update").read_bytes())
        await self.link.upload(BlobKind.WEIGHTS, self.folder / "update", blob)
        await self.link.deliver(
            UpdateOffered(
                round=wish.round, attempt=wish.attempt, base=base.sha256, weights=blob,
                cases=CASES[self.name], train_loss=0.5, validation_loss=None, pseudo_dice=(0.5,),
                epoch_seconds=1.0,
                base_score=self._score(wish.round - 1) if wish.score_base and self.dice else None,
            )
        )  # fmt: skip

    async def _fetch(self, wish: Directive, base: Blob) -> None:
        """Fetch the base whole, or make it of the last one and a change."""
        path = self.folder / "base.safetensors"
        if wish.delta is None or not path.exists():
            self.fetched.append("whole")
            await self.link.download(base, path)
            return
        assert hashlib.sha256(path.read_bytes()).hexdigest() == wish.delta_from
        self.fetched.append("change")
        await self.link.download(wish.delta, self.folder / "change")
        apply_change(path, self.folder / "change", self.transfer, self.folder / "made")
        (self.folder / "made").replace(path)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == base.sha256


@pytest.fixture
def folder(tmp_path, unused_tcp_port):
    return make_study(tmp_path, unused_tcp_port, terms())


def make_study(tmp_path: Path, port: int, made: StudyTerms) -> Path:
    (tmp_path / "study.toml").write_text(study_file(made), encoding="utf-8")
    folder = tmp_path / "coordinator"
    create_study(tmp_path / "study.toml", folder, host="127.0.0.1", port=port, clock=SystemClock())
    for site in CASES:
        write_invitation(
            folder, site=site, out=tmp_path / f"{site}.fedjoin", days=1, clock=SystemClock()
        )
    return folder


@contextlib.asynccontextmanager
async def joined(tmp_path: Path) -> AsyncIterator[dict[str, PlannedSite]]:
    """Sites that live until the block ends."""
    sites = {name: PlannedSite(name, tmp_path / name) for name in CASES}
    for name, site in sites.items():
        await site.join(tmp_path / f"{name}.fedjoin")
    async with living(*sites.values()):
        yield sites


def has_model(sites: dict[str, PlannedSite]) -> bool:
    return all((site.folder / "model.safetensors").exists() for site in sites.values())


def expected_model(folder: Path, rounds: int, first: str = "initial") -> dict[str, np.ndarray]:
    """The first model plus, each round, the case-weighted mean of what the sites add."""
    tensors = load_file(artefact_file(folder, first))
    total = sum(CASES.values())
    for _ in range(rounds):
        for name, tensor in tensors.items():
            exact = sum((tensor + np.float32(n / 8)).astype(np.float64) * n for n in CASES.values())
            tensors[name] = (exact / total).astype(np.float32)
    return tensors


@pytest.mark.asyncio
async def test_a_study_runs_from_fingerprints_to_the_final_model(tmp_path, folder, unused_tcp_port):
    runner = PlayedRunner(play)
    async with serving(folder, unused_tcp_port, runner), joined(tmp_path) as sites:
        await until(lambda: has_model(sites), within_s=30)
        status = await study_status(folder)
    assert status.state == "finished"
    assert [closed.contributors for closed in status.closed_rounds] == [("north", "valley")] * 2
    assert {site.cases for site in status.sites} == set(CASES.values())
    expected = expected_model(folder, 2)
    for site in sites.values():
        model = load_file(site.folder / "model.safetensors")
        assert all((model[name] == expected[name]).all() for name in MANIFEST)
        assert (site.folder / "plan").read_bytes() == document_of(ENTRY)
        assert site.trained == [(1, 1), (2, 1)]
    # Planned once, from the summed number of cases.
    assert [type(job) for job in runner.jobs] == [PlanJob, InitialModelJob]
    assert resting_status(folder).model_digest == status.model_digest


@pytest.mark.asyncio
async def test_the_best_average_is_found_and_can_be_had_by_the_sites(
    tmp_path, folder, unused_tcp_port
):
    async with serving(folder, unused_tcp_port, PlayedRunner(play)), joined(tmp_path) as sites:
        for site in sites.values():
            site.dice = {1: 0.8, 2: 0.5}
        await until(
            lambda: all((site.folder / "best.safetensors").exists() for site in sites.values()),
            within_s=30,
        )
        status = await study_status(folder)
    assert status.best_round == 1
    assert [closed.held_out_dice for closed in status.closed_rounds] == [
        (pytest.approx(0.8),),
        (pytest.approx(0.5),),
    ]
    assert status.closed_rounds[0].held_out_cases == sum(CASES.values())
    expected = expected_model(folder, 1)
    for site in sites.values():
        assert site.refusals == []
        best = load_file(site.folder / "best.safetensors")
        assert all((best[name] == expected[name]).all() for name in MANIFEST)
    assert status.best_rounds == (1,)


@pytest.mark.asyncio
@pytest.mark.parametrize("transfer", [Transfer.FP16, Transfer.INT8])
async def test_a_study_of_rounded_changes_ends_with_the_exact_average(
    tmp_path, unused_tcp_port, transfer
):
    rounds = 3
    made = dataclasses.replace(terms(transfer=transfer), rounds=rounds)
    folder = make_study(tmp_path, unused_tcp_port, made)
    async with serving(folder, unused_tcp_port, PlayedRunner(play)), joined(tmp_path) as sites:
        for site in sites.values():
            site.transfer = transfer
        await until(lambda: has_model(sites))
    for site in sites.values():
        assert site.fetched == ["whole", "change", "change"]
        final = load_file(site.folder / "model.safetensors")
        for name, exact in expected_model(folder, rounds).items():
            assert np.abs(final[name] - exact).max() <= 1e-4 / 8
    # Nothing that only a past round needed is left behind: models, plan, merged, fingerprints.
    store = StudyStore.open(CoordinatorHome(folder=folder).database)
    gone = [name for name in store.artefacts() if name.startswith(("master-1", "change-to"))]
    spool = folder / "spool" / "blobs"
    assert gone
    assert not any((spool / store.artefact(name)[0]).exists() for name in gone)
    store.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("transfer", [Transfer.FP16, Transfer.INT8])
async def test_a_change_with_the_bytes_of_an_update_is_kept_for_the_sites(
    tmp_path, unused_tcp_port, transfer
):
    """As in a study of one site: its update is the change to the average of that update alone."""
    made = dataclasses.replace(terms(transfer=transfer), rounds=3)
    folder = make_study(tmp_path, unused_tcp_port, made)
    async with serving(folder, unused_tcp_port, PlayedRunner(play)), joined(tmp_path) as sites:
        for site in sites.values():
            site.transfer, site.step = transfer, np.float32(1)
        await until(lambda: has_model(sites))
    for site in sites.values():
        assert site.refusals == []
        assert site.fetched == ["whole", "change", "change"]


@pytest.mark.asyncio
@pytest.mark.parametrize("transfer", [Transfer.FP32, Transfer.INT8])
async def test_every_fold_is_averaged_from_its_own_first_model(tmp_path, unused_tcp_port, transfer):
    made = dataclasses.replace(terms(transfer=transfer), fold="3-4", rounds=2)
    folder = make_study(tmp_path, unused_tcp_port, made)
    async with serving(folder, unused_tcp_port, PlayedRunner(play)), joined(tmp_path) as sites:
        for name, site in sites.items():
            site.transfer, site.fold_cases = transfer, (CASES[name],) * 2
        last = [site.folder / "fold-4.safetensors" for site in sites.values()]
        await until(lambda: all(file.exists() for file in last), within_s=30)
        status = await study_status(folder)
    assert (status.state, status.rounds, status.folds) == ("finished", 4, 2)
    for site in sites.values():
        assert site.refusals == []
        assert [number for number, _ in site.trained] == [1, 2, 3, 4]
        if transfer is Transfer.INT8:
            # A first model is no change of what another fold ended with.
            assert site.fetched == ["whole", "change"] * 2
        for fold, first in (("3", "initial"), ("4", "initial-1")):
            model = load_file(site.folder / f"fold-{fold}.safetensors")
            for name, exact in expected_model(folder, 2, first).items():
                assert np.abs(model[name] - exact).max() <= (
                    0 if transfer is Transfer.FP32 else 1e-4 / 8
                )
    assert not np.array_equal(
        load_file(artefact_file(folder, "initial"))["encoder.weight"],
        load_file(artefact_file(folder, "initial-1"))["encoder.weight"],
    )


@pytest.mark.asyncio
async def test_the_audit_log_tells_the_study_and_holds_and_keeps_the_heads_of_the_sites(
    tmp_path, folder, unused_tcp_port
):
    async with serving(folder, unused_tcp_port, PlayedRunner(play)), joined(tmp_path) as sites:
        for name, site in sites.items():
            site.report = Report(phase=SitePhase.TRAINING, audit_head=hash_of(name))
            await until(lambda site=site: site.state is LinkState.CONNECTED)
            site.link.report(site.report)
        await until(lambda: has_model(sites), within_s=30)
        told = {site: {d.audit_head for d in sites[site].directives} for site in sites}
    study = StudyStore.open(CoordinatorHome(folder=folder).database)
    assert verify_study(folder, study=study.identity, witness=None)[1] is None
    study.close()
    entries = read_copy(audit_copy(folder).read_bytes())
    kinds = [entry.kind for entry in entries]
    assert kinds[:3] == ["study created", "site invited", "site invited"]
    once = ["plan made", "site enrolled", "fingerprint kept", "update kept", "head of a site's log"]
    assert [kinds.count(kind) for kind in once] == [1, 2, 2, 4, 2]
    of_rounds = [e for e in entries if e.kind in ("round opened", "round closed")]
    assert [(e.kind, e.facts["round"]) for e in of_rounds] == [
        ("round opened", 1), ("round closed", 1), ("round opened", 2), ("round closed", 2),
    ]  # fmt: skip
    kept = {
        (e.facts["round"], f"{e.facts['site']} {e.facts['sha256']}")
        for e in entries if e.kind == "update kept"
    }  # fmt: skip
    for closed in (of_rounds[1], of_rounds[3]):
        for contributor in closed.facts["contributors"]:
            assert (closed.facts["round"], contributor) in kept
    assert of_rounds[3].facts["model"] == resting_status(folder).model_digest
    # What the sites were told are heads of this log, the last one among them.
    heads = {entry.head for entry in entries}
    assert all(known and known <= heads for known in told.values())
    assert {e.facts["site_head"] for e in entries if "site_head" in e.facts} == {
        hash_of("north"), hash_of("valley"),
    }  # fmt: skip


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.asyncio
async def test_a_coordinator_that_comes_again_goes_on_where_it_was(
    tmp_path, folder, unused_tcp_port
):
    runner = PlayedRunner(play)
    async with contextlib.AsyncExitStack() as stack:
        async with serving(folder, unused_tcp_port, runner):
            sites = await stack.enter_async_context(joined(tmp_path))
            await until(lambda: all(site.trained for site in sites.values()), within_s=30)
        async with serving(folder, unused_tcp_port, PlayedRunner(play)):
            await until(lambda: has_model(sites), within_s=30)
    expected = expected_model(folder, 2)
    model = load_file(sites["north"].folder / "model.safetensors")
    assert all((model[name] == expected[name]).all() for name in MANIFEST)
    assert len(runner.jobs) == 2


def nan(tensors, number):
    if number == 1:
        tensors = tensors | {"encoder.bias": np.full(4, np.nan, np.float32)}
    return tensors


def wrong_shape(tensors, number):
    if number == 1:
        tensors = tensors | {"encoder.bias": np.ones(5, np.float32)}
    return tensors


@pytest.mark.asyncio
@pytest.mark.parametrize("spoil", [nan, wrong_shape])
async def test_a_hostile_update_is_refused_with_a_sentence_and_the_study_goes_on(
    tmp_path, unused_tcp_port, spoil
):
    folder = make_study(tmp_path, unused_tcp_port, terms())
    async with serving(folder, unused_tcp_port, PlayedRunner(play)), joined(tmp_path) as sites:
        sites["valley"].spoil = spoil
        await until(lambda: sites["valley"].refusals, within_s=30)
        refusal = sites["valley"].refusals[0]
        assert refusal.code is ErrorCode.TENSORS_REFUSED
        assert "encoder.bias" in str(refusal)
        await until(lambda: b'"code":"tensors-refused"' in audit_copy(folder).read_bytes())
        status = await study_status(folder)
        assert status.state == "training"
        # The honest site's update was kept.
        await until(lambda: sites["north"].trained == [(1, 1)], within_s=10)


@pytest.mark.asyncio
async def test_a_site_that_would_train_something_else_is_told_why_and_waits(
    tmp_path, folder, unused_tcp_port, expected_log
):
    expected_log("app.coordinator.service", "would not train what the others train")
    async with serving(folder, unused_tcp_port, PlayedRunner(play)):
        sites = {name: PlannedSite(name, tmp_path / name) for name in CASES}
        sites["valley"].installed = {"nnunetv2": "2.7.0"}
        for name, site in sites.items():
            await site.join(tmp_path / f"{name}.fedjoin")
        tasks = [asyncio.create_task(site.live()) for site in sites.values()]
        try:
            await until(
                lambda: any(
                    "takes part in no round" in d.sentence for d in sites["valley"].directives
                ),
                within_s=30,
            )
            told = sites["valley"].directives[-1]
            assert told.step is Step.WAIT
            assert "those that the study was planned for" in told.sentence
            # Its report does not get it in by another way.
            plan = told.plan.sha256
            sites["valley"].link.report(
                Report(phase=SitePhase.WAITING, plan=plan, training_cases=10)
            )
            await until(lambda: sites["north"].directives, within_s=10)
            await asyncio.sleep(0.3)
            status = await study_status(folder)
            (waiting,) = [site for site in status.sites if site.name == "valley"]
            assert (waiting.state, waiting.problem) == ("joined", ErrorCode.VERSION.value)
            assert "the study was planned for" in waiting.problem_sentence
            assert status.state == "preparing"
            # Updated, it is taken.
            sites["valley"].installed = {"nnunetv2": "2.8.1"}
            await sites["valley"].do(
                Directive(
                    serial=told.serial, step=Step.PREPARE, study_state="", sentence="",
                    sites=(), closed_rounds=(), plan=told.plan,
                )
            )  # fmt: skip
            await until(lambda: sites["valley"].trained, within_s=20)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_fingerprint_of_too_few_cases_is_refused(
    tmp_path, folder, unused_tcp_port, monkeypatch
):
    async with serving(folder, unused_tcp_port, PlayedRunner(play)):
        site = PlannedSite("north", tmp_path / "north")
        await site.join(tmp_path / "north.fedjoin")
        task = asyncio.create_task(site.live())
        try:
            monkeypatch.setitem(CASES, "north", 3)
            await until(lambda: site.refusals, within_s=20)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert site.refusals[0].code is ErrorCode.FINGERPRINT_REFUSED


@pytest.mark.asyncio
async def test_a_site_that_left_comes_back_by_a_new_invitation_and_catches_up(
    tmp_path, unused_tcp_port
):
    folder = make_study(tmp_path, unused_tcp_port, dataclasses.replace(terms(), rounds=3))
    async with serving(folder, unused_tcp_port, PlayedRunner(play)) as service:
        held = asyncio.Event()
        async with joined(tmp_path) as sites:
            valley, north = sites["valley"], sites["north"]
            train = valley._train

            async def in_round_two(wish: Directive, base: Blob) -> None:
                if wish.round == 2 and not held.is_set():
                    await valley.link.deliver(Left())
                    held.set()
                    return
                await train(wish, base)

            valley._train = in_round_two
            await held.wait()
            await until(lambda: "valley" not in service._study.members())
            # The round is short of sites, and waits: visibly.
            row = next(s for s in service.snapshot().sites if s.name == "valley")
            assert row.state == "withdrawn"
            await until(lambda: valley.state is LinkState.REFUSED)
            again = tmp_path / "again.fedjoin"
            write_invitation(folder, site="valley", out=again, days=1, clock=SystemClock())
            back = PlannedSite("valley", tmp_path / "valley again")
            await back.join(again)
            living = asyncio.create_task(back.live())
            await until(lambda: has_model({"north": north, "valley": back}), within_s=30)
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
    assert [number for number, _ in back.trained] == [2, 3]
    closed = resting_status(folder).closed_rounds
    assert [one.contributors for one in closed] == [("north", "valley")] * 3


@pytest.mark.asyncio
async def test_planning_that_fails_is_told_and_can_be_tried_again(
    tmp_path, folder, unused_tcp_port
):
    tries = []

    def fails_once(job: AnyJob) -> Result:
        tries.append(job)
        if len(tries) == 1:
            raise JobFailed("planning needs more memory", code=ErrorCode.MEMORY_FULL)
        return play(job)

    runner = PlayedRunner(fails_once)
    async with serving(folder, unused_tcp_port, runner) as service, joined(tmp_path) as sites:
        await until(lambda: service.snapshot().state == "failed", within_s=20)
        assert "memory" in service.snapshot().sentence
        assert await ask_coordinator(folder, ResumeStudy()) == Accepted()
        await until(lambda: has_model(sites), within_s=30)


@pytest.mark.asyncio
async def test_pausing_and_revoking_take_effect_at_once(tmp_path, folder, unused_tcp_port):
    async with serving(folder, unused_tcp_port, PlayedRunner(play)), joined(tmp_path) as sites:
        await until(lambda: all(site.directives for site in sites.values()), within_s=20)
        assert await ask_coordinator(folder, PauseStudy()) == Accepted()
        await until(lambda: sites["north"].directives[-1].step is Step.PAUSE, within_s=10)
        assert await ask_coordinator(folder, RevokeSite(site="valley")) == Accepted()
        await until(lambda: sites["valley"].state is LinkState.REFUSED, within_s=10)
        refused = await ask_coordinator(folder, RevokeSite(site="nowhere"))
        assert isinstance(refused, Refused)
        assert "nowhere" in refused.sentence


@pytest.mark.asyncio
async def test_a_site_waits_for_approval_when_the_study_says_so(tmp_path, unused_tcp_port):
    folder = make_study(
        tmp_path, unused_tcp_port, dataclasses.replace(terms(), admission=Admission.APPROVAL)
    )
    async with serving(folder, unused_tcp_port, PlayedRunner(play)), joined(tmp_path) as sites:
        await until(lambda: sites["north"].state is LinkState.PENDING, within_s=20)
        status = await study_status(folder)
        waiting = next(site for site in status.sites if site.name == "north")
        assert waiting.state == "waiting for approval"
        assert len(waiting.words.split()) == 6
        assert not sites["north"].directives
        assert await ask_coordinator(folder, ApproveSite(site="north")) == Accepted()
        await until(lambda: sites["north"].directives, within_s=10)
        assert sites["north"].state is LinkState.CONNECTED


@pytest.mark.asyncio
async def test_arriving_bytes_count_as_progress(tmp_path, folder, unused_tcp_port, monkeypatch):
    async with serving(folder, unused_tcp_port, PlayedRunner(play)) as service:
        async with joined(tmp_path) as sites:
            await until(lambda: all(site.directives for site in sites.values()), within_s=20)
        told = []
        monkeypatch.setattr(service, "tell", lambda event: told.append(event) or asyncio.sleep(0))
        partial = folder / "spool" / "partial" / f"north.{'0' * 32}.part"
        for size, expected in ((10, 1), (10, 1), (20, 2)):
            partial.write_bytes(b"x" * size)
            await service._note_uploads()
            progress = [event for event in told if isinstance(event, UploadProgressed)]
            assert progress == [UploadProgressed(site="north")] * expected
        partial.unlink()
        monkeypatch.undo()
