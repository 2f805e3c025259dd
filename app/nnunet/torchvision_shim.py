"""Lets torchvision be imported where its compiled operators do not fit the installed torch.

On Linux the only torchvision that package indexes carry is built for CUDA; beside a CPU torch its
import fails with `operator torchvision::nms does not exist`. nnU-Net reaches torchvision only
through timm, when it looks up a trainer class other than `nnUNetTrainer` and imports all of them;
timm's Python layers never call those operators. Training, planning and predicting with stock
classes never get there, and are spared the second that the import takes.

WORKAROUND https://github.com/pytorch/vision/issues/8084: goes when nnunetv2 no longer imports timm
while it looks up a trainer or network class.
"""

from __future__ import annotations

import enum
import importlib
import importlib.util
import sys
from typing import Any, Final

import torch

_OPERATORS: Final = ("nms", "qnms")
_SIGNATURE: Final = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class Torchvision(enum.Enum):
    """How torchvision came to be importable."""

    ABSENT = "absent"
    NATIVE = "native"
    SHIMMED = "shimmed"


# Declared operators live as long as the library object that declared them.
_declared: list[Any] = []


def ensure() -> Torchvision:
    """Make `import torchvision` work; call it before a trainer is looked up. Calling again is free.

    Raises:
        ImportError, RuntimeError: torchvision is damaged in a way that this does not mend.
    """
    if importlib.util.find_spec("torchvision") is None:
        return Torchvision.ABSENT
    if "torchvision" in sys.modules:
        return Torchvision.SHIMMED if _declared else Torchvision.NATIVE
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, OSError, ImportError) as exc:
        if "torchvision::" not in str(exc):
            raise
    else:
        return Torchvision.NATIVE
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    make_library: Any = torch.library.Library  # its constructor has no types
    library = make_library("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        if not _exists(operator):
            library.define(operator + _SIGNATURE)
    _declared.append(library)
    importlib.import_module("torchvision")
    return Torchvision.SHIMMED


def _exists(operator: str) -> bool:
    return hasattr(torch.ops.torchvision, operator)
