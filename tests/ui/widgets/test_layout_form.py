from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import snapshots
from PySide6.QtCore import Qt

from app.datasets.confirmed import answered
from app.ui.presenters.layout import present_layout
from app.ui.widgets.layout_form import LayoutForm

PROPOSAL = snapshots.layout_proposal()
STATE = present_layout(snapshots.proposed().data)


@pytest.fixture
def form(qtbot):
    made = LayoutForm()
    qtbot.addWidget(made)
    made.resize(1000, 700)
    made.show()
    made.draw(STATE)
    return made


def untick(form: LayoutForm, number: int) -> None:
    model = form.cases.records
    model.setData(
        model.index(number, 0), Qt.CheckState.Unchecked.value, Qt.ItemDataRole.CheckStateRole
    )


def test_unchanged_it_answers_what_was_proposed_and_the_service_takes_it(form, qtbot):
    with qtbot.waitSignal(form.confirmed) as told:
        form._use.click()
    said = told.args[0]
    assert said.digest == PROPOSAL.digest
    kept = answered(
        PROPOSAL,
        channels=said.channels,
        structures=said.structures,
        leave_out=said.leave_out,
        pseudonyms=said.pseudonyms,
    )
    assert kept.labels == PROPOSAL.labels
    assert kept.channels == PROPOSAL.channels


def test_names_values_and_cases_are_the_persons(form):
    form._channels[1][1].setCurrentText("rescale_to_0_1")
    form._structures[2][1].setText("gross tumour")
    untick(form, 2)
    said = form.answers()
    assert said.channels[1].name == "rescale_to_0_1"
    assert said.structures[2].name == "gross tumour"
    assert said.leave_out == ("case-0003",)
    assert form.cases.records.row(2).checked is False
    assert form._channel_grid.itemAtPosition(1, 2).widget().text().startswith("Each image is")


def test_what_cannot_be_used_is_told_and_not_sent(form, qtbot):
    form._structures[2][2].setValue(3)
    assert "without a gap" in form._problem.text()
    assert not form._use.isEnabled()
    form._structures[2][2].setValue(0)
    assert form._use.isEnabled()


def test_words_stay_while_states_follow_and_go_with_another_proposal(form):
    form._structures[2][1].setText("gross tumour")
    form.draw(replace(STATE, can_confirm=False))
    assert form._structures[2][1].text() == "gross tumour"
    assert not form._use.isEnabled()
    form.draw(replace(STATE, digest="another"))
    assert form._structures[2][1].text() == "tumour"
    assert form.answers().digest == "another"


def test_fixed_values_cannot_be_changed_and_dicom_names_neither(form):
    assert not form._pseudonyms.isEnabled()
    assert form._pseudonyms.isChecked()
    form.draw(replace(STATE, digest="files", values_fixed=True, always_pseudonyms=False))
    assert not form._structures[0][2].isEnabled()
    assert form._pseudonyms.isEnabled()
    assert not form._pseudonyms.isChecked()
