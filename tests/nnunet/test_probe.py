import pytest
import torch
from helpers.own_environment import own_environment

from app.domain.errors import SetupProblem
from app.nnunet import probe as module
from app.nnunet.probe import probe

# Looking up a class imports every trainer, and with them timm, which calls what torch deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture(autouse=True)
def _own_environment():
    with own_environment():
        yield


def test_it_tells_versions_device_and_what_a_lookup_found():
    found = probe("cpu")
    assert found.torch == torch.__version__
    assert torch.__file__.startswith(found.torch_from)
    assert found.nnunet == "2.8.1"
    assert (found.device, found.device_name) == ("cpu", "")
    assert found.trainers == ("nnUNetTrainer", "nnUNetTrainerNoMirroring")


def test_a_class_that_is_not_found_is_named(monkeypatch):
    monkeypatch.setattr(module, "recursive_find_python_class", lambda *_: None)
    with pytest.raises(SetupProblem, match="does not find its class nnUNetTrainer "):
        probe("cpu")


def test_a_device_that_computes_wrong_numbers_is_refused(monkeypatch):
    monkeypatch.setattr(torch, "allclose", lambda *_, **__: False)
    with pytest.raises(SetupProblem, match="the device cpu computes wrong numbers"):
        probe("cpu")


@pytest.mark.gpu
def test_the_graphics_card_computes_what_the_processor_does():
    found = probe("cuda")
    assert found.device == "cuda:0"
    assert found.device_name
    assert found.cuda
