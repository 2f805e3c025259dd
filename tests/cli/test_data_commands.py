import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from helpers.dicom_files import DicomStudy, noise

from app.cli import DONE, FAILED, run
from app.cli.data_commands import matching_files
from app.domain.errors import DataProblem, ErrorCode
from app.domain.shared import MinimalStatistics, PaperStatistics
from app.federation import shared_codec

VALLEY = Path(__file__).parents[2] / "resources" / "samples" / "hippocampus" / "valley"


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(VALLEY, tmp_path / "valley"))


def test_a_clean_folder_is_done(capsys):
    assert run(["check", str(VALLEY)]) == DONE
    assert "10 cases, 0 findings: this folder can be used" in capsys.readouterr().out


def test_a_missing_label_blocks_and_is_named_in_the_json(copy, capsys):
    label = min((copy / "labelsTr").iterdir())
    label.unlink()
    assert run(["check", str(copy), "--json"]) == FAILED
    report = json.loads(capsys.readouterr().out)
    assert report["blocks"]
    [finding] = [one for one in report["findings"] if one["severity"] == "blocks"]
    assert finding["case"] == label.name.removesuffix(".nii.gz")
    assert finding["sentence"]
    assert finding["remedy"]


@pytest.mark.parametrize("command", [["check"], ["fingerprint"]], ids=lambda words: words[0])
def test_a_folder_that_is_none_gets_a_sentence_and_a_remedy(tmp_path, command, capsys):
    file = tmp_path / "file.nii.gz"
    file.write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", file, tmp_path / "empty"):
        assert run([*command, str(folder)]) == FAILED
        told = capsys.readouterr()
        text = told.out + told.err
        assert folder.name in text.replace("\n", "")
        assert "Traceback" not in text


@pytest.mark.parametrize(
    ("policy", "kind"), [("minimal", MinimalStatistics), ("paper", PaperStatistics)]
)
def test_the_fingerprint_is_exactly_what_would_leave(policy, kind, capsysbinary):
    assert run(["fingerprint", str(VALLEY), "--policy", policy]) == DONE
    data = capsysbinary.readouterr().out
    shared = shared_codec.decode(data)
    assert isinstance(shared.statistics, kind)
    assert shared.cases == 10
    assert shared_codec.encode(shared) == data
    assert b"hippocampus" not in data, "no case name may leave"


def test_source_files_are_not_touched(copy):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    run(["check", str(copy)])
    run(["fingerprint", str(copy)])
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("*")}


def write_label(path: Path, array) -> None:
    path.parent.mkdir(exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.asarray(array, np.uint8)), str(path))


@pytest.fixture
def scored(tmp_path):
    reference = np.zeros((8, 8, 8))
    reference[2:6, 2:6, 2:6] = 1
    prediction = np.zeros((8, 8, 8))
    prediction[2:6, 2:6, 2:4] = 1
    write_label(tmp_path / "reference" / "a.nii.gz", reference)
    write_label(tmp_path / "prediction" / "a.nii.gz", prediction)
    (tmp_path / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "MRI"}, "labels": {"background": 0, "organ": 1},
                "numTraining": 1, "file_ending": ".nii.gz",
            }
        )
    )  # fmt: skip
    return [
        "score",
        "--reference",
        f"{tmp_path}/reference",
        "--prediction",
        f"{tmp_path}/prediction",
    ]


def test_scores_are_a_table_with_the_mean_last(scored, capsys):
    assert run(scored) == DONE
    # 32 voxels predicted, all within the 64 of the reference: 2 x 32 / 96.
    assert capsys.readouterr().out.splitlines()[-1] == "mean foreground Dice 0.6667"


def test_scores_as_json(scored, capsys):
    assert run([*scored, "--json"]) == DONE
    document = json.loads(capsys.readouterr().out)
    assert document["mean_foreground_dice"] == pytest.approx(2 / 3)
    [case] = document["cases"]
    assert case["case"] == "a"
    assert case["labels"][0]["reference_ml"] == pytest.approx(0.064)


def test_predictions_without_references_are_said(tmp_path, scored, capsys):
    (tmp_path / "prediction" / "a.nii.gz").rename(tmp_path / "prediction" / "b.nii.gz")
    assert run(scored) == FAILED
    assert "has a namesake" in capsys.readouterr().err


def test_only_files_in_both_folders_are_paired(tmp_path, scored):
    write_label(tmp_path / "prediction" / "z.nii.gz", np.zeros((2, 2, 2)))
    pairs = matching_files(tmp_path / "reference", tmp_path / "prediction", ".nii.gz")
    assert [pair[0] for pair in pairs] == ["a"]
    with pytest.raises(DataProblem) as caught:
        matching_files(tmp_path / "nowhere", tmp_path / "prediction", ".nii.gz")
    assert caught.value.code is ErrorCode.FOLDER_MISSING


def test_labels_must_be_described(tmp_path, scored, capsys):
    (tmp_path / "dataset.json").unlink()
    assert run(scored) == FAILED
    assert "--labels" in capsys.readouterr().err


def test_segmenting_nothing_is_said(tmp_path, capsys):
    for folder in (tmp_path / "nowhere", tmp_path):
        words = ["segment", "--model", "m.zip", "--input", str(folder), "--output", "o"]
        assert run(words) == FAILED
        assert "What you can do" in capsys.readouterr().err


def test_dicom_series_are_left_to_the_worker(tmp_path, monkeypatch, capsys):
    from app.cli import local_job
    from app.domain.segmentation import SegmentationResult
    from app.jobs.events import Segmented

    DicomStudy(tmp_path / "ward").series("ct", noise())
    jobs = []

    def played(job, folder):
        jobs.append(job)
        made = SegmentationResult(
            case="case-0001", channels=(), prediction="/o/a.nii.gz", reference=None,
            model_digest="d", dicom_seg="/o/a.seg.dcm",
        )  # fmt: skip
        return Segmented(results=(made,))

    monkeypatch.setattr(local_job, "run_here", played)
    words = ["--model", "m.zip", "--input", str(tmp_path / "ward"), "--output", str(tmp_path / "o")]
    assert run(["segment", *words]) == DONE
    [job] = jobs
    assert (job.cases, job.folder, job.workspace) == (
        (),
        str(tmp_path / "ward"),
        str(tmp_path / "o"),
    )
    assert capsys.readouterr().out.split() == ["/o/a.nii.gz", "/o/a.seg.dcm"]
