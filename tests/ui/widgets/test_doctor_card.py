from __future__ import annotations

import pytest
from helpers import snapshots
from msgspec.structs import replace
from PySide6.QtGui import QGuiApplication

from app.control.messages import FederationView
from app.ui.presenters.federation import present_doctor
from app.ui.text import Tone
from app.ui.widgets.doctor_card import DoctorCard

EXAMINED = snapshots.examined().federation


@pytest.fixture
def card(qtbot):
    made = DoctorCard()
    qtbot.addWidget(made)
    made.show()
    return made


def test_every_layer_has_a_line_with_its_remedy(card):
    card.draw(present_doctor(EXAMINED, attached=True))
    said = {step.text(): text.text() for _, step, text in card.lines.parts if step.isVisible()}
    assert list(said) == [row.step for row in EXAMINED.doctor]
    assert said["Certificate (TLS)"].endswith("exempt this address from inspection.")
    assert said["Certificate (TLS)"].startswith("The certificate was issued by")
    card.draw(present_doctor(replace(EXAMINED, doctor=EXAMINED.doctor[:2]), attached=True))
    assert [step.isVisible() for _, step, _ in card.lines.parts] == [True, True] + [False] * 5


def test_the_ticket_is_copied(card, qtbot):
    card.draw(present_doctor(EXAMINED, attached=True))
    with qtbot.waitSignal(card.ticket_copied):
        card._copy.click()
    assert QGuiApplication.clipboard().text() == EXAMINED.doctor_ticket


def test_while_it_runs_it_is_not_started_again(card, qtbot):
    card.draw(present_doctor(FederationView(), attached=True))
    assert not card._copy.isVisible()
    with qtbot.waitSignal(card.run_wished):
        card._run.click()
    card.draw(present_doctor(FederationView(doctor_running=True), attached=True))
    assert not card._run.isEnabled()
    assert "being tested" in card._hint.text()
    card.draw(present_doctor(FederationView(), attached=False))
    assert not card._run.isEnabled()


def test_states_have_their_signs():
    lines = present_doctor(EXAMINED, attached=True).lines
    assert [(line.icon, line.tone) for line in lines[3:6]] == [
        ("waiting", Tone.NEUTRAL),
        ("problem", Tone.DANGER),
        ("warning", Tone.WARNING),
    ]
