from __future__ import annotations

import pytest
from helpers import snapshots
from helpers.window_desk import MemoryBook, RecordedService, StillClock
from msgspec.structs import replace

from app.control.messages import (
    AllowFingerprint,
    Calibrate,
    CheckFolder,
    ChooseFolder,
    ComputeFingerprint,
    ForgetRun,
    InspectModel,
    JoinStudy,
    LeaveStudy,
    PauseTraining,
    ReadInvitation,
    Refused,
    ResumeTraining,
    SegmentCases,
    SetDevices,
    SetSchedule,
    StopJob,
    TrainBaseline,
    WithdrawAllowance,
)
from app.domain.errors import ErrorCode, SetupProblem
from app.domain.segmentation import CaseSource, Verdict
from app.system.problem_report import ReportText
from app.ui.messages import Message
from app.ui.presenters.desk import Desk
from app.ui.presenters.review import Opinion, present_review
from app.ui.presenters.segment import SegmentWish
from app.ui.presenters.volumes import CasePaths, LoadedCase
from app.ui.text import Tone


@pytest.fixture
def service():
    return RecordedService(snapshots.to_allow())


@pytest.fixture
def desk(qapp, service):
    return Desk(service, clock=StillClock(snapshots.NOW), verdicts=MemoryBook())


@pytest.fixture
def heard(desk):
    messages: list[Message] = []
    desk.message_told.connect(messages.append)
    return messages


@pytest.mark.parametrize(
    ("wish", "command"),
    [
        (lambda desk: desk.choose_folder("/data"), ChooseFolder(folder="/data")),
        (lambda desk: desk.check_folder(), CheckFolder()),
        (lambda desk: desk.stop_job("check"), StopJob(kind="check")),
        (lambda desk: desk.compute_fingerprint(), ComputeFingerprint()),
        (lambda desk: desk.allow("A", "d" * 64), AllowFingerprint(operator="A", digest="d" * 64)),
        (lambda desk: desk.withdraw(), WithdrawAllowance()),
        (lambda desk: desk.join("/x.fedjoin"), JoinStudy(path="/x.fedjoin")),
        (lambda desk: desk.leave(), LeaveStudy()),
        (lambda desk: desk.pause(at_checkpoint=True), PauseTraining(at_checkpoint=True)),
        (lambda desk: desk.pause(at_checkpoint=False), PauseTraining()),
        (
            lambda desk: desk.set_schedule(1200, 420, weekends=True, yield_card=False),
            SetSchedule(from_minute=1200, to_minute=420, weekends=True),
        ),
        (lambda desk: desk.resume(), ResumeTraining()),
        (lambda desk: desk.measure(), Calibrate()),
        (lambda desk: desk.measure("/x.fedjoin"), Calibrate(path="/x.fedjoin")),
        (lambda desk: desk.use_cards(2), SetDevices(gpus=2)),
        (lambda desk: desk.use_batch(1), SetDevices(batch_size=1)),
        (
            lambda desk: desk.segment(
                SegmentWish(
                    model="/m.zip",
                    source=CaseSource.VALIDATION,
                    folder="",
                    mirroring=True,
                    device="cpu",
                )
            ),
            SegmentCases(
                model="/m.zip",
                folder=None,
                source=CaseSource.VALIDATION,
                mirroring=True,
                device="cpu",
            ),
        ),
        (lambda desk: desk.inspect_model("/m.zip"), InspectModel(path="/m.zip")),
        (lambda desk: desk.forget_run(3), ForgetRun(serial=3)),
        (lambda desk: desk.train_baseline(), TrainBaseline()),
    ],
)
def test_wishes_become_commands(desk, service, wish, command):
    wish(desk)
    assert service.commands == [command]


def test_one_choice_leaves_the_others_as_they_are(desk, service, heard):
    view = service.snapshot.training
    devices = replace(view.devices, device="cuda", gpus=2, batch_size=4)
    service.snapshot = replace(service.snapshot, training=replace(view, devices=devices))
    desk.use_batch(None)
    desk.use_cards(None)
    assert service.commands == [
        SetDevices(device="cuda", gpus=2),
        SetDevices(device="cuda", batch_size=4),
    ]
    assert [message.sentence for message in heard] == ["It holds from the next round on."] * 2


def test_a_refusal_is_told_with_its_remedy(desk, service, heard):
    service.replies = [Refused(code="x", sentence="this folder is empty", remedy="Choose another.")]
    desk.choose_folder("/data")
    assert heard == [
        Message(sentence="This folder is empty", remedy="Choose another.", tone=Tone.WARNING)
    ]


def test_quiet_deeds_are_not_announced_others_are(desk, heard):
    desk.choose_folder("/data")
    assert heard == []
    desk.pause(at_checkpoint=True)
    assert [message.sentence for message in heard] == ["Training pauses at the next checkpoint."]


def test_an_invitation_is_read_and_not_joined(desk, service, qtbot):
    service.replies = [snapshots.invitation()]
    with qtbot.waitSignal(desk.invitation_read) as read:
        desk.read_invitation("/x.fedjoin")
    assert service.commands == [ReadInvitation(path="/x.fedjoin")]
    assert read.args[0].title == "Hippocampus sample study"


def test_an_unreadable_invitation_is_refused_in_words(desk, service, heard, qtbot):
    service.replies = [Refused(code="x", sentence="not an invitation", remedy="Ask again.")]
    with qtbot.assertNotEmitted(desk.invitation_read):
        desk.read_invitation("/x.fedjoin")
    assert heard[0].sentence == "Not an invitation"


def test_cases_left_out_count_from_the_next_computation(desk, service, qtbot):
    with qtbot.waitSignal(desk.changed):
        desk.switch_case("hippocampus_143", taken=False)
    desk.switch_case("hippocampus_007", taken=False)
    desk.switch_case("hippocampus_007", taken=True)
    assert service.commands == []
    desk.compute_fingerprint()
    assert service.commands == [ComputeFingerprint(leave_out=("hippocampus_143",))]
    assert desk.left_out is None


def test_verdicts_go_to_the_book_and_back(desk, service, qtbot):
    service.snapshot = snapshots.finished()
    with qtbot.waitSignal(desk.changed):
        desk.judge("hippocampus_144", Verdict.FLAGGED, "too large")
    said = {"hippocampus_144": Opinion(verdict=Verdict.FLAGGED, comment="too large")}
    assert desk.opinions() == said
    assert desk.reviewed == 1
    desk.judge("nobody", Verdict.FLAGGED, "")
    assert desk.opinions() == said
    assert desk.take_back() == "hippocampus_144"
    assert desk.take_back() is None


def test_a_verdict_that_cannot_be_written_is_told(service, qapp):
    service.snapshot = snapshots.finished()

    class FullBook(MemoryBook):
        def judge(self, result, verdict, comment, voxel, reason=""):
            raise SetupProblem("the disk is full", code=ErrorCode.DISK_FULL)

    desk = Desk(service, clock=StillClock(0), verdicts=FullBook())
    heard: list[Message] = []
    desk.message_told.connect(heard.append)
    desk.judge("hippocampus_144", Verdict.ACCEPTED, "")
    assert heard[0].sentence == "The disk is full"
    assert heard[0].remedy


def test_only_the_last_wished_case_is_shown(qapp, qtbot):
    class LateService(RecordedService):
        def __init__(self):
            super().__init__()
            self.waiting = []

        def compute(self, work, on_result, on_problem):
            self.waiting.append(lambda: on_result(work()))

    service = LateService()
    desk = Desk(service, clock=StillClock(0))
    shown: list[LoadedCase] = []
    desk.case_read.connect(lambda _place, loaded: shown.append(loaded))
    for case in snapshots.dataset().held_out[:2]:
        desk.read_case("review", CasePaths(case=case.name, image=case.channels[0]))
    for finish in service.waiting:
        finish()
    assert [loaded.case for loaded in shown] == [snapshots.dataset().held_out[1].name]


def test_a_case_that_cannot_be_read_is_told_where_it_would_stand(desk, qtbot, tmp_path):
    with qtbot.waitSignal(desk.case_read) as told:
        desk.read_case("data", CasePaths(case="x", image=str(tmp_path / "gone.nii.gz")))
    place, message = told.args
    assert place == "data"
    assert isinstance(message, Message)
    assert message.tone is Tone.DANGER


def test_the_next_case_is_read_ahead_and_read_once(service):
    service.snapshot = snapshots.finished()
    desk = Desk(service, clock=StillClock(0), verdicts=MemoryBook())
    reads, shown = [], []
    compute = service.compute
    service.compute = lambda work, *more: (reads.append(1), compute(work, *more))
    desk.case_read.connect(lambda place, loaded: shown.append((place, loaded.case)))
    first, second = present_review(service.snapshot).details[:2]
    desk.read_case("review", desk.paths_of(first), then=desk.paths_of(second))
    assert len(reads) == 3  # the case, its errors, the next case
    assert shown == [("review", first.case)]
    desk.read_case("review", desk.paths_of(second))
    assert len(reads) == 4  # only the errors of the next one
    assert shown[-1] == ("review", second.case)


def test_another_runs_segmentation_of_the_same_image_is_found(service):
    service.snapshot = snapshots.finished()
    desk = Desk(service, clock=StillClock(0), verdicts=MemoryBook())
    detail = present_review(service.snapshot).details[0]
    beside = desk.paths_beside(detail, 1, voxel=(1, 2, 3))
    assert (beside.image, beside.voxel) == (detail.channels[0], (1, 2, 3))
    assert desk.paths_beside(detail, 99, voxel=None) is None


def test_a_report_is_made_here_while_no_service_can_be_asked(service, heard):
    texts = (ReportText(name="README.txt", text="read me"),)
    lonely = Desk(service, clock=StillClock(0.0), collect=lambda: texts)
    read = []
    lonely.report_read.connect(read.append)
    service.replies = [Refused(code="x", sentence="no service is attached", remedy="")]
    lonely.prepare_report()
    assert read == [texts]


def test_a_report_that_cannot_be_saved_is_told(desk, heard, tmp_path):
    desk.save_problem_report(tmp_path / "a" / "b" / "c.zip", ())
    (tmp_path / "file").touch()
    desk.save_problem_report(tmp_path / "file" / "c.zip", ())
    assert heard[-1].tone is Tone.DANGER


def test_what_is_reviewed_is_counted_of_the_newest_run(service):
    service.snapshot = snapshots.finished()
    desk = Desk(service, clock=StillClock(0), verdicts=MemoryBook())
    desk.judge("hippocampus_144", Verdict.ACCEPTED, "")
    desk.show_run(1)
    assert desk.reviewed == 1
