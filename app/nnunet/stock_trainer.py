"""A stock nnUNetTrainer and its end, as everything here that needs one makes it."""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from app.nnunet.convert import Json, fold_of


def make_trainer(
    plans: Json, *, configuration: str, fold: str, dataset: Json, device: torch.device
) -> Any:  # noqa: ANN401 - nnU-Net has no types
    """Make a trainer that is not initialized yet.

    A stock trainer pops `continue_training` from the plans that it is given; True only matters to a
    cloud logger that is off (nnunetv2 2.8.1, nnUNetTrainer.__init__).
    """
    return nnUNetTrainer(
        plans={**plans, "continue_training": False},
        configuration=configuration,
        fold=fold_of(fold),
        dataset_json=dataset,
        device=device,
    )


def end_augmenters(trainer: Any) -> None:  # noqa: ANN401
    """End the background processes of a trainer's loaders; safe to call twice."""
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        # Only the loader with background processes has it. `on_train_end` would do the same
        # after writing a checkpoint and replacing sys.stdout.
        finish = getattr(loader, "_finish", None)
        if finish is not None:
            finish()
