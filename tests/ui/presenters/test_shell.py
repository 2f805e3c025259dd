from __future__ import annotations

from helpers import snapshots
from msgspec.structs import replace

from app.ui.presenters.home import StepMark
from app.ui.presenters.shell import present_shell
from app.ui.text import Page, Tone


def test_attached_and_well_has_no_banner():
    state = present_shell(snapshots.training())
    assert state.banner == ""
    assert (state.study, state.site) == ("Hippocampus sample study", "North")
    assert (state.link.text, state.link.tone) == ("Coordinator: connected", Tone.GOOD)
    assert dict(state.marks)[Page.TRAINING] is StepMark.CURRENT


def test_a_service_that_went_away_leaves_the_last_state_on_screen():
    state = present_shell(snapshots.training(), away="the service went away")
    assert state.banner == "The service went away"
    assert state.banner_remedy == "What you see is the last known state."
    assert state.link.text == "Service: away"
    assert state.training == "Training state not known"
    assert state.study == "Hippocampus sample study"


def test_before_the_first_snapshot():
    assert present_shell(None).link.text == "Service: connecting"
    assert present_shell(None, away="starting the service").banner == "Starting the service"


def test_a_problem_of_the_service_is_told_with_its_remedy():
    base = snapshots.training()
    service = replace(base.service, problem="the disk is full", remedy="Free disk space.")
    state = present_shell(replace(base, service=service))
    assert (state.banner, state.banner_remedy) == ("The disk is full", "Free disk space.")
