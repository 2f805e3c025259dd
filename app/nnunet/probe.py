"""What this installation computes with: versions, the device, and nnU-Net's lookup of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import nnunetv2
import torch
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

from app.domain.errors import ErrorCode, SetupProblem
from app.jobs.events import Probed
from app.nnunet import devices, torchvision_shim

# One of the trainers' folder itself, and one of the last folder that a lookup walks through: to
# find it, nnU-Net imports every trainer that it brings, and with them timm and torchvision.
_TRAINERS: Final = ("nnUNetTrainer", "nnUNetTrainerNoMirroring")


def probe(device: str, *, threads: int = 1) -> Probed:
    """Look classes up as nnU-Net does, and compute one small convolution on the device.

    Raises:
        SetupProblem: there is no such device, it computes something else than the processor does,
            or nnU-Net's classes are not found.
    """
    chosen = devices.choose(device)
    devices.settle(chosen, threads=threads)
    vision = torchvision_shim.ensure()
    package = Path(nnunetv2.__file__).parent
    found = []
    for name in _TRAINERS:
        folder = str(package / "training" / "nnUNetTrainer")
        if recursive_find_python_class(folder, name, "nnunetv2.training.nnUNetTrainer") is None:
            raise SetupProblem(
                f"nnU-Net does not find its class {name} in this installation",
                code=ErrorCode.MISSING_LIBRARY,
            )
        found.append(name)
    _compute(chosen)
    names: Any = torch.cuda.get_device_name if chosen.type == "cuda" else None
    return Probed(
        torch=str(torch.__version__),  # a class of its own, which JSON does not know
        torch_from=str(Path(torch.__file__).parents[1]),
        nnunet=_version_of("nnunetv2"),
        device=str(chosen),
        device_name="" if names is None else str(names(chosen)),
        cuda=torch.version.cuda or "",
        torchvision=vision.value,
        trainers=tuple(found),
    )


def _version_of(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _compute(device: torch.device) -> None:
    """Run a 3-D convolution and its gradient on `device` and compare with the processor's."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 1, 8, 8, 8, generator=generator)
    kernel = torch.randn(2, 1, 3, 3, 3, generator=generator)
    results = []
    for place in (torch.device("cpu"), device):
        weight = kernel.to(place).requires_grad_()
        energy = torch.nn.functional.conv3d(image.to(place), weight).square().sum()
        (gradient,) = torch.autograd.grad(energy, weight)
        results.append(gradient.cpu())
    expected, computed = results
    # Tensor cores keep ten bits of a product; a wrong kernel is off by far more.
    if not torch.allclose(expected, computed, rtol=0.05):
        raise SetupProblem(
            f"the device {device} computes wrong numbers", code=ErrorCode.MISSING_LIBRARY
        )
