import msgspec
import pytest
from helpers.snapshots import empty

from app.control import messages as m
from app.domain.dataset import Case, DatasetDescription, DatasetFolder
from app.domain.findings import Finding, Severity, ValidationReport
from app.domain.layout_proposal import ChannelAnswer, StructureAnswer
from app.domain.segmentation import CaseScore, CaseSource, LabelScore, ModelKind, SegmentationResult
from app.domain.training import EpochRecord

COMMANDS = [
    m.ChooseFolder(folder="/data"),
    m.CheckFolder(),
    m.ConfirmLayout(
        digest="0" * 64,
        channels=(ChannelAnswer(found="T1c", name="T1"),),
        structures=(StructureAnswer(found="GTV", name="tumour", value=1),),
        leave_out=("case-0002",),
    ),
    m.ProposeLayout(),
    m.ComputeFingerprint(leave_out=("a",)),
    m.AllowFingerprint(operator="A. Operator", digest="0" * 64),
    m.WithdrawAllowance(),
    m.ReadInvitation(path="a.fedjoin"),
    m.JoinStudy(path="a.fedjoin"),
    m.RunDoctor(path="a.fedjoin"),
    m.SetProxy(proxy="http://proxy:3128"),
    m.SetDevices(device="cuda:1", gpus=2, batch_size=1),
    m.Calibrate(path="a.fedjoin"),
    m.LeaveStudy(),
    m.PauseTraining(at_checkpoint=True),
    m.ResumeTraining(),
    m.SetSchedule(from_minute=20 * 60, to_minute=7 * 60, weekends=True, yield_card=True),
    m.SetStartAtLogin(on=True),
    m.PrepareReport(),
    m.SegmentCases(model="m", folder=None, mirroring=True, source=CaseSource.VALIDATION),
    m.InspectModel(path="/m.zip"),
    m.ForgetRun(serial=2),
    m.TrainBaseline(),
    m.StopJob(kind="CheckJob"),
    m.StopService(),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_every_command_survives_the_way(command):
    request = m.Request(number=3, command=command)
    assert msgspec.json.decode(msgspec.json.encode(request), type=m.Request) == request


def test_every_command_is_in_the_list_above():
    assert {type(command) for command in COMMANDS} == set(m.AnyCommand.__args__)


def test_a_full_snapshot_survives_the_way():
    record = EpochRecord(
        round=1, epoch=1, train_loss=0.5, validation_loss=None, pseudo_dice=(0.25, None),
        pseudo_dice_average=0.25, learning_rate=0.01, seconds=1.5,
    )  # fmt: skip
    finding = Finding(
        check="label-values", severity=Severity.BLOCKS, sentence="s", remedy="r", voxel=(1, 2, 3)
    )
    score = LabelScore(
        label="a", dice=None, hausdorff95_mm=1.5, surface_dice=0.5, reference_ml=1.0,
        prediction_ml=0.5, reference_components=1, prediction_components=2,
    )  # fmt: skip
    snapshot = msgspec.structs.replace(
        empty(),
        data=m.DataView(
            folder="/data",
            report=ValidationReport(
                folder="/data", cases=1, content_digest="0" * 64, findings=(finding,)
            ),
            dataset=DatasetFolder(
                root="/data", layout="nnU-Net",
                description=DatasetDescription(
                    channel_names=("MRI",), labels={"background": 0, "whole": (1, 2)},
                    file_ending=".nii.gz", regions_class_order=(1,),
                ),
                training=(Case(name="a", channels=("/data/a.nii.gz",), label="/data/l.nii.gz"),),
            ),
        ),
        federation=m.FederationView(link=m.LinkState.CONNECTED),
        training=m.TrainingView(epochs=(record,)),
        review=m.ReviewView(
            scores=(CaseScore(case="a", labels=(score,)),), labels={"whole": (1, 2), "core": 2},
            runs=(
                m.RunView(
                    serial=1,
                    model=m.ModelView(
                        name="m", path="/m.zip", digest="d", round=3, kind=ModelKind.FINAL
                    ),
                    source=CaseSource.FOLDER, folder="/f", mirroring=False, device="cpu",
                    begun_at=1.0, state=m.RunState.UNFINISHED, output="/o",
                    results=(
                        SegmentationResult(
                            case="a", channels=("/a",), prediction="/p", reference=None,
                            model_digest="d", dicom_seg="/p.seg.dcm",
                        ),
                    ),
                ),
            ),
            inspected=m.ModelInspection(path="/m.zip", problem="p", remedy="r"),
            baseline=m.BaselineView(epochs=(record,)),
        ),
    )  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=m.ServerMessage) == snapshot
