"""The load of this computer: one meter per figure, with how it went in the last minutes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from app.control.messages import CardSample, DeviceSample
from app.ui.presenters.memory import kept
from app.ui.text import listed

HISTORY: Final = 120
"""Readings that a small graph shows: two minutes at one a second."""
_LEAST_MB_S: Final = 5.0
"""Rates below it never fill a graph: a trickle should look like one."""


class Meter(Struct, frozen=True, kw_only=True):
    """One reading of the computer: its text, its share of the whole, and how it went lately.

    Without a `share` there is no graph. `remark` is set when something is not as it should be.
    """

    name: str
    value: str
    share: float | None
    history: tuple[float, ...]
    remark: str = ""


@kept
def meters_of(samples: tuple[DeviceSample, ...]) -> tuple[Meter, ...]:
    """Return the cards first, one by one, then processor, memory, disk and network."""
    if not samples:
        return ()
    last, lately = samples[-1], samples[-HISTORY:]
    return (*_cards(last, lately), *_machine(last, lately))


def _cards(last: DeviceSample, lately: tuple[DeviceSample, ...]) -> list[Meter]:
    meters = []
    for number, card in enumerate(last.cards):
        name = f"Card {number + 1}: {card.name}" if len(last.cards) > 1 else card.name
        before = [sample.cards[number] for sample in lately if number < len(sample.cards)]
        if card.percent is not None:
            meters.append(
                Meter(
                    name=name,
                    value=f"{card.percent:.0f} %{_warmth(card)}",
                    share=card.percent / 100,
                    history=_shares(one.percent for one in before),
                    remark=_remark(card),
                )
            )
        if card.memory_percent is not None:
            used = "" if card.memory_gb is None else f", {card.memory_gb:.1f} GB"
            meters.append(
                Meter(
                    name="Graphics memory"
                    if len(last.cards) == 1
                    else f"Memory of card {number + 1}",
                    value=f"{card.memory_percent:.0f} %{used}",
                    share=card.memory_percent / 100,
                    history=_shares(one.memory_percent for one in before),
                )
            )
    return meters


def _machine(last: DeviceSample, lately: tuple[DeviceSample, ...]) -> list[Meter]:
    # A network has no known whole: the fastest of the last minutes fills the graph.
    network = [one.network_in_mb_s + one.network_out_mb_s for one in lately]
    disk = [one.disk_read_mb_s + one.disk_write_mb_s for one in lately]
    training = ""
    if last.worker_cpu_percent:
        training = f", training uses {last.worker_cpu_percent / 100:.1f} cores"
    return [
        Meter(
            name="Processor",
            value=f"{last.cpu_percent:.0f} %{training}",
            share=last.cpu_percent / 100,
            history=_shares(one.cpu_percent for one in lately),
        ),
        Meter(
            name="Memory",
            value=f"{last.memory_percent:.0f} %, training {last.worker_memory_mb / 1000:.1f} GB",
            share=last.memory_percent / 100,
            history=_shares(one.memory_percent for one in lately),
        ),
        Meter(
            name="Disk",
            value=f"{last.disk_free_gb:.0f} GB free, "
            f"{_rate(last.disk_read_mb_s + last.disk_write_mb_s)}",
            share=_by_most(disk)[-1],
            history=_by_most(disk),
        ),
        Meter(
            name="Network",
            value=f"in {_rate(last.network_in_mb_s)}, out {_rate(last.network_out_mb_s)}",
            share=_by_most(network)[-1],
            history=_by_most(network),
        ),
    ]


def _shares(percents: Iterable[float | None]) -> tuple[float, ...]:
    return tuple((percent or 0.0) / 100 for percent in percents)


def _by_most(rates: list[float]) -> tuple[float, ...]:
    most = max(_LEAST_MB_S, *rates)
    return tuple(rate / most for rate in rates)


def _rate(megabytes: float) -> str:
    if megabytes >= 0.95:
        return f"{megabytes:.0f} MB/s"
    return f"{megabytes * 1000:.0f} kB/s"


def _warmth(card: CardSample) -> str:
    parts = []
    if card.temperature_c is not None:
        parts.append(f"{card.temperature_c:.0f} °C")
    if card.power_w is not None:
        parts.append(f"{card.power_w:.0f} W")
    return "".join(f", {part}" for part in parts)


def _remark(card: CardSample) -> str:
    parts = []
    if card.throttled:
        parts.append(f"slowed down: {listed(card.throttled)}")
    if card.others:
        parts.append(f"also used by {listed(card.others)}")
    return "; ".join(parts)
