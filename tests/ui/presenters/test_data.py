from __future__ import annotations

from helpers import snapshots

from app.review.errors import ErrorComponent, ErrorKind
from app.ui.presenters.data import (
    case_beside,
    files_of_case,
    files_of_finding,
    part_words,
    present_data,
    structures_of_folder,
    summarise,
)
from app.ui.presenters.parts import Badge
from app.ui.text import Tone


def test_summary_counts_by_how_much_it_matters():
    report = snapshots.report(snapshots.REMARK, snapshots.HARMLESS, snapshots.HARMLESS)
    assert summarise(report) == (
        "24 cases, 1 finding that may harm and 2 harmless findings.",
        Badge(text="Ready, with remarks", tone=Tone.WARNING),
    )
    assert summarise(snapshots.report()) == (
        "24 cases, nothing to mend.",
        Badge(text="Ready", tone=Tone.GOOD),
    )
    assert summarise(snapshots.report(snapshots.BLOCKER))[1].tone is Tone.DANGER


def test_findings_come_worst_first_and_keep_their_number():
    state = present_data(snapshots.blocked())
    assert [row.key for row in state.findings.rows] == ["0", "1", "2"]
    assert [row.group for row in state.findings.rows] == ["Blocks", "May harm", "Harmless"]
    assert state.findings.rows[0].cells[1].text == "hippocampus_024"


def test_cases_name_their_worst_finding():
    state = present_data(snapshots.blocked())
    by_name = {row.key: row for row in state.cases.rows}
    assert len(by_name) == 29
    assert by_name["hippocampus_024"].cells[4].tone is Tone.DANGER
    assert by_name["hippocampus_007"].cells[4].text == "None"
    assert by_name["hippocampus_144"].cells[1].text == "Held out"


def test_while_the_check_runs_nothing_old_is_said():
    state = present_data(snapshots.checking())
    assert state.summary == ""
    assert state.badge is None
    assert not state.can_check
    assert state.progress is not None
    assert state.progress.sentence == "Checking cases: 11 of 24"


def test_without_a_folder_there_is_nothing_but_the_invitation_to_choose():
    state = present_data(snapshots.empty())
    assert (state.folder, state.findings.rows, state.can_check) == (None, (), False)
    assert present_data(None).attached is False


def test_layout_is_told_in_plain_lines():
    facts = {fact.name: fact.value for fact in present_data(snapshots.checked()).layout}
    assert facts["Structures"] == "anterior (1), posterior (2)"
    assert facts["Cases"] == "24 to train on, 5 held out"


def test_viewer_files_of_cases_and_findings():
    data = snapshots.blocked().data
    files = files_of_case(data, "hippocampus_007")
    assert files is not None
    assert files.channels[0].endswith("imagesTr/hippocampus_007_0000.nii.gz")
    assert files.label is not None
    assert files_of_case(data, "nobody") is None
    found = files_of_finding(data, "0")
    assert found is not None
    assert (found.case, found.voxel) == ("hippocampus_024", (20, 24, 18))
    assert files_of_finding(data, "99") is None
    assert files_of_finding(data, "") is None
    assert files_of_finding(snapshots.empty().data, "0") is None


def test_the_cases_of_a_folder_have_neighbours_and_ends():
    data = snapshots.blocked().data
    names = [case.name for case in (*data.dataset.training, *data.dataset.held_out)]
    assert case_beside(data, names[0], 1) == names[1]
    assert case_beside(data, names[1], -1) == names[0]
    assert case_beside(data, names[0], -1) is None
    assert case_beside(data, names[-1], 1) is None
    assert case_beside(data, "nobody", 1) is None
    assert case_beside(snapshots.empty().data, "nobody", 1) is None


def test_structures_and_parts_have_their_names():
    assert structures_of_folder(snapshots.empty().data) == ()
    assert structures_of_folder(snapshots.blocked().data) == (
        ("anterior", (1,)),
        ("posterior", (2,)),
    )
    part = ErrorComponent(
        label="anterior", kind=ErrorKind.ADDED, voxels=9, ml=1.234, voxel=(1, 2, 3)
    )
    assert part_words(part, 0, 2) == "Part 1 of 2: Anterior, 1.23 ml"
