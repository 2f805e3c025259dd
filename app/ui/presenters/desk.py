"""The desk: takes wishes from pages, asks the service, and says how it went."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from msgspec.structs import replace
from PySide6.QtCore import QObject, Signal

from app.control.messages import (
    AllowFingerprint,
    AnyCommand,
    AnyReply,
    Calibrate,
    CheckFolder,
    ChooseFolder,
    ComputeFingerprint,
    ConfirmLayout,
    ForgetRun,
    InspectModel,
    InvitationView,
    JoinStudy,
    LeaveStudy,
    PauseTraining,
    PrepareReport,
    ProposeLayout,
    ReadInvitation,
    Refused,
    ReportView,
    ResumeTraining,
    RunDoctor,
    RunView,
    SegmentCases,
    SetDevices,
    SetSchedule,
    SetStartAtLogin,
    Snapshot,
    StopJob,
    TrainBaseline,
    WithdrawAllowance,
)
from app.domain.errors import FednnunetError
from app.domain.segmentation import SegmentationResult, Verdict
from app.system.atomic import write_atomic
from app.system.clock import Clock
from app.ui.messages import Message, of_error, refusal, told
from app.ui.text import listed, sentence_case

if TYPE_CHECKING:
    # A window opens with a desk: what only some wishes need is imported when they come.
    from app.review.errors import ErrorComponent
    from app.review.report import ReviewReport
    from app.system.problem_report import ReportText
    from app.ui.models.layout import LayoutAnswers
    from app.ui.models.pictures import CasePicture, PictureWish
    from app.ui.presenters.editors import Editor
    from app.ui.presenters.review import CaseDetail, Opinion
    from app.ui.presenters.segment import SegmentWish
    from app.ui.presenters.verdicts import VerdictBook
    from app.ui.presenters.volumes import CasePaths, FileStamp, LoadedCase

Reply = AnyReply
Result = TypeVar("Result")
Voxel = tuple[int, int, int]

_KEPT_BYTES: Final = 1 << 30
"""Of cases read for the viewer: the last ones, and the next in the list."""


class Service(Protocol):
    """What the desk needs of `bridge.ServiceBridge`; tests have one of their own."""

    snapshot: Snapshot | None
    away: str

    def request(self, command: AnyCommand, on_reply: Callable[[Reply], None]) -> None: ...

    def compute(
        self,
        work: Callable[[], Result],
        on_result: Callable[[Result], None],
        on_problem: Callable[[FednnunetError], None],
    ) -> None: ...


class Desk(QObject):
    """Turns wishes into commands and answers into messages; knows no widget."""

    message_told = Signal(object)
    """A `Message`."""

    invitation_read = Signal(object)
    """An `InvitationState`; nothing is joined."""

    changed = Signal()
    """Something that pages show changed: the snapshot, the link to the service, an opinion."""

    case_read = Signal(str, object)
    """For whom (a place's name), and a `LoadedCase` or a `Message`."""

    lesions_found = Signal(str, object)
    """For whom, and the places to step through: `ErrorComponent`s, the largest first."""

    picture_read = Signal(object)
    """A `CasePicture`; without pixels when the case cannot be read."""

    report_read = Signal(object)
    """A tuple of `ReportText`: what a problem report would hold, not saved yet."""

    def __init__(
        self,
        service: Service,
        *,
        clock: Clock,
        verdicts: VerdictBook | None = None,
        collect: Callable[[], tuple[ReportText, ...]] | None = None,
    ) -> None:
        """Make the desk; `collect` makes a problem report while no service can be asked for it."""
        super().__init__()
        self._collect = collect
        self._service, self._clock, self._verdicts = service, clock, verdicts
        self._wanted: dict[str, CasePaths] = {}
        self._kept: OrderedDict[CasePaths, tuple[FileStamp, LoadedCase]] = OrderedDict()
        self._verdict_problem = ""
        self._serial: int | None = None
        self.left_out: frozenset[str] | None = None
        """Cases that the operator left out and that no fingerprint was computed without yet."""

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    @property
    def snapshot(self) -> Snapshot | None:
        """What the service last said."""
        return self._service.snapshot

    @property
    def away(self) -> str:
        """Why no service is attached, empty when one is."""
        return self._service.away

    # --- the program itself --------------------------------------------------------------------

    def prepare_report(self) -> None:
        """Collect what a problem report would hold; `report_read` follows."""

        def read(reply: Reply) -> None:
            from app.system.problem_report import ReportText

            if isinstance(reply, ReportView):
                texts = tuple(ReportText(name=one.name, text=one.text) for one in reply.files)
                self.report_read.emit(texts)
            elif self._collect is not None:
                # A service that does not come up is what such a report is most needed for.
                self._service.compute(
                    self._collect,
                    self.report_read.emit,
                    lambda error: self.message_told.emit(of_error(error)),
                )
            else:
                self._tell(reply, "")

        self._service.request(PrepareReport(), read)

    def save_problem_report(self, path: Path, texts: tuple[ReportText, ...]) -> None:
        """Write the report that a person has seen, and say so, or why it could not be."""
        from app.system.problem_report import write_report

        try:
            write_report(path, texts)
        except FednnunetError as exc:
            self.message_told.emit(of_error(exc))
            return
        self.message_told.emit(told(f"Saved as {path.name}. Nothing was sent."))

    def set_start_at_login(self, *, on: bool) -> None:
        """Start this site's service when the user logs in, or no longer."""
        done = "This site starts when you log in." if on else "It no longer starts at login."
        self._ask(SetStartAtLogin(on=on), done)

    # --- data ----------------------------------------------------------------------------------

    def choose_folder(self, folder: str) -> None:
        """Make a folder this site's data."""
        self._ask(ChooseFolder(folder=folder))

    def check_folder(self) -> None:
        """Check the chosen folder again."""
        self._ask(CheckFolder())

    def confirm_layout(self, answers: LayoutAnswers) -> None:
        """Use the folder as a person confirmed it."""
        self._ask(
            ConfirmLayout(
                digest=answers.digest,
                channels=answers.channels,
                structures=answers.structures,
                leave_out=answers.leave_out,
                pseudonyms=answers.pseudonyms,
            ),
            "The layout is confirmed; the cases are made ready and checked.",
        )

    def propose_layout(self) -> None:
        """Forget the confirmed layout and look at the folder anew."""
        self._ask(ProposeLayout())

    def stop_job(self, kind: str) -> None:
        """Stop a running job."""
        self._ask(StopJob(kind=kind), "It stops; finished work is kept.")

    # --- fingerprint ---------------------------------------------------------------------------

    def switch_case(self, case: str, *, taken: bool) -> None:
        """Take a case in or leave it out; counts from the next computation on."""
        out = self._left_out_now()
        self.left_out = out - {case} if taken else out | {case}
        self.changed.emit()

    def compute_fingerprint(self) -> None:
        """Compute the fingerprint without the cases that are left out."""
        self._ask(ComputeFingerprint(leave_out=tuple(sorted(self._left_out_now()))))
        self.left_out = None

    def _left_out_now(self) -> frozenset[str]:
        if self.left_out is not None:
            return self.left_out
        cases = self.snapshot.fingerprint.cases if self.snapshot is not None else ()
        return frozenset(row.case for row in cases if row.left_out)

    def allow(self, operator: str, digest: str) -> None:
        """Permit sharing of the bytes with this digest."""
        self._ask(
            AllowFingerprint(operator=operator, digest=digest), "Allowed. The receipt is kept."
        )

    def withdraw(self) -> None:
        """Take the permission back."""
        self._ask(WithdrawAllowance(), "The permission is taken back.")

    def save_file(self, path: Path, data: bytes, done: str) -> None:
        """Write a file that a person asked for, and say so, or why it could not be."""
        try:
            write_atomic(path, data)
        except FednnunetError as exc:
            self.message_told.emit(of_error(exc))
            return
        self.message_told.emit(told(done))

    # --- federation ----------------------------------------------------------------------------

    def read_invitation(self, path: str) -> None:
        """Read an invitation file; `invitation_read` follows."""

        def read(reply: Reply) -> None:
            from app.ui.presenters.federation import present_invitation

            if isinstance(reply, InvitationView):
                state = present_invitation(path, reply, now=self._clock.now())
                self.invitation_read.emit(state)
            else:
                self._tell(reply, "")

        self._service.request(ReadInvitation(path=path), read)

    def join(self, path: str) -> None:
        """Join the study of an invitation that the operator has read."""
        self._ask(JoinStudy(path=path), "Joining the study.")

    def run_doctor(self, path: str) -> None:
        """Test the connection of an invitation file, or of the joined study when it is empty."""
        self._ask(RunDoctor(path=path or None))

    def leave(self) -> None:
        """Leave the study."""
        self._ask(LeaveStudy(), "This site has left the study.")

    # --- training ------------------------------------------------------------------------------

    def pause(self, *, at_checkpoint: bool) -> None:
        """Pause at once, or when the running epoch is safe on disk."""
        done = "Training pauses at the next checkpoint." if at_checkpoint else "Training pauses."
        self._ask(PauseTraining(at_checkpoint=at_checkpoint), done)

    def resume(self) -> None:
        """Go on."""
        self._ask(ResumeTraining(), "Training goes on.")

    def measure(self, invitation: str = "") -> None:
        """Measure a few steps of the joined study, or of an invitation before it is joined."""
        self._ask(Calibrate(path=invitation or None))

    def use_cards(self, cards: int | None) -> None:
        """Train on so many graphics cards from the next round on; None: on all that can."""
        self._choose(gpus=cards)

    def use_batch(self, patches: int | None) -> None:
        """Take so many patches in a step from the next round on; None: as the plan says."""
        self._choose(batch_size=patches)

    def _choose(self, **changes: int | None) -> None:
        if self.snapshot is None:
            return
        now = self.snapshot.training.devices
        chosen = SetDevices(device=now.device, gpus=now.gpus, batch_size=now.batch_size)
        self._ask(replace(chosen, **changes), "It holds from the next round on.")

    def set_schedule(
        self,
        from_minute: int | None,
        to_minute: int | None,
        *,
        weekends: bool,
        yield_card: bool,
    ) -> None:
        """Train only in these hours; None both: at any hour."""
        self._ask(
            SetSchedule(
                from_minute=from_minute,
                to_minute=to_minute,
                weekends=weekends,
                yield_card=yield_card,
            ),
            "These times are in force.",
        )

    # --- review --------------------------------------------------------------------------------

    def segment(self, wish: SegmentWish) -> None:
        """Segment cases with a model, or go on with it."""
        self._ask(
            SegmentCases(
                model=wish.model,
                folder=wish.folder or None,
                source=wish.source,
                mirroring=wish.mirroring,
                device=wish.device,
            )
        )

    def inspect_model(self, path: str) -> None:
        """Look at a model file without running anything in it."""
        self._ask(InspectModel(path=path))

    def forget_run(self, serial: int) -> None:
        """Remove the segmentations of a run."""
        self._ask(ForgetRun(serial=serial), "The segmentations are removed; verdicts stay.")

    def train_baseline(self) -> None:
        """Train this site alone, or go on with it."""
        self._ask(TrainBaseline(), "The local baseline is being trained; you may close the window.")

    @property
    def run(self) -> RunView | None:
        """The run that Review shows."""
        from app.ui.presenters.review import run_shown

        return run_shown(self.snapshot.review, self._serial) if self.snapshot is not None else None

    def show_run(self, serial: int) -> None:
        """Let Review show this run."""
        self._serial = serial
        self.changed.emit()

    def opinions(self) -> Mapping[str, Opinion]:
        """Return what was said so far of the run that Review shows, by case."""
        return self._opinions_on(self.run.results if self.run is not None else ())

    def _opinions_on(self, results: tuple[SegmentationResult, ...]) -> Mapping[str, Opinion]:
        if self._verdicts is None or not results:
            return {}
        try:
            return self._verdicts.opinions(results)
        except FednnunetError as exc:
            # Told once: this is asked at every drawing.
            if str(exc) != self._verdict_problem:
                self._verdict_problem = str(exc)
                self.message_told.emit(of_error(exc))
            return {}

    @property
    def reviewed(self) -> int:
        """How many of the newest segmentations have a verdict."""
        results = self.snapshot.review.results if self.snapshot is not None else ()
        said = self._opinions_on(results)
        return sum(
            said[one.case].verdict is not Verdict.UNREVIEWED for one in results if one.case in said
        )

    def judge(
        self,
        case: str,
        verdict: Verdict,
        comment: str,
        voxel: tuple[int, int, int] | None = None,
        reason: str = "",
    ) -> None:
        """Write down a verdict; it is on disk when this returns. `voxel` is what a comment means."""
        results = self.run.results if self.run is not None else ()
        result = next((one for one in results if one.case == case), None)
        if result is not None:
            self._note(lambda book: book.judge(result, verdict, comment, voxel, reason))

    def take_back(self) -> str | None:
        """Undo the last verdict and return its case."""
        return self._note(lambda book: book.take_back())

    def save_report(
        self, path: Path, written_as: Callable[[ReviewReport], bytes] | None = None
    ) -> None:
        """Write the review's report at `path`, and its table beside it as CSV.

        Pictures of flagged cases are read beside the window, where `written_as` (else: as a page) is
        called too, so the files are there when the message says so.
        """
        from app.review.report import csv_report, html_report
        from app.ui.presenters.benefit import compared_labels
        from app.ui.presenters.review_report import report_of, table_beside, with_pictures

        run = self.run
        if run is None or self._verdicts is None:
            return
        try:
            reviews = self._verdicts.reviews(run.results)
        except FednnunetError as exc:
            self.message_told.emit(of_error(exc))
            return
        study = self.snapshot.federation.study if self.snapshot is not None else None
        draft = report_of(
            run,
            reviews,
            study=study.name if study is not None else "",
            made_at=self.now,
            benefit=compared_labels(self.snapshot.review) if self.snapshot is not None else (),
        )

        def work() -> None:
            report = with_pictures(draft, run.results)
            write_atomic(path, written_as(report) if written_as else html_report(report).encode())
            write_atomic(table_beside(path), csv_report(report).encode("utf-8-sig"))

        def written(_nothing: None) -> None:
            names = listed((path.name, table_beside(path).name))
            self.message_told.emit(told(f"The report is saved as {names}. It stays at this site."))

        self._service.compute(work, written, lambda error: self.message_told.emit(of_error(error)))

    def open_in(self, editor: Editor, detail: CaseDetail) -> None:
        """Open a case in a program for drawing, on a copy of its segmentation."""
        from app.ui.presenters.editors import open_in

        home = self.snapshot.service.home if self.snapshot is not None else ""
        try:
            copy = open_in(
                editor,
                Path(detail.channels[0]),
                Path(detail.prediction),
                log=Path(home) / "logs" / "editor-output.log",
            )
        except FednnunetError as exc:
            self.message_told.emit(of_error(exc))
            return
        self.message_told.emit(
            told(f"{editor.name} opens a copy of the segmentation: {copy}. The original stays.")
        )

    # --- viewers -------------------------------------------------------------------------------

    def read_case(self, place: str, paths: CasePaths, *, then: CasePaths | None = None) -> None:
        """Read a case for the viewer at `place`; of several wishes only the last is shown.

        `then` is read afterwards and kept, because it will probably be wished next.
        """
        from app.ui.presenters.volumes import read_case

        self._wanted[place] = paths

        def read(loaded: LoadedCase) -> None:
            self._keep(paths, loaded)
            if self._wanted.get(place) == paths:
                self.case_read.emit(place, loaded)
                self._find_lesions(place, paths, loaded)
                if then is not None:
                    self._read_ahead(then)

        def failed(error: FednnunetError) -> None:
            if self._wanted.get(place) == paths:
                self.case_read.emit(place, of_error(error))

        kept = self._kept_case(paths)
        if kept is not None:
            read(kept)
            return

        def work() -> LoadedCase:
            return read_case(paths)

        self._service.compute(work, read, failed)

    def paths_of(self, detail: CaseDetail, *, voxel: Voxel | None = None) -> CasePaths:
        """Return what to read of a case of the run that Review shows."""
        from app.ui.presenters.review import structures_of
        from app.ui.presenters.volumes import CasePaths

        return CasePaths(
            case=detail.case,
            image=detail.channels[0],
            prediction=detail.prediction,
            reference=detail.reference,
            voxel=voxel,
            labels=structures_of(self.run),
            worst=detail.worst,
            more=detail.channels[1:],
            channel_names=self.channel_names,
        )

    @property
    def channel_names(self) -> tuple[str, ...]:
        """What the channels of this site's images are called."""
        dataset = self.snapshot.data.dataset if self.snapshot is not None else None
        return () if dataset is None else dataset.description.channel_names

    def paths_beside(
        self, detail: CaseDetail, serial: int, *, voxel: Voxel | None
    ) -> CasePaths | None:
        """Return the same case by another run, None when that has not segmented it."""
        from app.ui.presenters.volumes import CasePaths

        runs = self.snapshot.review.runs if self.snapshot is not None else ()
        for run in runs:
            for result in run.results if run.serial == serial else ():
                if result.channels == detail.channels:
                    return CasePaths(
                        case=detail.case,
                        image=detail.channels[0],
                        prediction=result.prediction,
                        reference=result.reference,
                        voxel=voxel,
                        more=detail.channels[1:],
                        channel_names=self.channel_names,
                    )
        return None

    def _read_ahead(self, paths: CasePaths) -> None:
        """Read a case that may be wished next; of what goes wrong is told when it is wished."""
        from app.ui.presenters.volumes import read_case

        def read(loaded: LoadedCase) -> None:
            self._keep(paths, loaded)

        def work() -> LoadedCase:
            return read_case(paths)

        if self._kept_case(paths) is None:
            self._service.compute(work, read, lambda _error: None)

    def _find_lesions(self, place: str, paths: CasePaths, loaded: LoadedCase) -> None:
        """Look for the errors of a case that is on the screen; `lesions_found` follows."""
        from app.ui.presenters.volumes import lesions_of

        def found(lesions: tuple[ErrorComponent, ...]) -> None:
            if self._wanted.get(place) == paths:
                self.lesions_found.emit(place, lesions)

        def work() -> tuple[ErrorComponent, ...]:
            return lesions_of(paths, loaded)

        if paths.labels:
            # What cannot be told of a case is no reason to hide it.
            self._service.compute(work, found, lambda _error: None)

    def _kept_case(self, paths: CasePaths) -> LoadedCase | None:
        """Return a case that was read before, if its files are still those that were read."""
        from app.ui.presenters.volumes import file_stamp

        stamp, loaded = self._kept.get(paths, (None, None))
        return loaded if loaded is not None and stamp == file_stamp(paths) else None

    def _keep(self, paths: CasePaths, loaded: LoadedCase) -> None:
        """Keep what was read last, within a bound of memory."""
        from app.ui.presenters.volumes import file_stamp

        self._kept[paths] = (file_stamp(paths), loaded)
        self._kept.move_to_end(paths)
        held = sum(one.bytes_held for _, one in self._kept.values())
        while len(self._kept) > 1 and held > _KEPT_BYTES:
            held -= self._kept.popitem(last=False)[1][1].bytes_held

    def read_picture(self, wish: PictureWish, side: int) -> None:
        """Read the small picture of a case; `picture_read` follows in any case."""
        from app.ui.models.pictures import CasePicture
        from app.ui.presenters.gallery import read_picture

        def failed(error: FednnunetError) -> None:
            remark = sentence_case(str(error))
            self.picture_read.emit(CasePicture(wish=wish, pixels=None, remark=remark))

        def work() -> CasePicture:
            return read_picture(wish, side)

        self._service.compute(work, self.picture_read.emit, failed)

    # --- private -------------------------------------------------------------------------------

    def _ask(self, command: AnyCommand, done: str = "") -> None:
        self._service.request(command, lambda reply: self._tell(reply, done))

    def _tell(self, reply: Reply, done: str) -> None:
        message: Message | None = None
        if isinstance(reply, Refused):
            message = refusal(reply.sentence, reply.remedy)
        elif done:
            message = told(done)
        if message is not None:
            self.message_told.emit(message)

    def _note(self, action: Callable[[VerdictBook], Result]) -> Result | None:
        if self._verdicts is None:
            return None
        try:
            result = action(self._verdicts)
        except FednnunetError as exc:
            self.message_told.emit(of_error(exc))
            return None
        self.changed.emit()
        return result
