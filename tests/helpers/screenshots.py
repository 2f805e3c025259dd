"""Draw every page from recorded snapshots into PNG files, to be looked at.

    python tests/helpers/screenshots.py FOLDER [--theme light|dark] [--scale 1|2] [--only NAME]

Small windows and large ones; `--scale 2` sets QT_SCALE_FACTOR before Qt starts.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.window_desk import RecordedService
    from PySide6.QtWidgets import QWidget

    from app.control.messages import Snapshot
    from app.domain.segmentation import SegmentationResult
    from app.ui.presenters.desk import Desk
    from app.ui.window import Window

PAGES_BY_STAGE = {
    "home": ("empty", "blocked", "to-allow", "training", "folds", "cascade", "finished"),
    "data": ("empty", "checking", "blocked", "proposed", "checked"),
    "fingerprint": ("empty", "fingerprinting", "to-allow", "training"),
    "federation": (
        "empty",
        "joined",
        "examined",
        "training",
        "folds",
        "cascade",
        "asymmetric",
        "paused",
        "refused",
        "finished",
    ),
    "segment": ("empty", "segmenting", "finished"),
    "training": (
        "empty",
        "training",
        "folds",
        "cascade",
        "troubled",
        "paused",
        "finished",
        "to-measure",
        "measuring",
        "measured",
        "no-memory",
        "smaller-batch",
    ),
    "review": ("empty", "segmenting", "finished"),
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--theme", choices=("light", "dark"), default="dark")
    parser.add_argument("--scale", default="1")
    parser.add_argument("--size", default="1280x820")
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["QT_SCALE_FACTOR"] = asked.scale
    here = Path(__file__).resolve()
    sys.path[:0] = [str(here.parents[1]), str(here.parents[2])]
    asked.folder.mkdir(parents=True, exist_ok=True)
    draw(asked)
    return 0


def with_predictions(snapshot: Snapshot, folder: Path) -> Snapshot:
    """Put real label maps into a finished study: thresholds of the image near the true label.

    The baseline's are rougher. They are scored, so that figures and pictures belong together.
    """
    import dataclasses

    import numpy as np
    import SimpleITK
    from msgspec.structs import replace

    from app.datasets.images import read_volume
    from app.review.scores import score_case

    def predicted(result: SegmentationResult, number: int, roughness: float) -> SegmentationResult:
        image = SimpleITK.ReadImage(result.channels[0])
        truth = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(result.reference))
        smooth = SimpleITK.GetArrayFromImage(
            SimpleITK.SmoothingRecursiveGaussian(SimpleITK.Cast(image, SimpleITK.sitkFloat32), 1.0)
        )
        near = [
            SimpleITK.GetArrayFromImage(
                SimpleITK.SmoothingRecursiveGaussian(
                    SimpleITK.GetImageFromArray((truth == value).astype(np.float32)), roughness
                )
            )
            for value in (1, 2)
        ]
        inside = smooth[truth > 0]
        low, high = np.percentile(inside, (2 + 4 * number, 99))
        fits = (smooth >= low) & (smooth <= high) & (near[0] + near[1] > 0.42)
        made = np.where(fits, np.where(near[0] >= near[1], 1, 2), 0).astype(np.uint8)
        written = SimpleITK.GetImageFromArray(made)
        written.CopyInformation(image)
        path = folder / f"{roughness}-{result.case}.nii.gz"
        SimpleITK.WriteImage(written, str(path))
        return dataclasses.replace(result, prediction=str(path))

    folder.mkdir(exist_ok=True)
    runs = []
    for run, roughness in zip(snapshot.review.runs, (2.2, 1.2), strict=True):
        results = tuple(predicted(one, n, roughness) for n, one in enumerate(run.results))
        scores = tuple(
            score_case(
                one.case,
                read_volume(Path(one.reference)),
                read_volume(Path(one.prediction)),
                run.labels,
            )
            for one in results
        )
        runs.append(replace(run, results=results, scores=scores))
    newest = runs[-1]
    review = replace(
        snapshot.review, runs=tuple(runs), results=newest.results, scores=newest.scores
    )
    return replace(snapshot, review=review)


def draw_first_steps(
    asked: argparse.Namespace, window_of: Callable[[str], tuple[Window, Desk, RecordedService]]
) -> None:
    """Draw every step, and the computers and beginnings that differ."""
    import dataclasses

    from helpers.machines import ENOUGH, LITTLE, OLD_DRIVER, WITH_CARD, WITH_PACKAGE
    from PySide6.QtTest import QTest

    from app.ui.models.gpu import Unpacking
    from app.ui.presenters.first_steps import FirstStep
    from app.ui.presenters.machine import present_machine
    from app.ui.presenters.sample_study import SampleState
    from app.ui.text import Tone

    window, _, _ = window_of("empty")
    window.show_first_steps()
    steps = window._welcome.steps
    steps.look_wished.disconnect()

    def shoot(name: str) -> None:
        QTest.qWait(700)
        path = asked.folder / f"first-steps-{name}-{asked.theme}-{asked.scale}x.png"
        steps.grab().save(str(path))
        print(path)

    shoot("habits")
    QTest.qWait(2000)  # the look at this computer is over
    steps.go_to(FirstStep.COMPUTER)
    for name, facts in (
        ("enough", ENOUGH),
        ("little", LITTLE),
        ("card", WITH_CARD),
        ("package", WITH_PACKAGE),
        ("old-driver", OLD_DRIVER),
    ):
        steps.draw_machine(present_machine(facts))
        shoot(f"computer-{name}")
    running = Unpacking(sentence="Unpacking the GPU package: 1.7 of 5.0 GB", share=0.34)
    steps.draw_machine(present_machine(WITH_CARD, running=running))
    shoot("computer-unpacking")
    said = "The GPU package cannot be used: torch/lib/libtorch_cuda.so is damaged."
    steps.draw_machine(present_machine(WITH_CARD, result=said, result_tone=Tone.DANGER))
    shoot("computer-refused")
    steps.go_to(FirstStep.LOOK)
    shoot("look")
    steps.go_to(FirstStep.BEGIN)
    shoot("begin")
    beginning = SampleState(running=True, sentence="Harbour joins the study…", share=0.5)
    steps.draw_sample(beginning)
    shoot("begin-running")
    steps.draw_sample(
        dataclasses.replace(
            SampleState(), problem="The sample study cannot begin: no port is free."
        )
    )
    shoot("begin-problem")
    window.close()


def draw(asked: argparse.Namespace) -> None:
    from helpers import snapshots
    from helpers.window_desk import MemoryBook, RecordedService, StillClock
    from msgspec.structs import replace as replaced
    from PySide6.QtCore import QSettings, Qt
    from PySide6.QtTest import QTest

    from app.control.messages import InvitationView
    from app.domain.segmentation import Verdict
    from app.ui.main import make_application
    from app.ui.messages import refusal, told
    from app.ui.presenters.desk import Desk
    from app.ui.presenters.training import pauses_of
    from app.ui.text import Page
    from app.ui.theme import Look, Theme
    from app.ui.widgets.dialogs import ChoiceDialog
    from app.ui.window import DIALOGS, Window

    application = make_application()
    look = Look(application, Theme(asked.theme))
    # Nobody is there to answer whether a window that shows a training one may close.
    unasked = replaced(DIALOGS, closing=lambda _parent, _sentence: (True, False))
    width, height = map(int, asked.size.split("x"))

    def shoot(name: str, window: QWidget) -> None:
        if asked.only and asked.only not in name:
            return
        QTest.qWait(700)
        path = asked.folder / f"{name}-{asked.theme}-{asked.scale}x.png"
        window.grab().save(str(path))
        print(path)

    def window_of(stage: str, away: str = "") -> tuple[Window, Desk, RecordedService]:
        settings = QSettings(str(asked.folder / "window.ini"), QSettings.Format.IniFormat)
        settings.clear()
        snapshot = snapshots.STAGES[stage]() if stage else None
        if stage == "finished":
            snapshot = with_predictions(snapshot, asked.folder / "predictions")
        service = RecordedService(snapshot, away)
        book = MemoryBook()
        if stage == "finished":
            results = snapshots.finished().review.results
            book.judge(results[0], Verdict.ACCEPTED, "", None)
            book.judge(results[2], Verdict.FLAGGED, "Extra piece behind the structure", None)
        window = Window(look, settings, sites=("North", "Harbour", "Valley"), asking=unasked)
        window.resize(width, height)
        desk = Desk(service, clock=StillClock(snapshots.NOW), verdicts=book)
        window.attach(desk)
        window.show()
        return window, desk, service

    def pause_dialog(window: Window) -> ChoiceDialog:
        options = pauses_of(window._desk.snapshot.training)
        dialog = ChoiceDialog(window, "Pause training", [(o.key, o.text, o.cost) for o in options])
        dialog.show()
        QTest.qWait(100)
        return dialog

    for page in Page:
        for stage in PAGES_BY_STAGE[page.value.lower()]:
            name = f"{page.value.lower()}-{stage}"
            if asked.only and asked.only not in name:
                continue
            window, _, _ = window_of(stage)
            window.go_to(page)
            shoot(name, window)
            if name == "fingerprint-to-allow" or name == "fingerprint-training":
                widget = window.page_widget(page)
                for number, tab in ((1, "pictures"), (2, "bytes"), (3, "cases"), (4, "returned")):
                    widget._tabs.setCurrentIndex(number)
                    shoot(f"{name}-{tab}", window)
            if name in ("training-no-memory", "training-smaller-batch"):
                page_widget = window.page_widget(page)
                page_widget.area.ensureWidgetVisible(page_widget.computer)
                shoot(f"{name}-computer", window)
            if name in ("training-training", "training-troubled"):
                area = window.page_widget(page).area.verticalScrollBar()
                for part, share in (("middle", 0.5), ("end", 1.0)):
                    area.setValue(round(area.maximum() * share))
                    shoot(f"{name}-{part}", window)
                dialog = pause_dialog(window)
                dialog.grab().save(str(asked.folder / f"{name}-pause-{asked.theme}.png"))
                dialog.close()
            if name == "federation-examined":
                page_widget = window.page_widget(page)
                area = page_widget._study_page
                area.ensureWidgetVisible(page_widget.doctor)
                shoot("federation-examined-doctor", window)
            if name == "review-finished":
                review = window.page_widget(page)
                review._toggle_beside()
                shoot("review-side-by-side", window)
                review._toggle_beside()
                review._toggle_benefit()
                shoot("review-benefit", window)
            if name == "data-checked":
                window.page_widget(page).show_cases()
                shoot("data-checked-cases", window)
                window._open_case("hippocampus_007")
                QTest.qWait(500)
                QTest.keyClick(window._case_window.viewer.view, Qt.Key.Key_L)
                shoot("data-checked-case", window._case_window)
                window._case_window.close()
                gallery = window.page_widget(page).gallery
                window.page_widget(page).show_gallery()
                for _ in range(100):
                    QTest.qWait(100)
                    if all(gallery.pictures.missing(n) is None for n in gallery.on_screen()):
                        break
                shoot("data-checked-gallery", window)
            window.close()
    if not asked.only or "first-steps" in asked.only:
        draw_first_steps(asked, window_of)
    window, desk, service = window_of("checked")
    service.replies = [snapshots.invitation()]
    assert isinstance(service.replies[0], InvitationView)
    desk.read_invitation("/tmp/north.fedjoin")
    shoot("federation-invitation", window)
    service.snapshot = replaced(service.snapshot, training=snapshots.measuring().training)
    desk.changed.emit()
    shoot("federation-invitation-measuring", window)
    window.close()
    window, desk, _ = window_of("training", "the service of this site went away; attaching again…")
    desk.message_told.emit(told("Allowed. The receipt is kept."))
    desk.message_told.emit(
        refusal("this folder holds no images", "Choose the folder that holds imagesTr.")
    )
    shoot("home-away", window)
    window.show_keys()
    QTest.qWait(100)
    if not asked.only or "keys" in asked.only:
        sheet = next(w for w in application.topLevelWidgets() if w.windowTitle() == "Keys")
        sheet.grab().save(str(asked.folder / f"keys-{asked.theme}.png"))
    window.close()


if __name__ == "__main__":
    sys.exit(main())
