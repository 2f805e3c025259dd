from __future__ import annotations

from helpers.scripted_runner import epoch_record
from helpers.snapshots import service

from app.control.messages import Changed, DataView, EpochFinished, FederationView
from app.site.board import Board


def test_changes_go_out_and_what_is_equal_does_not():
    board, told = Board(service()), []
    board.broadcast = told.append
    change = Changed(data=DataView(folder="/d"))
    board.change(change)
    board.change(change)
    board.change(Changed(data=DataView(folder="/d"), federation=FederationView()))
    assert told == [change]
    assert board.snapshot.data.folder == "/d"


def test_of_a_change_only_the_sections_that_differ_go_out():
    board, told = Board(service()), []
    board.broadcast = told.append
    board.change(Changed(data=DataView(folder="/d"), federation=FederationView()))
    assert told == [Changed(data=DataView(folder="/d"))]


def test_events_are_in_the_snapshot_of_a_later_window():
    board, told = Board(service()), []
    board.broadcast = told.append
    event = EpochFinished(record=epoch_record(1, 1))
    board.tell(event)
    assert told == [event]
    assert board.snapshot.training.epochs == (epoch_record(1, 1),)
