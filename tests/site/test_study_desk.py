"""A site's part of the study in a running service: plan, rounds, update, model."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers.plans import document_of, stock_plan
from helpers.scripted_runner import update_content
from helpers.site_home import study_terms

from app.control.messages import (
    Calibrate,
    Changed,
    StepTaken,
)
from app.domain.errors import REMEDIES, ErrorCode, LinkProblem, SetupProblem
from app.domain.folds import CASCADE
from app.domain.ids import digest_of
from app.domain.rounds import TensorSpec
from app.domain.segmentation import ModelKind
from app.domain.study import Transfer
from app.federation import identity
from app.federation.transfer import change_manifest, encode
from app.jobs.events import Failed
from app.jobs.spec import ExportJob, FirstPassJob, HeldOutJob, TrainJob
from app.site.segmenting import averages, first_pass_weights
from app.system.tensor_files import TensorFileWriter, apply_change
from app.wire.messages import (
    BlobKind,
    FoldEnd,
    HeldOut,
    ModelScored,
    PlanAccepted,
    PlanRefused,
    RoundSummary,
    SitePhase,
    Step,
    UpdateFailed,
    UpdateOffered,
)

pytestmark = pytest.mark.asyncio


async def test_a_hostile_plan_is_refused_with_a_sentence(site, expected_log):
    expected_log("app.site.study_desk", "the plan is refused")
    site.join()
    await site.start()
    hostile = site.coordinator.keep(
        site.coordinator.blobs[site.plan.sha256].replace(b"InstanceNorm3d", b"Sequential")
    )
    site.coordinator.direct(Step.PREPARE, plan=hostile, merged=site.merged)
    await site.until(lambda: site.coordinator.told(PlanRefused))
    (refused,) = site.coordinator.told(PlanRefused)
    assert refused.plan == hostile.sha256
    assert refused.code == ErrorCode.PLANS_REFUSED.value
    assert refused.sentence
    assert "PreprocessJob" not in site.runner.kinds()
    # A better plan is taken.
    site.prepare()
    await site.until(lambda: site.coordinator.told(PlanAccepted))


async def test_the_page_says_what_the_federation_changes_here(site):
    site.runner.spacing_mm = (3.0, 1.0, 1.0)
    await site.to_prepared()
    sentence = site.snapshot.fingerprint.merged_sentence
    assert "Planned from 12 cases of all sites" in sentence
    assert "3 x 1 x 1 mm" in sentence
    assert "patches of" in sentence
    assert site.snapshot.fingerprint.merged_pictures
    assert site.snapshot.federation.plan.configuration == "3d_fullres"


async def test_a_trained_update_waits_for_the_link_and_is_not_trained_again(site):
    await site.to_prepared()
    site.coordinator.blobs[site.base(1).sha256] = b"global model before round 1"
    gate = site.runner.hold("trained")
    site.train(1)
    await site.until(lambda: site.runner.trained[1, 2] == 1)
    site.coordinator.online.clear()
    gate.set()
    await site.until(lambda: site.snapshot.training.phase == "uploading")
    await site.crash()
    await site.start()
    await site.until(lambda: site.snapshot.training.phase == "uploading")
    assert site.coordinator.told(UpdateOffered) == []
    site.coordinator.online.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_a_lost_worker_is_started_again_from_its_checkpoint(site, expected_log):
    expected_log("app.site", "trying again")
    await site.to_prepared()
    gate = site.runner.hold("epoch")
    site.train(1)
    await site.until(lambda: site.runner.trained[1, 1] == 1)
    site.runner.kill("TrainJob")
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}
    assert site.runner.kinds().count("TrainJob") == 2


async def test_a_worker_that_is_always_lost_ends_the_round_not_the_study(site, expected_log):
    expected_log("app.site", "trying again|nothing that counts")
    await site.to_prepared()
    site.runner.failures["step"] = [Failed(code="job-failed", sentence="it broke")] * 3
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateFailed))
    assert site.coordinator.told(UpdateFailed) == [
        UpdateFailed(round=1, attempt=1, code="job-failed")
    ]
    site.train(2)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert [m.round for m in site.coordinator.told(UpdateOffered)] == [2]


@pytest.mark.parametrize("code", ["gpu-memory", "not-finite"])
async def test_what_would_fail_again_is_told_at_once_and_a_new_attempt_is_taken(
    site, code, expected_log
):
    expected_log("app.site", "nothing that counts")
    await site.to_prepared()
    site.runner.failures["step"] = [Failed(code=code, sentence="it broke")]
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateFailed))
    assert site.coordinator.told(UpdateFailed) == [UpdateFailed(round=1, attempt=1, code=code)]
    site.train(1, attempt=2)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert [command.attempt for command in site.runner.asked] == [1, 2]
    assert site.coordinator.told(UpdateOffered)[0].attempt == 2


async def test_a_new_attempt_from_the_same_base_is_not_trained_again(site):
    await site.to_prepared()
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    site.train(1, attempt=2)
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 2)
    assert [m.attempt for m in site.coordinator.told(UpdateOffered)] == [1, 2]
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_another_round_supersedes_the_one_in_hand(site):
    await site.to_prepared()
    gate = site.runner.hold("step")
    site.train(1)
    await site.until(lambda: site.snapshot.training.step == 1)
    site.train(2)
    await site.until(lambda: [command.round for command in site.runner.asked] == [1, 2])
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert [m.round for m in site.coordinator.told(UpdateOffered)] == [2]
    assert dict(site.runner.trained) == {(2, 3): 1, (2, 4): 1}


async def test_an_older_directive_changes_nothing(site):
    await site.to_prepared()
    old = site.coordinator.directive
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    site.service.directive_received(msgspec.structs.replace(old, step=Step.STOP))
    assert site.service.study.directive.step is Step.TRAIN


async def test_what_was_not_heard_is_told_again_but_not_at_once(site):
    await site.to_prepared()
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    site.coordinator.repeat()
    await asyncio.sleep(0.03)
    assert len(site.coordinator.told(UpdateOffered)) == 1
    site.clock.advance(30)
    site.coordinator.repeat()
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 2)
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_the_coordinator_pauses_and_resumes(site):
    await site.to_prepared()
    gate = site.runner.hold("epoch")
    site.train(1)
    await site.until(lambda: site.runner.trained[1, 1] == 1)
    site.coordinator.direct(Step.PAUSE, plan=site.plan, merged=site.merged)
    await site.until(lambda: not site.runner.running)
    gate.set()
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_a_refused_update_is_told_and_the_study_goes_on(site, expected_log):
    expected_log("app.site", "is refused")
    await site.to_prepared()
    site.coordinator.refusals = [LinkProblem("not finite", code=ErrorCode.TENSORS_REFUSED)]
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateFailed))
    assert site.coordinator.told(UpdateFailed)[0].code == "tensors-refused"
    site.train(2)
    await site.until(lambda: site.coordinator.told(UpdateOffered))


async def test_an_update_that_vanished_is_trained_again(site, expected_log):
    expected_log("app.site", "is gone")
    await site.to_prepared()
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    for path in (site.home / "training").glob("update-*"):
        path.unlink()
    site.train(1, attempt=2)
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 2)
    assert site.coordinator.told(UpdateOffered)[1].attempt == 2


async def test_windows_hear_steps_and_sections(site):
    await site.to_prepared()
    site.events.clear()
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    steps = [e.record for e in site.events if isinstance(e, StepTaken)]
    assert [(s.epoch, s.step) for s in steps] == [(e, s) for e in (1, 2) for s in (1, 2, 3)]
    left = [e.seconds_left for e in site.events if isinstance(e, StepTaken)]
    # 0.5 s a step, and from the first epoch's 2 s the rest that is no step.
    assert left[:3] == [2.5, 2.0, 1.5]
    assert left[3:] == [1.5, 1.0, 0.5]
    # Sections that did not change are not sent.
    assert all(e.data is None for e in site.events if isinstance(e, Changed))
    assert site.snapshot.training.samples


async def test_closed_rounds_are_kept_though_a_directive_names_only_the_newest(site):
    await site.to_prepared()
    for number in (1, 2):
        site.coordinator.direct(
            Step.WAIT,
            plan=site.plan,
            closed_rounds=(
                RoundSummary(
                    number=number,
                    contributors=("alpha",),
                    train_loss=0.1,
                    validation_loss=None,
                    pseudo_dice=(None,),
                ),
            ),
        )
    assert [row.number for row in site.snapshot.federation.rounds] == [1, 2]
    await site.stop()
    await site.start()
    assert [row.number for row in site.snapshot.federation.rounds] == [1, 2]


async def test_a_disk_that_is_full_when_an_epoch_ends_costs_no_round(
    site, monkeypatch, expected_log
):
    expected_log("app.site", "the disk is full")
    await site.to_prepared()
    store, full = site._site.store, [SetupProblem("the disk is full", code=ErrorCode.DISK_FULL)]
    keep = store.add_epoch

    def add_epoch(record):
        if full:
            raise full.pop()
        keep(record)

    monkeypatch.setattr(store, "add_epoch", add_epoch)
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert site.coordinator.told(UpdateFailed) == []
    assert [e.epoch for e in site.snapshot.training.epochs] == [1, 2]
    assert site.snapshot.service.problem == ""


async def test_an_update_leaves_while_its_epoch_is_validated(site):
    await site.to_prepared()
    gate = site.runner.hold("trained")
    site.train(1)
    await site.until(lambda: weights_sent(site))
    assert site.snapshot.training.phase == "training"
    assert site.coordinator.told(UpdateOffered) == []
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    # It was sent once, though the round was delivered afterwards.
    assert weights_sent(site) == [update_content(1, b"global model before round 1")]


async def test_an_early_upload_that_is_refused_ends_the_round(site, expected_log):
    expected_log("app.site", "is refused")
    await site.to_prepared()
    gate = site.runner.hold("trained")
    site.coordinator.refusals = [LinkProblem("not finite", code=ErrorCode.TENSORS_REFUSED)]
    site.train(1)
    await site.until(lambda: not site.coordinator.refusals)
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateFailed))
    assert weights_sent(site) == []


async def test_an_early_upload_of_a_lost_worker_is_not_delivered(site, expected_log):
    expected_log("app.site.service", "train: lost")
    await site.to_prepared()
    gate = site.runner.hold("trained")
    site.train(1)
    await site.until(lambda: weights_sent(site))
    site.runner.kill("TrainJob")
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    (offered,) = site.coordinator.told(UpdateOffered)
    assert offered.weights.sha256 == digest_of(weights_sent(site)[-1])


def weights_sent(site):
    return [content for kind, content in site.coordinator.uploads if kind is BlobKind.WEIGHTS]


class ChangingModels:
    """The models before rounds 1 and 2, and the change between them, as a coordinator has them."""

    def __init__(self, coordinator, folder):
        manifest = (TensorSpec(name="w", shape=(100, 3)),)
        first, change = folder / "first", folder / "change"
        weights = np.random.default_rng(0).normal(size=(2, 100, 3)).astype(np.float32)
        with TensorFileWriter(first, manifest) as writer:
            writer.write("w", weights[0])
        with TensorFileWriter(change, change_manifest(manifest, Transfer.INT8)) as writer:
            for name, part in encode(manifest[0], weights[1], Transfer.INT8)[0].items():
                writer.write(name, part)
        apply_change(first, change, Transfer.INT8, folder / "second")
        self.first, self.change, self.second = (
            coordinator.keep((folder / name).read_bytes()) for name in ("first", "change", "second")
        )

    @property
    def made(self):
        return {"base": self.second, "delta": self.change, "delta_from": self.first.sha256}


def study_files(site):
    return sorted(path.name for path in (site.home / "study").glob("*.safetensors"))


async def test_a_model_is_made_of_the_one_before_and_a_change(site, tmp_path):
    await site.to_prepared(transfer=Transfer.INT8)
    models = ChangingModels(site.coordinator, tmp_path)
    site.train(1, base=models.first)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    received = site.snapshot.federation.received_bytes
    site.train(2, **models.made)
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 2)
    assert site.snapshot.federation.received_bytes == received + models.change.size
    assert study_files(site) == [f"weights-{models.second.sha256}.safetensors"]
    assert digest_of((site.home / "study" / study_files(site)[0]).read_bytes()) == (
        models.second.sha256
    )
    # What rounding took away in round 1 goes into round 2; its own weights stay for its model.
    first, second = site.runner.asked
    assert first.transfer is Transfer.INT8
    assert (first.remainder_before, second.remainder_before) == (None, first.remainder)
    assert Path(second.own).is_file()
    await site.until(lambda: not Path(first.own).exists(), "what is not needed is gone")


async def test_a_site_without_the_model_before_fetches_the_whole(site, tmp_path):
    await site.to_prepared(transfer=Transfer.INT8)
    models = ChangingModels(site.coordinator, tmp_path)
    site.train(2, **models.made)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert study_files(site) == [f"weights-{models.second.sha256}.safetensors"]


@pytest.mark.parametrize("damage", ["no tensors", "other tensors"])
async def test_a_change_that_makes_something_else_is_not_used(site, tmp_path, expected_log, damage):
    await site.to_prepared(transfer=Transfer.INT8)
    models = ChangingModels(site.coordinator, tmp_path)
    site.train(1, base=models.first)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    made = models.made
    if damage == "no tensors":
        expected_log("app.site.study_desk", "is refused")
        made["delta"] = site.coordinator.keep(b"not tensors")
    else:
        expected_log("app.site.study_desk", "does not make the model")
        made["base"] = site.coordinator.keep(b"another model")
    site.train(2, **made)
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 2)
    assert study_files(site) == [f"weights-{made['base'].sha256}.safetensors"]


async def test_a_round_that_did_not_count_leaves_its_remainder_behind(site):
    await site.to_prepared(transfer=Transfer.FP16)
    for number in (1, 2):
        site.train(number)
        await site.until(lambda n=number: len(site.coordinator.told(UpdateOffered)) == n)
    gate = site.runner.hold("trained")
    site.train(3)
    await site.until(lambda: site.runner.trained[3, 6] == 1)
    site.train(4)
    gate.set()
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 3)
    first, second, third, fourth = site.runner.asked
    assert second.remainder_before == first.remainder
    assert third.remainder_before == second.remainder
    assert fourth.remainder_before == second.remainder


async def test_a_site_with_other_libraries_says_why_and_waits_until_it_is_updated(
    site, monkeypatch, expected_log
):
    expected_log("app.site.study_desk", "the plan is refused")
    monkeypatch.setattr(
        "app.site.study_desk.library_versions", lambda: {"nnunetv2": "2.7.0", "torch": "2.13"}
    )
    site.join()
    await site.start()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await site.until(lambda: site.coordinator.uploads, "fingerprint")
    site.prepare()
    await site.until(lambda: site.coordinator.told(PlanRefused), "refused")
    (refused,) = site.coordinator.told(PlanRefused)
    assert refused.code == ErrorCode.VERSION.value
    assert refused.sentence.startswith("this site runs nnU-Net 2.7.0, the study's plan was made")
    # Status, window and coordinator are told the same.
    assert site.snapshot.service.problem == refused.sentence
    assert site.snapshot.service.remedy == REMEDIES[ErrorCode.VERSION]
    assert refused.sentence in site.snapshot.training.sentence
    assert site.coordinator.reports[-1].problem == ErrorCode.VERSION.value
    assert "PreprocessJob" not in site.runner.kinds()
    # After an update the program starts anew, and nobody has to ask.
    await site.stop()
    monkeypatch.undo()
    await site.start()
    await site.until(lambda: site.coordinator.told(PlanAccepted), "accepted")
    (accepted,) = site.coordinator.told(PlanAccepted)
    document = site.coordinator.blobs[site.plan.sha256]
    assert accepted.identity == identity.expected(document, study_terms()).digest
    assert site.snapshot.service.problem == ""
    await site.until(lambda: site.coordinator.reports[-1].identity == accepted.identity, "report")


async def test_the_average_is_scored_where_the_coordinator_asks_for_it(site):
    await site.to_prepared()
    site.train(1)
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 1)
    site.train(2, score_base=True)
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 2)
    first, second = site.coordinator.told(UpdateOffered)
    assert first.base_score is None
    assert second.base_score == HeldOut(cases=2, dice=(0.51, None))


async def test_what_a_delivery_that_was_cut_short_left_goes_with_the_end_of_the_study(site):
    await site.to_prepared()
    training, clear = site.home / "training", site.service.study._clear_updates
    # As when the last directive comes before the site has tidied up after its last delivery.
    site.service.study._clear_updates = lambda *_: None
    for number in (1, 2):
        site.train(number)
        await site.until(
            lambda n=number: [u.round for u in site.coordinator.told(UpdateOffered)][-1:] == [n]
        )
    left = set(training.glob("update-*"))
    assert len(left) == 2
    site.service.study._clear_updates = clear
    site.coordinator.direct(Step.FINISH, plan=site.plan, model=site.base(3))
    await site.until(lambda: len(site.snapshot.review.models) == 2, "models")
    [kept] = training.glob("update-*")
    assert kept.name.startswith("update-2-")


async def test_the_final_model_is_scored_told_until_heard_and_kept_over_a_restart(site):
    await site.to_prepared()
    await site.to_finished()
    final = site.base(4)
    finish = {"plan": site.plan, "model": final}
    site.coordinator.direct(Step.FINISH, **finish, score_wanted=True)
    await site.until(lambda: site.coordinator.told(ModelScored))
    [scored] = site.coordinator.told(ModelScored)
    assert scored == ModelScored(model=final.sha256, score=HeldOut(cases=2, dice=(0.5, None)))
    # It was lost on the way: the service that starts anew is asked again, and scores nothing anew.
    await site.crash()
    await site.start()
    site.coordinator.direct(Step.FINISH, **finish, score_wanted=True)
    await site.until(lambda: len(site.coordinator.told(ModelScored)) == 2)
    assert site.runner.kinds().count("HeldOutJob") == 1


async def test_the_best_average_is_kept_as_a_model_beside_the_last(site):
    await site.to_prepared()
    await site.to_finished()
    best = site.base(2)
    finish = {"plan": site.plan, "model": site.base(4)}
    site.coordinator.direct(Step.FINISH, **finish, best=best, best_round=1)
    await site.until(lambda: len(site.snapshot.review.models) == 3)
    kinds = [model.kind for model in site.snapshot.review.models]
    assert kinds[-1] is ModelKind.FINAL, "the last average is offered first"
    [kept] = [model for model in site.snapshot.review.models if model.kind is ModelKind.BEST]
    assert kept.round == 1
    assert Path(kept.path).read_bytes() == b"zip of " + site.coordinator.blobs[best.sha256]
    # All sites have scored by now, and another one turns out to be the best.
    site.coordinator.direct(Step.FINISH, **finish, best=site.base(3), best_round=2)
    await site.until(
        lambda: [m.round for m in site.snapshot.review.models if m.kind is ModelKind.BEST] == [2]
    )


# --- several folds -----------------------------------------------------------------------------

FOLDS = {"fold": "1-2", "rounds": 2}


async def train_rounds(site, *numbers, **fields) -> None:
    for number in numbers:
        site.train(number, **fields)
        await site.until(
            lambda n=number: (
                site.coordinator.told(UpdateOffered)[-1:]
                and site.coordinator.told(UpdateOffered)[-1].round == n
            ),
            f"update {number}",
        )


def sessions(site) -> list[TrainJob]:
    return [job for job in site.runner.started if isinstance(job, TrainJob)]


async def test_every_fold_is_trained_in_a_session_of_its_own(site):
    await site.to_prepared(**FOLDS)
    [accepted] = site.coordinator.told(PlanAccepted)
    assert accepted.fold_cases == (4, 4)
    await train_rounds(site, 1, 2)
    await site.until(lambda: site.coordinator.reports[-1].fold_cases == (4, 4))
    await train_rounds(site, 3)
    await site.until(
        lambda: site.snapshot.training.sentence.startswith("Fold 2 of 2, round 1 of 2: ")
    )
    await train_rounds(site, 4)
    first, second = sessions(site)
    assert [(job.fold, job.epochs_before, job.seed) for job in (first, second)] == [
        ("1", 0, site.terms.seed),
        ("2", 4, site.terms.seed + 1),
    ]
    assert first.total_epochs == second.total_epochs == 4
    # No round of an earlier fold comes again: its checkpoint would only take room.
    assert not Path(first.checkpoint).exists()
    assert Path(second.checkpoint).exists()
    assert dict(site.runner.trained) == {
        (number, epoch): 1 for number in (1, 2, 3, 4) for epoch in (2 * number - 1, 2 * number)
    }
    training = site.snapshot.training
    assert (training.rounds, training.folds, training.total_epochs) == (4, 2, 8)
    assert [record.epoch for record in training.epochs] == list(range(1, 9))


async def test_the_next_folds_session_stands_before_its_first_round_comes(site):
    await site.to_prepared(**FOLDS)
    await train_rounds(site, 1, 2)
    closed = tuple(
        RoundSummary(
            number=number, contributors=("alpha",), train_loss=0.5, validation_loss=None,
            pseudo_dice=(),
        )
        for number in (1, 2)
    )  # fmt: skip
    site.coordinator.direct(Step.WAIT, plan=site.plan, merged=site.merged, closed_rounds=closed)
    await site.until(lambda: len(sessions(site)) == 2, "the next fold's session")
    await train_rounds(site, 3)
    assert [job.fold for job in sessions(site)] == ["1", "2"]


async def test_a_kill_within_a_later_fold_costs_no_finished_epoch(site):
    await site.to_prepared(**FOLDS)
    await train_rounds(site, 1, 2)
    gate = site.runner.hold("epoch")
    site.train(3)
    await site.until(lambda: site.runner.trained[3, 5] == 1)
    await site.crash()
    gate.set()
    await site.start()
    await site.until(lambda: site.coordinator.told(UpdateOffered)[-1].round == 3)
    assert site.runner.trained[3, 5] == site.runner.trained[3, 6] == 1
    assert [job.fold for job in sessions(site)] == ["1", "2", "2"]


async def test_a_fold_begins_without_what_another_ones_training_rounded_away(site):
    await site.to_prepared(**FOLDS, transfer=Transfer.FP16)
    await train_rounds(site, 1, 2, 3, 4)
    first, second, third, fourth = site.runner.asked
    assert (first.remainder_before, third.remainder_before) == (None, None)
    assert second.remainder_before == first.remainder
    assert fourth.remainder_before == third.remainder


@pytest.mark.parametrize("transfer", [Transfer.FP32, Transfer.FP16])
async def test_a_finished_study_of_folds_leaves_models_of_all_of_them(site, transfer):
    await site.to_prepared(**FOLDS, transfer=transfer)
    await train_rounds(site, 1, 2, 3, 4)
    ends = [FoldEnd(fold="1", model=site.base(3)), FoldEnd(fold="2", model=site.base(5))]
    finish = {"plan": site.plan, "model": ends[-1].model}
    wanted = [msgspec.structs.replace(end, score_wanted=True) for end in ends]
    site.coordinator.direct(Step.FINISH, **finish, folds=tuple(wanted))
    await site.until(lambda: len(site.coordinator.told(ModelScored)) == 2, "scores")
    assert [one.model for one in site.coordinator.told(ModelScored)] == [
        end.model.sha256 for end in ends
    ]
    scored = [job for job in site.runner.started if isinstance(job, HeldOutJob)]
    assert [job.fold for job in scored] == ["1", "2"]
    best = [
        msgspec.structs.replace(ends[0], best=site.base(2), best_round=1),
        msgspec.structs.replace(ends[1], best=ends[1].model, best_round=4),
    ]
    site.coordinator.direct(Step.FINISH, **finish, folds=tuple(best))
    await site.until(lambda: len(site.snapshot.review.models) == 3, "models")
    zips = {model.kind: Path(model.path).read_bytes() for model in site.snapshot.review.models}
    content = {number: site.coordinator.blobs[site.base(number).sha256] for number in (2, 3, 5)}
    assert zips[ModelKind.FINAL] == b"zip of " + content[3] + b" and " + content[5]
    assert zips[ModelKind.BEST] == b"zip of " + content[2] + b" and " + content[5]
    exported = [job for job in site.runner.started if isinstance(job, ExportJob)]
    assert all(list(job.folds) == ["1", "2"] for job in exported)
    personal = next(job for job in exported if "personal" in job.output)
    own = [Path(file).name.split("-")[:2] for file in personal.folds.values()]
    kind = "update" if transfer is Transfer.FP32 else "own"
    assert own == [[kind, "2"], [kind, "4"]]
    assert "zip of" in zips[ModelKind.PERSONAL].decode()


async def test_a_fold_that_the_study_does_not_have_is_the_coordinators_mistake(site, expected_log):
    expected_log("app.site", "trying again|cannot go on|a fold that the study does not have")
    await site.to_prepared(**FOLDS)
    await train_rounds(site, 1)
    stranger = FoldEnd(fold="4", model=site.base(3))
    site.coordinator.direct(Step.FINISH, plan=site.plan, model=site.base(3), folds=(stranger,))
    await site.until(lambda: "a fold that the study does not have" in site.snapshot.service.problem)
    assert site.snapshot.review.models == ()


# --- a cascade ---------------------------------------------------------------------------------

CASCADE_TERMS = {"configuration": CASCADE, "fold": "0-4", "rounds": 1}


def cascade_plan() -> bytes:
    """The harness's stock plan with a coarse first pass; the site only reads it."""
    entry = stock_plan("ExperimentPlanner", "")
    configurations = entry["plans"]["configurations"]
    configurations["3d_lowres"] = copy.deepcopy(configurations["3d_fullres"]) | {
        "data_identifier": "nnUNetPlans_3d_lowres",
        "next_stage": CASCADE,
    }
    configurations[CASCADE] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return document_of(entry)


async def to_second_pass(site) -> tuple[FoldEnd, ...]:
    """Train every fold of the first pass; return what it ended with."""
    site.plan = site.coordinator.keep(cascade_plan())
    await site.to_prepared(**CASCADE_TERMS)
    await train_rounds(site, 1, 2, 3, 4, 5)
    return tuple(FoldEnd(fold=str(fold), model=site.base(20 + fold)) for fold in range(5))


def segmentations(site) -> list[FirstPassJob]:
    return [job for job in site.runner.started if isinstance(job, FirstPassJob)]


async def test_the_training_cases_are_segmented_by_the_first_pass_before_the_second_begins(site):
    ends = await to_second_pass(site)
    assert segmentations(site) == []
    gate = site.runner.hold("first pass")
    site.train(6, folds=ends)
    await site.until(lambda: segmentations(site), "segmentation")
    await site.until(
        lambda: site.snapshot.training.sentence.startswith(
            "Segmenting this site's training cases for the second pass"
        )
    )
    site.clock.advance(3)
    # Each case is a sign of progress for the coordinator, and the first pass's worker is gone.
    await site.until(
        lambda: (site.coordinator.reports[-1].step, site.coordinator.reports[-1].steps) == (1, 4)
    )
    assert site.coordinator.reports[-1].phase is SitePhase.PREPARING
    # As long as that takes the computer stays awake, and its speed is not measured.
    await site.until(lambda: site.snapshot.service.awake_sentence)
    refused = await site.service.command(Calibrate())
    assert refused.sentence.startswith("training is under way")
    assert len(sessions(site)) == 5
    gate.set()
    await train_rounds(site, 6, folds=ends)
    [job] = segmentations(site)
    content = [site.coordinator.blobs[end.model.sha256] for end in ends]
    assert [Path(file).read_bytes() for file in job.folds.values()] == content
    assert list(job.folds) == ["0", "1", "2", "3", "4"]
    assert [(one.configuration, one.fold, one.epochs_before) for one in sessions(site)] == [
        *(("3d_lowres", str(fold), 2 * fold) for fold in range(5)),
        (CASCADE, "0", 10),
    ]
    await site.until(
        lambda: site.snapshot.training.sentence.startswith(
            "Second pass, fold 1 of 5, round 1 of 1: "
        )
    )
    training = site.snapshot.training
    assert (training.rounds, training.folds, training.stages) == (10, 5, 2)
    # The models of the first pass stay, for they go into every model of the second.
    await train_rounds(site, 7, folds=ends)
    assert all(Path(file).exists() for file in job.folds.values())
    assert len(segmentations(site)) == 1


async def test_the_cases_are_segmented_while_the_second_pass_waits_for_other_sites(site):
    ends = await to_second_pass(site)
    closed = tuple(
        RoundSummary(
            number=number, contributors=("alpha",), train_loss=0.5, validation_loss=None,
            pseudo_dice=(),
        )
        for number in range(1, 6)
    )  # fmt: skip
    wait = {"plan": site.plan, "merged": site.merged, "closed_rounds": closed}
    # A site that has no models of the first pass waits, and holds no worker meanwhile.
    site.coordinator.direct(Step.WAIT, **wait)
    await site.until(lambda: site.service.study.session is None, "session closed")
    assert segmentations(site) == []
    site.coordinator.direct(Step.WAIT, **wait, folds=ends)
    await site.until(lambda: len(sessions(site)) == 6, "the second pass's session")
    assert len(segmentations(site)) == 1


async def test_a_kill_while_cases_are_segmented_goes_on_with_them(site):
    ends = await to_second_pass(site)
    gate = site.runner.hold("first pass")
    site.train(6, folds=ends)
    await site.until(lambda: segmentations(site), "segmentation")
    await site.crash()
    gate.set()
    await site.start()
    await site.until(lambda: site.coordinator.told(UpdateOffered)[-1].round == 6)
    assert len(segmentations(site)) == 2
    assert segmentations(site)[0] == segmentations(site)[1]
    # Once it is done a restart does not do it again.
    await site.crash()
    await site.start()
    await train_rounds(site, 7, folds=ends)
    assert len(segmentations(site)) == 2


async def test_a_finished_cascade_leaves_models_with_both_passes(site):
    ends = await to_second_pass(site)
    await train_rounds(site, 6, 7, 8, 9, 10, folds=ends)
    fine = tuple(FoldEnd(fold=str(fold), stage=1, model=site.base(30 + fold)) for fold in range(5))
    site.coordinator.direct(Step.FINISH, plan=site.plan, model=fine[-1].model, folds=(*ends, *fine))
    await site.until(lambda: len(site.snapshot.review.models) == 2, "models")
    baseline = site.snapshot.review.baseline
    assert (baseline.offered, baseline.why_not[:23]) == (False, "a study of two passes t")
    exported = [job for job in site.runner.started if isinstance(job, ExportJob)]
    assert {job.configuration for job in exported} == {CASCADE}
    content = {end.model.sha256: site.coordinator.blobs[end.model.sha256] for end in (*ends, *fine)}
    coarse = [content[end.model.sha256] for end in ends]
    for job in exported:
        # Personal ones too: the second pass was trained on what these made.
        assert [Path(file).read_bytes() for file in job.first_pass.values()] == coarse
    final = next(job for job in exported if "global" in job.output)
    assert [Path(file).read_bytes() for file in final.folds.values()] == [
        content[end.model.sha256] for end in fine
    ]
    personal = next(job for job in exported if "personal" in job.output)
    assert [Path(file).name.split("-")[1] for file in personal.folds.values()] == [
        "6", "7", "8", "9", "10",
    ]  # fmt: skip


async def test_a_rounds_average_of_either_pass_can_segment(site):
    site.plan = site.coordinator.keep(cascade_plan())
    await site.to_prepared(**(CASCADE_TERMS | {"rounds": 2}))
    await train_rounds(site, 1, 2)
    joined = site.service.study._site.joined
    context = site.service.study._site
    [coarse] = [one for one in averages(context) if one.view.kind is ModelKind.ROUND]
    assert "first pass, fold 1 of 5, round 1 of 2" in coarse.view.name
    await train_rounds(site, 3, 4, 5, 6, 7, 8, 9, 10)
    ends = tuple(FoldEnd(fold=str(fold), model=site.base(20 + fold)) for fold in range(5))
    await train_rounds(site, 11, 12, folds=ends)
    [fine] = [one for one in averages(context) if one.view.kind is ModelKind.ROUND]
    assert "second pass, fold 1 of 5, round 1 of 2" in fine.view.name
    assert list(first_pass_weights(context, joined)) == [0, 1, 2, 3, 4]
