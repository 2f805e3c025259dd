"""Every kind of job, one after the other as a study needs them, in the real rooms."""

from __future__ import annotations

import queue
import shutil
import typing
import zipfile
from pathlib import Path

import pytest
from helpers import volumes
from helpers.dicom_files import DicomStudy, noise
from helpers.own_environment import own_environment
from helpers.site_home import tree_digest

from app.datasets.dicom_index import index
from app.datasets.dicom_labels import segmentation_structures
from app.datasets.fingerprint_file import read_fingerprint
from app.datasets.images import read_volume
from app.datasets.scan import scan
from app.domain.errors import DataProblem, ErrorCode, JobFailed
from app.domain.folds import CASCADE, COARSE, SINGLE_FOLDS
from app.domain.study import Aggregation, Policy, StudyTerms
from app.federation.merging import encode_merged, merge
from app.federation.shared_codec import decode, encode
from app.jobs import events, spec
from app.nnunet.convert import read_plan
from app.nnunet.initial import draw
from app.nnunet.preprocessing import preprocess
from app.site.disclosure import share
from app.worker.dispatch import run

TERMS = StudyTerms(
    name="Balls",
    purpose="a test",
    contact="nobody",
    channel_names=(volumes.CHANNEL,),
    labels=dict(volumes.LABELS),
    rounds=1,
    iterations_per_epoch=1,
    validation_iterations=1,
)
CONFIGURATION = "3d_fullres"

# Looking up a class imports every trainer, and with them timm, which calls what torch deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def _own_environment():
    with own_environment():
        yield


class Pipe:
    """Stands for `app.worker.streams.Inbox`: commands put in beforehand, a stop when asked."""

    def __init__(self, *commands: spec.AnyCommand, stop_after: int | None = None) -> None:
        self._commands: queue.SimpleQueue[spec.AnyCommand | None] = queue.SimpleQueue()
        for command in (*commands, None):
            self._commands.put(command)
        self._stop_after = stop_after

    def next_command(self) -> spec.AnyCommand | None:
        return self._commands.get_nowait()

    def stopped(self) -> bool:
        if self._stop_after is None:
            return False
        self._stop_after -= 1
        return self._stop_after < 0


class Study:
    """Runs jobs in one folder and keeps what each told and gave."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = volumes.write_dataset(root / "data")
        self.told: dict[type, list] = {}
        self.results: dict[type, events.Result] = {}

    def path(self, name: str) -> str:
        return str(self.root / name)

    def do(self, job: spec.AnyJob, *commands: spec.AnyCommand) -> typing.Any:
        told = self.told[type(job)] = []
        result = self.results[type(job)] = run(job, tell=told.append, inbox=Pipe(*commands))
        return result


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of one site, done from the folder to the scores."""
    study = Study(tmp_path_factory.mktemp("study"))
    loose = study.root / "loose"
    shutil.copytree(study.data / "imagesTr", loose / "images")
    shutil.copytree(study.data / "labelsTr", loose / "labels")
    proposal = study.do(spec.CheckJob(folder=str(loose))).proposal
    study.do(spec.ConvertJob(folder=str(loose), proposal=proposal, output=study.path("confirmed")))
    checked = study.do(spec.CheckJob(folder=str(study.data)))
    study.do(
        spec.FingerprintJob(
            folder=str(study.data),
            content_digest=checked.report.content_digest,
            output=study.path("fingerprint"),
        )
    )
    local = read_fingerprint(Path(study.path("fingerprint")))
    shared = decode(encode(share(local, Policy.MINIMAL)))
    Path(study.path("merged")).write_bytes(encode_merged(merge([shared], rule=Aggregation.CASES)))
    study.do(
        spec.PlanJob(
            terms=TERMS,
            merged=study.path("merged"),
            workspace=study.path("planning"),
            output=study.path("plan"),
        )
    )
    study.do(
        spec.InitialModelJob(
            plan=study.path("plan"), configuration=CONFIGURATION, seed=1, output=study.path("base")
        )
    )
    study.do(
        spec.PreprocessJob(
            plan=study.path("plan"),
            folder=str(study.data),
            workspace=study.path("workspace"),
            configuration=CONFIGURATION,
            fold="0",
        )
    )
    study.do(
        spec.TrainJob(
            plan=study.path("plan"),
            workspace=study.path("workspace"),
            configuration=CONFIGURATION,
            fold="0",
            total_epochs=1,
            iterations_per_epoch=1,
            validation_iterations=1,
            seed=1,
            checkpoint=study.path("checkpoint"),
            device="cpu",
        ),
        spec.TrainRound(
            round=1,
            attempt=1,
            epochs=1,
            start_epoch=0,
            base=study.path("base"),
            update=study.path("update"),
        ),
        spec.Finish(),
    )
    study.do(
        spec.ExportJob(
            plan=study.path("plan"),
            folds={"0": study.path("update")},
            configuration=CONFIGURATION,
            model_name="Balls",
            output=study.path("model.zip"),
        )
    )
    study.do(
        spec.HeldOutJob(
            plan=study.path("plan"),
            workspace=study.path("workspace"),
            configuration=CONFIGURATION,
            fold="0",
            weights=study.path("update"),
            device="cpu",
        )
    )
    study.do(first_pass_of(study))
    study.do(spec.InspectModelJob(model=study.path("model.zip")))
    study.do(spec.ProbeJob(device="cpu"))
    study.do(
        spec.CalibrateJob(
            terms=TERMS,
            workspace=study.path("workspace"),
            plan=study.path("plan"),
            device="cpu",
            seconds=1.0,
        )
    )
    cases = scan(study.data).training[:2]
    segmented = study.do(
        spec.SegmentJob(
            model=study.path("model.zip"),
            cases=cases,
            output=study.path("segmented"),
            device="cpu",
            step_size=1.0,
        )
    )
    study.do(spec.InspectModelJob(model=study.path("model.zip")))
    study.do(
        spec.ScoreJob(
            pairs=tuple((r.case, str(r.reference), r.prediction) for r in segmented.results),
            labels=TERMS.labels,
            output=study.path("scores"),
        )
    )
    return study


def first_pass_of(study: Study) -> spec.FirstPassJob:
    """Prepare a cascade beside the study; one drawn model stands for all folds of its first pass."""
    plan = volumes.write_plan(Path(study.path("cascade")), volumes.cascade_content())
    workspace, weights = study.path("workspace-of-cascade"), study.path("coarse")
    preprocess(
        read_plan(plan),
        scan(study.data),
        workspace=Path(workspace),
        configuration=CASCADE,
        fold="0-4",
    )
    draw(plan, configuration=COARSE, seed=1, output=Path(weights))
    return spec.FirstPassJob(
        plan=str(plan),
        workspace=workspace,
        folds=dict.fromkeys(SINGLE_FOLDS, weights),
        device="cpu",
    )


def progress_of(study: Study, kind: type) -> list[tuple[int, int]]:
    told = study.told[kind]
    return [(event.done, event.total) for event in told if isinstance(event, events.Progressed)]


def test_a_confirmed_loose_folder_is_checked_like_any_other(study):
    assert study.results[spec.ConvertJob].cases == volumes.CASES
    assert study.results[spec.CheckJob].proposal is None
    checked = run(spec.CheckJob(folder=study.path("confirmed")), tell=lambda _: None, inbox=Pipe())
    assert checked.report.findings == ()
    assert checked.proposal is None
    assert checked.dataset.layout == "nnunet-map"
    assert checked.dataset.training[0].channels[0].startswith(study.path("loose"))


def test_every_kind_of_job_has_its_room(study):
    assert set(study.results) == set(typing.get_args(spec.AnyJob))
    assert {type(result) for result in study.results.values()} == set(
        typing.get_args(events.Result)
    )


@pytest.mark.parametrize(
    ("kind", "total"),
    [
        (spec.CheckJob, 6),
        (spec.FingerprintJob, 6),
        (spec.PreprocessJob, 6),
        (spec.SegmentJob, 2),
        (spec.ScoreJob, 2),
    ],
)
def test_work_on_cases_tells_how_far_it_is(study, kind, total):
    told = progress_of(study, kind)
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_the_check_found_nothing_that_blocks(study):
    checked = study.results[spec.CheckJob]
    assert not checked.report.blocks
    assert checked.dataset.description.labels == volumes.LABELS


def test_the_plan_is_told_in_short(study):
    planned = study.results[spec.PlanJob]
    assert planned.summary.configuration == CONFIGURATION
    assert planned.summary.batch_size >= 2
    assert len(planned.digest) == 64


def test_the_first_model_fits_the_session(study):
    (ready,) = [e for e in study.told[spec.TrainJob] if isinstance(e, events.SessionReady)]
    assert study.results[spec.InitialModelJob].tensors == ready.tensors


def test_the_session_trained_and_closed(study):
    assert study.results[spec.TrainJob] == events.SessionEnded(epoch=1)
    (trained,) = [e for e in study.told[spec.TrainJob] if isinstance(e, events.RoundTrained)]
    assert trained.size == study.results[spec.InitialModelJob].size
    assert trained.cases == 4


def test_the_model_is_a_zip_with_our_digest(study):
    exported = study.results[spec.ExportJob]
    with zipfile.ZipFile(exported.output) as archive:
        assert any(name.endswith("fold_0/checkpoint_final.pth") for name in archive.namelist())
    assert len(exported.sha256) == 64


def test_cases_are_told_as_they_are_segmented(study):
    told = study.told[spec.SegmentJob]
    shown = [event.result for event in told if isinstance(event, events.CaseSegmented)]
    assert tuple(shown) == study.results[spec.SegmentJob].results
    assert [Path(result.prediction).exists() for result in shown] == [True, True]


def test_a_model_file_is_told_without_running_it(study):
    found = study.results[spec.InspectModelJob]
    assert (found.channels, found.labels) == ((volumes.CHANNEL,), ("front", "back"))
    assert (found.configuration, found.folds, found.trainer) == (CONFIGURATION, 1, "nnUNetTrainer")
    [segmented] = {r.model_digest for r in study.results[spec.SegmentJob].results}
    assert found.digest == segmented
    with pytest.raises(DataProblem):
        run(spec.InspectModelJob(model=study.path("plan")), tell=lambda _: None, inbox=Pipe())


def test_dicom_series_become_nifti_and_dicom_seg(study, tmp_path):
    """From a folder of DICOM to both files; what lies where is the same in both."""
    source, output = tmp_path / "ward", tmp_path / "out"
    for number in range(2):
        DicomStudy(source / f"p{number}").series("scan", noise((14, 20, 24), seed=number))
    before = tree_digest(source)
    told = []
    job = spec.SegmentJob(
        model=study.path("model.zip"),
        output=str(output),
        folder=str(source),
        workspace=str(output),
        device="cpu",
        step_size=1.0,
    )
    results = run(job, tell=told.append, inbox=Pipe()).results
    [found] = [event for event in told if isinstance(event, events.CasesFound)]
    assert found.origins == {"case-0001": "p0/scan", "case-0002": "p1/scan"}
    assert found.labels == dict(volumes.LABELS)
    assert tree_digest(source) == before
    for result, place in zip(results, ("p0", "p1"), strict=True):
        prediction = read_volume(Path(result.prediction))
        assert result.warnings == ()
        (series,) = index(source / place).series
        assert prediction.array.shape == series.geometry.shape
        structures = segmentation_structures(Path(result.dicom_seg), series.geometry)
        assert [one.found for one in structures] == ["front", "back"]
        for structure, value in zip(structures, (1, 2), strict=True):
            assert (structure.draw()[0] == (prediction.array == value)).all()
    # Begun again, nothing is made anew: neither images, nor segmentations, nor DICOM SEG.
    stamps = {path: path.stat().st_mtime_ns for path in output.rglob("case-*") if path.is_file()}
    assert run(job, tell=told.append, inbox=Pipe()).results == results
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_references_that_mean_something_else_are_not_compared(study):
    told = []
    cases = scan(study.data).training[:1]
    run(
        spec.SegmentJob(
            model=study.path("model.zip"),
            cases=cases,
            labels={"background": 0, "liver": 1},
            output=study.path("segmented"),
            device="cpu",
            step_size=1.0,
        ),
        tell=told.append,
        inbox=Pipe(),
    )
    [found] = [event for event in told if isinstance(event, events.CasesFound)]
    assert [case.label for case in found.cases] == [None]


def test_weights_are_scored_on_the_cases_that_were_held_out(study):
    assert study.results[spec.FirstPassJob].cases == volumes.CASES
    assert progress_of(study, spec.FirstPassJob)[-1] == (volumes.CASES, volumes.CASES)
    score = study.results[spec.HeldOutJob].score
    assert score.cases == volumes.CASES - 4
    assert len(score.dice) == 2


def test_scores_are_kept_and_given(study):
    scored = study.results[spec.ScoreJob]
    assert [score.case for score in scored.scores] == ["case_000", "case_001"]
    assert [label.label for label in scored.scores[0].labels] == ["front", "back"]
    assert Path(study.path("scores")).stat().st_size > 0


@pytest.mark.parametrize(
    "job",
    [
        lambda study: spec.CheckJob(folder=str(study.data)),
        lambda study: spec.FingerprintJob(
            folder=str(study.data), content_digest="", output=study.path("other")
        ),
        lambda study: spec.InitialModelJob(
            plan=study.path("plan"), configuration=CONFIGURATION, seed=1, output=study.path("x")
        ),
        lambda study: spec.ScoreJob(
            pairs=(("a", "/nowhere", "/nowhere"),), labels=TERMS.labels, output=study.path("y")
        ),
    ],
)
def test_a_stop_is_never_a_result(study, job):
    with pytest.raises(JobFailed) as caught:
        run(job(study), tell=lambda _event: None, inbox=Pipe(stop_after=0))
    assert caught.value.code is ErrorCode.JOB_STOPPED


def test_a_session_whose_parent_went_away_was_stopped(study):
    job = study_job(study)
    with pytest.raises(JobFailed, match="training was stopped") as caught:
        run(job, tell=lambda _event: None, inbox=Pipe())
    assert caught.value.code is ErrorCode.JOB_STOPPED


def study_job(study: Study) -> spec.TrainJob:
    return spec.TrainJob(
        plan=study.path("plan"),
        workspace=study.path("workspace"),
        configuration=CONFIGURATION,
        fold="0",
        total_epochs=1,
        iterations_per_epoch=1,
        validation_iterations=1,
        seed=1,
        checkpoint=study.path("none"),
        device="cpu",
    )


def test_first_models_of_further_folds_are_drawn_by_the_same_worker(study, tmp_path):
    plan, one, two = study.path("plan"), tmp_path / "one", tmp_path / "two"
    also = (spec.FirstModel(configuration=CONFIGURATION, seed=2, output=str(two)),)
    job = spec.InitialModelJob(
        plan=plan, configuration=CONFIGURATION, seed=1, output=str(one), also=also
    )
    run(job, tell=lambda _event: None, inbox=Pipe())
    assert one.read_bytes() == Path(study.path("base")).read_bytes()
    # Whatever was drawn before in this process, the seed alone decides.
    draw(Path(plan), configuration=CONFIGURATION, seed=2, output=tmp_path / "alone")
    assert two.read_bytes() == (tmp_path / "alone").read_bytes() != one.read_bytes()
