"""nnU-Net's folders on the child's side, and what its lookups need."""

from __future__ import annotations

import os
from pathlib import Path

from app.jobs.workspace import Workspace
from app.nnunet import torchvision_shim
from app.system.atomic import make_folder


def enter(workspace: Path) -> Workspace:
    """Make nnU-Net's folders below `workspace`, point nnU-Net at them, and return them.

    The runner has set the same variables before this process started; a caller in the same
    process (a test) gets them here. nnU-Net 2.8.1 reads its folders when it uses them, so this may
    come after its import, but must come before a trainer is made.

    Raises:
        SetupProblem: the folders cannot be made.
    """
    folders = Workspace(root=workspace)
    for folder in (folders.raw_dataset, folders.preprocessed_dataset, folders.results):
        make_folder(folder)
    os.environ.update(folders.environment)
    return folders


def prepare() -> None:
    """Make every trainer and network of nnunetv2 importable; costs a second, once per process.

    Only what may look up another class than the stock trainer needs it: models of unknown origin.
    """
    torchvision_shim.ensure()
