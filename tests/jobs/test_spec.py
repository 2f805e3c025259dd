import msgspec
import pytest

from app.domain.dataset import Case
from app.domain.study import StudyTerms
from app.jobs import spec

TERMS = StudyTerms(
    name="n", purpose="p", contact="c", channel_names=("MRI",),
    labels={"background": 0, "whole": (1, 2), "core": 2}, regions_class_order=(1, 2),
)  # fmt: skip
JOBS = [
    spec.CheckJob(folder="/d", labels={"background": 0, "whole": (1, 2)}, channel_names=("MRI",)),
    spec.FingerprintJob(folder="/d", content_digest="0" * 64, output="/o", leave_out=("a",)),
    spec.PlanJob(terms=TERMS, merged="/m", workspace="/w", output="/o"),
    spec.InitialModelJob(plan="/p", configuration="2d", seed=1, output="/o"),
    spec.PreprocessJob(plan="/p", folder="/d", workspace="/w", configuration="2d", fold="all"),
    spec.TrainJob(
        plan="/p", workspace="/w", configuration="2d", fold="0", total_epochs=3,
        iterations_per_epoch=4, validation_iterations=1, seed=1, checkpoint="/c",
    ),
    spec.SegmentJob(
        model="/m.zip", cases=(Case(name="a", channels=("/a",), label=None),), output="/o"
    ),
    spec.ScoreJob(pairs=(("a", "/r", "/p"),), labels={"core": 2}, output="/o"),
    spec.ExportJob(
        plan="/p", weights="/w", configuration="2d", fold="0", model_name="M", output="/o"
    ),
]  # fmt: skip
COMMANDS = [
    spec.TrainRound(round=1, attempt=1, epochs=2, start_epoch=0, base=None, update="/u"),
    spec.Finish(),
]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: type(job).__name__)
def test_every_job_survives_the_way_to_its_worker(job):
    assert msgspec.json.decode(msgspec.json.encode(job), type=spec.AnyJob) == job


def test_every_kind_of_job_is_in_the_list_above():
    assert {type(job) for job in JOBS} == set(spec.AnyJob.__args__)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_every_command_survives_the_way_to_its_worker(command):
    assert msgspec.json.decode(msgspec.json.encode(command), type=spec.AnyCommand) == command
