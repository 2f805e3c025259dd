import os
import shutil

import pytest
import torch

from app.domain.errors import ErrorCode, SetupProblem
from app.nnunet import devices


@pytest.fixture
def machine(monkeypatch):
    """Return a function that says what the machine has."""

    def has(*, cuda: bool = False, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    has()
    return has


@pytest.mark.parametrize(
    ("has", "device"),
    [
        ({}, "cpu"),
        ({"mps": True}, "mps"),
        ({"cuda": True}, "cuda:0"),
        ({"cuda": True, "mps": True}, "cuda:0"),
    ],
)
def test_auto_takes_the_quickest(machine, has, device):
    machine(**has)
    assert str(devices.choose("auto")) == device


def test_wishes_are_granted_where_the_machine_can(machine):
    machine(cuda=True, mps=True)
    assert [devices.choose(wish).type for wish in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "mps"]


@pytest.mark.parametrize(
    ("visible", "index", "left"), [("", 2, "2"), ("4,5,7", 1, "5"), ("GPU-a,GPU-b", 0, "GPU-a")]
)
def test_one_card_of_several_is_the_first_that_nnunet_sees(
    machine, monkeypatch, visible, index, left
):
    machine(cuda=True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert str(devices.choose(f"cuda:{index}")) == "cuda:0"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == left


@pytest.mark.parametrize(
    ("wish", "sentence", "code"),
    [
        ("mps", "this computer has no Apple graphics processor", ErrorCode.MISSING_LIBRARY),
        (
            "cuda",
            "this computer has no NVIDIA graphics card that PyTorch can use",
            ErrorCode.MISSING_LIBRARY,
        ),
        ("gpu", "the device is auto, cpu, cuda, cuda:N or mps, not 'gpu'", ErrorCode.SETTING),
    ],
)
def test_a_wish_that_cannot_be_granted(machine, wish, sentence, code):
    with pytest.raises(SetupProblem) as caught:
        devices.choose(wish)
    assert str(caught.value) == sentence
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("device", "compiler", "expected"),
    [("cpu", "/usr/bin/cc", "f"), ("cuda", None, "f"), ("cuda", "/usr/bin/cc", None)],
)
def test_networks_are_compiled_only_where_that_works(monkeypatch, device, compiler, expected):
    monkeypatch.setattr(shutil, "which", lambda _name: compiler)
    monkeypatch.setenv("nnUNet_compile", "t")
    monkeypatch.delenv("nnUNet_compile")
    threads = torch.get_num_threads()
    devices.settle(torch.device(device), threads=1)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)
    assert os.environ.pop("nnUNet_compile", None) == expected
