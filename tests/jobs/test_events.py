"""Events survive their line, with the values that real jobs put into them."""

import typing

import msgspec
import pytest

from app.domain.dataset import Case, DatasetDescription, DatasetFolder
from app.domain.findings import Finding, Severity, ValidationReport
from app.domain.plans import PlanSummary
from app.domain.rounds import TensorSpec
from app.domain.segmentation import CaseScore, LabelScore, SegmentationResult
from app.domain.training import EpochRecord, HeldOutScore, StepRecord
from app.jobs import events

TENSORS = (TensorSpec(name="a.weight", shape=(2, 3)), TensorSpec(name="n", shape=(), dtype="I64"))
EPOCH = EpochRecord(
    round=1,
    epoch=1,
    train_loss=0.5,
    validation_loss=None,
    pseudo_dice=(None, 0.25),
    pseudo_dice_average=None,
    learning_rate=0.01,
    seconds=1.5,
)
SEGMENTATION = SegmentationResult(
    case="a", channels=("/i",), prediction="/p", reference=None, model_digest="d"
)
HELD_OUT = HeldOutScore(cases=3, dice=(0.5, None))
EVENTS = [
    events.Progressed(done=1, total=2, what="reading"),
    events.Stepped(
        record=StepRecord(round=1, epoch=1, step=1, steps_per_epoch=2, loss=-0.5, seconds=0.1)
    ),
    events.EpochEnded(record=EPOCH),
    events.SessionReady(
        training_cases=4, validation_cases=1, device="cpu", epoch=0, tensors=TENSORS
    ),
    events.UpdateWritten(round=1, attempt=1, update="/u", sha256="s", size=1),
    events.RoundTrained(
        round=1, attempt=1, update="/u", sha256="s", size=1, cases=4, epochs=(EPOCH,)
    ),
    events.BaseScored(round=2, attempt=1, score=HELD_OUT),
    events.HeldOutScored(score=HELD_OUT),
    events.FirstPassSegmented(cases=12),
    events.Checkpointed(epoch=1),
    events.CasesFound(cases=(), labels={"background": 0, "whole": (1, 2)}, origins={"a": "b"}),
    events.ModelInspected(
        digest="d", channels=("MRI",), labels=("a",), configuration="2d", folds=5, trainer="t"
    ),
    events.CaseSegmented(result=SEGMENTATION),
    events.Noted(text="two\nlines"),
    events.Failed(code="disk-full", sentence="the disk is full"),
    events.Checked(
        report=ValidationReport(
            folder="/d",
            cases=1,
            content_digest="x",
            findings=(
                Finding(
                    check="label-values",
                    severity=Severity.BLOCKS,
                    sentence="s",
                    remedy="r",
                    voxel=(1, 2, 3),
                ),
            ),
        ),
        dataset=DatasetFolder(
            root="/d",
            layout="nnunet",
            description=DatasetDescription(
                channel_names=("MR",),
                labels={"background": 0, "whole": (1, 2)},
                file_ending=".nii.gz",
            ),
            training=(Case(name="a", channels=("/i",), label="/l"),),
        ),
    ),
    events.Fingerprinted(output="/o", cases=3),
    events.Planned(
        output="/o",
        digest="d",
        summary=PlanSummary(
            configuration="2d",
            spacing_mm=(1.0, 1.0),
            patch=(64, 64),
            batch_size=2,
            stages=4,
            features=(8, 16),
            normalisation=("ZScoreNormalization",),
            network="PlainConvUNet",
        ),
    ),
    events.ModelDrawn(output="/o", sha256="s", size=1, tensors=TENSORS),
    events.LayoutConfirmed(output="/o", cases=3, findings=1),
    events.Preprocessed(training_cases=4, validation_cases=1),
    events.SessionEnded(epoch=3),
    events.Calibrated(
        device="cpu",
        steps=3,
        step_s=0.5,
        validation_step_s=0.2,
        batch_size=2,
        patch=(8, 8, 8),
        scaled=False,
        real_images=True,
    ),
    events.Segmented(results=(SEGMENTATION,)),
    events.Scored(
        scores=(
            CaseScore(
                case="a",
                labels=(
                    LabelScore(
                        label="front",
                        dice=None,
                        hausdorff95_mm=None,
                        surface_dice=None,
                        reference_ml=0.0,
                        prediction_ml=0.0,
                        reference_components=0,
                        prediction_components=0,
                    ),
                ),
            ),
        )
    ),
    events.Exported(output="/o", sha256="s"),
    events.Probed(
        torch="2",
        torch_from="/t",
        nnunet="2",
        device="cuda:0",
        device_name="A",
        cuda="13.0",
        torchvision="native",
        trainers=("nnUNetTrainer",),
    ),
]


def test_every_kind_is_here():
    assert {type(event) for event in EVENTS} == set(typing.get_args(events.AnyEvent))
    assert set(typing.get_args(events.Result)) < set(typing.get_args(events.AnyEvent))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_survives_its_line(event):
    line = msgspec.json.encode(event)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=events.AnyEvent) == event
