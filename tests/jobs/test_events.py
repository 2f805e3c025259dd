import msgspec
import pytest

from app.domain.findings import ValidationReport
from app.domain.plans import PlanSummary
from app.domain.rounds import TensorSpec
from app.domain.segmentation import CaseScore, SegmentationResult
from app.domain.training import EpochRecord, StepRecord
from app.jobs import events

STEP = StepRecord(round=1, epoch=1, step=1, steps_per_epoch=2, loss=0.5, seconds=0.25)
EPOCH = EpochRecord(
    round=1, epoch=1, train_loss=0.5, validation_loss=None, pseudo_dice=(None, 0.5),
    pseudo_dice_average=None, learning_rate=0.01, seconds=2.0,
)  # fmt: skip
TENSOR = TensorSpec(name="a", shape=(1, 2))
SUMMARY = PlanSummary(
    configuration="2d", spacing_mm=(1.0, 1.0), patch=(64, 64), batch_size=12, stages=5,
    features=(32, 64), normalisation=("ZScoreNormalization",), network="PlainConvUNet",
)  # fmt: skip
RESULT = SegmentationResult(
    case="a", channels=("/a",), prediction="/p", reference=None, model_digest="0" * 64
)
EVENTS = [
    events.Progressed(done=1, total=2, what="checking cases"),
    events.Stepped(record=STEP),
    events.EpochEnded(record=EPOCH),
    events.SessionReady(
        training_cases=8, validation_cases=2, device="cpu", epoch=0, tensors=(TENSOR,)
    ),
    events.RoundTrained(
        round=1, attempt=1, update="/u", sha256="0" * 64, size=3, cases=8, epochs=(EPOCH,)
    ),
    events.Checkpointed(epoch=1),
    events.CaseSegmented(result=RESULT),
    events.Noted(text="started"),
    events.Failed(code="gpu-memory", sentence="no memory"),
    events.Checked(
        report=ValidationReport(folder="/d", cases=0, content_digest="0" * 64, findings=()),
        dataset=None,
    ),
    events.Fingerprinted(output="/o", cases=3),
    events.Planned(output="/o", digest="0" * 64, summary=SUMMARY),
    events.ModelDrawn(output="/o", sha256="0" * 64, size=1, tensors=(TENSOR,)),
    events.Preprocessed(training_cases=8, validation_cases=2),
    events.SessionEnded(epoch=3),
    events.Segmented(results=(RESULT,)),
    events.Scored(scores=(CaseScore(case="a", labels=()),)),
    events.Exported(output="/o", sha256="0" * 64),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_survives_the_way_to_its_service(event):
    line = msgspec.json.encode(event)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=events.AnyEvent) == event


def test_every_kind_of_event_is_in_the_list_above():
    assert {type(event) for event in EVENTS} == set(events.AnyEvent.__args__)
