"""The site service against a scripted coordinator and scripted workers."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import pytest_asyncio
from helpers.recorder import eventually
from helpers.scripted_runner import update_content
from helpers.site_home import OPERATOR, SiteHarness, tree_digest

from app.control.messages import (
    Accepted,
    AllowFingerprint,
    Changed,
    CheckFolder,
    ChooseFolder,
    ComputeFingerprint,
    InvitationView,
    JoinStudy,
    LeaveStudy,
    LinkState,
    PauseTraining,
    ReadInvitation,
    Refused,
    Request,
    ResumeTraining,
    SegmentCases,
    StepTaken,
    StopJob,
    StopService,
    WithdrawAllowance,
)
from app.domain.errors import ErrorCode, LinkProblem
from app.domain.findings import Finding, Severity
from app.domain.ids import digest_of
from app.federation.shared_codec import decode
from app.jobs.events import Failed
from app.site.audit import verify
from app.site.data_desk import receipt_of
from app.wire.messages import (
    BlobKind,
    FingerprintOffered,
    Left,
    PlanAccepted,
    PlanRefused,
    RoundSummary,
    SitePhase,
    Step,
    UpdateFailed,
    UpdateOffered,
)

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def site(tmp_path):
    harness = SiteHarness(tmp_path)
    yield harness
    if harness._task is not None:
        await harness.stop()


async def to_prepared(site, *, standing=True):
    """Take a site from the start to a prepared plan with its worker standing."""
    site.join(standing=standing)
    await site.start()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await site.until(lambda: site.coordinator.told(FingerprintOffered), "fingerprint")
    site.prepare()
    await site.until(lambda: site.coordinator.told(PlanAccepted), "plan accepted")
    await site.until(lambda: site.snapshot.training.device == "cpu", "worker stands")


async def to_finished(site):
    for number in (1, 2, 3):
        site.train(number)
        await site.until(
            lambda n=number: [m.round for m in site.coordinator.told(UpdateOffered)][-1:] == [n],
            f"update {number}",
        )
    model = site.base(4)
    site.coordinator.direct(Step.FINISH, plan=site.plan, model=model)
    await site.until(lambda: len(site.snapshot.review.models) == 2, "models")


async def test_an_unattended_site_goes_from_folder_to_model(site, expected_log):
    before = tree_digest(site.folder)
    await to_prepared(site)
    await to_finished(site)

    coordinator, snapshot = site.coordinator, site.snapshot
    assert [m.round for m in coordinator.told(UpdateOffered)] == [1, 2, 3]
    for number, offered in enumerate(coordinator.told(UpdateOffered), start=1):
        content = update_content(number, b"global model before round %d" % number)
        assert (BlobKind.WEIGHTS, content) in coordinator.uploads
        assert offered.weights.sha256 == digest_of(content)
        assert offered.base == site.base(number).sha256
        assert (offered.cases, offered.pseudo_dice) == (4, (0.5, None))
    # Two epochs in each of three rounds, each exactly once.
    assert dict(site.runner.trained) == {(1 + e // 2, e + 1): 1 for e in range(6)}
    assert [e.epoch for e in snapshot.training.epochs] == [1, 2, 3, 4, 5, 6]
    # One worker lived through all rounds.
    assert site.runner.kinds().count("TrainJob") == 1
    assert [command.start_epoch for command in site.runner.asked] == [0, 2, 4]
    # The global model is last: it is the one that is offered first.
    names = [model.name for model in snapshot.review.models]
    assert [name.split(", ")[1] for name in names] == ["personalised for alpha", "global model"]
    assert snapshot.training.sentence == "The study is finished; its model is ready for review."
    assert snapshot.service.problem == ""
    assert tree_digest(site.folder) == before


async def test_what_is_uploaded_are_the_bytes_that_were_shown(site):
    site.join(standing=False)
    await site.start()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await site.until(lambda: site.snapshot.data.report is not None)
    assert site.coordinator.reports[-1].phase is SitePhase.AWAITING_CONSENT
    assert await site.service.command(ComputeFingerprint()) == Accepted()
    await site.until(lambda: site.snapshot.fingerprint.outgoing is not None)
    shown = site.snapshot.fingerprint
    assert shown.blocked == ""
    assert shown.allowance is None
    assert site.coordinator.uploads == []

    answer = await site.service.command(
        AllowFingerprint(operator="  Ada   Operator ", digest=shown.outgoing_digest)
    )
    assert answer == Accepted()
    await site.until(lambda: site.coordinator.told(FingerprintOffered))
    assert site.coordinator.uploads == [(BlobKind.FINGERPRINT, shown.outgoing.encode())]
    assert digest_of(shown.outgoing.encode()) == shown.outgoing_digest
    assert decode(shown.outgoing.encode()).cases == 6
    (offered,) = site.coordinator.told(FingerprintOffered)
    allowance = site.snapshot.fingerprint.allowance
    assert offered.fingerprint.sha256 == shown.outgoing_digest
    assert (allowance.operator, allowance.sent) == (OPERATOR, True)
    assert offered.receipt == allowance.receipt
    assert allowance.receipt == receipt_of(
        digest=shown.outgoing_digest,
        time=allowance.allowed_at,
        study="5" * 32,
        policy="minimal",
        operator=OPERATOR,
        app_version="0.1.0",
    )
    log = site._site.audit
    assert [entry.kind for entry in log.entries()] == ["fingerprint allowed", "fingerprint sent"]
    assert log.verify() is None
    assert log.entries()[0].facts["standing"] is False


async def test_a_standing_allowance_is_named_so_in_the_log(site):
    await to_prepared(site)
    allowed = site._site.audit.entries()[0]
    assert (allowed.kind, allowed.facts["operator"]) == ("fingerprint allowed", OPERATOR)
    assert allowed.facts["standing"] is True
    assert verify(site._site.audit.entries()) is None
    assert site.coordinator.reports[-1].audit_head == site._site.audit.head


async def test_other_bytes_than_those_looked_at_cannot_be_allowed(site):
    site.join(standing=False)
    await site.start()
    await site.until(lambda: site.snapshot.data.report is not None)
    await site.service.command(ComputeFingerprint())
    await site.until(lambda: site.snapshot.fingerprint.outgoing_digest is not None)
    looked_at = site.snapshot.fingerprint.outgoing_digest
    await site.service.command(ComputeFingerprint(leave_out=("case_03",)))
    await site.until(lambda: site.snapshot.fingerprint.outgoing_digest not in (None, looked_at))
    answer = await site.service.command(AllowFingerprint(operator="Ada", digest=looked_at))
    assert isinstance(answer, Refused)
    assert answer.code == ErrorCode.NOT_ALLOWED.value
    rows = site.snapshot.fingerprint.cases
    assert len(rows) == 5
    assert decode(site.snapshot.fingerprint.outgoing.encode()).cases == 5


async def test_a_changed_folder_voids_the_allowance_and_nothing_is_sent(site, expected_log):
    expected_log("app.site.study_desk", "the folder has changed")
    site.join(standing=False)
    await site.start()
    await site.until(lambda: site.snapshot.data.report is not None)
    await site.service.command(ComputeFingerprint())
    await site.until(lambda: site.snapshot.fingerprint.outgoing_digest is not None)
    digest = site.snapshot.fingerprint.outgoing_digest
    await site.service.command(AllowFingerprint(operator="Ada", digest=digest))
    (site.folder / "labelsTr" / "case_00.nii.gz").write_bytes(b"another label")
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await site.until(lambda: "changed" in site.snapshot.fingerprint.blocked)
    assert site.snapshot.fingerprint.allowance is None
    assert site.coordinator.uploads == []
    assert site.coordinator.told(FingerprintOffered) == []
    kinds = [entry.kind for entry in site._site.audit.entries()]
    assert kinds == ["fingerprint allowed", "allowance void: the data changed"]
    answer = await site.service.command(AllowFingerprint(operator="Ada", digest=digest))
    assert answer.code == ErrorCode.NOT_ALLOWED.value


async def test_an_allowance_can_be_withdrawn_before_it_is_used(site):
    site.join(standing=False)
    await site.start()
    await site.until(lambda: site.snapshot.data.report is not None)
    await site.service.command(ComputeFingerprint())
    await site.until(lambda: site.snapshot.fingerprint.outgoing_digest is not None)
    digest = site.snapshot.fingerprint.outgoing_digest
    await site.service.command(AllowFingerprint(operator="Ada", digest=digest))
    assert await site.service.command(WithdrawAllowance()) == Accepted()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await asyncio.sleep(0.05)
    assert site.coordinator.uploads == []
    assert site.snapshot.training.phase == "awaiting consent"


async def test_small_cohorts_are_not_shared(site):
    for path in sorted((site.folder / "labelsTr").iterdir())[2:]:
        path.unlink()
        (site.folder / "imagesTr" / path.name.replace(".nii", "_0000.nii")).unlink()
    site.join()
    await site.start()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await site.until(lambda: "fewer than 5" in site.snapshot.fingerprint.blocked)
    await site.until(lambda: "fewer than 5" in site.snapshot.service.problem)
    assert site.coordinator.uploads == []
    assert site.coordinator.reports[-1].phase is SitePhase.FAILED


async def test_blocked_data_goes_no_further(site):
    finding = Finding(check="c", severity=Severity.BLOCKS, sentence="s", remedy="r")
    site.runner.findings = (finding,)
    site.join()
    await site.start()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await site.until(lambda: site.snapshot.service.problem)
    assert site.runner.kinds() == ["CheckJob"]
    assert site.coordinator.reports[-1].problem == ErrorCode.DATA_BLOCKS.value
    site.runner.findings = ()
    await site.service.command(CheckFolder())
    await site.until(lambda: site.coordinator.told(FingerprintOffered))
    assert site.snapshot.service.problem == ""


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
    await to_prepared(site)
    sentence = site.snapshot.fingerprint.merged_sentence
    assert "Planned from 12 cases of all sites" in sentence
    assert "3 x 1 x 1 mm" in sentence
    assert "patches of" in sentence
    assert site.snapshot.fingerprint.merged_pictures
    assert site.snapshot.federation.plan.configuration == "3d_fullres"


@pytest.mark.parametrize(
    "place", ["check", "fingerprint", "prepare", "open", "step", "epoch", "trained"]
)
async def test_a_killed_service_goes_on_where_it_was(site, place):
    site.join()
    gate = site.runner.hold(place)
    await site.start()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    if place in ("check", "fingerprint"):
        kind = {"check": "CheckJob", "fingerprint": "FingerprintJob"}[place]
    else:
        await site.until(lambda: site.coordinator.told(FingerprintOffered))
        site.prepare()
        if place not in ("prepare", "open"):
            await site.until(lambda: site.coordinator.told(PlanAccepted))
            site.train(1)
        kind = "PreprocessJob" if place == "prepare" else "TrainJob"
    await site.until(lambda: kind in site.runner.kinds(), place)
    if place == "epoch":
        await site.until(lambda: site.runner.trained[1, 1] == 1)
    if place == "trained":
        await site.until(lambda: site.runner.trained[1, 2] == 1)
    if place == "step":
        await site.until(lambda: site.snapshot.training.step == 1)
    await site.crash()

    gate.set()
    await site.start()
    if place in ("check", "fingerprint"):
        await site.until(lambda: site.coordinator.told(FingerprintOffered))
        site.prepare()
    if place in ("check", "fingerprint", "prepare", "open"):
        await site.until(lambda: site.coordinator.told(PlanAccepted))
        site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered), place)
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}
    assert [e.epoch for e in site.snapshot.training.epochs] == [1, 2]
    assert len(site.coordinator.told(FingerprintOffered)) == 1
    assert site._site.audit.verify() is None


async def test_a_trained_update_waits_for_the_link_and_is_not_trained_again(site):
    await to_prepared(site)
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
    await to_prepared(site)
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
    await to_prepared(site)
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
    await to_prepared(site)
    site.runner.failures["step"] = [Failed(code=code, sentence="it broke")]
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateFailed))
    assert site.coordinator.told(UpdateFailed) == [UpdateFailed(round=1, attempt=1, code=code)]
    site.train(1, attempt=2)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert [command.attempt for command in site.runner.asked] == [1, 2]
    assert site.coordinator.told(UpdateOffered)[0].attempt == 2


async def test_a_new_attempt_from_the_same_base_is_not_trained_again(site):
    await to_prepared(site)
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    site.train(1, attempt=2)
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 2)
    assert [m.attempt for m in site.coordinator.told(UpdateOffered)] == [1, 2]
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_another_round_supersedes_the_one_in_hand(site):
    await to_prepared(site)
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
    await to_prepared(site)
    old = site.coordinator.directive
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    site.service.directive_received(msgspec.structs.replace(old, step=Step.STOP))
    assert site.service.study.directive.step is Step.TRAIN


async def test_what_was_not_heard_is_told_again_but_not_at_once(site):
    await to_prepared(site)
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    site.coordinator.repeat()
    await asyncio.sleep(0.03)
    assert len(site.coordinator.told(UpdateOffered)) == 1
    site.clock.advance(30)
    site.coordinator.repeat()
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 2)
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_the_operator_pauses_and_resumes(site):
    await to_prepared(site)
    gate = site.runner.hold("epoch")
    site.train(1)
    await site.until(lambda: site.runner.trained[1, 1] == 1)
    assert await site.service.command(PauseTraining()) == Accepted()
    await site.until(lambda: site.snapshot.training.phase == "paused")
    await site.until(lambda: not site.runner.running)
    assert site.snapshot.training.paused
    assert site.coordinator.reports[-1].phase is SitePhase.PAUSED
    # A pause outlives the service.
    await site.stop()
    await site.start()
    await asyncio.sleep(0.05)
    assert site.snapshot.training.paused
    assert not site.runner.running
    gate.set()
    await site.service.command(ResumeTraining())
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_the_coordinator_pauses_and_resumes(site):
    await to_prepared(site)
    gate = site.runner.hold("epoch")
    site.train(1)
    await site.until(lambda: site.runner.trained[1, 1] == 1)
    site.coordinator.direct(Step.PAUSE, plan=site.plan, merged=site.merged)
    await site.until(lambda: not site.runner.running)
    gate.set()
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_stopping_the_service_stops_the_worker_at_its_checkpoint(site):
    await to_prepared(site)
    gate = site.runner.hold("epoch")
    site.train(1)
    await site.until(lambda: site.runner.trained[1, 1] == 1)
    assert await site.service.command(StopService()) == Accepted()
    async with asyncio.timeout(5):
        await site._task
    assert not site.runner.running
    await site.stop()
    gate.set()
    await site.start()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_a_refused_update_is_told_and_the_study_goes_on(site, expected_log):
    expected_log("app.site", "is refused")
    await to_prepared(site)
    site.coordinator.refusals = [LinkProblem("not finite", code=ErrorCode.TENSORS_REFUSED)]
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateFailed))
    assert site.coordinator.told(UpdateFailed)[0].code == "tensors-refused"
    site.train(2)
    await site.until(lambda: site.coordinator.told(UpdateOffered))


async def test_an_update_that_vanished_is_trained_again(site, expected_log):
    expected_log("app.site", "is gone")
    await to_prepared(site)
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    for path in (site.home / "training").glob("update-*"):
        path.unlink()
    site.train(1, attempt=2)
    await site.until(lambda: len(site.coordinator.told(UpdateOffered)) == 2)
    assert site.coordinator.told(UpdateOffered)[1].attempt == 2


async def test_a_revoked_site_stops_and_says_so(site):
    await to_prepared(site)
    site.coordinator.ended.set_result(LinkProblem("this site was revoked", code=ErrorCode.REVOKED))
    await site.until(lambda: site.snapshot.federation.link is LinkState.REFUSED)
    assert site.snapshot.service.problem == "this site was revoked"
    assert site.snapshot.training.sentence == "Stopped: this site was revoked."


async def test_a_person_joins_through_the_window(site, tmp_path):
    invitation = tmp_path / "study.fedjoin"
    invitation.write_text("invitation")
    await site.start()
    assert site.snapshot.federation.link is LinkState.NONE
    await site.service.command(ChooseFolder(folder=str(site.folder)))
    await site.until(lambda: site.snapshot.data.report is not None)
    await site.service.command(ComputeFingerprint())
    await site.until(lambda: site.snapshot.fingerprint.outgoing is not None)
    assert "join a study" in site.snapshot.fingerprint.blocked

    assert await site.service.command(JoinStudy(path=str(invitation))) == Accepted()
    await site.until(lambda: site.snapshot.federation.link is LinkState.CONNECTED)
    study = site.snapshot.federation.study
    assert (study.site, study.labels, study.rounds) == ("alpha", ("anterior", "posterior"), 3)
    await site.until(lambda: site.snapshot.fingerprint.blocked == "")
    # The folder is checked once more, now against the study's channels and labels.
    checks = [job for job in site.runner.started if type(job).__name__ == "CheckJob"]
    assert [job.labels is None for job in checks] == [True, False]
    again = await site.service.command(JoinStudy(path=str(invitation)))
    assert again.code == ErrorCode.STUDY_STATE.value


async def test_leaving_tells_the_coordinator_and_forgets_the_study(site):
    await to_prepared(site)
    site.train(1)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert await site.service.command(LeaveStudy()) == Accepted()
    assert site.coordinator.told(Left) == [Left()]
    assert [m.site for m in site.coordinator.forgotten] == ["alpha"]
    assert site.snapshot.federation.study is None
    assert site.snapshot.training.epochs == ()
    assert not site.runner.running
    for name in ("study", "training", "workspace"):
        assert not (site.home / name).exists()
    assert site._site.audit.verify() is None
    assert site._site.audit.entries()[-1].kind == "study left"
    # The folder stays chosen and is checked again, now without a study.
    await site.until(lambda: site.snapshot.data.report is not None)


async def test_the_folder_cannot_change_under_a_running_study(site, tmp_path):
    await to_prepared(site)
    answer = await site.service.command(ChooseFolder(folder=str(tmp_path)))
    assert answer.code == ErrorCode.STUDY_STATE.value
    answer = await site.service.command(ComputeFingerprint())
    assert answer.code == ErrorCode.STUDY_STATE.value
    assert site.snapshot.data.folder == str(site.folder)


async def test_segmenting_and_scoring_held_out_cases(site):
    await to_prepared(site)
    await to_finished(site)
    model = site.snapshot.review.models[-1].path
    gate = site.runner.hold("score")
    assert await site.service.command(SegmentCases(model=model)) == Accepted()
    busy = await site.service.command(SegmentCases(model=model))
    assert busy.code == ErrorCode.STUDY_STATE.value
    await site.until(lambda: len(site.snapshot.review.results) == 2)
    gate.set()
    await site.until(lambda: len(site.snapshot.review.scores) == 2)
    review = site.snapshot.review
    assert [r.case for r in review.results] == ["test_00", "test_01"]
    assert [r.reference for r in review.results] == [
        str(site.folder / "labelsTs" / f"test_0{n}.nii.gz") for n in (0, 1)
    ]
    assert review.job.outcome == "2 cases scored"
    missing = await site.service.command(SegmentCases(model="/nowhere.zip"))
    assert missing.code == ErrorCode.MODEL_FILE.value


async def test_a_check_can_be_stopped_and_done_again(site):
    gate = site.runner.hold("check")
    await site.start()
    await site.service.command(ChooseFolder(folder=str(site.folder)))
    await site.until(lambda: site.runner.running)
    await site.service.command(StopJob(kind="check"))
    await site.until(lambda: not site.runner.running)
    await asyncio.sleep(0.02)
    assert site.runner.kinds() == ["CheckJob"]
    gate.set()
    await site.service.command(CheckFolder())
    await site.until(lambda: site.snapshot.data.report is not None)


async def test_a_job_that_fails_for_good_is_a_problem_until_a_person_acts(site, expected_log):
    expected_log("app.site", "check")
    failure = Failed(code="folder-not-readable", sentence="the folder cannot be read")
    site.runner.failures["check"] = [failure] * 3
    site.join()
    await site.start()
    await site.until(lambda: site.snapshot.service.problem)
    assert site.snapshot.service.problem == "the folder cannot be read"
    assert site.snapshot.service.remedy
    assert site.snapshot.data.job.failed
    await site.service.command(CheckFolder())
    await site.until(lambda: site.snapshot.data.report is not None)
    assert site.snapshot.service.problem == ""


async def test_commands_that_cannot_be_done_are_answered_in_words(site, tmp_path):
    await site.start()
    for command in (
        CheckFolder(),
        ComputeFingerprint(),
        ChooseFolder(folder="relative"),
        AllowFingerprint(operator="Ada", digest="0" * 64),
        AllowFingerprint(operator=" ", digest="0" * 64),
        LeaveStudy(),
        JoinStudy(path=str(site.folder / "dataset.json")),
        ReadInvitation(path=str(tmp_path / "none")),
        SegmentCases(model="m"),
        StopJob(kind="dance"),
    ):
        answer = await site.service.command(command)
        assert isinstance(answer, Refused), command
        assert answer.sentence
        assert answer.remedy
        assert answer.code != ErrorCode.INTERNAL.value, command


async def test_frames_are_answered_by_number_and_nonsense_is_not(site):
    await site.start()
    frame = msgspec.json.encode(Request(number=7, command=CheckFolder()))
    assert (await site.service.answer(frame)).number == 7
    assert await site.service.answer(b"{}") is None


async def test_windows_hear_steps_and_sections(site):
    await to_prepared(site)
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
    await to_prepared(site)
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


async def test_a_read_invitation_is_not_joined(site, monkeypatch, tmp_path):
    await site.start()
    shown = InvitationView(
        study="s", purpose="", contact="", coordinator="", site="alpha", policy="minimal",
        expires_at=1.0, rounds=1, method="ffe",
    )  # fmt: skip
    monkeypatch.setattr("app.site.joining.read_invitation", lambda path: path)
    monkeypatch.setattr("app.site.joining.invitation_view", lambda *_, **__: shown)
    assert await site.service.command(ReadInvitation(path="/x")) == shown
    assert site.snapshot.federation.study is None
    await eventually(lambda: not site.coordinator.links)
