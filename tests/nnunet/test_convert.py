import hashlib

import pytest
from helpers import volumes

from app.domain.errors import PeerMistake, SetupProblem
from app.nnunet.convert import fold_of, read_plan


@pytest.fixture
def plan(tmp_path):
    return read_plan(volumes.write_plan(tmp_path / "plan.json"))


def test_a_plan_keeps_the_digest_of_its_bytes(plan, tmp_path):
    assert plan.digest == hashlib.sha256((tmp_path / "plan.json").read_bytes()).hexdigest()
    assert plan.plans == volumes.plan_content()["plans"]


def test_nnunet_gets_copies_that_it_may_change(plan):
    copy = plan.plans_for("Dataset777_Other")
    assert copy["dataset_name"] == "Dataset777_Other"
    copy["configurations"].clear()
    assert plan.plans == volumes.plan_content()["plans"]


def test_the_local_dataset_says_the_studys_words_and_the_sites_files(plan, tmp_path):
    data = volumes.dataset_folder(volumes.write_dataset(tmp_path / "data", cases=3))
    local = plan.local_dataset(data, frozenset({"case_001"}))
    assert local["labels"] == volumes.LABELS
    assert local["numTraining"] == 2
    assert list(local["dataset"]) == ["case_000", "case_002"]
    assert "dataset" not in plan.dataset


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"plans": 1}', b"\xff"])
def test_what_is_no_plan_is_refused(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(PeerMistake):
        read_plan(tmp_path / "plan.json")


def test_a_plan_that_is_not_there(tmp_path):
    with pytest.raises(SetupProblem, match="the study's plan is not in the workspace"):
        read_plan(tmp_path / "plan.json")


def test_folds_are_numbers_or_all():
    assert [fold_of(fold) for fold in ("0", "4", "all")] == [0, 4, "all"]
