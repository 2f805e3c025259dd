"""The whole site service against a scripted coordinator and scripted workers."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from helpers.recorder import eventually
from helpers.scripted_runner import update_content
from helpers.site_home import tree_digest

from app.control.messages import (
    Accepted,
    AllowFingerprint,
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
    SetStartAtLogin,
    StopJob,
    StopService,
)
from app.domain.errors import ErrorCode, LinkProblem
from app.domain.ids import digest_of
from app.site.state import SiteStore
from app.wire.messages import (
    BlobKind,
    FingerprintOffered,
    Left,
    PlanAccepted,
    SitePhase,
    Step,
    UpdateOffered,
)

pytestmark = pytest.mark.asyncio


async def test_an_unattended_site_goes_from_folder_to_model(site, expected_log):
    before = tree_digest(site.folder)
    await site.to_prepared()
    await site.to_finished()

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


async def test_the_operator_pauses_and_resumes(site):
    await site.to_prepared()
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


async def test_a_pause_at_the_checkpoint_loses_nothing(site):
    await site.to_prepared()
    gate = site.runner.hold("step")
    site.train(1)
    await site.until(lambda: site.snapshot.training.step == 1)
    assert await site.service.command(PauseTraining(at_checkpoint=True)) == Accepted()
    await site.until(lambda: site.snapshot.training.pausing)
    assert not site.snapshot.training.paused
    assert site.snapshot.training.costs.resume.startswith("The pause is taken back")
    assert site.runner.running
    gate.set()
    await site.until(lambda: site.snapshot.training.paused and not site.runner.running)
    assert site.runner.trained[1, 1] == 1
    assert site.snapshot.training.interruptions == ()
    assert await site.service.command(ResumeTraining()) == Accepted()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_a_pause_at_the_rounds_last_checkpoint_first_delivers(site):
    await site.to_prepared()
    gate = site.runner.hold("epoch")
    site.train(1)
    await site.until(lambda: site.runner.trained[1, 1] == 1)
    site.runner.hold("trained")
    gate.set()
    await site.until(lambda: site.runner.trained[1, 2] == 1)
    await site.service.command(PauseTraining(at_checkpoint=True))
    site.runner.gates["trained"].set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    await site.until(lambda: site.snapshot.training.paused)


async def test_a_pause_without_training_begins_at_once(site):
    await site.to_prepared()
    await site.service.command(PauseTraining(at_checkpoint=True))
    assert site.snapshot.training.paused
    assert site.snapshot.training.costs.pause == ""


async def test_what_stopping_costs_is_shown_while_training(site):
    await site.to_prepared()
    gate = site.runner.hold("step")
    site.train(1)
    await site.until(lambda: site.snapshot.training.step == 1)
    costs = site.snapshot.training.costs
    assert costs.pause.startswith("There is no checkpoint yet")
    assert costs.lost_s == 0.5
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    await site.until(lambda: site.snapshot.training.costs.lost_s == 0)
    assert site.snapshot.training.costs.switch_off.startswith("You may")


async def test_a_killed_worker_is_accounted_for(site, expected_log):
    await site.to_prepared()
    gate = site.runner.hold("step")
    site.train(1)
    await site.until(lambda: site.snapshot.training.step == 1)
    expected_log("app.site.service", "trying again")
    site.runner.kill("TrainJob")
    await site.until(lambda: site.snapshot.training.interruptions)
    (lost,) = site.snapshot.training.interruptions
    assert (lost.what, lost.epoch, lost.lost_steps, lost.lost_s) == ("worker lost", 1, 1, 0.5)
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


@pytest.mark.parametrize(
    ("place", "steps", "words"),
    [
        ("step", 1, "1 step (less than a second) of epoch 1 is trained again"),
        ("epoch", 0, "Nothing is lost: epoch 1 had just been saved"),
        ("trained", 0, "Nothing is lost: its update is trained and is sent on now"),
    ],
)
async def test_a_killed_service_accounts_for_what_was_lost(site, place, steps, words):
    await site.to_prepared()
    gate = site.runner.hold(place)
    site.train(1)
    if place == "step":
        await site.until(lambda: site.snapshot.training.step == 1)
    elif place == "epoch":
        await site.until(lambda: site.runner.trained[1, 1] == 1)
    else:
        await site.until(lambda: site.runner.trained[1, 2] == 1)
        site.coordinator.online.clear()
        gate.set()
        await site.until(lambda: site.snapshot.training.phase == "uploading")
    await site.crash()
    gate.set()
    site.coordinator.online.set()
    await site.start()
    await site.until(lambda: site.snapshot.training.interruptions)
    (lost,) = site.snapshot.training.interruptions
    assert (lost.what, lost.lost_steps) == ("service lost", steps)
    assert words in lost.sentence
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}
    # A planned stop is no interruption.
    await site.stop()
    await site.start()
    await site.until(lambda: site.snapshot.training.interruptions)
    assert site.snapshot.training.interruptions == (lost,)


async def test_epochs_that_were_trained_unheard_enter_the_history(site):
    await site.to_prepared()
    gate = site.runner.hold("epoch")
    site.train(1)
    await site.until(lambda: site.runner.trained[1, 1] == 1)
    await site.crash()
    # The worker had saved the epoch, but the service was gone before it heard of it.
    store = SiteStore(site.home / "site.sqlite")
    store.drop_epochs()
    store.close()
    gate.set()
    await site.start()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert [epoch.epoch for epoch in site.snapshot.training.epochs] == [1, 2]


async def test_stopping_the_service_stops_the_worker_at_its_checkpoint(site):
    await site.to_prepared()
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


async def test_a_revoked_site_stops_says_so_and_can_be_tried_again(site):
    await site.to_prepared()
    gate = site.runner.hold("epoch")
    site.train(1)
    await site.until(lambda: site.runner.trained[1, 1] == 1)
    ended = site.coordinator.ended
    site.coordinator.ended = asyncio.get_running_loop().create_future()
    ended.set_result(LinkProblem("this site was revoked", code=ErrorCode.REVOKED))
    await site.until(lambda: site.snapshot.federation.link is LinkState.REFUSED)
    await site.until(lambda: not site.runner.running)
    assert site.snapshot.service.problem == "this site was revoked"
    assert site.snapshot.training.sentence == "Stopped: this site was revoked."
    gate.set()
    # Admitted again: the operator resumes, and no epoch is trained twice.
    await site.service.command(ResumeTraining())
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert site.snapshot.service.problem == ""
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_reports_tell_a_change_at_once_and_progress_every_two_seconds(site):
    await site.to_prepared()
    reports = site.coordinator.reports
    gate = site.runner.hold("step")
    site.train(1)
    await site.until(lambda: reports[-1].phase is SitePhase.TRAINING)
    await site.until(lambda: site.snapshot.training.step == 1)
    before = len(reports)
    assert (reports[-1].round, reports[-1].plan) == (1, site.plan.sha256)
    site.clock.advance(3)
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    await site.until(lambda: reports[-1].phase is SitePhase.WAITING)
    # The clock stood still but for three seconds: six steps gave one report of progress, and the
    # changes to uploading and waiting one each.
    assert [report.phase for report in reports[before:]] == [
        SitePhase.TRAINING,
        SitePhase.UPLOADING,
        SitePhase.WAITING,
    ]
    assert reports[before].step > 0


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
    await site.until(lambda: site.runner.kinds().count("CheckJob") == 2)
    checks = [job for job in site.runner.started if type(job).__name__ == "CheckJob"]
    assert [job.labels is None for job in checks] == [True, False]
    again = await site.service.command(JoinStudy(path=str(invitation)))
    assert again.code == ErrorCode.STUDY_STATE.value


async def test_leaving_tells_the_coordinator_and_forgets_the_study(site):
    await site.to_prepared()
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


async def test_the_coordinators_head_is_kept_when_a_round_begins(site):
    await site.to_prepared()
    head = "c" * 64
    site.coordinator.direct(
        Step.TRAIN, plan=site.plan, merged=site.merged, base=site.base(1), round=1, attempt=1,
        start_epoch=0, audit_head=head,
    )  # fmt: skip
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    begun = [entry for entry in site._site.audit.entries() if entry.kind == "round begun"]
    assert [entry.facts["coordinator_head"] for entry in begun] == [head]


async def test_sleep_is_held_off_only_while_a_round_runs(site):
    await site.to_prepared()
    assert site.awake.held == 0
    gate = site.runner.hold("step")
    site.train(1)
    await site.until(lambda: site.snapshot.service.awake_sentence)
    assert site.awake.held == 1
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    await site.until(lambda: site.awake.given_back == 1)
    assert site.snapshot.service.awake_sentence == ""


async def test_starting_at_login_is_offered(site):
    await site.start()
    assert not site.snapshot.service.starts_at_login
    assert await site.service.command(SetStartAtLogin(on=True)) == Accepted()
    await site.until(lambda: site.snapshot.service.starts_at_login)
    (entry,) = (site.home.parent / "autostart").iterdir()
    assert f'"--home" "{site.home}"' in entry.read_text()
    assert await site.service.command(SetStartAtLogin(on=False)) == Accepted()
    await site.until(lambda: not site.snapshot.service.starts_at_login)
