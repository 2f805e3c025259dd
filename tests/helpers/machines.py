"""Computers as the machine check sees them: one that has enough, one that has little, with a card."""

from __future__ import annotations

from dataclasses import replace

from app.system.gpu_package import Card, Driver
from app.system.machine_check import MachineFacts

ENOUGH = MachineFacts(
    processors=16,
    memory_gb=34.2,
    memory_free_gb=21.7,
    disk_free_gb=412.0,
    workspace="/home/operator/.local/share/fednnunet",
    driver=None,
    cards_gb=(),
    carries_cuda=False,
    package="",
    no_package=(
        "no NVIDIA graphics card answers; a card needs NVIDIA's driver, version 580.65.06 or newer"
    ),
    platform="linux-x86_64",
    now=1_795_600_000.0,
    built=1_795_000_000.0,
    kept=True,
)
LITTLE = replace(
    ENOUGH,
    processors=2,
    memory_gb=6.1,
    memory_free_gb=1.2,
    disk_free_gb=18.0,
    now=1_577_836_800.0,
    kept=False,
)
_DRIVER = Driver(version="580.95.05", cards=(Card(name="NVIDIA RTX A5000", capability=(8, 6)),))
WITH_CARD = replace(ENOUGH, driver=_DRIVER, cards_gb=(25.3,), no_package=None)
WITH_PACKAGE = replace(WITH_CARD, package="2.13.0+cu130")
OLD_DRIVER = replace(
    WITH_CARD,
    driver=Driver(version="535.183.01", cards=_DRIVER.cards),
    no_package=(
        "the NVIDIA driver is version 535.183.01; the GPU package needs 580.65.06 or newer"
    ),
)
SMALL_CARD = replace(
    WITH_PACKAGE,
    driver=Driver(version="580.95.05", cards=(Card(name="Card B", capability=(7, 5)),)),
    cards_gb=(6.4,),
)
MAC = replace(
    ENOUGH,
    platform="darwin-arm64",
    no_package="there is no GPU package for this kind of system yet (darwin-arm64)",
    kept=None,
)
