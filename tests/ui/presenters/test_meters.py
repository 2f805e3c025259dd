from __future__ import annotations

from helpers import snapshots
from msgspec.structs import replace

from app.ui.presenters.meters import meters_of


def test_meters_with_and_without_a_card():
    plain = meters_of(snapshots.samples())
    assert [meter.name for meter in plain] == ["Processor", "Memory", "Disk", "Network"]
    card = meters_of(snapshots.samples(card=True))
    assert [meter.name for meter in card] == [
        "NVIDIA RTX A4000",
        "Graphics memory",
        "Processor",
        "Memory",
        "Disk",
        "Network",
    ]
    assert card[0].value.endswith("67 °C, 118 W")
    assert card[1].value == "61 %, 16.9 GB"
    assert all(0 <= share <= 1 for meter in card for share in meter.history)
    assert meters_of(()) == ()


def test_every_card_is_named_and_its_troubles_are_told():
    meters = {m.name: m for m in meters_of(snapshots.troubled().training.samples)}
    assert meters["Card 1: NVIDIA RTX A4000"].remark == "slowed down: too hot"
    assert meters["Card 2: NVIDIA RTX A4000"].remark == "also used by matlab"
    assert "Memory of card 2" in meters


def test_rates_are_read_with_their_units_and_a_trickle_fills_no_graph():
    network = meters_of(snapshots.samples())[-1]
    assert network.value == "in 200 kB/s, out 1 MB/s"
    assert network.share is not None
    assert network.share < 0.5
    fast = tuple(replace(one, network_in_mb_s=80.0) for one in snapshots.samples())
    assert meters_of(fast)[-1].value.startswith("in 80 MB/s")
    assert meters_of(fast)[-1].share == 1.0
