"""Asymmetric averaging at a site: its own plan, its own layers, and only the shared ones leave."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.plans import document_of, stock_plan
from helpers.site_home import make_membership, study_terms
from safetensors.numpy import load, save

from app.datasets.fingerprint_file import read_fingerprint
from app.domain.errors import ErrorCode
from app.domain.folds import CASCADE
from app.domain.ids import SiteName, digest_of
from app.domain.rounds import TensorSpec
from app.domain.study import Aggregation, Method, Transfer
from app.federation import shared_network
from app.federation.asymmetric import encode_part, group_networks, part_of
from app.federation.network import NetworkPlan, manifest
from app.federation.plan_rules import network_of
from app.federation.study_file import terms_to_json
from app.federation.transfer import change_bytes, decode, encode
from app.jobs.events import Failed
from app.jobs.spec import FirstPassJob, InitialModelJob, PlanJob, PreprocessJob
from app.site.context import JoinedStudy
from app.site.own_network import OwnNetwork
from app.system.tensor_files import header_bytes
from app.wire.messages import (
    Blob,
    FingerprintOffered,
    FoldEnd,
    PlanAccepted,
    Step,
    UpdateFailed,
    UpdateOffered,
)

pytestmark = pytest.mark.asyncio
ALPHA, BETA = SiteName("alpha"), SiteName("beta")


def small_plan() -> bytes:
    """A stock plan of few weights; made for the terms of `helpers.site_home`."""
    entry = stock_plan("ExperimentPlanner", "hippocampus")
    arguments = entry["plans"]["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [4, 8, 16, 32][: arguments["n_stages"]]
    return document_of(entry)


DOCUMENT = small_plan()
NETWORK = network_of(DOCUMENT, "3d_fullres")
STATEMENT = shared_network.encode(shared_network.statement_of(DOCUMENT, "3d_fullres"))


def deeper(network: NetworkPlan) -> NetworkPlan:
    """A partner with one more stage: bottleneck and lowest decoder are its own."""
    return dataclasses.replace(
        network,
        features=(*network.features, 32),
        kernels=(*network.kernels, (3, 3, 3)),
        strides=(*network.strides, (2, 2, 2)),
        encoder_depth=(*network.encoder_depth, 2),
        decoder_depth=(*network.decoder_depth, 2),
    )


NETWORKS = {ALPHA: NETWORK, BETA: deeper(NETWORK)}
PART = part_of(group_networks(NETWORKS, minimum_sites=2, rule=Aggregation.CASES), NETWORKS, ALPHA)
SHARED = [spec.name for spec in PART.tensors]
LOCAL = [spec.name for spec in manifest(NETWORK) if spec.name not in SHARED]


def weights(value: float, names=None) -> bytes:
    return save(
        {
            spec.name: np.full(spec.shape, value, np.float32)
            for spec in manifest(NETWORK)
            if names is None or spec.name in names
        }
    )


def one_more(number: int, base: bytes) -> bytes:
    """Training adds the round's number to every weight."""
    return save({name: tensor + np.float32(number) for name, tensor in load(base).items()})


def values(document: bytes) -> dict[str, float]:
    """The one value of each tensor."""
    found = {name: np.unique(tensor) for name, tensor in load(document).items()}
    assert all(len(value) == 1 for value in found.values())
    return {name: float(value[0]) for name, value in found.items()}


class Asymmetric:
    """A site harness in an asymmetric study."""

    def __init__(self, site):
        self.site, self.terms = site, {}
        site.runner.plan_of = lambda _: DOCUMENT
        site.runner.update_of = one_more
        site.runner.drawn = weights(100.0)
        self.plan = site.coordinator.keep(STATEMENT)
        # A site makes its plan itself; nothing of it is fetched.
        del site.coordinator.blobs[self.plan.sha256]
        self.part = site.coordinator.keep(encode_part(PART))

    async def to_prepared(self):
        self.site.join(method=Method.ASYM, **self.terms)
        await self.site.start()
        self.site.coordinator.direct(Step.SEND_FINGERPRINT)
        await self.site.until(lambda: self.site.coordinator.told(FingerprintOffered), "network")
        self.site.coordinator.direct(Step.PREPARE, plan=self.plan, merged=self.part)
        await self.site.until(lambda: self.site.coordinator.told(PlanAccepted), "prepared")

    def train(self, number: int, base: bytes | Blob, *, attempt: int = 1, **more: object):
        return self.site.coordinator.direct(
            Step.TRAIN,
            plan=self.plan,
            merged=self.part,
            round=number,
            attempt=attempt,
            start_epoch=(number - 1) * 2,
            base=self.site.coordinator.keep(base) if isinstance(base, bytes) else base,
            **more,
        )

    async def delivered(self, number: int) -> dict[str, float]:
        offers = lambda: self.site.coordinator.told(UpdateOffered)  # noqa: E731
        await self.site.until(lambda: offers() and offers()[-1].round == number, "update")
        return values(self.site.coordinator.blobs[offers()[-1].weights.sha256])

    async def models_of(self, average: bytes) -> tuple[dict[str, float], ...]:
        """Finish the study with this average; return the personalised and the global model."""
        site = self.site
        site.coordinator.direct(
            Step.FINISH,
            plan=self.plan,
            merged=self.part,
            model=site.coordinator.keep(average),
        )
        await site.until(lambda: len(site.snapshot.review.models) == 2, "models")
        return tuple(
            values(Path(model.path).read_bytes().removeprefix(b"zip of "))
            for model in site.snapshot.review.models
        )

    def base_of(self, number: int) -> dict[str, float]:
        (path,) = (self.site.home / "training").glob(f"base-{number}-*.safetensors")
        return values(path.read_bytes())


@pytest.fixture
def asymmetric(site):
    return Asymmetric(site)


async def test_a_site_plans_for_itself_and_shares_the_form_of_its_network(site, asymmetric):
    await asymmetric.to_prepared()
    (kind, sent), *_ = site.coordinator.uploads
    assert kind.value == "fingerprint"
    assert sent == STATEMENT
    assert site.snapshot.fingerprint.outgoing.encode() == STATEMENT
    assert site.snapshot.fingerprint.policy == "network"
    assert {row.field for row in site.snapshot.fingerprint.fields} == set(json.loads(STATEMENT))
    # The planner read this site's fingerprint and no other's, and it was not sent.
    (job,) = [job for job in site.runner.started if isinstance(job, PlanJob)]
    merged = json.loads((site.home / "fingerprint" / "planning" / "merged.json").read_bytes())
    local = read_fingerprint(site.home / "fingerprint" / "local.json")
    assert merged["cases"] == len(local.cases) == 6
    assert job.terms.channel_names == ("MRI",)
    # Preprocessing and training go by that plan.
    (prepared,) = [job for job in site.runner.started if isinstance(job, PreprocessJob)]
    assert Path(prepared.plan).read_bytes() == DOCUMENT
    (accepted,) = site.coordinator.told(PlanAccepted)
    assert accepted.plan == digest_of(STATEMENT)
    assert site.snapshot.fingerprint.merged_sentence == str(PART.coverage)
    assert site.snapshot.federation.plan.stages == NETWORK.stages


async def test_shared_tensors_come_and_go_and_the_rest_stays(site, asymmetric):
    await asymmetric.to_prepared()
    assert SHARED
    assert LOCAL
    asymmetric.train(1, weights(1.0, SHARED))
    sent = await asymmetric.delivered(1)
    assert sent == dict.fromkeys(SHARED, 2.0)
    assert asymmetric.base_of(1) == dict.fromkeys(SHARED, 1.0) | dict.fromkeys(LOCAL, 100.0)
    # The second round: shared from the average, the rest from what was trained here.
    asymmetric.train(2, weights(5.0, SHARED))
    assert await asymmetric.delivered(2) == dict.fromkeys(SHARED, 7.0)
    assert asymmetric.base_of(2) == dict.fromkeys(SHARED, 5.0) | dict.fromkeys(LOCAL, 101.0)
    # A round after missed ones; a tensor that too few sites sent goes on from here.
    left_out, others = SHARED[0], SHARED[1:]
    asymmetric.train(3, weights(9.0, others))
    await asymmetric.delivered(3)
    expected = dict.fromkeys(others, 9.0) | dict.fromkeys(LOCAL, 103.0) | {left_out: 7.0}
    assert asymmetric.base_of(3) == expected
    assert sum(isinstance(job, InitialModelJob) for job in site.runner.started) == 1
    # No byte of a local tensor has left.
    for kind, content in site.coordinator.uploads:
        if kind.value == "weights":
            assert set(load(content)) == set(SHARED)


async def test_a_kill_in_a_round_changes_nothing_of_what_it_begins_from(site, asymmetric):
    await asymmetric.to_prepared()
    asymmetric.train(1, weights(1.0, SHARED))
    await asymmetric.delivered(1)
    gate = site.runner.hold("step")
    asymmetric.train(2, weights(5.0, SHARED))
    await site.until(lambda: len(site.runner.asked) == 2, "round 2")
    before = asymmetric.base_of(2)
    await site.crash()
    gate.set()
    await site.start()
    assert await asymmetric.delivered(2) == dict.fromkeys(SHARED, 7.0)
    assert asymmetric.base_of(2) == before
    assert set(site.runner.trained.values()) == {1}


async def test_a_round_that_is_asked_anew_begins_from_the_same_tensors(
    site, asymmetric, expected_log
):
    expected_log("app.site.study_desk", "gives nothing that counts")
    await asymmetric.to_prepared()
    asymmetric.train(1, weights(1.0, SHARED))
    await asymmetric.delivered(1)
    site.runner.failures["step"] = [Failed(code=ErrorCode.NOT_FINITE.value, sentence="not finite")]
    asymmetric.train(2, weights(5.0, SHARED))
    await site.until(lambda: site.coordinator.told(UpdateFailed), "failed")
    asymmetric.train(2, weights(5.0, SHARED), attempt=2)
    assert await asymmetric.delivered(2) == dict.fromkeys(SHARED, 7.0)
    assert asymmetric.base_of(2) == dict.fromkeys(SHARED, 5.0) | dict.fromkeys(LOCAL, 101.0)


async def test_the_models_hold_the_average_and_this_sites_own_layers(site, asymmetric):
    await asymmetric.to_prepared()
    asymmetric.train(1, weights(1.0, SHARED))
    await asymmetric.delivered(1)
    personal, shared = await asymmetric.models_of(weights(7.0, SHARED))
    assert shared == dict.fromkeys(SHARED, 7.0) | dict.fromkeys(LOCAL, 101.0)
    assert personal == dict.fromkeys(SHARED, 2.0) | dict.fromkeys(LOCAL, 101.0)


async def test_a_site_that_never_trained_writes_no_model_of_untrained_layers(site, asymmetric):
    await asymmetric.to_prepared()
    site.coordinator.direct(
        Step.FINISH,
        plan=asymmetric.plan,
        merged=asymmetric.part,
        model=site.coordinator.keep(weights(7.0, SHARED)),
    )
    await site.until(lambda: "finished" in site.snapshot.training.sentence, "finished")
    await asyncio.sleep(0.1)
    assert site.snapshot.review.models == ()


async def test_a_base_that_holds_what_is_not_shared_is_refused(site, asymmetric, expected_log):
    expected_log("app.site", "is none that this site shares")
    await asymmetric.to_prepared()
    asymmetric.train(1, weights(1.0))
    await site.until(lambda: "none that this site shares" in site.snapshot.service.problem)
    assert site.runner.asked == []


async def test_an_update_leaves_while_its_epoch_is_validated_and_only_its_shared_part(
    site, asymmetric
):
    await asymmetric.to_prepared()
    gate = site.runner.hold("trained")
    asymmetric.train(1, weights(1.0, SHARED))

    def sent():
        return [content for kind, content in site.coordinator.uploads if kind.value == "weights"]

    await site.until(sent, "early upload")
    assert site.coordinator.told(UpdateOffered) == []
    gate.set()
    assert await asymmetric.delivered(1) == dict.fromkeys(SHARED, 2.0)
    assert len(sent()) == 1
    assert values(sent()[0]) == dict.fromkeys(SHARED, 2.0)


@pytest.mark.parametrize("mu", [0.0, 0.25])
async def test_only_what_came_from_the_coordinator_holds_training_near(site, asymmetric, mu):
    """FedProx pulls towards the shared model; layers of this site's own stay free."""
    asymmetric.terms = {"proximal_mu": mu}
    await asymmetric.to_prepared()
    asymmetric.train(1, weights(1.0, SHARED))
    await asymmetric.delivered(1)
    (command,) = site.runner.asked
    assert command.proximal_mu == mu
    if mu:
        assert values(Path(command.anchor).read_bytes()) == dict.fromkeys(SHARED, 1.0)
    else:
        assert command.anchor is None


async def test_figures_of_single_structures_stand_in_the_studys_order():
    """A site that marks less than the study must not shift another structure's figure."""
    terms = study_terms(
        method=Method.ASYM,
        labels={"background": 0, "head": 1, "anterior": 2, "posterior": 3},
    )
    joined = JoinedStudy(
        membership=dataclasses.replace(make_membership(), terms=terms_to_json(terms))
    )
    network = OwnNetwork(DOCUMENT, joined)
    assert network.in_study_order((0.5, None)) == (None, 0.5, None)
    assert network.in_study_order((0.5, 0.25)) == (None, 0.5, 0.25)
    # Figures of an unknown number, and a site that marks all, are left as they are.
    assert network.in_study_order(()) == ()
    same = OwnNetwork(DOCUMENT, JoinedStudy(membership=make_membership(method=Method.ASYM)))
    assert same.in_study_order((0.5, 0.25)) == (0.5, 0.25)


# --- where changes travel instead of weights ---------------------------------------------------


def made_of(content: bytes) -> dict[str, float]:
    """What the coordinator makes of an update: changes, and tensors that were sent whole."""
    found = load(content)
    specs = {spec.name: spec for spec in PART.tensors}
    made = {}
    for name, spec in specs.items():
        whole = found[name].dtype == np.float32
        value = found[name] if whole else decode(spec, found.__getitem__, Transfer.INT8)
        (made[name],) = {round(float(one), 4) for one in np.unique(value)}
    return made


def share_change(before: bytes, after: bytes, transfer: Transfer) -> bytes:
    """What the coordinator cuts for a site: the change between two bases, new tensors whole."""
    old, new = load(before), load(after)
    parts = {name: value for name, value in new.items() if name not in old}
    for name in set(old) & set(new):
        spec = TensorSpec(name=name, shape=new[name].shape)
        parts |= encode(spec, new[name] - old[name], transfer)[0]
    return save(parts)


def stored(value: float, names) -> bytes:
    """A base as the coordinator writes it: in the order of the network."""
    specs = [spec for spec in manifest(NETWORK) if spec.name in names]
    content = [np.full(spec.shape, value, "<f4").tobytes() for spec in specs]
    return header_bytes(specs) + b"".join(content)


async def test_a_site_sends_changes_of_what_is_shared_and_makes_its_base_of_the_one_before(
    site, asymmetric
):
    asymmetric.terms = {"transfer": Transfer.INT8}
    await asymmetric.to_prepared()
    left_out, others = SHARED[0], SHARED[1:]

    async def sent(number):
        offers = lambda: site.coordinator.told(UpdateOffered)  # noqa: E731
        await site.until(lambda: offers() and offers()[-1].round == number, "update")
        return made_of(site.coordinator.blobs[offers()[-1].weights.sha256])

    first, second = stored(1.0, SHARED), stored(4.0, others)
    asymmetric.train(1, first)
    assert await sent(1) == dict.fromkeys(SHARED, 1.0)
    # One tensor was left out of the average: it goes on from here, and leaves as it is.
    change = site.coordinator.keep(share_change(first, second, Transfer.INT8))
    base = site.coordinator.keep(second)
    known = site.coordinator.blobs.pop(base.sha256)  # the base itself cannot be fetched
    asymmetric.train(2, base, delta=change, delta_from=digest_of(first))
    assert await sent(2) == dict.fromkeys(others, 2.0) | {left_out: 4.0}
    assert asymmetric.base_of(2) == (
        dict.fromkeys(others, 4.0) | dict.fromkeys(LOCAL, 101.0) | {left_out: 2.0}
    )
    # It comes back whole in the change, and from then on it is rounded like the others.
    third = stored(9.0, SHARED)
    change = site.coordinator.keep(share_change(known, third, Transfer.INT8))
    asymmetric.train(3, third, delta=change, delta_from=digest_of(known))
    assert await sent(3) == dict.fromkeys(SHARED, 3.0)
    assert asymmetric.base_of(3) == dict.fromkeys(SHARED, 9.0) | dict.fromkeys(LOCAL, 103.0)
    one, two, three = site.runner.asked
    assert (one.whole, two.whole, three.whole) == ((), (left_out,), ())
    assert one.sent == two.sent == three.sent == tuple(SHARED)
    # No byte of a local tensor has left, and what rounding took is kept for shared ones only.
    weights_sent = [load(c) for kind, c in site.coordinator.uploads if kind.value == "weights"]
    for content in weights_sent:
        assert {name.removeprefix("scale of ") for name in content} == set(SHARED)
    assert set(load(Path(two.remainder).read_bytes())) == set(others)
    # What it costs is counted of the shared part, no more of the largest network.
    traffic = site.snapshot.federation.study.traffic
    assert not traffic.estimated
    assert traffic.round_up == change_bytes(PART.tensors, Transfer.INT8)


async def test_a_kill_in_a_round_of_changes_gives_the_same_update(site, asymmetric):
    asymmetric.terms = {"transfer": Transfer.FP16}
    await asymmetric.to_prepared()
    asymmetric.train(1, stored(1.0, SHARED))
    await site.until(lambda: site.coordinator.told(UpdateOffered), "round 1")
    gate = site.runner.hold("step")
    asymmetric.train(2, stored(5.0, SHARED))
    await site.until(lambda: len(site.runner.asked) == 2, "round 2")
    before = asymmetric.base_of(2)
    await site.crash()
    gate.set()
    await site.start()
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 2, "round 2 again")
    assert asymmetric.base_of(2) == before
    first, again = site.runner.asked[-2:]
    assert first == again
    assert set(site.runner.trained.values()) == {1}


async def test_the_own_model_after_a_study_of_changes_holds_what_was_trained_here(site, asymmetric):
    asymmetric.terms = {"transfer": Transfer.INT8}
    await asymmetric.to_prepared()
    asymmetric.train(1, stored(1.0, SHARED))
    await site.until(lambda: site.coordinator.told(UpdateOffered), "round 1")
    personal, shared = await asymmetric.models_of(stored(7.0, SHARED))
    assert shared == dict.fromkeys(SHARED, 7.0) | dict.fromkeys(LOCAL, 101.0)
    assert personal == dict.fromkeys(SHARED, 2.0) | dict.fromkeys(LOCAL, 101.0)


# --- a cascade ---------------------------------------------------------------------------------


def cascade_plan() -> bytes:
    """The small plan with a coarse first pass."""
    entry = json.loads(DOCUMENT)
    configurations = entry["plans"]["configurations"]
    configurations["3d_lowres"] = configurations["3d_fullres"] | {
        "data_identifier": "nnUNetPlans_3d_lowres",
        "next_stage": CASCADE,
    }
    configurations[CASCADE] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return document_of(entry)


CASCADE_DOCUMENT = cascade_plan()
PASSES = [network_of(CASCADE_DOCUMENT, one) for one in ("3d_lowres", CASCADE)]
PARTS = [
    part_of(group_networks(one, minimum_sites=2, rule=Aggregation.CASES), one, ALPHA)
    for one in ({ALPHA: network, BETA: deeper(network)} for network in PASSES)
]


def pass_weights(stage: int, value: float, *, shared: bool = False) -> bytes:
    specs = PARTS[stage].tensors if shared else manifest(PASSES[stage])
    return save({spec.name: np.full(spec.shape, value, np.float32) for spec in specs})


class Cascade(Asymmetric):
    """A site harness in an asymmetric study of two passes, of one round in each fold."""

    def __init__(self, site):
        super().__init__(site)
        self.terms = {"configuration": CASCADE, "fold": "0-4", "rounds": 1}
        site.runner.plan_of = lambda _: CASCADE_DOCUMENT
        site.runner.drawn_of = lambda job: pass_weights(int(job.configuration == CASCADE), 100.0)
        stated = shared_network.statement_of(CASCADE_DOCUMENT, CASCADE)
        self.plan = site.coordinator.keep(shared_network.encode(stated))
        del site.coordinator.blobs[self.plan.sha256]
        self.parts = [site.coordinator.keep(encode_part(part)) for part in PARTS]
        self.part = self.parts[0]

    async def train_first_pass(self, *rounds: int) -> None:
        await self.to_prepared()
        for number in rounds:
            self.train(number, pass_weights(0, float(number), shared=True))
            await self.delivered(number)

    def ends(self) -> tuple[FoldEnd, ...]:
        """Each fold of the first pass ended with the values 50, 51, ..."""
        return tuple(
            FoldEnd(
                fold=str(fold),
                model=self.site.coordinator.keep(pass_weights(0, 50.0 + fold, shared=True)),
                merged=self.parts[0],
            )
            for fold in range(5)
        )

    def train_second_pass(self) -> None:
        self.part = self.parts[1]
        self.train(6, pass_weights(1, 7.0, shared=True), folds=self.ends())


@pytest.fixture
def cascade(site):
    return Cascade(site)


async def test_each_pass_has_a_network_of_this_sites_own(site, cascade):
    await cascade.train_first_pass(1, 2, 3, 4, 5)
    cascade.train_second_pass()
    sent = await cascade.delivered(6)
    # Training adds the round's number; what leaves is of the second network, and shared.
    assert sent == {spec.name: 13.0 for spec in PARTS[1].tensors}
    stem = "encoder.stages.0.0.convs.0.conv.weight"
    shapes = {name: tensor.shape for name, tensor in load(site.coordinator.uploads[-1][1]).items()}
    assert shapes[stem][1] == 3
    # The cases were segmented by whole networks: shared layers as they ended, the rest as it was
    # trained here, fold by fold.
    [job] = [one for one in site.runner.started if isinstance(one, FirstPassJob)]
    shared = {spec.name for spec in PARTS[0].tensors}
    for fold, file in job.folds.items():
        number = int(fold)
        assert values(Path(file).read_bytes()) == {
            spec.name: 50.0 + number if spec.name in shared else 100.0 + number + 1
            for spec in manifest(PASSES[0])
        }
    # The second pass began from its own first weights.
    local = {spec.name for spec in manifest(PASSES[1])} - {spec.name for spec in PARTS[1].tensors}
    assert local
    assert cascade.base_of(6) == {spec.name: 7.0 for spec in PARTS[1].tensors} | dict.fromkeys(
        local, 100.0
    )
    assert site.snapshot.fingerprint.merged_sentence == str(PARTS[1].coverage)
    # After a restart the part that is shared now is read as that of the second network.
    await site.crash()
    await site.start()
    await site.until(
        lambda: (
            (network := site.service.study.network) is not None
            # What is shared of it is read beside the loop.
            and network.shared is not None
        )
    )
    assert site.service.study.network.shared == PARTS[1].tensors


async def test_a_site_that_missed_a_fold_of_the_first_pass_says_why_it_cannot_go_on(
    site, cascade, expected_log
):
    expected_log("app.site", "trained nothing in fold 2|trying again|cannot go on")
    await cascade.train_first_pass(1, 2, 4, 5)
    cascade.train_second_pass()
    await site.until(
        lambda: (
            "this site trained nothing in fold 2 of the first pass" in site.snapshot.service.problem
        )
    )
    assert not any(isinstance(job, FirstPassJob) for job in site.runner.started)


async def test_a_site_whose_images_need_no_first_pass_is_told_so(site, cascade, expected_log):
    expected_log("app.site", "plans no|trying again|cannot go on")
    sentence = "nnU-Net plans no '3d_cascade_fullres' for these images, but 2d, 3d_fullres"
    site.runner.failures["plan"] = [
        Failed(code=ErrorCode.STUDY_FILE.value, sentence=sentence) for _ in range(20)
    ]
    site.join(method=Method.ASYM, **cascade.terms)
    await site.start()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await site.until(
        lambda: (
            f"{sentence}; in this study every site trains by its own plan"
            in site.snapshot.service.problem + site.snapshot.fingerprint.blocked
        )
    )
    assert site.coordinator.uploads == []
