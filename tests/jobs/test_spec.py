"""Jobs and commands survive the spec file and the pipe."""

import typing

import msgspec
import pytest

from app.domain.dataset import Case
from app.domain.layout_proposal import (
    LayoutProposal,
    ProposedCase,
    ProposedChannel,
    ProposedStructure,
    Source,
    SourceKind,
    UnusedSource,
)
from app.domain.study import StudyTerms
from app.jobs import spec

TERMS = StudyTerms(
    name="n",
    purpose="p",
    contact="c",
    channel_names=("MR",),
    labels={"background": 0, "whole": (1, 2), "core": 2},
    regions_class_order=(1, 2),
)
PROPOSAL = LayoutProposal(
    layout="dicom",
    file_ending=".nii.gz",
    values_fixed=False,
    channels=(ProposedChannel(found="CT", name="CT", cases=1),),
    structures=(ProposedStructure(found="Leber", name="liver", value=1, cases=1),),
    cases=(
        ProposedCase(
            name="case-0001",
            found="ä",
            channels=(Source(kind=SourceKind.SERIES, path="ä/1", files=3, detail="CT"), None),
            labels=(Source(kind=SourceKind.SEG, path="ä/2"),),
        ),
    ),
    unused=(UnusedSource(source=Source(kind=SourceKind.FILE, path="x"), reason="why"),),
)
JOBS = [
    spec.CheckJob(folder="/d", channel_names=("MR",), labels={"background": 0, "whole": (1, 2)}),
    spec.ConvertJob(folder="/d", proposal=PROPOSAL, output="/o"),
    spec.FingerprintJob(folder="/d", content_digest="x", output="/o", leave_out=("a", "b")),
    spec.PlanJob(terms=TERMS, merged="/m", workspace="/w", output="/o", threads=2),
    spec.InitialModelJob(
        plan="/p",
        configuration="2d",
        seed=1,
        output="/o",
        also=(spec.FirstModel(configuration="2d", seed=2, output="/q"),),
    ),
    spec.PreprocessJob(plan="/p", folder="/d", workspace="/w", configuration="2d", fold="all"),
    spec.TrainJob(
        plan="/p",
        workspace="/w",
        configuration="2d",
        fold="0",
        total_epochs=4,
        iterations_per_epoch=2,
        validation_iterations=1,
        seed=2,
        checkpoint="/c",
    ),
    spec.InspectModelJob(model="/m.zip"),
    spec.CalibrateJob(terms=TERMS, workspace="/w", plan="/p", device="cuda"),
    spec.SegmentJob(
        model="/m", cases=(Case(name="ä", channels=("/a", "/b"), label=None),), output="/o"
    ),
    spec.ScoreJob(pairs=(("a", "/r", "/p"),), labels={"background": 0, "x": 1}, output="/o"),
    spec.ExportJob(
        plan="/p", folds={"0": "/w", "1": "/x"}, configuration="2d", model_name="m", output="/o"
    ),
    spec.ExportJob(
        plan="/p",
        folds={"0": "/w"},
        configuration="3d_cascade_fullres",
        model_name="m",
        output="/o",
        first_pass={"0": "/v"},
    ),
    spec.FirstPassJob(plan="/p", workspace="/w", folds={"0": "/v", "1": "/u"}, device="cpu"),
    spec.HeldOutJob(
        plan="/p", workspace="/w", configuration="2d", fold="0", weights="/m", device="cpu"
    ),
    spec.ProbeJob(device="cuda:1", threads=2),
]
COMMANDS = [
    spec.TrainRound(round=1, attempt=1, epochs=2, start_epoch=0, base=None, update="/u"),
    spec.Finish(),
]


def test_every_kind_is_here():
    assert {type(job) for job in JOBS} == set(typing.get_args(spec.AnyJob))
    assert {type(command) for command in COMMANDS} == set(typing.get_args(spec.AnyCommand))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: type(job).__name__)
def test_a_job_survives_its_spec_file(job):
    assert msgspec.json.decode(msgspec.json.encode(job), type=spec.AnyJob) == job


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_survives_its_line(command):
    line = msgspec.json.encode(command)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=spec.AnyCommand) == command
