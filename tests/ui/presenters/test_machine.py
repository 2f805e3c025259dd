from dataclasses import replace

import pytest
from helpers.machines import ENOUGH, LITTLE, MAC, OLD_DRIVER, SMALL_CARD, WITH_CARD, WITH_PACKAGE

from app.ui.models.gpu import Unpacking
from app.ui.presenters.machine import present_machine
from app.ui.text import Tone


def tones(facts):
    return {line.step: line.tone for line in present_machine(facts).lines}


def line(facts, step):
    return next(one for one in present_machine(facts).lines if one.step == step)


def test_while_it_looks_it_says_so_and_offers_nothing():
    state = present_machine(None)
    assert state.sentence == "Looking at this computer…"
    assert state.lines == ()
    assert not state.gpu.can_install


def test_a_computer_that_has_enough_needs_nothing():
    state = present_machine(ENOUGH)
    assert state.sentence == "This computer can take part."
    assert tones(ENOUGH) == {
        "Graphics card": Tone.INFO,
        "Processor": Tone.GOOD,
        "Memory": Tone.GOOD,
        "Disk": Tone.GOOD,
        "Clock": Tone.GOOD,
    }
    assert "version 580.65.06 or newer" in line(ENOUGH, "Graphics card").remedy
    assert state.gpu.sentence == ""


def test_whatever_is_too_little_has_a_remedy():
    state = present_machine(LITTLE)
    assert state.sentence == "2 things should be mended before this computer trains."
    assert tones(LITTLE) == {
        "Graphics card": Tone.INFO,
        "Processor": Tone.WARNING,
        "Memory": Tone.DANGER,
        "Disk": Tone.WARNING,
        "Clock": Tone.DANGER,
    }
    assert all(one.remedy for one in state.lines)
    assert "made later than that" in line(LITTLE, "Clock").sentence


@pytest.mark.parametrize(
    ("changes", "step", "tone"),
    [
        ({"memory_gb": 16.5}, "Memory", Tone.GOOD),
        ({"memory_gb": 12.0}, "Memory", Tone.WARNING),
        # A computer sold with 8 GB tells a little less.
        ({"memory_gb": 7.8}, "Memory", Tone.WARNING),
        ({"disk_free_gb": 9.9}, "Disk", Tone.DANGER),
        ({"disk_free_gb": 49.0}, "Disk", Tone.WARNING),
        ({"kept": None}, "Clock", Tone.INFO),
        ({"kept": False}, "Clock", Tone.INFO),
        ({"built": None}, "Clock", Tone.GOOD),
        ({"processors": 4}, "Processor", Tone.GOOD),
    ],
)
def test_limits(changes, step, tone):
    assert tones(replace(ENOUGH, **changes))[step] is tone


def test_a_card_that_is_not_used_yet_leads_to_the_package():
    state = present_machine(WITH_CARD)
    assert state.gpu.can_install
    assert not state.gpu.can_remove
    assert "about 2.6 GB" in state.gpu.detail
    card = line(WITH_CARD, "Graphics card")
    assert card.tone is Tone.WARNING
    assert card.sentence.startswith("NVIDIA RTX A5000 with 25 GB, driver 580.95.05.")
    assert state.sentence == "This computer can take part; 1 thing could be better."


def test_an_old_driver_is_named_with_the_one_that_is_needed():
    state = present_machine(OLD_DRIVER)
    assert not state.gpu.can_install
    assert "535.183.01" in state.gpu.detail
    assert "580.65.06 or newer" in state.gpu.detail
    assert "580.65.06 or newer" in line(OLD_DRIVER, "Graphics card").sentence


def test_a_package_in_use_can_only_be_removed():
    state = present_machine(WITH_PACKAGE)
    assert state.gpu.can_remove
    assert not state.gpu.can_install
    assert "in use (PyTorch 2.13.0+cu130)" in state.gpu.sentence
    assert line(WITH_PACKAGE, "Graphics card").tone is Tone.GOOD


def test_a_package_whose_card_is_gone_is_not_used_and_can_be_removed():
    facts = replace(ENOUGH, package="2.13.0+cu130")
    state = present_machine(facts)
    assert state.gpu.can_remove
    assert state.gpu.sentence.endswith("and not used.")
    assert state.gpu.detail.startswith("No NVIDIA graphics card answers")


def test_a_program_that_computes_on_cards_needs_no_package():
    facts = replace(WITH_CARD, carries_cuda=True)
    state = present_machine(facts)
    assert not state.gpu.can_install
    assert state.gpu.sentence == "Training uses NVIDIA RTX A5000 with 25 GB; no package is needed."


def test_a_small_card_is_told_with_what_helps():
    card = line(SMALL_CARD, "Graphics card")
    assert card.tone is Tone.WARNING
    assert "10 GB or more" in card.sentence
    assert line(replace(SMALL_CARD, cards_gb=(9.8,)), "Graphics card").tone is Tone.GOOD
    assert line(replace(SMALL_CARD, cards_gb=(None,)), "Graphics card").tone is Tone.GOOD


def test_a_mac_uses_its_own_chip():
    state = present_machine(MAC)
    assert line(MAC, "Graphics card").tone is Tone.GOOD
    assert state.gpu.sentence == "Training uses the graphics processor of this Mac."
    assert not state.gpu.can_install


def test_where_no_package_is_built_nothing_is_offered():
    facts = replace(
        ENOUGH,
        platform="windows-x86_64",
        no_package="there is no GPU package for this kind of system yet (windows-x86_64)",
    )
    state = present_machine(facts)
    assert not state.gpu.can_install
    assert line(facts, "Graphics card").remedy == ""
    with_card = replace(facts, driver=WITH_CARD.driver, cards_gb=WITH_CARD.cards_gb)
    assert "no GPU package for this kind of system yet" in line(with_card, "Graphics card").sentence
    assert line(with_card, "Graphics card").remedy.startswith("Under Linux such a card can be used")
    assert "driver" in line(OLD_DRIVER, "Graphics card").remedy


def test_what_runs_and_how_it_ended_pass_through():
    running = Unpacking(sentence="Unpacking", share=0.5)
    state = present_machine(WITH_CARD, running=running, result="Stopped.", result_tone=Tone.INFO)
    assert state.gpu.running is running
    assert (state.gpu.result, state.gpu.result_tone) == ("Stopped.", Tone.INFO)
