from pathlib import Path

from app.jobs.workspace import Workspace


def test_nnunet_is_told_three_folders_of_one_root():
    workspace = Workspace(root=Path("/w"))
    assert workspace.environment == {
        "nnUNet_raw": "/w/nnUNet_raw",
        "nnUNet_preprocessed": "/w/nnUNet_preprocessed",
        "nnUNet_results": "/w/nnUNet_results",
    }
    assert workspace.raw_dataset == Path("/w/nnUNet_raw/Dataset001_Study")
    assert workspace.preprocessed_dataset == Path("/w/nnUNet_preprocessed/Dataset001_Study")
