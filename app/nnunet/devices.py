"""Which device a job computes on."""

from __future__ import annotations

import os
import re
import shutil
from typing import Final

import torch

from app.domain.errors import ErrorCode, SetupProblem

_CUDA: Final = re.compile(r"cuda(?::(\d{1,3}))?")
_COMPILERS: Final = ("cc", "gcc", "clang")


def choose(wish: str) -> torch.device:
    """Return the device for "auto", "cpu", "cuda", "cuda:N" or "mps"; auto takes the quickest.

    Stock trainers always take the first CUDA device that they can see, so "cuda:N" hides the
    others from this process: call it before anything else touches CUDA.

    Raises:
        SetupProblem: the wish is not one of those, or the machine has no such device.
    """
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if wish == "cpu":
        return torch.device("cpu")
    if wish == "mps":
        if not torch.backends.mps.is_available():
            raise _missing("Apple graphics processor")
        return torch.device("mps")
    match = _CUDA.fullmatch(wish)
    if match is None:
        raise SetupProblem(
            f"the device is auto, cpu, cuda, cuda:N or mps, not {wish!r}",
            code=ErrorCode.SETTING,
        )
    if match.group(1) is not None:
        show_only(int(match.group(1)))
    if not torch.cuda.is_available():
        raise _missing("NVIDIA graphics card that PyTorch can use")
    return torch.device("cuda", 0)


def show_only(index: int) -> None:
    """Hide all CUDA devices but number `index` of those that are visible now."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name for name in visible.split(",") if name.strip()]
    os.environ["CUDA_VISIBLE_DEVICES"] = names[index] if index < len(names) else str(index)


def settle(device: torch.device, *, threads: int) -> None:
    """Set what torch and nnU-Net read from the process: threads, cuDNN, compilation.

    nnU-Net's own command takes every core on a CPU, which is slower than one thread as soon as
    the cores are shared, and it compiles the network wherever it can.
    """
    torch.set_num_threads(max(1, threads))
    if device.type == "cuda":
        # As nnunetv2/run/run_training.py does.
        torch.backends.cudnn.deterministic = False
        torch.backends.cudnn.benchmark = True
    if device.type != "cuda" or not any(shutil.which(compiler) for compiler in _COMPILERS):
        # Compiling for CUDA needs a C compiler, which a hospital's computer seldom has.
        os.environ["nnUNet_compile"] = "f"  # noqa: SIM112 - nnU-Net's name


def ranks(device: torch.device, wish: str, *, gpus: int | None, batch_size: int) -> int:
    """Return how many processes train one round together.

    All graphics cards unless `gpus` says fewer, but never more than a step has patches: nnU-Net
    shares a batch out. On a processor one, unless `gpus` asks for more; a named card is one.
    """
    if device.type == "cuda" and not wish.startswith("cuda:"):
        here = torch.cuda.device_count()
        return max(1, min(here, gpus or here, batch_size))
    if device.type == "cpu":
        return max(1, min(gpus or 1, batch_size))
    return 1


def name_of(device: torch.device) -> str:
    """Return a device's name for a person: its kind, and which graphics card."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def _missing(what: str) -> SetupProblem:
    return SetupProblem(f"this computer has no {what}", code=ErrorCode.MISSING_LIBRARY)
