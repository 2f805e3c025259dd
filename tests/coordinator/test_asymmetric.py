"""Sites with unlike networks on a real coordinator service: links are real, training is played."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.coordinator_service import PlayedSite, living, serving
from helpers.loopback import until
from helpers.networks import unet
from helpers.played_jobs import PlayedRunner
from hypothesis import given, settings, strategies as st
from safetensors.numpy import load_file, save, save_file

from app.control.coordinator_client import study_status
from app.coordinator.asymmetric import SharedLayers
from app.coordinator.spool import Spool
from app.coordinator.store import StudyStore
from app.coordinator.translation import reference
from app.coordinator.workspace import (
    CoordinatorHome,
    artefact_file,
    create_study,
    write_invitation,
)
from app.domain.errors import ErrorCode, LinkProblem
from app.domain.folds import CASCADE
from app.domain.ids import SiteName, study_id
from app.domain.rounds import ModelUpdate
from app.domain.study import Aggregation, Transfer
from app.federation import shared_network
from app.federation.asymmetric import (
    SharedPart,
    decode_part,
    first_values,
    group_networks,
    keys_of,
)
from app.federation.network import NetworkPlan, manifest
from app.federation.shared_network import SharedNetwork
from app.federation.study_events import AlignSites, AverageRound, SiteShare
from app.federation.study_file import parse_study
from app.federation.transfer import encode
from app.system.clock import SystemClock
from app.system.tensor_files import TensorFileWriter, apply_change
from app.wire.messages import (
    Blob,
    BlobKind,
    Directive,
    FingerprintOffered,
    PlanAccepted,
    Step,
    UpdateOffered,
)

pytestmark = pytest.mark.asyncio

STUDY = """\
name = "n"
purpose = "p"
contact = "c"
channel_names = ["MRI", "T2"]
method = "asymfedavg"
aggregation = "{rule}"
rounds = {rounds}
fold = "{fold}"
configuration = "{configuration}"
server_optimiser = "{optimiser}"
server_learning_rate = 0.5
transfer = "{transfer}"
minimum_sites = {least}
minimum_cases = 5
seed = 7
admission = "invitation"
[labels]
background = 0
anterior = 1
posterior = 2
"""
LABELS = (("background", 0), ("anterior", 1), ("posterior", 2))
CASES = {"north": 24, "valley": 10, "harbour": 16}


def statement(network: NetworkPlan, cases: int, **changes: object) -> SharedNetwork:
    whole = SharedNetwork(
        cases=cases,
        channel_names=("MRI",),
        labels=LABELS,
        configuration="3d_fullres",
        network=network,
        versions=(("nnunetv2", "2.8.1"),),
    )
    return dataclasses.replace(whole, **changes)


STATEMENTS = {
    "north": statement(unet(3, width=4), CASES["north"]),
    "valley": statement(unet(3, width=4), CASES["valley"]),
    # Deeper, and with images of two channels.
    "harbour": statement(unet(4, width=4, inputs=2), CASES["harbour"], channel_names=("MRI", "T2")),
}


def networks(names=tuple(CASES)) -> dict[SiteName, NetworkPlan]:
    """The networks as the coordinator reads them."""
    return {
        SiteName(name): shared_network.decode(shared_network.encode(STATEMENTS[name])).network
        for name in names
    }


class OwnNetworkSite(PlayedSite):
    """A site with a network of its own, or two in a cascade: training adds its number of cases."""

    def __init__(self, name: str, folder: Path, stated: SharedNetwork | None = None) -> None:
        super().__init__(name, folder)
        self.statement = shared_network.encode(stated or STATEMENTS[name])
        self.first_pass: list[str] = []
        self.part: SharedPart | None = None
        self.transfer = Transfer.FP32
        self.step = np.float32(CASES[name])
        self.owed: dict[str, np.ndarray] = {}
        self.last: dict[str, np.ndarray] = {}
        self.made: list[int] = []
        self.sizes: list[int] = []
        self.bases: dict[int, dict[str, np.ndarray]] = {}
        self.extra: dict[str, np.ndarray] = {}
        self.delivered: list[int] = []
        self.fold_cases: tuple[int, ...] = ()

    async def do(self, wish: Directive) -> None:
        if wish.step is Step.SEND_FINGERPRINT:
            blob = self.file("statement", self.statement)
            await self.link.upload(BlobKind.FINGERPRINT, self.folder / "statement", blob)
            await self.link.deliver(FingerprintOffered(fingerprint=blob, receipt="0" * 64))
        elif wish.step is Step.PREPARE and wish.plan is not None:
            # Its own plan, by the digest of the statement; nothing is fetched.
            assert wish.plan.sha256 == hashlib.sha256(self.statement).hexdigest()
            await self.link.deliver(
                PlanAccepted(
                    plan=wish.plan.sha256,
                    training_cases=CASES[self.name],
                    fold_cases=self.fold_cases,
                )
            )
        elif wish.step is Step.TRAIN and wish.base is not None and wish.merged is not None:
            await self._train(wish, wish.base, wish.merged)
        elif wish.step is Step.FINISH and wish.model is not None:
            for end in wish.folds:
                name = f"fold-{end.fold}" if not end.stage else f"fold-{end.fold}-of-second-pass"
                await self.link.download(end.model, self.folder / f"{name}.safetensors")
                await self.fetch(end.merged, f"part-of-{name}")
            await self.link.download(wish.model, self.folder / "model.safetensors")

    async def fetch(self, blob: Blob, name: str) -> Path:
        path = self.folder / f"{name}-{blob.sha256[:8]}"
        await self.link.download(blob, path)
        return path

    async def _train(self, wish: Directive, base: Blob, part: Blob) -> None:
        document = (await self.fetch(part, "part")).read_bytes()
        networks = shared_network.decode(self.statement).networks
        # A directive of a second pass says what the folds of the first one ended with.
        network = networks[-1] if wish.folds else networks[0]
        for end in wish.folds:
            await self.fetch(end.model, "coarse")
            await self.fetch(end.merged, "part-of-coarse")
        if wish.folds and not self.first_pass:
            self.owed = {}  # another network's rounding is no part of this one's
        self.first_pass = [end.model.sha256 for end in wish.folds]
        self.part = decode_part(document, site=SiteName(self.name), network=network)
        await self._make(wish, base, network)
        shared = self.bases[wish.round] = load_file(await self.fetch(base, "base"))
        before = {
            spec.name: shared.get(spec.name, np.zeros(spec.shape, np.float32))
            for spec in self.part.tensors
        }
        if self.transfer is Transfer.FP32:
            sent = {name: value + self.step for name, value in before.items()}
        else:
            sent = self._changes(shared, before)
        save_file(sent | self.extra, self.folder / "update")
        blob = self.file("update", (self.folder / "update").read_bytes())
        await self.link.upload(BlobKind.WEIGHTS, self.folder / "update", blob)
        await self.link.deliver(
            UpdateOffered(
                round=wish.round, attempt=wish.attempt, base=base.sha256, weights=blob,
                cases=CASES[self.name], train_loss=0.5, validation_loss=None, pseudo_dice=(0.5,),
                epoch_seconds=1.0,
            )
        )  # fmt: skip
        self.delivered.append(wish.round)
        self.sizes.append(blob.size)

    def _changes(
        self, shared: dict[str, np.ndarray], before: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Round what training changed, with what rounding took away in earlier rounds."""
        sent: dict[str, np.ndarray] = {}
        owed: dict[str, np.ndarray] = {}
        for spec in self.part.tensors:
            pace = np.linspace(0.5, 1.5, before[spec.name].size, dtype=np.float32)
            change = self.step * pace.reshape(spec.shape)
            if spec.name not in shared:
                sent[spec.name] = before[spec.name] + change
                continue
            change = change + self.owed.get(spec.name, np.float32(0))
            parts, made = encode(spec, change, self.transfer)
            owed[spec.name] = change - made
            sent |= parts
        self.owed = owed
        return sent

    async def _make(self, wish: Directive, base: Blob, network: NetworkPlan) -> None:
        """Make the base of the one before, as a site does; it must come out to the bit."""
        if wish.delta is None:
            return
        path = self.folder / f"base-{base.sha256[:8]}"
        before = self.folder / f"base-{wish.delta_from[:8]}"
        change = await self.fetch(wish.delta, "change")
        apply_change(before, change, self.transfer, path, network=manifest(network))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == base.sha256
        self.made.append(wish.round)

    @property
    def model(self) -> Path:
        return self.folder / "model.safetensors"


def make_study(
    tmp_path: Path,
    port: int,
    *,
    rule: str = "cases",
    rounds: int = 2,
    invited=tuple(CASES),
    optimiser: str = "none",
    least: int = 2,
    fold: str = "0",
    transfer: Transfer = Transfer.FP32,
    configuration: str = "3d_fullres",
) -> Path:
    text = STUDY.format(
        rule=rule, rounds=rounds, optimiser=optimiser, least=least, fold=fold,
        transfer=transfer.value, configuration=configuration,
    )  # fmt: skip
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    folder = tmp_path / "coordinator"
    create_study(tmp_path / "study.toml", folder, host="127.0.0.1", port=port, clock=SystemClock())
    for site in invited:
        invite(tmp_path, site)
    return folder


def invite(tmp_path: Path, site: str) -> None:
    write_invitation(
        tmp_path / "coordinator",
        site=site,
        out=tmp_path / f"{site}.fedjoin",
        days=1,
        clock=SystemClock(),
    )


async def rest(*sites: OwnNetworkSite) -> None:
    """Let sites finish what they do and begin nothing more."""
    for site in sites:
        site.resting = True
    await until(lambda: not any(site.busy for site in sites), within_s=30)


async def join(
    tmp_path: Path, *names: str, transfer: Transfer = Transfer.FP32
) -> dict[str, OwnNetworkSite]:
    sites = {name: OwnNetworkSite(name, tmp_path / name) for name in names}
    for name, site in sites.items():
        site.transfer = transfer
        if transfer is not Transfer.FP32:
            site.step = site.step / np.float32(100)
        await site.join(tmp_path / f"{name}.fedjoin")
    return sites


def expected_models(rounds: int, rule: Aggregation) -> dict[str, dict[str, np.ndarray]]:
    """What each site holds of the average after so many rounds, by the definition."""
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in CASES}
    for group in group_networks(networks(), minimum_sites=2, rule=rule):
        value = first_values(group, 7)
        shares = {
            site: 1.0 if rule is Aggregation.PAPER else float(CASES[site]) for site in group.sites
        }
        for _ in range(rounds):
            exact = np.zeros(group.shape)
            for site in sorted(group.sites):
                exact += (value + np.float32(CASES[site])).astype(np.float64) * shares[site]
            value = (exact / sum(shares.values())).astype(np.float32)
        for site, name in group.members:
            found[site][name] = value
    return found


@pytest.mark.parametrize("rule", Aggregation)
async def test_unlike_networks_are_averaged_where_they_are_alike(tmp_path, unused_tcp_port, rule):
    folder = make_study(tmp_path, unused_tcp_port, rule=rule.value)
    runner = PlayedRunner(lambda job: pytest.fail(f"a coordinator planned: {job}"))
    async with serving(folder, unused_tcp_port, runner):
        sites = await join(tmp_path, *CASES)
        async with living(*sites.values()):
            await until(lambda: all(s.model.exists() for s in sites.values()), within_s=60)
            # Of the average a site gets its own tensors; the whole file and others' parts not.
            whole = artefact_file(folder, "model-2")
            digest = hashlib.sha256(whole.read_bytes()).hexdigest()
            with pytest.raises(LinkProblem):
                await sites["north"].fetch(Blob(sha256=digest, size=whole.stat().st_size), "x")
        status = await study_status(folder)
    assert status.state == "finished"
    assert [one.contributors for one in status.closed_rounds] == [tuple(sorted(CASES))] * 2
    expected = expected_models(2, rule)
    for name, site in sites.items():
        model = load_file(site.model)
        assert set(model) == set(expected[name])
        for tensor, value in expected[name].items():
            np.testing.assert_array_equal(model[tensor], value, err_msg=f"{name} {tensor}")
    # All began equal, and the deeper network shares less of itself than the others.
    north, harbour = sites["north"], sites["harbour"]
    assert north.part.coverage.others == 2
    assert harbour.part.coverage.percent < north.part.coverage.percent
    assert "encoder.stages.0.0.convs.0.conv.weight" not in model_names(harbour)
    for tensor in set(north.bases[1]) & set(sites["valley"].bases[1]):
        np.testing.assert_array_equal(north.bases[1][tensor], sites["valley"].bases[1][tensor])


async def test_momentum_of_the_coordinator_carries_over_rounds(tmp_path, unused_tcp_port):
    """With equal changes each round the change is 1, then 1.9, then 2.71 times half of it."""
    folder = make_study(tmp_path, unused_tcp_port, rounds=3, optimiser="fedavgm")
    async with serving(folder, unused_tcp_port, PlayedRunner(pytest.fail)):
        sites = await join(tmp_path, *CASES)
        async with living(*sites.values()):
            await until(lambda: all(s.model.exists() for s in sites.values()), within_s=60)
    groups = group_networks(networks(), minimum_sites=2, rule=Aggregation.CASES)
    models = [load_file(artefact_file(folder, f"model-{number}")) for number in (1, 2, 3)]
    for group in groups:
        weights = [CASES[site] for site in group.sites]
        change = np.average(weights, weights=weights)
        begin = first_values(group, 7)
        for model, factor in zip(models, (1, 2.9, 5.61), strict=True):
            expected = begin + 0.5 * factor * change
            np.testing.assert_allclose(model[group.key], expected, rtol=1e-5)


async def test_folds_begin_anew_and_without_momentum_and_leave_every_site_its_models(
    tmp_path, unused_tcp_port
):
    folder = make_study(tmp_path, unused_tcp_port, rounds=2, optimiser="fedavgm", fold="0-1")
    async with serving(folder, unused_tcp_port, PlayedRunner(pytest.fail)):
        sites = await join(tmp_path, *CASES)
        for name, site in sites.items():
            site.fold_cases = (CASES[name],) * 2
        async with living(*sites.values()):
            await until(lambda: all(s.model.exists() for s in sites.values()), within_s=60)
    groups = group_networks(networks(), minimum_sites=2, rule=Aggregation.CASES)
    models = [load_file(artefact_file(folder, f"model-{number}")) for number in (1, 2, 3, 4)]
    for group in groups:
        weights = [CASES[site] for site in group.sites]
        change = np.average(weights, weights=weights)
        for number, (seed, factor) in enumerate(((7, 1), (7, 2.9), (8, 1), (8, 2.9))):
            expected = first_values(group, seed) + 0.5 * factor * change
            np.testing.assert_allclose(models[number][group.key], expected, rtol=1e-5)
    for site in sites.values():
        for fold, number in ((0, 1), (1, 3)):
            own = load_file(site.folder / f"fold-{fold}.safetensors")
            assert own
            known = {tensor.tobytes() for tensor in models[number].values()}
            assert {tensor.tobytes() for tensor in own.values()} <= known


def model_names(site: OwnNetworkSite) -> set[str]:
    return set(load_file(site.model))


def cascade_of(name: str) -> SharedNetwork:
    """A site's two networks: north's and valley's are alike but for valley's deeper second one."""
    deep = 4 if name == "valley" else 3
    return dataclasses.replace(
        statement(unet(deep, width=4, inputs=3), CASES[name]),
        configuration=CASCADE,
        first_pass=unet(2, width=4),
    )


@pytest.mark.parametrize("transfer", [Transfer.FP32, Transfer.INT8])
async def test_both_networks_of_a_cascade_are_aligned(tmp_path, unused_tcp_port, transfer):
    folder = make_study(
        tmp_path, unused_tcp_port, rounds=2, fold="0-4", configuration=CASCADE,
        invited=("north", "valley"), transfer=transfer,
    )  # fmt: skip
    sites = {
        name: OwnNetworkSite(name, tmp_path / name, cascade_of(name))
        for name in ("north", "valley")
    }
    async with serving(folder, unused_tcp_port, PlayedRunner(pytest.fail)):
        for name, site in sites.items():
            site.transfer = transfer
            site.fold_cases = (CASES[name],) * 5
            await site.join(tmp_path / f"{name}.fedjoin")
        async with living(*sites.values()):
            await until(lambda: all(s.model.exists() for s in sites.values()), within_s=120)
        status = await study_status(folder)
    assert (status.state, status.folds, status.stages) == ("finished", 5, 2)
    stem = "encoder.stages.0.0.convs.0.conv.weight"
    for name, site in sites.items():
        assert site.delivered == list(range(1, 21))
        # The first pass is shared whole; of the second the layers that both have.
        coarse = manifest(cascade_of(name).first_pass)
        assert set(site.bases[1]) == {spec.name for spec in coarse}
        assert site.bases[1][stem].shape[1] == 1
        assert site.bases[11][stem].shape[1] == 3
        ends = [load_file(site.folder / f"fold-{fold}.safetensors") for fold in range(5)]
        digests = [
            hashlib.sha256((site.folder / f"fold-{fold}.safetensors").read_bytes()).hexdigest()
            for fold in range(5)
        ]
        # What segments for the second pass is what the folds of the first one ended with.
        assert site.first_pass == digests
        assert all(set(end) == {spec.name for spec in coarse} for end in ends)
    north, valley = sites["north"], sites["valley"]
    assert set(north.bases[11]) != {spec.name for spec in manifest(cascade_of("north").network)}
    assert set(north.bases[11]) & set(valley.bases[11]) >= {stem}
    for number in (1, 3, 11, 13):
        # Layers are called by their place in each network: only these are the same in both.
        alike = [name for name in north.bases[number] if name.startswith("encoder.stages.0")]
        assert stem in alike
        for tensor in alike:
            np.testing.assert_array_equal(
                north.bases[number][tensor], valley.bases[number][tensor], err_msg=tensor
            )
    # Every network begins from values of its own.
    firsts = [north.bases[number][stem] for number in (*range(1, 11, 2), *range(11, 21, 2))]
    assert len({first.tobytes() for first in firsts}) == 10
    if transfer is not Transfer.FP32:
        # The second round of each fold came as a change, the first one whole.
        assert north.made == list(range(2, 21, 2))


async def models_of(folder: Path) -> list[str]:
    store = StudyStore.open(CoordinatorHome(folder=folder).database)
    try:
        names = [name for name in store.artefacts() if name.startswith(("model-", "initial"))]
        return [store.artefact(name)[0] for name in names]
    finally:
        store.close()


@pytest.mark.parametrize(
    ("optimiser", "transfer"),
    [
        ("none", Transfer.FP32),
        ("fedadam", Transfer.FP32),
        ("none", Transfer.INT8),
        ("fedavgm", Transfer.FP16),
    ],
)
async def test_a_coordinator_that_comes_again_gives_the_same_bits(
    tmp_path, unused_tcp_port, optimiser, transfer
):
    digests = []
    for number, restarted in enumerate((False, True)):
        root = tmp_path / str(number)
        folder = make_study(root, unused_tcp_port, rounds=3, optimiser=optimiser, transfer=transfer)
        async with contextlib.AsyncExitStack() as stack:
            async with serving(folder, unused_tcp_port, PlayedRunner(pytest.fail)):
                sites = await join(root, *CASES, transfer=transfer)
                await stack.enter_async_context(living(*sites.values()))
                done = 1 if restarted else 3
                await until(
                    lambda s=sites, d=done: all(len(x.bases) >= d for x in s.values()), within_s=60
                )
                if not restarted:
                    await until(
                        lambda s=sites: all(x.model.exists() for x in s.values()), within_s=60
                    )
            if restarted:
                async with serving(folder, unused_tcp_port, PlayedRunner(pytest.fail)):
                    await until(
                        lambda s=sites: all(x.model.exists() for x in s.values()), within_s=60
                    )
        digests.append(await models_of(folder))
        # Bases of rounds that are over do not pile up.
        blobs = list((folder / "spool" / "blobs").iterdir())
        assert len(blobs) <= 4 + 1 + 3 * len(CASES) + 2
        # Where changes travel, every base but the first is made of the one before.
        rounded = transfer is not Transfer.FP32
        assert all(site.made == ([2, 3] if rounded else []) for site in sites.values())
    assert len(digests[0]) == 4
    assert digests[0] == digests[1]


async def test_a_site_that_comes_late_is_aligned_and_joins_the_present_round(
    tmp_path, unused_tcp_port
):
    folder = make_study(tmp_path, unused_tcp_port, rounds=40, invited=("north", "valley"))
    async with serving(folder, unused_tcp_port, PlayedRunner(pytest.fail)):
        sites = await join(tmp_path, "north", "valley")
        async with living(*sites.values()):
            await until(lambda: len(sites["north"].bases) > 1, within_s=30)
            invite(tmp_path, "harbour")
            late = (await join(tmp_path, "harbour"))["harbour"]
            async with living(late):
                await until(lambda: late.bases, within_s=30)
                first = min(late.bases)
                status = await study_status(folder)
                await until(
                    lambda: len(late.bases) > 2 and len(sites["north"].bases) > first + 1,
                    within_s=30,
                )
                status = await study_status(folder)
                await rest(late, *sites.values())
    with_late = [one.number for one in status.closed_rounds if "harbour" in one.contributors]
    assert with_late
    assert min(with_late) >= first > 1
    assert late.part.coverage.others == 2
    assert sites["north"].part.coverage.others == 2
    # It begins from the average, not from its own first weights.
    for tensor, value in late.bases[first].items():
        assert value.mean() > 5, tensor


async def test_what_does_not_belong_into_an_update_or_study_is_refused(tmp_path, unused_tcp_port):
    folder = make_study(tmp_path, unused_tcp_port)
    async with serving(folder, unused_tcp_port, PlayedRunner(pytest.fail)):
        sites = await join(tmp_path, *CASES)
        sites["valley"].extra = {"encoder.local": np.ones(3, np.float32)}
        strange = statement(unet(4, width=4), 16, labels=(("background", 0), ("lung", 1)))
        sites["harbour"].statement = shared_network.encode(strange)
        async with living(*sites.values()):
            await until(lambda: sites["harbour"].refusals, within_s=30)
            assert sites["harbour"].refusals[0].code is ErrorCode.FINGERPRINT_REFUSED
            assert "'lung'" in str(sites["harbour"].refusals[0])
            # The study goes on with a statement that fits.
            sites["harbour"].statement = shared_network.encode(STATEMENTS["harbour"])
            blob = sites["harbour"].file("statement", sites["harbour"].statement)
            path = tmp_path / "harbour" / "statement"
            await sites["harbour"].link.upload(BlobKind.FINGERPRINT, path, blob)
            await sites["harbour"].link.deliver(
                FingerprintOffered(fingerprint=blob, receipt="0" * 64)
            )
            await until(lambda: sites["valley"].refusals, within_s=30)
            assert sites["valley"].refusals[0].code is ErrorCode.TENSORS_REFUSED
            assert "encoder.local" in str(sites["valley"].refusals[0])
            # The honest sites' updates are kept.
            honest = (sites["north"], sites["harbour"])
            await until(lambda: all(site.delivered == [1] for site in honest), within_s=20)
            assert (await study_status(folder)).state == "training"
            await rest(*sites.values())


async def test_a_site_alone_shares_nothing_and_goes_on_by_itself(tmp_path, unused_tcp_port):
    folder = make_study(tmp_path, unused_tcp_port, invited=("north",), least=1)
    async with serving(folder, unused_tcp_port, PlayedRunner(pytest.fail)):
        sites = await join(tmp_path, "north")
        async with living(*sites.values()):
            await until(sites["north"].model.exists, within_s=30)
    assert load_file(sites["north"].model) == {}
    assert sites["north"].part.tensors == ()
    assert str(sites["north"].part.coverage).startswith("Nothing of your network is shared")


# --- any sites in any rounds: the same bits for all who hold a tensor --------------------------

WALKERS = {
    "harbour": statement(unet(3, width=2), 16),
    "island": statement(unet(2, width=2), 6),
    "north": statement(unet(2, width=2), 24),
    "valley": statement(unet(3, width=2, inputs=2), 10, channel_names=("MRI", "T2")),
}
ROUNDS = 4


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[set[str]]]:
    """When harbour comes, and who delivers in each round (at least two)."""
    comes = draw(st.integers(1, ROUNDS - 1))
    rounds = []
    for number in range(1, ROUNDS + 1):
        here = sorted(WALKERS) if number >= comes else sorted(set(WALKERS) - {"harbour"})
        rounds.append(draw(st.sets(st.sampled_from(here), min_size=2)))
    return comes, rounds


class Walker:
    """A site that makes its base of the one it holds when it can, and drifts at random."""

    def __init__(self, name: str, folder: Path, transfer: Transfer) -> None:
        self.name, self.folder, self.transfer = name, folder, transfer
        self.network = shared_network.decode(shared_network.encode(WALKERS[name])).network
        self.random = np.random.default_rng(len(name) * ord(name[0]))
        self.held = ""
        self.own: dict[str, np.ndarray] = {}
        self.owed: dict[str, np.ndarray] = {}
        self.made = 0

    def train(self, share: SiteShare, spool: Spool) -> tuple[bytes, dict[str, np.ndarray]]:
        """Return an update, and what its receiver is to make of it by the names here."""
        base = self.folder / f"{self.name}-{share.base.sha256}"
        if share.change is not None and share.before == self.held:
            before = self.folder / f"{self.name}-{self.held}"
            change = spool.path(share.change.sha256)
            apply_change(before, change, self.transfer, base, network=manifest(self.network))
            self.made += 1
        else:
            base.write_bytes(spool.path(share.base.sha256).read_bytes())
        assert hashlib.sha256(base.read_bytes()).hexdigest() == share.base.sha256
        self.held = share.base.sha256
        shared = load_file(base)
        document = spool.path(share.part.sha256).read_bytes()
        part = decode_part(document, site=SiteName(self.name), network=self.network)
        owed, self.owed, sent, meant = self.owed, {}, {}, {}
        for spec in part.tensors:
            begin = shared.get(spec.name, self.own.get(spec.name, np.zeros(spec.shape, "<f4")))
            drift = self.random.normal(scale=1e-2, size=spec.shape).astype(np.float32)
            self.own[spec.name] = begin + drift
            if spec.name not in shared:
                sent[spec.name] = meant[spec.name] = self.own[spec.name]
                continue
            change = self.own[spec.name] - begin + owed.get(spec.name, np.float32(0))
            parts, meant[spec.name] = encode(spec, change, self.transfer)
            self.owed[spec.name] = change - meant[spec.name]
            sent |= parts
        return save(sent), meant


@pytest.mark.parametrize("transfer", [Transfer.FP16, Transfer.INT8])
@settings(max_examples=settings.default.max_examples // 10)  # an example is some 300 files
@given(history=histories())
async def test_all_who_hold_a_tensor_train_from_the_same_bits_of_it_whoever_takes_part(
    tmp_path_factory, transfer, history
):
    with pytest.MonkeyPatch.context() as patch:
        # No power is lost here, and waiting for the disk would take most of the time.
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(os, "fdatasync", lambda _: None, raising=False)
        walk(tmp_path_factory.mktemp("study"), transfer, *history)


def walk(folder: Path, transfer: Transfer, comes: int, deliveries: list[set[str]]) -> None:
    """Play one study by the coordinator's own files, and hold each round against its definition."""
    text = STUDY.format(
        rule="cases",
        rounds=ROUNDS,
        optimiser="none",
        least=2,
        fold="0",
        transfer=transfer.value,
        configuration="3d_fullres",
    )
    terms = parse_study(text)
    spool = Spool(folder / "spool", study=study_id("0" * 32), clock=SystemClock(), reserve_bytes=0)
    layers = SharedLayers(terms, spool=spool, folder=folder)
    walkers = {name: Walker(name, folder, transfer) for name in WALKERS}
    statements = {
        SiteName(name): reference(spool.keep_bytes(shared_network.encode(WALKERS[name])))
        for name in WALKERS
    }
    keys = {n: keys_of(w.network, terms.aggregation) for n, w in walkers.items()}
    at_first = [(n, blob) for n, blob in statements.items() if n != "harbour"]
    aligned = layers.align_study(at_first)
    model, shares, master = aligned.firsts[0], {s.site: s for s in aligned.shares}, None
    known, by_change = at_first, 0
    for number, names in enumerate(deliveries, 1):
        if number == comes:
            known = sorted(statements.items())
            late = AlignSites(model=model, networks=tuple(known), newcomers=(SiteName("harbour"),))
            shares |= {share.site: share for share in layers.align_late(late)}
            assert shares["harbour"].change is None
        before = load_file(spool.path(model.sha256))
        exact_before = before if master is None else load_file(spool.path(master.sha256))
        told: dict[str, list[tuple[int, np.ndarray]]] = {}
        updates = []
        for name in sorted(names):
            # Who took part in the round before makes its base of the one that it has.
            again = number > 1 and name in deliveries[number - 2]
            by_change += again and shares[name].change is not None
            document, meant = walkers[name].train(shares[name], spool)
            blob = reference(spool.keep_bytes(document))
            cases = WALKERS[name].cases
            updates.append(
                ModelUpdate(
                    round=number, attempt=1, site=SiteName(name), base=shares[name].base.sha256,
                    weights=blob, cases=cases, train_loss=0.0, validation_loss=None,
                    pseudo_dice=(), epoch_seconds=1.0,
                )
            )  # fmt: skip
            for tensor, value in meant.items():
                key = keys[name][tensor]
                start = exact_before[key].astype(np.float64) if key in before else 0.0
                told.setdefault(key, []).append((cases, start + value))
        effect = AverageRound(
            round=number, attempt=1, base=model, updates=tuple(updates), networks=tuple(known),
            shares=tuple(shares.values()),
        )  # fmt: skip
        averaged = layers.average(effect, master=master)
        assert layers.average(effect, master=master) == averaged
        exact = load_file(spool.path((averaged.master or averaged.model).sha256))
        common = load_file(spool.path(averaged.model.sha256))
        assert set(exact) == set(common) == {k for k, one in told.items() if len(one) >= 2}
        for key, one in told.items():
            if key not in exact:
                continue
            wanted = np.average([v for _, v in one], axis=0, weights=[c for c, _ in one])
            np.testing.assert_allclose(exact[key], wanted, rtol=0, atol=1e-6)
            if key not in before or number == ROUNDS:
                assert (common[key] == exact[key]).all()
            else:
                # What is published is within one rounding of the exact average, in any round.
                step = np.abs(exact[key] - before[key]).max() / 127
                assert np.abs(exact[key] - common[key]).max() <= 0.51 * step + 1e-6
        for share in averaged.shares:
            for tensor, value in load_file(spool.path(share.base.sha256)).items():
                assert (value == common[keys[share.site][tensor]]).all()
            assert share.change is None or number < ROUNDS
        model, master = averaged.model, averaged.master
        shares = {share.site: share for share in averaged.shares}
    spool.close()
    assert sum(walker.made for walker in walkers.values()) == by_change


async def test_sites_of_equal_networks_are_cut_one_base(tmp_path, monkeypatch):
    """A base of a large network is hundreds of megabytes: written once, not once for each site."""
    spool = Spool(tmp_path / "spool", study=study_id("0" * 32), clock=SystemClock())
    text = STUDY.format(
        rule="cases",
        rounds=3,
        optimiser="none",
        least=2,
        fold="0",
        transfer="int8",
        configuration="3d_fullres",
    )
    layers = SharedLayers(parse_study(text), spool=spool, folder=tmp_path)
    statements = [
        (SiteName(name), reference(spool.keep_bytes(shared_network.encode(STATEMENTS[name]))))
        for name in sorted(CASES)
    ]
    cut = []

    class Counted(TensorFileWriter):
        def __init__(self, path, specs):
            cut.append(path.name)
            super().__init__(path, specs)

    monkeypatch.setattr("app.coordinator.asymmetric.TensorFileWriter", Counted)
    shares = {share.site: share for share in layers.align_study(statements).shares}
    assert cut.count("base.safetensors") == 2
    assert shares["north"].base == shares["valley"].base != shares["harbour"].base
    spool.close()
