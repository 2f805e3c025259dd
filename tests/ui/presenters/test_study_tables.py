from __future__ import annotations

from helpers import snapshots
from msgspec.structs import replace

from app.ui.presenters.study_tables import rounds_table, sites_table
from app.ui.text import Tone


def test_sites_say_what_they_do():
    table = sites_table(snapshots.training().federation)
    rows = {row.key: [cell.text for cell in row.cells] for row in table.rows}
    assert rows["north"] == [
        "North (this site)",
        "Connected",
        "Training",
        "24",
        "3",
        "Epoch 6, 12/20",
        "now",
    ]
    assert rows["valley"][-1] == "35 s ago"


def test_a_site_long_silent_stands_out():
    table = sites_table(snapshots.joined().federation)
    away = next(row for row in table.rows if row.key == "valley")
    assert away.cells[1].text == "Away"
    assert away.cells[6].tone is Tone.WARNING
    assert away.cells[4].text == "–"


def test_rounds_come_newest_first_with_a_column_per_label():
    table = rounds_table(snapshots.finished().federation)
    assert [row.key for row in table.rows] == ["6", "5", "4", "3", "2", "1"]
    assert [column.title for column in table.columns][-2:] == ["Anterior *", "Posterior *"]
    second = next(row for row in table.rows if row.key == "2")
    assert second.cells[1].text == "Harbour and North"


def test_a_round_with_missing_label_figures_keeps_its_columns():
    base = snapshots.training()
    short = replace(base.federation.rounds[0], pseudo_dice=(0.5,), validation_loss=None)
    table = rounds_table(replace(base.federation, rounds=(short,)))
    assert [cell.text for cell in table.rows[0].cells][-3:] == ["–", "0.50", "–"]


def test_rounds_of_a_study_of_folds_are_told_with_their_fold():
    view = snapshots.folds().federation
    rows = {row.key: [cell.text for cell in row.cells] for row in sites_table(view).rows}
    assert rows["north"][4] == "1 (fold 2)"
    assert [row.cells[0].text for row in rounds_table(view).rows] == ["2 (fold 1)", "1 (fold 1)"]


def test_rounds_of_a_cascade_are_told_with_their_pass():
    view = snapshots.cascade().federation
    rows = {row.key: [cell.text for cell in row.cells] for row in sites_table(view).rows}
    assert rows["north"][4] == "1 (pass 1, fold 3)"
