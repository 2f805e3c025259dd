from __future__ import annotations

import zipfile

import pytest
from helpers import snapshots
from helpers.window_desk import MemoryBook, RecordedService, StillClock
from msgspec.structs import replace
from PySide6.QtCore import QPoint, QSettings, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QLineEdit,
    QMessageBox,
    QWidget,
)

from app.control.messages import (
    AllowFingerprint,
    Calibrate,
    ChooseFolder,
    ComputeFingerprint,
    JoinStudy,
    LeaveStudy,
    PauseTraining,
    PrepareReport,
    ReadInvitation,
    Refused,
    ReportFile,
    ReportView,
    ResumeTraining,
    SetDevices,
    SetSchedule,
    SetStartAtLogin,
    StopJob,
    WithdrawAllowance,
)
from app.ui import theme
from app.ui.actions import Action
from app.ui.presenters.desk import Desk
from app.ui.text import GOES_ON, GOES_ON_IN_TRAY, REMOVES, Page
from app.ui.theme import DARK, LIGHT
from app.ui.widgets.about import AboutDialog, ReportDialog
from app.ui.widgets.labels import Button
from app.ui.window import DIALOGS, Window


def visible_buttons(widget) -> list[QAbstractButton]:
    return [button for button in widget.findChildren(QAbstractButton) if button.isVisible()]


@pytest.mark.parametrize("stage", list(snapshots.STAGES))
@pytest.mark.parametrize("page", list(Page))
def test_every_page_draws_every_stage(open_window, page, stage):
    shown = open_window(snapshots.STAGES[stage]())
    widget = shown.page(page)
    assert shown.window.page is page
    # No empty page: something is said on each.
    assert any(
        label.isVisible() and len(label.text()) > 10
        for label in widget.findChildren(type(shown.window.header._study))
    )


@pytest.mark.parametrize("page", list(Page))
def test_every_page_can_be_drawn_without_a_service(open_window, page):
    shown = open_window(None, away="starting the service of this site…")
    shown.page(page)
    assert shown.window.banner.text == "Starting the service of this site…"


@pytest.mark.parametrize("page", list(Page))
def test_what_can_be_pressed_has_a_name_and_room(open_window, page):
    shown = open_window(snapshots.finished())
    shown.page(page)
    for button in visible_buttons(shown.window):
        if button.objectName().startswith("qt_") or not button.isEnabled():
            continue
        assert button.text() or button.accessibleName(), button
        assert min(button.width(), button.height()) >= 24, button.text()
    for field in shown.window.findChildren(QLineEdit):
        assert field.accessibleName() or field.parentWidget().accessibleName() or field.isReadOnly()
    for choice in shown.window.findChildren(QComboBox):
        assert choice.accessibleName()


@pytest.mark.parametrize("page", list(Page))
@pytest.mark.parametrize("stage", ["empty", "training", "finished"])
def test_nothing_is_wider_than_the_smallest_window(open_window, page, stage):
    shown = open_window(snapshots.STAGES[stage]())
    shown.window.resize(1100, 700)
    shown.page(page)
    QTest.qWait(20)
    assert (shown.window.width(), shown.window.height()) == (1100, 700)
    right = shown.window.width()
    for button in visible_buttons(shown.window):
        corner = button.mapTo(shown.window, QPoint(button.width(), 0))
        assert corner.x() <= right, button.text()


@pytest.fixture
def waiting(look, tmp_path, qtbot):
    """A window that is not shown yet and whose service said nothing yet."""
    settings = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    asking = replace(DIALOGS, closing=lambda _parent, _sentence: (True, False))
    window = Window(look, settings, asking=asking)
    qtbot.addWidget(window)
    service = RecordedService(None)
    desk = Desk(service, clock=StillClock(snapshots.NOW), verdicts=MemoryBook())
    desk.setParent(window)
    window.attach(desk)
    return window, service


def test_what_is_known_before_the_window_is_seen_is_drawn_once(waiting, monkeypatch):
    window, service = waiting
    drawn = []
    monkeypatch.setattr(window.page_widget(Page.HOME), "draw", drawn.append)
    service.snapshot = snapshots.training()
    window.refresh()
    window.show()
    assert [state.study_title for state in drawn] == [service.snapshot.federation.study.name]


def test_a_window_without_a_service_is_drawn_when_it_is_shown(waiting):
    window, _ = waiting
    window.show()
    assert "connecting" in window.status._link.text()
    assert window.page_widget(Page.HOME)._sentence.text()


def test_keys_lead_to_every_page(open_window, qtbot):
    shown = open_window(snapshots.training())
    shown.window.activateWindow()
    qtbot.waitUntil(shown.window.isActiveWindow)
    for number, page in enumerate(Page, start=1):
        QTest.keyClick(
            shown.window, Qt.Key(Qt.Key.Key_0.value + number), Qt.KeyboardModifier.ControlModifier
        )
        assert shown.window.page is page


def test_tab_reaches_the_navigation_and_the_next_step(open_window, qtbot):
    shown = open_window(snapshots.empty())
    shown.window.activateWindow()
    qtbot.waitUntil(shown.window.isActiveWindow)
    reached = set()
    for _ in range(40):
        QTest.keyClick(QApplication.focusWidget() or shown.window, Qt.Key.Key_Tab)
        focus = QApplication.focusWidget()
        if isinstance(focus, QAbstractButton):
            reached.add(focus.text().strip() or focus.accessibleName())
    assert {"Home", "Data", "Review", "Choose folder"} <= reached


def test_home_button_chooses_the_folder(open_window, tmp_path):
    shown = open_window(snapshots.empty())
    shown.answers.folder = str(tmp_path)
    shown.window.page_widget(Page.HOME).button.click()
    assert shown.service.commands == [ChooseFolder(folder=str(tmp_path))]
    assert shown.window.page is Page.DATA


def test_a_dialog_that_was_cancelled_changes_nothing(open_window):
    shown = open_window(snapshots.empty())
    shown.window.choose_folder()
    shown.window.open_invitation()
    assert shown.service.commands == []


def test_home_button_computes_and_resumes(open_window):
    shown = open_window(snapshots.joined())
    shown.window.page_widget(Page.HOME).button.click()
    assert shown.service.commands == [ComputeFingerprint()]
    shown.window.go_to(Page.HOME)
    shown.show(snapshots.paused())
    shown.window.page_widget(Page.HOME).button.click()
    assert shown.service.commands[1:] == [ResumeTraining()]


def test_recent_folders_are_remembered_newest_first(open_window, tmp_path):
    shown = open_window(snapshots.empty())
    folders = []
    for name in ("one", "two", "one"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        folders.append(str(folder))
        shown.answers.folder = str(folder)
        shown.window.choose_folder()
    again = open_window(snapshots.empty())
    assert again.window._recent() == (folders[0], folders[1])
    (tmp_path / "two").rmdir()
    assert again.window._recent() == (folders[0],)


def test_invitation_is_shown_then_joined(open_window, qtbot):
    shown = open_window(snapshots.checked())
    shown.answers.file = "/tmp/north.fedjoin"
    shown.service.replies = [snapshots.invitation()]
    shown.window.open_invitation()
    assert shown.window.page is Page.FEDERATION
    page = shown.window.page_widget(Page.FEDERATION)
    join = next(button for button in page.findChildren(Button) if button.text() == "Join")
    assert join.isVisible()
    assert shown.service.commands == [ReadInvitation(path="/tmp/north.fedjoin")]
    join.click()
    assert shown.service.commands[1:] == [JoinStudy(path="/tmp/north.fedjoin")]
    assert [toast.message.sentence for toast in shown.window.toasts.toasts()] == [
        "Joining the study."
    ]


def test_pausing_tells_the_costs_first(open_window):
    shown = open_window(snapshots.training())
    page = shown.page(Page.TRAINING)
    page.pause.click()
    assert shown.service.commands == [], "the operator has thought better of it"
    assert any("loses 22 seconds" in cost for cost in shown.answers.asked)
    for choice, command in (
        ("checkpoint", PauseTraining(at_checkpoint=True)),
        ("now", PauseTraining()),
    ):
        shown.service.commands.clear()
        shown.answers.choice = choice
        page.pause.click()
        assert shown.service.commands == [command]


def test_what_this_computer_computes_with_is_wished_from_the_page(open_window):
    shown = open_window(snapshots.measured())
    page = shown.page(Page.TRAINING)
    page.computer.measure.click()
    page.computer.cards.slider.setValue(3)
    page.batch_wished.emit(1)
    assert shown.service.commands == [
        Calibrate(),
        SetDevices(gpus=3),
        SetDevices(gpus=2, batch_size=1),
    ]


def test_a_measurement_before_joining_is_wished_and_stopped(open_window):
    shown = open_window(snapshots.checked())
    page = shown.page(Page.FEDERATION)
    page.measure_wished.emit("/x.fedjoin")
    page.stop_wished.emit("calibrate")
    assert shown.service.commands == [Calibrate(path="/x.fedjoin"), StopJob(kind="calibrate")]


def test_a_schedule_is_wished_from_the_page(open_window):
    shown = open_window(snapshots.troubled())
    page = shown.page(Page.TRAINING)
    page.schedule.yields.setChecked(False)
    page.schedule.use.click()
    assert shown.service.commands == [SetSchedule(from_minute=1200, to_minute=420, weekends=True)]


def test_curves_are_saved_where_the_operator_says(open_window, tmp_path):
    shown = open_window(snapshots.training())
    page = shown.page(Page.TRAINING)
    shown.answers.save = str(tmp_path / "curves")
    page.loss.save_wished.emit("csv")
    assert (tmp_path / "curves.csv").read_text("utf-8-sig").startswith("Epoch,Training,")
    shown.answers.save = ""
    page.loss.save_wished.emit("png")
    assert [path.name for path in tmp_path.glob("curves*")] == ["curves.csv"]


def test_leaving_and_taking_back_ask_first(open_window):
    shown = open_window(snapshots.training())
    shown.answers.sure = False
    shown.page(Page.FEDERATION).leave_wished.emit()
    shown.page(Page.FINGERPRINT).withdraw_wished.emit()
    assert shown.service.commands == []
    shown.answers.sure = True
    shown.page(Page.FEDERATION).leave_wished.emit()
    shown.page(Page.FINGERPRINT).withdraw_wished.emit()
    assert shown.service.commands == [LeaveStudy(), WithdrawAllowance()]
    assert snapshots.COSTS.leave in shown.answers.asked[0]


def test_stop_names_the_job(open_window):
    shown = open_window(snapshots.checking())
    page = shown.page(Page.DATA)
    stop = next(button for button in page.findChildren(Button) if button.text() == "Stop")
    stop.click()
    assert shown.service.commands == [StopJob(kind="check")]


def test_refusals_appear_once_with_their_remedy(open_window):
    shown = open_window(snapshots.empty())
    refused = Refused(code="x", sentence="this folder holds no images", remedy="Choose another.")
    shown.service.replies = [refused, refused]
    shown.desk.choose_folder("/a")
    shown.desk.choose_folder("/a")
    (toast,) = shown.window.toasts.toasts()
    assert (toast.message.sentence, toast.message.remedy) == (
        "This folder holds no images",
        "Choose another.",
    )
    assert shown.window.rect().contains(shown.window.toasts.geometry())


def test_banner_stays_while_the_service_is_away(open_window):
    shown = open_window(snapshots.training())
    assert shown.window.banner.text == ""
    shown.show(snapshots.training(), away="the service of this site went away; attaching again…")
    assert shown.window.banner.text == (
        "The service of this site went away; attaching again… What you see is the last known state."
    )
    shown.show(snapshots.training())
    assert shown.window.banner.text == ""


def test_redraws_are_held_back_but_the_last_one_comes(open_window, qtbot, monkeypatch):
    shown = open_window(snapshots.training())
    drawn = []
    original = shown.window._draw_page
    monkeypatch.setattr(shown.window, "_draw_page", lambda: (drawn.append(1), original()))
    shown.window._timer.stop()
    for number in range(100):
        training = replace(shown.service.snapshot.training, step=number % 20)
        shown.service.snapshot = replace(shown.service.snapshot, training=training)
        shown.desk.changed.emit()
    assert len(drawn) == 1
    qtbot.waitUntil(lambda: len(drawn) == 2, timeout=2000)


def test_only_the_page_on_screen_is_made(open_window):
    shown = open_window(snapshots.training())
    assert set(shown.window._pages) == {Page.HOME}
    shown.window.go_to(Page.DATA)
    assert set(shown.window._pages) == {Page.HOME, Page.DATA}


def test_switching_the_look_is_remembered(open_window):
    shown = open_window(snapshots.training())
    assert theme.colours() is DARK
    shown.window.switch_theme()
    assert theme.colours() is LIGHT
    assert shown.settings.value("theme") == "light"
    shown.window.switch_theme()
    assert theme.colours() is DARK


def test_place_is_remembered(open_window, tmp_path):
    shown = open_window(snapshots.empty())
    shown.window.resize(1180, 760)
    shown.window.close()
    saved = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    assert saved.value("geometry") is not None
    # Qt fits the width into the offscreen platform's small screen.
    assert open_window(snapshots.empty()).window.height() == 760


def test_settings_hold_no_names_of_cases_or_words_of_the_study(open_window, tmp_path):
    shown = open_window(snapshots.finished())
    for page in Page:
        shown.page(page)
    shown.window.close()
    saved = (tmp_path / "window.ini").read_text(encoding="utf-8")
    assert "hippocampus" not in saved
    assert "amber" not in saved


def test_several_sites_can_be_chosen(open_window, qtbot):
    shown = open_window(snapshots.empty(), sites=("North", "Harbour", "Valley"))
    assert shown.window.header.sites.isVisible()
    with qtbot.waitSignal(shown.window.site_chosen) as chosen:
        shown.window.header.sites.setCurrentIndex(2)
    assert chosen.args == [2]
    assert not open_window(snapshots.empty()).window.header.sites.isVisible()


def test_another_desk_takes_the_place_of_the_first(open_window):
    shown, other = open_window(snapshots.empty()), open_window(snapshots.training())
    first = shown.desk
    shown.window.attach(other.desk)
    assert shown.window.header._study.text() == "Hippocampus sample study"
    first.message_told.emit(None)  # nobody listens any more
    assert shown.window.toasts.toasts() == []


def test_key_sheet_lists_every_key(open_window):
    shown = open_window(snapshots.empty())
    shown.window.show_keys()
    sheet = next(
        w for w in QApplication.topLevelWidgets() if w.windowTitle() == "Keys" and w.isVisible()
    )
    said = {label.text() for label in sheet.findChildren(type(shown.window.header._study))}
    assert "Accept and go to the next case" in said
    assert "Ctrl+1" in said
    sheet.close()


def test_a_case_opens_in_three_planes(open_window, qtbot):
    shown = open_window(snapshots.blocked())
    page = shown.page(Page.DATA)
    page.finding_opened.emit("0")
    window = shown.window._case_window
    assert window.isVisible()
    assert window.windowTitle() == "hippocampus_024"
    view = window.viewer.view
    assert view is not None
    assert view.crosshair == (20, 24, 18)
    page.case_opened.emit("hippocampus_007")
    assert window.windowTitle() == "hippocampus_007"


def test_a_case_of_the_folder_is_stepped_through_by_keys(open_window, qtbot):
    shown = open_window(snapshots.checked())
    names = [case.name for case in shown.desk.snapshot.data.dataset.training]
    shown.page(Page.DATA).case_opened.emit(names[0])
    window = shown.window._case_window
    view = window.viewer.view
    opened = view.crosshair
    assert window.words.text() == "2 parts of labels, L for the largest"
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyClicks(view, "l")
    assert window.words.text().startswith("Part 1 of 2: ")
    assert view.crosshair != opened
    qtbot.keyClicks(view, "w")
    assert view.crosshair == opened
    qtbot.keyClicks(view, "n")
    assert window.windowTitle() == names[1]
    qtbot.keyClicks(view, "p")
    assert window.windowTitle() == names[0]
    qtbot.keyClicks(view, "p")
    assert window.windowTitle() == names[0]


def test_a_case_that_cannot_be_read_is_said_in_the_viewer(open_window):
    base = snapshots.blocked()
    from dataclasses import replace as changed

    gone = changed(base.data.dataset.training[0], channels=("/nowhere/gone_0000.nii.gz",))
    dataset = changed(base.data.dataset, training=(gone,))
    shown = open_window(replace(base, data=replace(base.data, dataset=dataset)))
    shown.page(Page.DATA).case_opened.emit(gone.name)
    assert "gone_0000.nii.gz" in shown.window._case_window.viewer._sentence.text()


def type_keys(text: str) -> None:
    QTest.keyClicks(QApplication.focusWidget(), text)


def tab_to(wanted) -> None:
    """Press Tab until `wanted` has the focus."""
    for _ in range(60):
        if QApplication.focusWidget() is wanted:
            return
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    raise AssertionError(f"Tab does not reach {wanted.accessibleName() or wanted}")


def test_from_the_folder_to_the_permission_by_keyboard_alone(open_window, qtbot, tmp_path):
    shown = open_window(snapshots.empty())
    window = shown.window
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    # Data: Ctrl+O asks for the folder; Return opens the finding of the selected row.
    shown.answers.folder = str(tmp_path)
    QTest.keyClick(window, Qt.Key.Key_O, Qt.KeyboardModifier.ControlModifier)
    assert shown.service.commands == [ChooseFolder(folder=str(tmp_path))]
    shown.show(snapshots.blocked())
    QTest.keyClick(window, Qt.Key.Key_2, Qt.KeyboardModifier.ControlModifier)
    data = window.page_widget(Page.DATA)
    tab_to(data.findings)
    with qtbot.waitSignal(data.finding_opened):
        QTest.keyClick(data.findings, Qt.Key.Key_Down)
        QTest.keyClick(data.findings, Qt.Key.Key_Return)
    # Fingerprint: Tab to the name, type it, Return allows exactly the bytes shown.
    shown.show(snapshots.to_allow())
    QTest.keyClick(window, Qt.Key.Key_3, Qt.KeyboardModifier.ControlModifier)
    page = window.page_widget(Page.FINGERPRINT)
    tab_to(page._name)
    type_keys("A. Operator")
    QTest.keyClick(page._name, Qt.Key.Key_Return)
    assert shown.service.commands[-1] == AllowFingerprint(
        operator="A. Operator", digest=snapshots.to_allow().fingerprint.outgoing_digest
    )


def test_closing_says_that_training_goes_on_until_told_not_to(open_window):
    shown = open_window(snapshots.training())
    shown.answers.closing = (False, False)
    shown.window.close()
    assert shown.window.isVisible(), "the operator keeps it open"
    assert shown.answers.asked == [GOES_ON]
    shown.window.in_tray = True
    shown.answers.closing = (True, True)
    shown.window.close()
    assert not shown.window.isVisible()
    assert shown.answers.asked[1:] == [GOES_ON_IN_TRAY]
    shown.window.show()
    shown.window.close()
    assert len(shown.answers.asked) == 2


def test_the_sample_study_is_removed_only_after_a_yes(open_window):
    shown = open_window(snapshots.training())
    removed = []
    shown.window.offer_removal(lambda: removed.append(shown.window.isVisible()))
    entry = shown.window.header.menu.actions()[-1]
    assert entry.text() == "Remove the sample study…"
    shown.answers.sure = False
    entry.trigger()
    assert (removed, shown.window.isVisible()) == ([], True)
    shown.answers.sure = True
    entry.trigger()
    assert removed == [False], "it is out of sight while it is removed"
    assert shown.answers.asked == [REMOVES] * 2


def test_closing_is_quiet_while_nothing_trains(open_window):
    shown = open_window(snapshots.checked())
    shown.window.close()
    assert shown.answers.asked == []
    assert not shown.window.isVisible()


def test_a_window_that_nobody_sees_draws_nothing_until_it_comes_back(open_window):
    shown = open_window(snapshots.checked())
    shown.window.go_to(Page.TRAINING)
    page = shown.window.page_widget(Page.TRAINING)
    shown.window.hide()
    shown.service.snapshot = snapshots.training()
    shown.desk.changed.emit()
    assert page._state is not None
    assert not page._state.begun
    shown.window.come_forward()
    assert page._state.begun
    assert shown.window.isVisible()


def test_start_at_login_is_offered_and_shows_how_it_is(open_window):
    base = snapshots.checked()
    shown = open_window(replace(base, service=replace(base.service, starts_at_login=True)))
    shown.window._draw_menu()
    at_login = shown.window.header.menu.actions()[0]
    assert at_login.isChecked()
    at_login.trigger()
    assert shown.service.commands == [SetStartAtLogin(on=False)]


def test_a_report_is_seen_before_it_is_saved(open_window, qtbot, tmp_path):
    shown = open_window(snapshots.checked())
    files = (ReportFile(name="README.txt", text="read me"), ReportFile(name="a.log", text="line"))
    shown.service.replies = [ReportView(files=files)]
    shown.window._actions[Action.REPORT].trigger()
    assert shown.service.commands == [PrepareReport()]
    dialog = shown.window.findChild(ReportDialog)
    assert [dialog.names.item(n).text() for n in range(2)] == ["README.txt", "a.log"]
    shown.answers.save = str(tmp_path / "report")
    dialog.save_wished.emit()
    with zipfile.ZipFile(tmp_path / "report.zip") as saved:
        assert {name: saved.read(name).decode() for name in saved.namelist()} == {
            "README.txt": "read me",
            "a.log": "line",
        }
    dialog.close()


def test_about_opens_and_closes(open_window):
    shown = open_window(None)
    shown.window.show_about()
    dialog = shown.window.findChild(AboutDialog)
    assert dialog.isVisible()
    dialog.close()


@pytest.mark.parametrize("sure", [False, True])
def test_return_alone_does_nothing_that_cannot_be_taken_back(qtbot, look, sure):
    parent = QWidget()
    qtbot.addWidget(parent)

    def answer() -> None:
        box = QApplication.activeModalWidget()
        if sure:
            box.button(QMessageBox.StandardButton.Yes).click()
        else:
            QTest.keyClick(box, Qt.Key.Key_Return)

    QTimer.singleShot(200, answer)
    assert DIALOGS.sure(parent, "Leave the study", "Leave it?") is sure
