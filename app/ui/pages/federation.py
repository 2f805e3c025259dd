"""Federation: open an invitation and join; afterwards the study, its sites and its rounds."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from app.ui.actions import Action, described
from app.ui.models.rows import Table
from app.ui.presenters.federation import FederationState, InvitationState
from app.ui.presenters.study_tables import SITE_COLUMNS
from app.ui.text import COMMON_PLAN, EMPTY_FEDERATION, EMPTY_FEDERATION_HINT, PURPOSE, Page
from app.ui.theme import GRID
from app.ui.widgets.card import Card, FactGrid, page_layout, row_of, scrolling
from app.ui.widgets.doctor_card import DoctorCard
from app.ui.widgets.drop_zone import DropZone
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.labels import BadgeLabel, Button, IconLabel, label, show_text
from app.ui.widgets.network_picture import NetworkPicture
from app.ui.widgets.progress_strip import ProgressStrip
from app.ui.widgets.record_table import RecordTable

SUFFIX = ".fedjoin"


def is_invitation(path: Path) -> bool:
    """Return True for a file with the ending of an invitation."""
    return path.suffix == SUFFIX and path.is_file()


class FederationPage(QWidget):
    """Draws a `FederationState`, or the `InvitationState` that a person reads before joining."""

    open_wished = Signal()
    invitation_dropped = Signal(str)
    join_wished = Signal(str)
    leave_wished = Signal()
    pause_wished = Signal()
    resume_wished = Signal()
    doctor_wished = Signal(str)
    """Test the connection: path of the invitation on screen, empty for the joined study."""
    ticket_copied = Signal()
    measure_wished = Signal(str)
    """Measure this computer for the study of this invitation."""
    stop_wished = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        layout = page_layout(self, Page.FEDERATION.value, PURPOSE[Page.FEDERATION])
        self._pages = QStackedWidget()
        layout.addWidget(self._pages, 1)
        self._empty = DropZone(is_invitation)
        self._open = Button(
            "Open invitation",
            "invitation",
            primary=True,
            large=True,
            hint=described(Action.OPEN_INVITATION),
            clicked=self.open_wished.emit,
        )
        QVBoxLayout(self._empty).addWidget(
            EmptyState("federation", EMPTY_FEDERATION, EMPTY_FEDERATION_HINT, self._open)
        )
        self._empty.path_dropped.connect(self.invitation_dropped)
        self._pages.addWidget(self._empty)
        self._invitation_page = self._build_invitation()
        self._pages.addWidget(self._invitation_page)
        self._study_page = self._build_study()
        self._pages.addWidget(self._study_page)
        self._state: FederationState | None = None
        self._invitation: InvitationState | None = None

    # --- building ------------------------------------------------------------------------------

    def _build_invitation(self) -> QWidget:
        content = QWidget()
        content.setObjectName("page")
        layout = QVBoxLayout(content)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2 * GRID)
        card = Card()
        card.setProperty("tone", "accent")
        card.body.addWidget(label("You are invited to the study", "caption"))
        self._invited_to = label("", "title")
        card.body.addWidget(self._invited_to)
        self._invited_facts = FactGrid()
        card.body.addWidget(self._invited_facts)
        self.measure = Button(
            "Measure this computer",
            "refresh",
            hint="A minute or two of training steps that are thrown away; they tell when the study "
            "would end here",
            clicked=self._wish_measure,
        )
        self.measuring = ProgressStrip()
        self.measuring.stopped.connect(self.stop_wished)
        self._unmeasured = label("", "sentence")
        card.body.addLayout(row_of(self.measure, None))
        card.body.addWidget(self.measuring)
        card.body.addWidget(self._unmeasured)
        card.body.addSpacing(GRID)
        line = QHBoxLayout()
        line.setSpacing(GRID)
        line.addWidget(IconLabel("shield"))
        self._sharing = label("")
        line.addWidget(self._sharing, 1)
        card.body.addLayout(line)
        card.body.addWidget(
            label(
                "Images and labels never leave this hospital. The fingerprint leaves only after "
                "you have seen and allowed it; in training, the weights of the network leave.",
                "muted",
            )
        )
        self._invitation_problem = label("", "sentence")
        self._invitation_remedy = label("", "muted")
        card.body.addWidget(self._invitation_problem)
        card.body.addWidget(self._invitation_remedy)
        card.body.addSpacing(GRID)
        self._join = Button("Join", "check", primary=True, large=True, clicked=self._wish_join)
        back = Button("Not now", large=True, clicked=self._put_away)
        card.body.addLayout(row_of(self._join, back, None))
        layout.addWidget(card)
        self.invited_doctor = self._doctor_card()
        layout.addWidget(self.invited_doctor)
        layout.addStretch(1)
        return scrolling(content)

    def _doctor_card(self) -> DoctorCard:
        card = DoctorCard()
        card.run_wished.connect(self._wish_doctor)
        card.ticket_copied.connect(self.ticket_copied)
        return card

    def _build_study(self) -> QWidget:
        content = QWidget()
        content.setObjectName("page")
        layout = QVBoxLayout(content)
        layout.setContentsMargins(0, 0, GRID, 0)
        layout.setSpacing(2 * GRID)
        top = QHBoxLayout()
        top.setSpacing(2 * GRID)
        study = Card("Study")
        self._title = label("", "sentence")
        self._purpose = label("", "muted")
        self._facts = FactGrid()
        for widget in (self._title, self._purpose, self._facts):
            study.body.addWidget(widget)
        study.body.addStretch(1)
        top.addWidget(study, 3)
        link = Card("Link to the coordinator")
        self._badge = BadgeLabel()
        self._link_sentence = label("", "muted")
        self._traffic = label("", "muted")
        link.body.addLayout(row_of(self._badge, None))
        link.body.addWidget(self._link_sentence)
        link.body.addWidget(self._traffic)
        link.body.addSpacing(GRID)
        link.body.addWidget(label("Six words of this site", "caption"))
        self._words = label("", "words", selectable=True)
        link.body.addWidget(self._words)
        link.body.addWidget(
            label("The coordinator sees the same six words; compare them by telephone.", "caption")
        )
        link.body.addStretch(1)
        self._come_back = label("", "muted")
        link.body.addWidget(self._come_back)
        self.pause = Button("Pause…", "pause", clicked=self._toggle_pause)
        self._leave = Button("Leave the study…", clicked=self.leave_wished.emit)
        link.body.addLayout(row_of(self.pause, None, self._leave))
        top.addWidget(link, 2)
        layout.addLayout(top)

        sites = Card("Sites")
        self._sentence = label("", "sentence")
        sites.body.addWidget(self._sentence)
        self.sites = RecordTable(Table(columns=SITE_COLUMNS), "Sites of the study")
        self.sites.fit_height(10)
        sites.body.addWidget(self.sites)
        layout.addWidget(sites)

        rounds = Card("Closed rounds")
        self.rounds = RecordTable(Table(columns=()), "Closed rounds")
        self.rounds.fit_height(8)
        rounds.body.addWidget(self.rounds)
        self._footnote = label(
            "* Pseudo-Dice. Estimate on patches, not a clinical result.", "caption"
        )
        rounds.body.addWidget(self._footnote)
        layout.addWidget(rounds)

        self._network_card = Card("What of your network is shared")
        self._network_sentence = label("", "sentence")
        self.network = NetworkPicture()
        self._network_card.body.addWidget(self._network_sentence)
        self._network_card.body.addWidget(self.network)
        layout.addWidget(self._network_card)

        self._plan_card = Card(COMMON_PLAN)
        self._plan = FactGrid()
        self._plan_card.body.addWidget(self._plan)
        layout.addWidget(self._plan_card)
        self.doctor = self._doctor_card()
        layout.addWidget(self.doctor)
        layout.addStretch(1)
        return scrolling(content)

    # --- drawing -------------------------------------------------------------------------------

    def draw(self, state: FederationState) -> None:
        """Show a state; a study that was joined takes the place of an open invitation."""
        if state == self._state:
            return
        before, self._state = self._state, state
        self._draw_measurement(before)
        self._open.setEnabled(state.attached)
        self.doctor.draw(state.doctor)
        self.invited_doctor.draw(state.doctor)
        if not state.study_title:
            self._show_front()
            return
        self._invitation = None
        self._pages.setCurrentWidget(self._study_page)
        self._title.setText(state.study_title)
        self._purpose.setText(state.purpose)
        self._facts.show_facts(state.facts)
        self._badge.show_badge(state.link.text, state.link.tone)
        show_text(self._link_sentence, state.link_sentence)
        self._traffic.setText(state.traffic)
        self._words.setText(state.words)
        show_text(self._come_back, state.come_back)
        self.pause.setVisible(bool(state.pause.text))
        self.pause.setText(state.pause.text)
        self.pause.show_icon("play" if state.pause.resumes else "pause")
        show_text(self._sentence, state.sentence)
        self.sites.show_table(state.sites)
        self.rounds.show_table(state.rounds)
        self._network_card.setVisible(bool(state.network.sentence))
        self._network_sentence.setText(state.network.sentence)
        self.network.draw(state.network)
        self._plan_card.heading.setText(state.plan_title)
        self._plan_card.setVisible(bool(state.plan))
        self._plan.show_facts(state.plan)

    def _draw_measurement(self, before: FederationState | None) -> None:
        """Show a measurement; when one has ended, an open invitation is read again."""
        state, invitation = self._state, self._invitation
        if state is None or invitation is None:
            return
        self.measuring.show_progress(state.measuring)
        self.measure.setVisible(invitation.can_measure and state.measuring is None)
        show_text(self._unmeasured, state.unmeasured)
        ended = before is not None and before.measuring is not None and state.measuring is None
        if ended and not state.unmeasured and not state.study_title:
            self.invitation_dropped.emit(invitation.path)

    def show_invitation(self, invitation: InvitationState) -> None:
        """Show what an invitation says, with the button to join."""
        self._invitation = invitation
        self._draw_measurement(None)
        self._invited_to.setText(invitation.title)
        self._invited_facts.show_facts(invitation.facts)
        self._sharing.setText(invitation.sharing)
        show_text(self._invitation_problem, invitation.problem)
        show_text(self._invitation_remedy, invitation.remedy if invitation.problem else "")
        self._join.setEnabled(invitation.can_join)
        self._show_front()
        self._join.setFocus()

    def _show_front(self) -> None:
        page = self._empty if self._invitation is None else self._invitation_page
        self._pages.setCurrentWidget(page)

    def _put_away(self) -> None:
        self._invitation = None
        self._show_front()

    def _wish_measure(self) -> None:
        if self._invitation is not None:
            self.measure_wished.emit(self._invitation.path)

    def _toggle_pause(self) -> None:
        if self._state is not None:
            wish = self.resume_wished if self._state.pause.resumes else self.pause_wished
            wish.emit()

    def _wish_join(self) -> None:
        if self._invitation is not None:
            self.join_wished.emit(self._invitation.path)

    def _wish_doctor(self) -> None:
        self.doctor_wished.emit(self._invitation.path if self._invitation is not None else "")
