"""What this computer has for a study, in plain words: enough, little, or too little, and what helps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from app.system.gpu_package import BUILT
from app.system.machine_check import MachineFacts
from app.ui.models.doctor import DoctorLine
from app.ui.models.gpu import GpuState, Unpacking
from app.ui.text import Tone, count, listed, moment, sentence_case

CARD_GB: Final = 10.0
"""nnU-Net's documentation asks for a card of at least this much memory."""
_CARD_SLACK: Final = 0.95
"""A card sold with 10 GB reports a little less."""
LITTLE_MEMORY_GB: Final = 16.0
"""Below: a worker, its background processes and a desktop share it with the viewer."""
TOO_LITTLE_MEMORY_GB: Final = 8.0
LITTLE_DISK_GB: Final = 50.0
TOO_LITTLE_DISK_GB: Final = 10.0
FEW_PROCESSORS: Final = 4
_APPLE: Final = "darwin-arm64"
_DAY_S: Final = 86_400.0
_MARK: Final = {
    Tone.GOOD: ("check", "enough"),
    Tone.INFO: ("info", "to know"),
    Tone.NEUTRAL: ("info", "to know"),
    Tone.WARNING: ("warning", "little"),
    Tone.DANGER: ("problem", "too little"),
}


class MachineState(Struct, frozen=True, kw_only=True):
    """The check of this computer: one sentence above its lines."""

    sentence: str
    lines: tuple[DoctorLine, ...]
    gpu: GpuState
    busy: bool = False
    """Something is under way: a look, or a change of the package."""


def present_machine(
    facts: MachineFacts | None,
    *,
    busy: bool = False,
    running: Unpacking | None = None,
    result: str = "",
    result_tone: Tone = Tone.NEUTRAL,
) -> MachineState:
    """Return the check as it stands; `facts` None as long as nobody has looked."""
    if facts is None:
        # When the look itself fails, there is no other place to say so.
        sentence = result or "Looking at this computer…"
        gpu = GpuState(sentence="", running=running, result=result, result_tone=result_tone)
        return MachineState(sentence=sentence, lines=(), gpu=gpu, busy=busy)
    lines = (_card(facts), _processor(facts), _memory(facts), _disk(facts), _clock(facts))
    sentence, detail, can_install = _gpu(facts)
    return MachineState(
        sentence=_summary(lines),
        lines=lines,
        busy=busy,
        gpu=GpuState(
            sentence=sentence,
            detail=detail,
            can_install=can_install,
            can_remove=bool(facts.package),
            running=running,
            result=result,
            result_tone=result_tone,
        ),
    )


def _summary(lines: tuple[DoctorLine, ...]) -> str:
    short = sum(line.tone is Tone.DANGER for line in lines)
    little = sum(line.tone is Tone.WARNING for line in lines)
    if short:
        return f"{count(short, 'thing')} should be mended before this computer trains.".capitalize()
    if little:
        return f"This computer can take part; {count(little, 'thing')} could be better."
    return "This computer can take part."


def _line(step: str, tone: Tone, sentence: str, remedy: str = "") -> DoctorLine:
    icon, state = _MARK[tone]
    return DoctorLine(
        step=step, state=state, icon=icon, tone=tone, sentence=sentence, remedy=remedy
    )


def _cards(facts: MachineFacts) -> str:
    """Name the cards, each with its memory where it tells."""
    if facts.driver is None:
        return ""
    named = []
    for number, card in enumerate(facts.driver.cards):
        memory = facts.cards_gb[number] if number < len(facts.cards_gb) else None
        named.append(card.name if memory is None else f"{card.name} with {memory:.0f} GB")
    return listed(tuple(named))


def _computes_on_card(facts: MachineFacts) -> bool:
    has_card = facts.driver is not None and bool(facts.driver.cards)
    return has_card and (facts.carries_cuda or (bool(facts.package) and facts.no_package is None))


def _card(facts: MachineFacts) -> DoctorLine:
    step = "Graphics card"
    if facts.platform == _APPLE:
        return _line(
            step, Tone.GOOD, "This Mac computes on its own graphics processor; nothing is missing."
        )
    if facts.driver is None or not facts.driver.cards:
        needs = BUILT.get(facts.platform)
        remedy = (
            "If there is an NVIDIA card in this computer, ask your IT for its driver, version "
            f"{needs.driver} or newer."
            if needs is not None
            else ""
        )
        return _line(
            step,
            Tone.INFO,
            "No NVIDIA graphics card answers: training uses the processor. That is enough to try "
            "the program and to look at results; a whole study takes many times longer than on a card.",
            remedy,
        )
    what = f"{_cards(facts)}, driver {facts.driver.version}."
    if not _computes_on_card(facts):
        if facts.no_package is None:
            return _line(
                step,
                Tone.WARNING,
                f"{what} It is not used yet: training uses the processor.",
                "Install the GPU package below; it makes training many times faster.",
            )
        return _line(
            step,
            Tone.WARNING,
            f"{_cards(facts)}. It is not used: {facts.no_package}.",
            "Ask your IT for a newer driver or card; until then training uses the processor."
            if facts.platform in BUILT
            else "Under Linux such a card can be used; here training uses the processor.",
        )
    small = [gb for gb in facts.cards_gb if gb is not None and gb < CARD_GB * _CARD_SLACK]
    if small:
        return _line(
            step,
            Tone.WARNING,
            f"{what} nnU-Net's plans are made for {CARD_GB:.0f} GB or more.",
            "Should training not fit, the Training page offers steps of fewer patches.",
        )
    return _line(step, Tone.GOOD, f"{what} Training uses it.")


def _processor(facts: MachineFacts) -> DoctorLine:
    what = f"{count(facts.processors, 'processor core')}."
    if facts.processors < FEW_PROCESSORS:
        return _line(
            "Processor",
            Tone.WARNING,
            f"{what} Preparing images and feeding a graphics card wants {FEW_PROCESSORS} or more, "
            "better 12.",
            "It works with fewer and takes longer; let it train at night.",
        )
    return _line("Processor", Tone.GOOD, what)


def _memory(facts: MachineFacts) -> DoctorLine:
    what = f"{facts.memory_gb:.0f} GB, {facts.memory_free_gb:.0f} GB of it free now."
    if facts.memory_gb < TOO_LITTLE_MEMORY_GB * _CARD_SLACK:
        return _line(
            "Memory",
            Tone.DANGER,
            f"{what} Training needs {TOO_LITTLE_MEMORY_GB:.0f} GB, better {LITTLE_MEMORY_GB:.0f}.",
            "Use another computer for training, or have memory added.",
        )
    if facts.memory_gb < LITTLE_MEMORY_GB * _CARD_SLACK:
        return _line(
            "Memory",
            Tone.WARNING,
            f"{what} {LITTLE_MEMORY_GB:.0f} GB or more leave room for large images.",
            "Close other programs while it trains.",
        )
    return _line("Memory", Tone.GOOD, what)


def _disk(facts: MachineFacts) -> DoctorLine:
    what = f"{facts.disk_free_gb:.0f} GB free where this site keeps its work ({facts.workspace})."
    meaning = "A study keeps prepared copies of your images there, a few times their size."
    if facts.disk_free_gb < TOO_LITTLE_DISK_GB:
        return _line("Disk", Tone.DANGER, f"{what} {meaning}", "Free space on that disk.")
    if facts.disk_free_gb < LITTLE_DISK_GB:
        return _line(
            "Disk", Tone.WARNING, f"{what} {meaning}", "Free space there before a large study."
        )
    return _line("Disk", Tone.GOOD, f"{what} {meaning}")


def _clock(facts: MachineFacts) -> DoctorLine:
    zone = datetime.fromtimestamp(facts.now, UTC).astimezone().strftime("%z")
    what = f"It is {moment(facts.now)} here (UTC{zone[:3]}:{zone[3:]})."
    if facts.built is not None and facts.now < facts.built - _DAY_S:
        return _line(
            "Clock",
            Tone.DANGER,
            f"{what} This program was made later than that, so the clock is wrong.",
            "Set the clock; with a wrong one the coordinator's certificate is refused.",
        )
    if facts.kept:
        return _line("Clock", Tone.GOOD, f"{what} A time server keeps the clock.")
    unknown = "" if facts.kept is None else " No time server is known to keep the clock."
    return _line(
        "Clock",
        Tone.INFO,
        f"{what}{unknown}",
        "Compare it with a watch. With an invitation, the connection test measures it to the second.",
    )


def _gpu(facts: MachineFacts) -> tuple[str, str, bool]:
    """Return what is computed with, what there is to know, and whether a package can be added."""
    cards = _cards(facts)
    if facts.platform == _APPLE:
        return "Training uses the graphics processor of this Mac.", "", False
    if facts.package and facts.no_package is not None:
        sentence = f"The GPU package is installed (PyTorch {facts.package}) and not used."
        return sentence, f"{sentence_case(facts.no_package)}.", False
    if facts.package:
        sentence = f"The GPU package is in use (PyTorch {facts.package}): training uses {cards}."
        detail = (
            "What trained already when it was installed goes on where it computes; pause and "
            "resume training to move it to the card."
        )
        return sentence, detail, False
    if _computes_on_card(facts):
        return f"Training uses {cards}; no package is needed.", "", False
    if facts.driver is None:
        # The line of the check says all there is to say.
        return "", "", False
    if facts.no_package is not None:
        sentence = "Training uses the processor; the GPU package cannot be used as things are."
        return sentence, f"{sentence_case(facts.no_package)}.", False
    needs = BUILT[facts.platform]
    detail = (
        f"That needs the GPU package, one file of about {needs.file_gb:g} GB that takes "
        f"{needs.unpacked_gb:g} GB on the disk. Ask your IT for it: it comes by USB stick or by a "
        "share of the hospital, and nothing is downloaded."
    )
    return f"{cards} can train many times faster than the processor.", detail, True
