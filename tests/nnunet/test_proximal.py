"""FedProx against its closed form, on torch's own optimizer and nnU-Net's."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from app.domain.errors import SetupProblem  # noqa: E402
from app.nnunet.proximal import held_near  # noqa: E402

pytestmark = pytest.mark.nnunet

MU, RATE = 0.3, 0.1


def network(value: float = 1.0) -> torch.nn.Module:
    made = torch.nn.Linear(3, 1, bias=True)
    with torch.no_grad():
        made.weight.fill_(value)
        made.bias.fill_(value)
    return made


def anchor(tmp_path, value: float, *names: str):
    whole = {name: torch.full_like(w, value) for name, w in network().named_parameters()}
    path = tmp_path / "anchor.safetensors"
    save_file({name: whole[name] for name in names or whole}, path)
    return path


def take_steps(net, number, *, path, mu=MU):
    """Steps on the loss sum(w): its gradient is 1 everywhere."""
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    with held_near(net, optimizer, anchor=path, mu=mu):
        for _ in range(number):
            optimizer.zero_grad()
            (net.weight.sum() + net.bias.sum()).backward()
            optimizer.step()
    return optimizer


def closed_form(start: float, near: float, number: int) -> float:
    """w - near is multiplied by 1 - rate mu, and pushed by -rate, in every step."""
    factor = 1 - RATE * MU
    return near + (start - near) * factor**number - RATE * (1 - factor**number) / (1 - factor)


def test_steps_follow_the_closed_form(tmp_path):
    net = network(1.0)
    take_steps(net, 7, path=anchor(tmp_path, 0.25))
    expected = closed_form(1.0, 0.25, 7)
    assert net.weight.detach().numpy() == pytest.approx(expected, rel=1e-5)
    assert net.bias.detach().numpy() == pytest.approx(expected, rel=1e-5)


def test_layers_that_the_anchor_lacks_are_free(tmp_path):
    net = network(1.0)
    take_steps(net, 7, path=anchor(tmp_path, 0.25, "weight"))
    assert net.weight.detach().numpy() == pytest.approx(closed_form(1.0, 0.25, 7), rel=1e-5)
    assert float(net.bias.detach()) == pytest.approx(1.0 - 7 * RATE)


def test_nothing_is_held_after_the_block_or_without_mu(tmp_path):
    held, free = network(1.0), network(1.0)
    optimizer = take_steps(held, 0, path=anchor(tmp_path, 0.25))
    held.weight.grad = torch.ones_like(held.weight)
    optimizer.step()
    assert held.weight.detach().numpy() == pytest.approx(1.0 - RATE)
    take_steps(free, 3, path=tmp_path / "no such file", mu=0.0)
    assert free.weight.detach().numpy() == pytest.approx(1.0 - 3 * RATE)


def test_an_anchor_of_another_network_is_said(tmp_path):
    with pytest.raises(SetupProblem):
        take_steps(network(), 1, path=tmp_path / "no such file")
    save_file({"weight": torch.zeros(2, 2)}, tmp_path / "other")
    with pytest.raises(SetupProblem):
        take_steps(network(), 1, path=tmp_path / "other")
