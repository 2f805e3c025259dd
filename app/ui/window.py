"""The window: frame, pages made when they are first opened, wishes handed to the desk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from PySide6.QtCore import QEvent, QSettings, Qt, QTimer, Signal
from PySide6.QtGui import QAction, QCloseEvent, QKeySequence, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QMainWindow, QStackedWidget, QVBoxLayout, QWidget

from app.ui import theme
from app.ui.actions import SHORTCUTS, Action, Scope, described
from app.ui.messages import Message, told
from app.ui.presenters.home import NextStep, Wish, present_home
from app.ui.presenters.shell import present_shell
from app.ui.text import GOES_ON, GOES_ON_IN_TRAY, NAME, PURPOSE, REMOVES, Page, Tone
from app.ui.theme import Look, Theme
from app.ui.widgets.frame import Banner, Header, Navigation, StatusLine

if TYPE_CHECKING:
    from app.review.errors import ErrorComponent
    from app.system.problem_report import ReportText
    from app.ui.models.pictures import CasePicture
    from app.ui.pages.data import DataPage
    from app.ui.pages.federation import FederationPage
    from app.ui.pages.fingerprint import FingerprintPage
    from app.ui.pages.home import HomePage
    from app.ui.pages.review import CaseWish, ReviewPage
    from app.ui.pages.segment import SegmentPage
    from app.ui.pages.training import TrainingPage
    from app.ui.presenters.data import CaseFiles
    from app.ui.presenters.desk import Desk
    from app.ui.presenters.federation import InvitationState
    from app.ui.presenters.review import CaseDetail
    from app.ui.presenters.volumes import LoadedCase
    from app.ui.welcome import Welcome
    from app.ui.widgets.case_viewer import CaseViewer
    from app.ui.widgets.dialogs import CaseWindow
    from app.ui.widgets.toasts import ToastStack
    from app.ui.widgets.viewer_habits import ViewerHabits
    from app.ui.widgets.volume_view import VolumeView

REDRAW_MS: Final = 500
"""Shortest time between two drawings of a page; plots are slower still."""
MINIMUM_SIZE: Final = (1100, 700)
_MOST_RECENT: Final = 6
_PAGE_ACTIONS: Final = {
    Page.HOME: Action.HOME,
    Page.DATA: Action.DATA,
    Page.FINGERPRINT: Action.FINGERPRINT,
    Page.FEDERATION: Action.FEDERATION,
    Page.TRAINING: Action.TRAINING,
    Page.SEGMENT: Action.SEGMENT,
    Page.REVIEW: Action.REVIEW,
}
_DATA_VIEWER: Final = "data"
_REVIEW_VIEWER: Final = "review"
_SECOND_VIEWER: Final = "review, beside"
_SAMPLE_VIEWER: Final = "sample"


CARD_IDLE: Final = Message(
    sentence="This computer has a graphics card that training does not use yet.",
    remedy=f"{described(Action.COMPUTER)} tells what it needs: one file from your IT.",
    tone=Tone.WARNING,
)


class Asking(Struct, frozen=True, kw_only=True):
    """How the window asks a person; tests answer themselves. Empty means: not chosen."""

    folder: Callable[[QWidget, str], str]
    file: Callable[[QWidget, str, str], str]
    save: Callable[[QWidget, str, str, str], str]
    """Where to save: title, suggested name, kinds of files."""
    sure: Callable[[QWidget, str, str], bool]
    choice: Callable[[QWidget, str, Sequence[tuple[str, str, str]]], str]
    """One of several ways: title, and for each way its key, its name and what it costs."""
    closing: Callable[[QWidget, str], tuple[bool, bool]]
    """Whether to close after this sentence, and whether to say it no more."""


# What asks is imported when somebody is asked: Qt's dialogs bring many enumerations along.


def _ask_folder(parent: QWidget, title: str) -> str:
    from PySide6.QtWidgets import QFileDialog

    return QFileDialog.getExistingDirectory(parent, title)


def _ask_file(parent: QWidget, title: str, kinds: str) -> str:
    from PySide6.QtWidgets import QFileDialog

    path, _ = QFileDialog.getOpenFileName(parent, title, "", kinds)
    return path


def _ask_save(parent: QWidget, title: str, suggested: str, kinds: str) -> str:
    from PySide6.QtCore import QStandardPaths
    from PySide6.QtWidgets import QFileDialog

    folder = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
    path, _ = QFileDialog.getSaveFileName(parent, title, str(Path(folder) / suggested), kinds)
    return path


def _ask_sure(parent: QWidget, title: str, sentence: str) -> bool:
    from PySide6.QtWidgets import QMessageBox

    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    # What is asked for like this cannot be taken back: Return alone must not do it.
    return QMessageBox.question(parent, title, sentence, defaultButton=no) is yes


def _ask_choice(parent: QWidget, title: str, options: Sequence[tuple[str, str, str]]) -> str:
    from app.ui.widgets.dialogs import ChoiceDialog

    dialog = ChoiceDialog(parent, title, options)
    dialog.exec()
    dialog.deleteLater()
    return dialog.chosen


def _ask_closing(parent: QWidget, sentence: str) -> tuple[bool, bool]:
    from PySide6.QtWidgets import QCheckBox, QMessageBox

    box = QMessageBox(QMessageBox.Icon.Information, NAME, sentence, parent=parent)
    never = QCheckBox("Do not say this again")
    box.setCheckBox(never)
    close = box.addButton("Close the window", QMessageBox.ButtonRole.AcceptRole)
    box.addButton("Keep it open", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(close)
    box.exec()
    chosen = box.clickedButton() is close
    box.deleteLater()
    return chosen, chosen and never.isChecked()


DIALOGS: Final = Asking(
    folder=_ask_folder,
    file=_ask_file,
    save=_ask_save,
    sure=_ask_sure,
    choice=_ask_choice,
    closing=_ask_closing,
)


def _open_folder(folder: str) -> None:
    from PySide6.QtCore import QUrl
    from PySide6.QtGui import QDesktopServices

    QDesktopServices.openUrl(QUrl.fromLocalFile(folder))


def _page_of(settings: QSettings) -> Page:
    """Return the page that was open last."""
    saved = str(settings.value("page") or "")
    return Page(saved) if saved in {page.value for page in Page} else Page.HOME


class Window(QMainWindow):
    """Shows one site; `attach` gives it the desk of that site, before or after it is shown."""

    first_frame_shown = Signal()
    page_opened = Signal()

    site_chosen = Signal(int)
    """Another site was chosen in the header; whoever made this window attaches its desk."""

    def __init__(
        self,
        look: Look,
        settings: QSettings,
        *,
        sites: Sequence[str] = (),
        asking: Asking = DIALOGS,
    ) -> None:
        super().__init__()
        self._look, self._settings, self._asking = look, settings, asking
        self._habits: ViewerHabits | None = None
        self._toasts: ToastStack | None = None
        self._desk: Desk | None = None
        self._painted = False
        self._case_window: CaseWindow | None = None
        self._case_opened = ""
        self._welcome: Welcome | None = None
        self.home: Path | None = None
        """Home of the site on this computer, None for another computer's."""
        self.setWindowTitle(NAME)
        self.setWindowIcon(theme.icon("application", size=64, disables=False))
        self.setMinimumSize(*MINIMUM_SIZE)
        self.resize(1280, 820)

        hints = {page: described(action) for page, action in _PAGE_ACTIONS.items()}
        self.header = Header(sites, described(Action.SWITCH_THEME), described(Action.KEYS))
        self.header.site_chosen.connect(self.site_chosen)
        self.header.theme_wished.connect(self.switch_theme)
        self.header.keys_wished.connect(self.show_keys)
        self.banner = Banner()
        self.navigation = Navigation({page: f"{PURPOSE[page]} {hints[page]}" for page in Page})
        self.navigation.page_chosen.connect(self.go_to)
        self._stack = QStackedWidget()
        self._pages: dict[Page, QWidget] = {}
        centre = QWidget()
        self.setCentralWidget(centre)
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.header)
        column.addWidget(self.banner)
        row = QHBoxLayout()
        row.setSpacing(0)
        row.addWidget(self.navigation)
        row.addWidget(self._stack, 1)
        column.addLayout(row, 1)
        # Nothing is chosen at first; Tab leads to the navigation.
        centre.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        centre.setFocus()
        self.status = StatusLine()
        self.setStatusBar(self.status)

        self._stale = self._knew = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self._draw_if_stale)
        self.in_tray = False
        """An icon in the tray stands for the program while this window is closed."""
        self._make_actions()
        self._fill_menu()
        self.page = _page_of(settings)
        self.go_to(self.page)
        geometry = settings.value("geometry")
        if geometry is not None:
            self.restoreGeometry(geometry)

    # --- what it shows -------------------------------------------------------------------------

    def attach(self, desk: Desk) -> None:
        """Show what this desk knows from now on."""
        if (before := self._desk) is not None:
            before.changed.disconnect(self.refresh)
            before.message_told.disconnect(self._tell)
            before.invitation_read.disconnect(self._show_invitation)
            before.case_read.disconnect(self._show_case)
            before.lesions_found.disconnect(self._show_lesions)
            before.picture_read.disconnect(self._show_picture)
            before.report_read.disconnect(self._show_report)
        self._desk = desk
        desk.changed.connect(self.refresh)
        desk.message_told.connect(self._tell)
        desk.invitation_read.connect(self._show_invitation)
        desk.case_read.connect(self._show_case)
        desk.lesions_found.connect(self._show_lesions)
        desk.picture_read.connect(self._show_picture)
        desk.report_read.connect(self._show_report)
        self._draw()

    def refresh(self) -> None:
        """Draw anew: now, or when the last drawing is old enough; not while nobody can see it.

        What the service says first is drawn at once: until then nothing was known.
        """
        self._stale = True
        knows = self._desk is not None and self._desk.snapshot is not None
        seen = self.isVisible() or not self._painted
        if seen and (not self._timer.isActive() or knows > self._knew):
            self._draw_if_stale()

    def go_to(self, page: Page) -> None:
        """Show a page; it is made when it is opened for the first time."""
        self.page = page
        if page not in self._pages:
            self._pages[page] = self._make(page)
            self._stack.addWidget(self._pages[page])
        self._stack.setCurrentWidget(self._pages[page])
        self.navigation.choose(page)
        self._draw()
        self.page_opened.emit()

    def page_widget(self, page: Page) -> QWidget:
        """Return a page's widget, made if need be."""
        if page not in self._pages:
            self._pages[page] = self._make(page)
            self._stack.addWidget(self._pages[page])
        return self._pages[page]

    def come_forward(self, page: Page | None = None) -> None:
        """Show the window in front of others, on `page` if one is given."""
        self.setWindowState(
            (self.windowState() & ~Qt.WindowState.WindowMinimized) | Qt.WindowState.WindowActive
        )
        self.show()
        self.raise_()
        self.activateWindow()
        if page is not None:
            self.go_to(page)

    @property
    def toasts(self) -> ToastStack:
        """Messages in passing, made for the first one."""
        if self._toasts is None:
            from app.ui.widgets.toasts import ToastStack

            self._toasts = ToastStack(self)
        return self._toasts

    def remember_place(self) -> None:
        """Keep where the window is, and its page, for the next time."""
        self._settings.setValue("geometry", self.saveGeometry())
        self._settings.setValue("page", self.page.value)
        self._settings.sync()

    def _draw_if_stale(self) -> None:
        if self._stale:
            self._draw()

    def _draw(self) -> None:
        snapshot = self._desk.snapshot if self._desk is not None else None
        away = self._desk.away if self._desk is not None else ""
        self._knew = snapshot is not None
        # Nothing is known, nobody looks: most windows come up with what their service says at once.
        self._stale = not (self._knew or away or self.isVisible())
        if self._stale:
            return
        self._timer.start()
        reviewed = self._desk.reviewed if self._desk is not None else 0
        shell = present_shell(snapshot, away=away, reviewed=reviewed)
        self.header.draw(shell.study, shell.site)
        self.banner.draw(shell.banner, shell.banner_remedy)
        self.status.draw(shell.link.text, shell.link.tone, shell.training)
        self.navigation.show_marks([(page, mark.value) for page, mark in shell.marks])
        self._draw_page()

    def _draw_page(self) -> None:
        desk = self._desk
        snapshot = desk.snapshot if desk is not None else None
        widget: Any = self._pages[self.page]
        match self.page:
            case Page.HOME:
                reviewed = desk.reviewed if desk is not None else 0
                widget.draw(present_home(snapshot, reviewed=reviewed))
            case Page.DATA:
                from app.ui.presenters.data import present_data
                from app.ui.presenters.layout import present_layout

                widget.draw(present_data(snapshot))
                widget.draw_layout(present_layout(snapshot.data) if snapshot else None)
            case Page.FINGERPRINT:
                from app.ui.presenters.fingerprint import present_fingerprint

                left_out = desk.left_out if desk is not None else None
                widget.draw(present_fingerprint(snapshot, left_out=left_out))
            case Page.FEDERATION:
                from app.ui.presenters.federation import present_federation

                widget.draw(present_federation(snapshot))
            case Page.TRAINING:
                from app.ui.presenters.training import present_training

                widget.draw(present_training(snapshot, now=desk.now if desk is not None else 0.0))
            case Page.SEGMENT:
                from app.ui.presenters.segment import present_segment

                widget.draw(present_segment(snapshot))
            case Page.REVIEW:
                from app.ui.presenters.review import present_review

                opinions = desk.opinions() if desk is not None else {}
                run = desk.run if desk is not None else None
                serial = run.serial if run is not None else None
                widget.draw(present_review(snapshot, opinions, serial=serial))

    # --- pages ---------------------------------------------------------------------------------

    def _make(self, page: Page) -> QWidget:
        # Imported when opened: the first frame needs one page.
        match page:
            case Page.HOME:
                return self._make_home()
            case Page.DATA:
                return self._make_data()
            case Page.FINGERPRINT:
                return self._make_fingerprint()
            case Page.FEDERATION:
                return self._make_federation()
            case Page.TRAINING:
                return self._make_training()
            case Page.SEGMENT:
                return self._make_segment()
            case Page.REVIEW:
                return self._make_review()

    def _make_home(self) -> HomePage:
        from app.ui.pages.home import HomePage

        page = HomePage(self._stack)
        page.page_wished.connect(self.go_to)
        page.step_wished.connect(self._take_step)
        return page

    def _make_data(self) -> DataPage:
        from app.ui.pages.data import DataPage

        page = DataPage()
        page.choose_wished.connect(self.choose_folder)
        page.folder_wished.connect(self._choose_folder)
        page.check_wished.connect(lambda: self._wish(lambda desk: desk.check_folder()))
        page.stop_wished.connect(self._stop_job)
        page.finding_opened.connect(self._open_finding)
        page.case_opened.connect(self._open_case)
        page.layout_confirmed.connect(
            lambda answers: self._wish(lambda desk: desk.confirm_layout(answers))
        )
        page.layout_wished.connect(lambda: self._wish(lambda desk: desk.propose_layout()))
        page.picture_wished.connect(
            lambda wish, side: self._wish(lambda desk: desk.read_picture(wish, side))
        )
        page.show_recent(self._recent())
        return page

    def _make_fingerprint(self) -> FingerprintPage:
        from app.ui.pages.fingerprint import FingerprintPage

        page = FingerprintPage()
        page.compute_wished.connect(lambda: self._wish(lambda desk: desk.compute_fingerprint()))
        page.stop_wished.connect(self._stop_job)
        page.allow_wished.connect(
            lambda name, digest: self._wish(lambda desk: desk.allow(name, digest))
        )
        page.withdraw_wished.connect(self._withdraw)
        page.export_wished.connect(self._save_receipt)
        page.case_switched.connect(
            lambda case, taken: self._wish(lambda desk: desk.switch_case(case, taken=taken))
        )
        return page

    def _make_federation(self) -> FederationPage:
        from app.ui.pages.federation import FederationPage

        page = FederationPage()
        page.open_wished.connect(self.open_invitation)
        page.invitation_dropped.connect(self.read_invitation)
        page.join_wished.connect(lambda path: self._wish(lambda desk: desk.join(path)))
        page.leave_wished.connect(self._leave)
        page.pause_wished.connect(self._pause)
        page.resume_wished.connect(lambda: self._wish(lambda desk: desk.resume()))
        page.doctor_wished.connect(lambda path: self._wish(lambda desk: desk.run_doctor(path)))
        page.ticket_copied.connect(lambda: self._tell(told("The ticket is on the clipboard.")))
        page.measure_wished.connect(lambda path: self._wish(lambda desk: desk.measure(path)))
        page.stop_wished.connect(self._stop_job)
        return page

    def _make_training(self) -> TrainingPage:
        from app.ui.pages.training import TrainingPage

        page = TrainingPage(self._stack)
        page.pause_wished.connect(self._pause)
        page.resume_wished.connect(lambda: self._wish(lambda desk: desk.resume()))
        page.stop_wished.connect(self._stop_job)
        page.save_wished.connect(self._save_curves)
        page.measure_wished.connect(lambda: self._wish(lambda desk: desk.measure()))
        page.cards_wished.connect(lambda cards: self._wish(lambda desk: desk.use_cards(cards)))
        page.batch_wished.connect(lambda size: self._wish(lambda desk: desk.use_batch(size)))
        page.schedule_wished.connect(
            lambda begin, end, weekends, yields: self._wish(
                lambda desk: desk.set_schedule(begin, end, weekends=weekends, yield_card=yields)
            )
        )
        return page

    def _make_segment(self) -> SegmentPage:
        from app.ui.pages.segment import SegmentPage

        page = SegmentPage()
        page.segment_wished.connect(lambda wish: self._wish(lambda desk: desk.segment(wish)))
        page.model_file_wished.connect(self._open_model)
        page.folder_wished.connect(self._choose_images)
        page.stop_wished.connect(self._stop_job)
        page.review_wished.connect(self._review_run)
        page.forget_wished.connect(self._forget_run)
        page.baseline_wished.connect(lambda: self._wish(lambda desk: desk.train_baseline()))
        page.folder_opened.connect(_open_folder)
        return page

    def _make_review(self) -> ReviewPage:
        from app.ui.pages.review import ReviewPage

        page = ReviewPage()
        page.case_wished.connect(self._read_reviewed)
        for viewer in (page.viewer, page.second):
            viewer.view_made.connect(self._adopt_view)
        page.judged.connect(
            lambda case, verdict, comment, voxel, reason: self._wish(
                lambda desk: desk.judge(case, verdict, comment, voxel, reason)
            )
        )
        page.picture_wished.connect(
            lambda wish, side: self._wish(lambda desk: desk.read_picture(wish, side))
        )
        page.undo_wished.connect(self._undo_verdict)
        page.report_wished.connect(self._save_report)
        page.edit_wished.connect(self._edit_case)
        page.run_wished.connect(lambda serial: self._wish(lambda desk: desk.show_run(serial)))
        return page

    # --- wishes --------------------------------------------------------------------------------

    def _wish(self, wish: Callable[[Desk], object]) -> None:
        if self._desk is not None:
            wish(self._desk)

    def _take_step(self, step: NextStep) -> None:
        if step.page is not None:
            self.go_to(step.page)
        match step.wish:
            case Wish.CHOOSE_FOLDER:
                self.choose_folder()
            case Wish.OPEN_INVITATION:
                self.open_invitation()
            case Wish.COMPUTE_FINGERPRINT:
                self._wish(lambda desk: desk.compute_fingerprint())
            case Wish.RESUME:
                self._wish(lambda desk: desk.resume())
            case Wish.OPEN:
                pass

    def choose_folder(self) -> None:
        """Ask for the folder with images."""
        folder = self._asking.folder(self, "Choose the folder with images and labels")
        if folder:
            self._choose_folder(folder)

    def _choose_folder(self, folder: str) -> None:
        recent = (folder, *(path for path in self._recent() if path != folder))
        self._settings.setValue("recent", list(recent[:_MOST_RECENT]))
        page: Any = self._pages.get(Page.DATA)
        if page is not None:
            page.show_recent(self._recent())
        self.go_to(Page.DATA)
        self._wish(lambda desk: desk.choose_folder(folder))

    def _recent(self) -> tuple[str, ...]:
        saved = self._settings.value("recent")
        paths = saved if isinstance(saved, list) else [saved] if isinstance(saved, str) else []
        return tuple(str(path) for path in paths if Path(str(path)).is_dir())

    def open_invitation(self) -> None:
        """Ask for an invitation file and read it."""
        path = self._asking.file(self, "Open an invitation", "Invitations (*.fedjoin)")
        if path:
            self.read_invitation(path)

    def read_invitation(self, path: str) -> None:
        """Read an invitation; the Federation page shows it, nothing is joined."""
        self._wish(lambda desk: desk.read_invitation(path))

    def _show_invitation(self, invitation: InvitationState) -> None:
        if self._welcome is not None:
            self._welcome.close()
        page: Any = self.page_widget(Page.FEDERATION)
        self.go_to(Page.FEDERATION)
        page.show_invitation(invitation)

    def _pause(self) -> None:
        from app.ui.presenters.training import AT_CHECKPOINT, pauses_of

        snapshot = self._desk.snapshot if self._desk is not None else None
        if snapshot is None:
            return
        options = tuple((one.key, one.text, one.cost) for one in pauses_of(snapshot.training))
        chosen = self._asking.choice(self, "Pause training", options)
        if chosen:
            self._wish(lambda desk: desk.pause(at_checkpoint=chosen == AT_CHECKPOINT))

    def _leave(self) -> None:
        snapshot = self._desk.snapshot if self._desk is not None else None
        cost = snapshot.training.costs.leave if snapshot is not None else ""
        question = (
            "Leave the study? What this site contributed stays in the model; "
            "to come back you need a new invitation."
        )
        if self._asking.sure(self, "Leave the study", f"{question} {cost}".strip()):
            self._wish(lambda desk: desk.leave())

    def _withdraw(self) -> None:
        if self._asking.sure(
            self,
            "Take the permission back",
            "Take the permission back? What was sent already cannot be called back.",
        ):
            self._wish(lambda desk: desk.withdraw())

    def _save_receipt(self, kind: str) -> None:
        from app.ui.presenters.receipt import receipt_json, receipt_of, receipt_page
        from app.ui.widgets.receipt_pages import receipt_document, receipt_pdf

        desk = self._desk
        receipt = receipt_of(desk.snapshot) if desk is not None else None
        if desk is None or receipt is None:
            return
        kinds = {"pdf": "PDF (*.pdf)", "json": "JSON (*.json)"}[kind]
        name = f"fingerprint-receipt-{receipt.digest[:8]}.{kind}"
        path = self._ask_where("Save the receipt", name, kinds)
        if path is None:
            return
        if kind == "json":
            data = receipt_json(receipt)
        else:
            data = receipt_pdf(receipt_document(receipt_page(receipt)), "Fingerprint receipt")
        desk.save_file(path, data, f"The receipt is saved as {path.name}.")

    def _save_curves(self, name: str, data: bytes) -> None:
        kind = name.rpartition(".")[2]
        kinds = {"png": "Picture (*.png)", "csv": "Table (*.csv)"}[kind]
        path = self._ask_where("Save the curves", name, kinds)
        if path is not None:
            self._wish(lambda desk: desk.save_file(path, data, f"Saved as {path.name}."))

    def _ask_where(self, title: str, name: str, kinds: str) -> Path | None:
        """Ask where to save; the file gets the ending of `name` when the person gives none."""
        chosen = self._asking.save(self, title, name, kinds)
        if not chosen:
            return None
        path, ending = Path(chosen), Path(name).suffix
        if path.suffix.casefold() != ending:
            path = path.with_name(f"{path.name}{ending}")
        return path

    def _stop_job(self, kind: str) -> None:
        self._wish(lambda desk: desk.stop_job(kind))

    def _open_model(self) -> None:
        path = self._asking.file(self, "Open a model file", "nnU-Net models (*.zip)")
        if path:
            self._wish(lambda desk: desk.inspect_model(path))

    def _choose_images(self) -> None:
        folder = self._asking.folder(self, "Choose a folder with images or DICOM series")
        page: Any = self._pages.get(Page.SEGMENT)
        if folder and page is not None:
            page.choose_folder(folder)

    def _review_run(self, serial: int) -> None:
        self._wish(lambda desk: desk.show_run(serial))
        self.go_to(Page.REVIEW)

    def _forget_run(self, serial: int) -> None:
        if self._asking.sure(
            self,
            "Remove segmentations",
            "Remove these segmentations from this computer? Images and verdicts stay.",
        ):
            self._wish(lambda desk: desk.forget_run(serial))

    def _save_report(self) -> None:
        from app.ui.presenters.review_report import table_beside

        chosen = self._asking.save(
            self, "Save the report", "review-report.pdf", "PDF (*.pdf);;Page (*.html)"
        )
        if not chosen:
            return
        path = Path(chosen)
        if path.suffix.casefold() not in (".pdf", ".html", ".htm"):
            path = path.with_name(f"{path.name}.pdf")
        table = table_beside(path)
        # The dialog has asked about the page, not about the table beside it.
        if table.exists() and not self._asking.sure(
            self, "Save the report", f"Replace {table.name} too?"
        ):
            return
        if path.suffix.casefold() == ".pdf":
            from app.ui.widgets.review_pages import review_pdf

            self._wish(lambda desk: desk.save_report(path, review_pdf))
        else:
            self._wish(lambda desk: desk.save_report(path))

    def _edit_case(self, detail: CaseDetail) -> None:
        """Open a case in the program for drawing of this computer; the first time it is asked for."""
        from app.ui.presenters.editors import Editor, find_editors

        editors = find_editors(str(self._settings.value("editor") or ""))
        if not editors:
            program = self._asking.file(
                self, "Choose ITK-SNAP or 3D Slicer on this computer", "Programs (*)"
            )
            if not program:
                return
            self._settings.setValue("editor", program)
            editors = (Editor(name=Path(program).stem, program=program),)
        self._wish(lambda desk: desk.open_in(editors[0], detail))

    def _undo_verdict(self) -> None:
        case = self._desk.take_back() if self._desk is not None else None
        page: Any = self._pages.get(Page.REVIEW)
        if case is not None and page is not None:
            page.choose_case(case)

    # --- viewers -------------------------------------------------------------------------------

    def _open_case(self, case: str) -> None:
        from app.ui.presenters.data import files_of_case

        if self._desk is not None and self._desk.snapshot is not None:
            self._open_files(files_of_case(self._desk.snapshot.data, case))

    def _open_finding(self, key: str) -> None:
        from app.ui.presenters.data import files_of_finding

        if self._desk is not None and self._desk.snapshot is not None:
            self._open_files(files_of_finding(self._desk.snapshot.data, key))

    def _open_files(self, files: CaseFiles | None) -> None:
        from app.ui.presenters.data import structures_of_folder
        from app.ui.presenters.volumes import CasePaths
        from app.ui.widgets.dialogs import CaseWindow

        if files is None or not files.channels or self._desk is None:
            return
        if self._case_window is None:
            self._case_window = CaseWindow(self)
            self._case_window.viewer.view_made.connect(self._adopt_view)
            self._case_window.step_wished.connect(self._open_beside)
        self._case_window.begin(files.case)
        self._case_opened = files.case
        snapshot = self._desk.snapshot
        self._desk.read_case(
            _DATA_VIEWER,
            CasePaths(
                case=files.case,
                image=files.channels[0],
                more=files.channels[1:],
                channel_names=self._desk.channel_names,
                reference=files.label,
                voxel=files.voxel,
                labels=structures_of_folder(snapshot.data) if snapshot is not None else (),
            ),
        )

    def _open_beside(self, step: int) -> None:
        from app.ui.presenters.data import case_beside

        snapshot = self._desk.snapshot if self._desk is not None else None
        if snapshot is not None:
            case = case_beside(snapshot.data, self._case_opened, step)
            if case is not None:
                self._open_case(case)

    def _read_reviewed(self, wish: CaseWish) -> None:
        desk = self._desk
        if desk is None or not wish.detail.channels:
            return
        if wish.beside is None:
            then = None if wish.then is None else desk.paths_of(wish.then)
            desk.read_case(_REVIEW_VIEWER, desk.paths_of(wish.detail, voxel=wish.voxel), then=then)
        elif (paths := desk.paths_beside(wish.detail, wish.beside, voxel=wish.voxel)) is not None:
            desk.read_case(_SECOND_VIEWER, paths)

    def _show_case(self, place: str, loaded: LoadedCase | Message) -> None:
        if place == _SAMPLE_VIEWER:
            if self._welcome is not None:
                self._welcome.show_case(loaded)
            return
        if place == _DATA_VIEWER:
            if self._case_window is not None:
                self._show_in(self._case_window.viewer, loaded)
                if not isinstance(loaded, Message):
                    self._case_window.show_opened(loaded.worst or loaded.voxel)
            return
        page: Any = self.page_widget(Page.REVIEW)
        viewer = page.viewer if place == _REVIEW_VIEWER else page.second
        if isinstance(loaded, Message):
            viewer.show_sentence(f"{loaded.sentence}\n{loaded.remedy}".strip())
        elif place == _REVIEW_VIEWER:
            page.show_loaded(loaded)
        else:
            page.show_beside(loaded)

    def _show_lesions(self, place: str, lesions: tuple[ErrorComponent, ...]) -> None:
        if place == _DATA_VIEWER and self._case_window is not None:
            from app.ui.presenters.data import part_words

            self._case_window.show_parts(
                [(one.voxel, part_words(one, n, len(lesions))) for n, one in enumerate(lesions)]
            )
        page: Any = self._pages.get(Page.REVIEW)
        if page is not None and place == _REVIEW_VIEWER:
            page.show_lesions(lesions)

    def _show_in(self, viewer: CaseViewer, loaded: LoadedCase | Message) -> None:
        """Show a case of the folder, or why it cannot be shown."""
        if isinstance(loaded, Message):
            viewer.show_sentence(f"{loaded.sentence}\n{loaded.remedy}".strip())
            return
        viewer.show_loaded(loaded, self._folder_labels(), anew=True)

    def _adopt_view(self, view: VolumeView) -> None:
        self._known_habits().adopt(view)

    def _known_habits(self) -> ViewerHabits:
        if self._habits is None:
            from app.ui.widgets.viewer_habits import ViewerHabits

            self._habits = ViewerHabits(self._settings, self)
        return self._habits

    def _show_picture(self, picture: CasePicture) -> None:
        data: Any = self._pages.get(Page.DATA)
        if data is not None:
            data.gallery.show_picture(picture)
        review: Any = self._pages.get(Page.REVIEW)
        if review is not None:
            review.show_picture(picture)

    def _folder_labels(self) -> dict[int, str]:
        from app.ui.presenters.first_steps import label_names

        snapshot = self._desk.snapshot if self._desk is not None else None
        dataset = snapshot.data.dataset if snapshot is not None else None
        return {} if dataset is None else label_names(dataset.description)

    # --- first steps ---------------------------------------------------------------------------

    def welcome(self) -> None:
        """Lead somebody who is new through the first steps, once."""
        if self._settings.value("welcomed") is None:
            self._settings.setValue("welcomed", "yes")
            self.show_first_steps()

    def tell_of_card(self) -> None:
        """Say that a graphics card lies idle; never twice to one person."""
        if self._settings.value("card_told") is None:
            self._settings.setValue("card_told", "yes")
            self._tell(CARD_IDLE)

    def show_first_steps(self, *, computer: bool = False) -> None:
        """Show the first steps, or that of this computer at once."""
        from app.ui.welcome import Welcome

        if self._welcome is None:
            self._welcome = made = Welcome(
                self, home=self.home, habits=self._known_habits(), asking=self._asking
            )
            made.case_wished.connect(
                lambda paths: self._wish(lambda desk: desk.read_case(_SAMPLE_VIEWER, paths))
            )
            made.invitation_wished.connect(self.open_invitation)
            made.keys_wished.connect(self.show_keys)
            made.message_told.connect(self._tell)
        self._welcome.open(computer=computer)

    # --- frame ---------------------------------------------------------------------------------

    def _make_actions(self) -> None:
        # `triggered` carries a bool that none of these wants.
        self._actions: dict[Action, QAction] = {}
        wishes: dict[Action, Callable[[], None]] = {
            action: partial(self.go_to, page) for page, action in _PAGE_ACTIONS.items()
        }
        wishes |= {
            Action.CHOOSE_FOLDER: self.choose_folder,
            Action.OPEN_INVITATION: self.open_invitation,
            Action.SWITCH_THEME: self.switch_theme,
            Action.KEYS: self.show_keys,
            Action.REPORT: lambda: self._wish(lambda desk: desk.prepare_report()),
            Action.FIRST_STEPS: self.show_first_steps,
            Action.COMPUTER: lambda: self.show_first_steps(computer=True),
            Action.ABOUT: self.show_about,
            Action.CLOSE: self._close,
        }
        for name, wish in wishes.items():
            shortcut = SHORTCUTS[name]
            action = QAction(shortcut.text, self)
            action.setShortcuts([QKeySequence(keys) for keys in shortcut.every])
            action.triggered.connect(lambda _checked=False, do=wish: do())
            self.addAction(action)
            self._actions[name] = action

    def _fill_menu(self) -> None:
        menu = self.header.menu
        self._at_login = menu.addAction("Start at login")
        self._at_login.setCheckable(True)
        self._at_login.triggered.connect(
            lambda on: self._wish(lambda desk: desk.set_start_at_login(on=on))
        )
        menu.addSeparator()
        for action in (
            Action.FIRST_STEPS, Action.COMPUTER, Action.REPORT, Action.KEYS, Action.ABOUT
        ):  # fmt: skip
            menu.addAction(self._actions[action])
        menu.aboutToShow.connect(self._draw_menu)

    def offer_removal(self, remove: Callable[[], None]) -> None:
        """Let the operator remove the sample study, which is what this window shows.

        `remove` is asked to end the program, which uses until then what is to be removed.
        """
        menu = self.header.menu
        menu.addSeparator()
        menu.addAction("Remove the sample study…").triggered.connect(
            lambda _checked=False: self._remove_study(remove)
        )

    def _remove_study(self, remove: Callable[[], None]) -> None:
        if self._asking.sure(self, "Remove the sample study", REMOVES):
            self.hide()
            remove()

    def _draw_menu(self) -> None:
        snapshot = self._desk.snapshot if self._desk is not None else None
        service = snapshot.service if snapshot is not None else None
        self._at_login.setEnabled(service is not None)
        self._at_login.setChecked(service is not None and service.starts_at_login)

    def _show_report(self, texts: tuple[ReportText, ...]) -> None:
        from app.ui.widgets.about import ReportDialog

        dialog = ReportDialog(self, [(one.name, one.text) for one in texts])
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.save_wished.connect(lambda: self._save_problem_report(texts))
        dialog.open()

    def _save_problem_report(self, texts: tuple[ReportText, ...]) -> None:
        path = self._ask_where("Save the report", "fednnunet-report.zip", "Zip files (*.zip)")
        if path is not None:
            self._wish(lambda desk: desk.save_problem_report(path, texts))

    def show_about(self) -> None:
        """Show versions, licences and what the program is for."""
        from app.ui.presenters.about import present_about
        from app.ui.widgets.about import AboutDialog

        about = present_about()
        dialog = AboutDialog(
            self, version=about.version, facts=about.facts, licences=dict(about.licences)
        )
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def switch_theme(self) -> None:
        """Change from light to dark or back, and remember it."""
        chosen = Theme.LIGHT if self._look.colours is theme.DARK else Theme.DARK
        self._look.choose(chosen)
        self._settings.setValue("theme", chosen.value)

    def show_keys(self) -> None:
        """Show the sheet of all keys."""
        from app.ui.widgets.dialogs import KeySheet
        from app.ui.widgets.viewer_keys import VIEWER_SHORTCUTS, MouseProfile, mouse_lines

        groups = [
            (
                scope.value,
                [(s.shown, s.text) for s in SHORTCUTS.values() if s.scope is scope],
            )
            for scope in Scope
        ]
        groups.append(("Images", list(VIEWER_SHORTCUTS)))
        groups += [
            (f"Mouse on images: {profile.value}", list(mouse_lines(profile)))
            for profile in MouseProfile
        ]
        KeySheet(self, groups).open()

    def _close(self) -> None:
        self.close()

    def _tell(self, message: Message) -> None:
        self.toasts.tell(message)

    # Qt overrides

    def event(self, event: QEvent) -> bool:
        done = super().event(event)
        if event.type() is QEvent.Type.Paint and not self._painted:
            self._painted = True
            # After this turn of the loop the frame is on the screen.
            QTimer.singleShot(0, self, self.first_frame_shown.emit)
        return done

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._draw_if_stale()

    def closeEvent(self, event: QCloseEvent) -> None:
        self.remember_place()
        if self._trains() and self._settings.value("closing_told") is None:
            sentence = GOES_ON_IN_TRAY if self.in_tray else GOES_ON
            closes, never_again = self._asking.closing(self, sentence)
            if never_again:
                self._settings.setValue("closing_told", "yes")
            if not closes:
                event.ignore()
                return
        super().closeEvent(event)

    def _trains(self) -> bool:
        snapshot = self._desk.snapshot if self._desk is not None else None
        job = snapshot.training.job if snapshot is not None else None
        return job is not None and job.running
