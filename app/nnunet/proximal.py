"""FedProx: training is held near the model that the round began from.

Li et al. 2020 (Federated Optimization in Heterogeneous Networks, equation 2) add mu/2 |w - w0|^2 to
a site's loss. Its gradient, mu (w - w0), is added here by torch's own hook before the optimizer's
step, so nnU-Net's trainer is as it is. That is after nnU-Net has unscaled and clipped the gradients
of its loss: the term is not clipped with them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors
import torch

from app.domain.errors import SetupProblem
from app.nnunet.weights import plain


@contextlib.contextmanager
def held_near(
    network: torch.nn.Module, optimizer: torch.optim.Optimizer, *, anchor: Path, mu: float
) -> Iterator[None]:
    """Add mu (w - anchor) to the gradient of every step that is taken inside the block.

    `anchor` is a tensor file; weights that are not in it (layers that a site shares with nobody)
    are free. With `mu` 0 nothing is read and nothing changes.

    Raises:
        SetupProblem: the file is not there or does not fit the network.
    """
    if not mu:
        yield
        return
    held = _held(network, anchor)

    def pull(_optimizer: torch.optim.Optimizer, _arguments: Any, _keywords: Any) -> None:  # noqa: ANN401
        with torch.no_grad():
            for weight, start in held:
                if weight.grad is not None:
                    weight.grad.add_(weight - start, alpha=mu)

    handle = optimizer.register_step_pre_hook(pull)
    try:
        yield
    finally:
        handle.remove()


def _held(network: torch.nn.Module, anchor: Path) -> list[tuple[torch.nn.Parameter, torch.Tensor]]:
    weights = dict(plain(network).named_parameters())
    try:
        with safetensors.safe_open(anchor, framework="pt") as file:
            found = [
                (weights[name], file.get_tensor(name).to(weights[name].device))
                for name in file.keys()  # noqa: SIM118 - it is a function of the file
                if name in weights
            ]
    except (OSError, safetensors.SafetensorError) as exc:
        raise SetupProblem("the model that the round began from cannot be read") from exc
    for weight, start in found:
        if weight.shape != start.shape:
            raise SetupProblem("the model that the round began from is of another network")
    return found
