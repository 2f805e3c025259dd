import os

import pytest
from helpers.own_environment import own_environment

from app.domain.errors import ErrorCode, SetupProblem
from app.nnunet.environment import enter


@pytest.fixture(scope="module", autouse=True)
def _own_environment():
    with own_environment():
        yield


def test_nnunet_sees_the_folders_of_the_workspace(tmp_path, monkeypatch):
    from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw, nnUNet_results

    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", "/elsewhere")
    folders = enter(tmp_path / "one")
    assert [str(nnUNet_raw), str(nnUNet_preprocessed), str(nnUNet_results)] == [
        str(folders.raw), str(folders.preprocessed), str(folders.results),
    ]  # fmt: skip
    assert folders.preprocessed_dataset.is_dir()
    enter(tmp_path / "two")
    assert str(nnUNet_raw) == os.fspath(tmp_path / "two/nnUNet_raw")


def test_a_workspace_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupProblem) as caught:
        enter(tmp_path / "file" / "workspace")
    assert caught.value.code is ErrorCode.WORKSPACE
