"""A stock nnUNetTrainer, its predictor and its end, as everything here that needs one makes them."""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
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


def make_predictor(trainer: Any, *, mirroring: bool) -> Any:  # noqa: ANN401
    """Make nnU-Net's predictor of what a trainer has learned, for cases that are prepared already.

    The network must be without deep supervision before it predicts.
    """
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=mirroring,
        perform_everything_on_device=trainer.device.type == "cuda",
        device=trainer.device,
        verbose=False,
        verbose_preprocessing=False,
        allow_tqdm=False,
    )
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    return predictor


def end_augmenters(trainer: Any) -> None:  # noqa: ANN401
    """End the background processes of a trainer's loaders; safe to call twice."""
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        # Only the loader with background processes has it. `on_train_end` would do the same
        # after writing a checkpoint and replacing sys.stdout.
        finish = getattr(loader, "_finish", None)
        if finish is not None:
            finish()
