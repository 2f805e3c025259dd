"""One test per name of nnU-Net that this program touches, so that an upgrade fails by name."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import volumes


@pytest.fixture(scope="module")
def trainer_class():
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    return nnUNetTrainer


@pytest.fixture
def trainer(trainer_class, tmp_path, monkeypatch):
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.setenv("nnUNet_compile", "f")
    content = volumes.plan_content()
    return trainer_class(
        plans=content["plans"] | {"continue_training": False},
        configuration="3d_fullres",
        fold=0,
        dataset_json=content["dataset"],
        device=torch.device("cpu"),
    )


def test_the_version_is_the_one_that_was_read():
    from importlib.metadata import version

    assert version("nnunetv2") == "2.8.1"


def test_the_trainer_keeps_its_name(trainer_class):
    from app.nnunet.weights import TRAINER_NAME

    assert trainer_class.__name__ == TRAINER_NAME == "nnUNetTrainer"


def test_the_trainers_arguments(trainer_class):
    assert list(inspect.signature(trainer_class).parameters) == [
        "plans", "configuration", "fold", "dataset_json", "device",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "hook",
    [
        "initialize",
        "on_train_start",
        "on_epoch_start",
        "on_train_epoch_start",
        "on_train_epoch_end",
        "on_validation_epoch_start",
        "on_validation_epoch_end",
        "on_epoch_end",
        "do_split",
    ],
)
def test_a_hook_of_the_trainer(trainer_class, hook):
    required = [
        name
        for name, parameter in inspect.signature(getattr(trainer_class, hook)).parameters.items()
        if parameter.default is parameter.empty and name != "self"
    ]
    assert len(required) == (1 if hook in {"on_train_epoch_end", "on_validation_epoch_end"} else 0)


def test_the_body_of_run_training_is_the_one_that_the_session_repeats(trainer_class):
    body = inspect.getsource(trainer_class.run_training)
    steps = [
        "self.on_train_start()",
        "self.on_epoch_start()",
        "self.on_train_epoch_start()",
        "self.train_step(next(self.dataloader_train))",
        "self.on_train_epoch_end(train_outputs)",
        "with torch.no_grad():",
        "self.on_validation_epoch_start()",
        "self.validation_step(next(self.dataloader_val))",
        "self.on_validation_epoch_end(val_outputs)",
        "self.on_epoch_end()",
        "self.on_train_end()",
    ]
    places = [body.index(step) for step in steps]
    assert places == sorted(places)
    assert body.count("self.on_") == 8


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("num_epochs", 1000),
        ("num_iterations_per_epoch", 250),
        ("num_val_iterations_per_epoch", 50),
        ("current_epoch", 0),
        ("disable_checkpointing", False),
        ("dataloader_train", None),
        ("dataloader_val", None),
        ("grad_scaler", None),
        ("network", None),
        ("optimizer", None),
        ("inference_allowed_mirroring_axes", None),
    ],
)
def test_an_attribute_of_the_trainer(trainer, attribute, value):
    assert getattr(trainer, attribute) == value


def test_the_constructor_takes_continue_training_out_of_the_plans(trainer_class):
    assert 'plans.pop("continue_training")' in inspect.getsource(trainer_class.__init__)


def test_the_logs_lists(trainer):
    assert set(trainer.logger.local_logger.my_fantastic_logging) == {
        "mean_fg_dice",
        "ema_fg_dice",
        "dice_per_class_or_region",
        "train_losses",
        "val_losses",
        "lrs",
        "epoch_start_timestamps",
        "epoch_end_timestamps",
    }
    assert callable(trainer.logger.plot_progress_png)


def test_the_log_continues_its_average_from_the_epoch_before(trainer):
    trainer.logger.log("mean_fg_dice", 0.5, 0)
    trainer.logger.log("mean_fg_dice", 1.0, 1)
    assert trainer.logger.get_value("ema_fg_dice", None) == [0.5, pytest.approx(0.55)]


def test_the_schedule_spans_num_epochs(trainer):
    trainer.num_epochs = 10
    trainer.network = torch.nn.Linear(1, 1)
    optimizer, schedule = trainer.configure_optimizers()
    schedule.step(5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * 0.5**0.9)


def test_the_network_is_built_by_a_static_method(trainer_class):
    parameters = inspect.signature(trainer_class.build_network_architecture).parameters
    assert list(parameters) == [
        "plans_manager", "configuration_manager", "num_input_channels", "num_output_channels",
        "enable_deep_supervision",
    ]  # fmt: skip


def test_all_axes_may_be_mirrored(trainer):
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert trainer.inference_allowed_mirroring_axes == (0, 1, 2)


def test_the_preprocessors_case_method():
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    assert list(inspect.signature(DefaultPreprocessor(verbose=False).run_case_save).parameters) == [
        "output_filename_truncated", "image_files", "seg_file", "plans_manager",
        "configuration_manager", "dataset_json",
    ]  # fmt: skip


def test_a_prepared_case_is_three_files(tmp_path):
    from nnunetv2.training.dataloading.nnunet_dataset import (
        infer_dataset_class,
        nnUNetDatasetBlosc2,
    )

    from app.nnunet.preprocessing import _FILES_OF_CASE

    array = np.zeros((1, 8, 8, 8), np.float32)
    nnUNetDatasetBlosc2.save_case(
        array, array, {}, str(tmp_path / "a"), chunks=array.shape, blocks=array.shape
    )
    assert {path.name for path in tmp_path.iterdir()} == {f"a{end}" for end in _FILES_OF_CASE}
    assert infer_dataset_class(str(tmp_path)) is nnUNetDatasetBlosc2
    # Why the record of finished cases lies beside the folder and not in it.
    (tmp_path / "done.json").touch()
    with pytest.raises(AssertionError, match="more than one file ending"):
        infer_dataset_class(str(tmp_path))


def test_the_plans_managers_names():
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    content = volumes.plan_content()
    plans = PlansManager(content["plans"])
    configuration = plans.get_configuration("3d_fullres")
    assert configuration.data_identifier == "nnUNetPlans_3d_fullres"
    assert configuration.preprocessor_class.__name__ == "DefaultPreprocessor"
    assert plans.get_label_manager(content["dataset"]).num_segmentation_heads == 3
    assert determine_num_input_channels(plans, configuration, content["dataset"]) == 1


def test_no_augmenters_means_none_in_the_background(monkeypatch):
    from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    assert get_allowed_n_proc_DA() == 0


def test_background_augmenters_are_ended_by_finish():
    from batchgenerators.dataloading.nondet_multi_threaded_augmenter import (
        NonDetMultiThreadedAugmenter,
    )

    assert callable(NonDetMultiThreadedAugmenter._finish)


def test_training_needs_no_torchvision(project_root):
    """The second that its import takes is spared as long as this holds."""
    code = (
        "import sys; import app.nnunet.session, app.nnunet.preprocessing, app.nnunet.initial;"
        "from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor;"
        "print('torchvision' in sys.modules, 'timm' in sys.modules)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root, check=True
    )
    assert child.stdout.split()[-2:] == ["False", "False"]
