from __future__ import annotations

import pytest
from helpers import snapshots
from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel

from app.control.messages import (
    JobView,
    JoinStudy,
    LeaveStudy,
    PauseTraining,
    ReadInvitation,
    ResumeTraining,
    RunDoctor,
    TrainingView,
)
from app.ui.pages.federation import FederationPage, is_invitation
from app.ui.presenters.federation import present_federation, present_invitation
from app.ui.text import Page


@pytest.fixture
def page(qtbot):
    made = FederationPage()
    qtbot.addWidget(made)
    made.show()
    return made


def invited(problem: str = "", remedy: str = ""):
    return present_invitation(
        "/x.fedjoin", snapshots.invitation(problem, remedy), now=snapshots.NOW
    )


def test_only_invitation_files_can_be_dropped(tmp_path):
    good = tmp_path / "north.fedjoin"
    good.write_text("x")
    assert is_invitation(good)
    (tmp_path / "folder.fedjoin").mkdir()
    assert not is_invitation(tmp_path / "folder.fedjoin")
    other = tmp_path / "north.txt"
    other.write_text("x")
    assert not is_invitation(other)


def test_joining_is_a_second_step(page, qtbot):
    page.draw(present_federation(snapshots.checked()))
    page.show_invitation(invited())
    with qtbot.waitSignal(page.join_wished) as told:
        page._join.click()
    assert told.args == ["/x.fedjoin"]


def test_an_invitation_is_joined_with_three_clicks_and_no_other_step(open_window, qtbot):
    """A double click on the file, Join; and one more for who wants the connection tested first."""
    shown = open_window(snapshots.checked())
    shown.service.replies = [snapshots.invitation()]
    shown.window.read_invitation("/x.fedjoin")  # what the double click does
    page = shown.page(Page.FEDERATION)
    assert page._join.isVisible()
    assert page._join.isEnabled()
    text = " ".join(one.text() for one in page.findChildren(QLabel) if one.isVisible())
    for said in ("Who runs it", "Purpose", "Valid until", "Images and labels never leave"):
        assert said in text
    qtbot.mouseClick(page.invited_doctor._run, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(page._join, Qt.MouseButton.LeftButton)
    assert shown.service.commands == [
        ReadInvitation(path="/x.fedjoin"),
        RunDoctor(path="/x.fedjoin"),
        JoinStudy(path="/x.fedjoin"),
    ]
    assert shown.answers.asked == [], "no dialog stands between"
    shown.show(snapshots.training())
    assert page._words.isVisible()


def test_a_bad_invitation_says_why_and_cannot_be_joined(page):
    page.draw(present_federation(snapshots.checked()))
    page.show_invitation(invited("the invitation expired", "Ask for a new one."))
    assert not page._join.isEnabled()
    assert page._invitation_problem.text() == "The invitation expired"
    assert page._invitation_remedy.isVisible()


def test_an_invitation_can_be_put_away(page):
    page.draw(present_federation(snapshots.checked()))
    page.show_invitation(invited())
    page._put_away()
    assert page._empty.isVisible()
    page._wish_join()  # nothing is open any more


def test_the_study_takes_the_place_of_the_invitation(page):
    page.show_invitation(invited())
    page.draw(present_federation(snapshots.training()))
    assert page._study_page.isVisible()
    assert page._words.text() == "amber canyon velvet orbit lantern maple"
    assert page.sites.keys() == ("harbour", "north", "valley")
    page.draw(present_federation(snapshots.checked()))
    assert page._empty.isVisible()


def test_the_doctor_tests_the_invitation_or_the_joined_study(open_window):
    shown = open_window(snapshots.checked())
    page = shown.page(Page.FEDERATION)
    shown.service.replies = [snapshots.invitation()]
    shown.window.read_invitation("/x.fedjoin")
    page.invited_doctor._run.click()
    shown.show(snapshots.examined())
    page.doctor._run.click()
    assert shown.service.commands[1:] == [RunDoctor(path="/x.fedjoin"), RunDoctor()]


def test_a_site_pauses_resumes_and_leaves_from_here(open_window):
    shown = open_window(snapshots.training())
    page = shown.page(Page.FEDERATION)
    shown.answers.choice = "checkpoint"
    page.pause.click()
    assert shown.service.commands == [PauseTraining(at_checkpoint=True)]
    assert shown.answers.asked, "what a pause costs is said before"
    shown.show(snapshots.paused())
    assert page.pause.text() == "Resume"
    page.pause.click()
    assert shown.service.commands[1:] == [ResumeTraining()]
    shown.answers.asked.clear()
    shown.answers.sure = False
    page._leave.click()
    assert "you need a new invitation" in shown.answers.asked[0]
    assert len(shown.service.commands) == 2, "nothing happens without a yes"
    shown.answers.sure = True
    page._leave.click()
    assert shown.service.commands[2:] == [LeaveStudy()]


def test_a_refused_site_can_try_again_and_learns_how_to_come_back(open_window):
    shown = open_window(snapshots.refused())
    page = shown.page(Page.FEDERATION)
    assert "leave the study here, then open the invitation" in page._come_back.text()
    page.pause.click()
    assert page.pause.text() == "Try again"
    assert shown.service.commands == [ResumeTraining()]
    # What a person left is gone; the page offers to open the next invitation.
    shown.show(snapshots.checked())
    assert page._open.isVisible()
    assert page._open.isEnabled()


def test_a_network_of_its_own_is_shown_as_a_picture(page):
    page.draw(present_federation(snapshots.training()))
    assert not page._network_card.isVisible()
    assert page._plan_card.heading.text() == "The plan all sites use"
    page.draw(present_federation(snapshots.asymmetric()))
    assert page._network_card.isVisible()
    assert page.network.isVisible()
    assert page._network_sentence.text() == snapshots.NETWORK.sentence
    assert page._plan_card.heading.text() == "The plan of this site"


def test_a_measurement_before_joining_tells_when_the_study_would_end(page, qtbot):
    page.draw(present_federation(snapshots.checked()))
    page.show_invitation(invited())
    assert page.measure.isVisible()
    with qtbot.waitSignal(page.measure_wished) as wished:
        page.measure.click()
    assert wished.args == ["/x.fedjoin"]
    running = replace(snapshots.checked(), training=snapshots.measuring().training)
    page.draw(present_federation(running))
    assert page.measuring.isVisible()
    assert not page.measure.isVisible()
    # Its end is in the invitation: it is read again.
    with qtbot.waitSignal(page.invitation_dropped) as again:
        page.draw(present_federation(snapshots.checked()))
    assert again.args == ["/x.fedjoin"]
    known = replace(
        snapshots.invitation(), traffic=snapshots.traffic(finish_at=snapshots.NOW + 90_000)
    )
    page.show_invitation(present_invitation("/x.fedjoin", known, now=snapshots.NOW))
    assert not page.measure.isVisible()
    assert not page.measuring.isVisible()


def test_a_measurement_that_failed_says_so_and_may_be_tried_again(page, qtbot):
    page.draw(present_federation(snapshots.checked()))
    page.show_invitation(invited())
    job = JobView(kind="calibrate", running=False, failed=True, outcome="not enough memory")
    page.draw(
        present_federation(replace(snapshots.checked(), training=TrainingView(calibration_job=job)))
    )
    assert page._unmeasured.text() == "Not enough memory"
    assert page.measure.isVisible()
