from __future__ import annotations

from helpers import snapshots

from app.ui.presenters.volumes import CasePaths, read_case
from app.ui.widgets.case_viewer import CaseViewer


def test_says_what_it_waits_for_and_makes_no_planes_yet(qtbot, look):
    viewer = CaseViewer()
    qtbot.addWidget(viewer)
    viewer.show()
    assert viewer.view is None
    viewer.show_sentence("Reading…")
    assert viewer._sentence.isVisible()
    assert viewer._sentence.text() == "Reading…"


def test_shows_a_case_at_its_place(qtbot, look):
    case = snapshots.dataset().held_out[0]
    loaded = read_case(
        CasePaths(case=case.name, image=case.channels[0], prediction=case.label, voxel=(3, 4, 5))
    )
    viewer = CaseViewer()
    qtbot.addWidget(viewer)
    viewer.show()
    viewer.show_case(
        loaded.channels,
        loaded.prediction,
        None,
        names={1: "Anterior", 2: "Posterior"},
        voxel=loaded.voxel,
        remark="One remark.",
    )
    assert viewer.view is not None
    assert viewer.view.isVisible()
    assert viewer.view.crosshair == (3, 4, 5)
    assert viewer._remark.isVisible()
    first = viewer.view
    viewer.show_sentence("Reading another…")
    assert not first.isVisible()
    viewer.show_case(
        loaded.channels, loaded.prediction, loaded.prediction, names={1: "A"}, voxel=None
    )
    assert viewer.view is first
    assert viewer._remark.isHidden()


def test_the_image_on_screen_keeps_its_window_unless_it_shall_begin_anew(qtbot, look):
    case = snapshots.dataset().held_out[0]
    loaded = read_case(CasePaths(case=case.name, image=case.channels[0], reference=case.label))
    viewer = CaseViewer()
    qtbot.addWidget(viewer)
    viewer.show()
    viewer.show_loaded(loaded, {1: "Anterior"})
    handed = []
    viewer.view.set_volumes = lambda channels, *_names, **_more: handed.append(channels)
    viewer.show_loaded(loaded, {1: "Anterior"})
    assert handed == []
    viewer.show_loaded(loaded, {1: "Anterior"}, anew=True)
    assert handed == [loaded.channels]
