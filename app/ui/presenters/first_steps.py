"""The first steps with the program as a table: what each shows, and what the viewer lets one try."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Final

from msgspec import Struct
from PySide6.QtCore import Qt

from app.datasets.description import read_description
from app.domain.dataset import DatasetDescription
from app.system.sample_study import sample_folder
from app.ui.presenters.volumes import CasePaths
from app.ui.widgets.viewer_keys import BUTTONS, MouseProfile, Tool, Wish, keys_of

_SITE: Final = "north"


class FirstStep(enum.Enum):
    """The steps, in their order."""

    HABITS = "How you work"
    COMPUTER = "This computer"
    LOOK = "A first look"
    BEGIN = "Begin"


PURPOSE: Final = {
    FirstStep.HABITS: "Hospitals train one nnU-Net together, and every image stays at home. Four short "
    "steps; each can be skipped, and the menu shows them again.",
    FirstStep.COMPUTER: "What there is to train with, and what would help.",
    FirstStep.LOOK: "A case that comes with the program, in the viewer that shows your own later. Try it.",
    FirstStep.BEGIN: "Research use only: nothing the program shows may guide the care of a patient.",
}


class Gesture(enum.Enum):
    """What somebody tries in the viewer."""

    SCROLL = "scroll"
    CROSSHAIR = "crosshair"
    GREYS = "greys"
    LABELS = "labels"
    PLANE = "plane"


class Try(Struct, frozen=True, kw_only=True):
    """One thing to try: by mouse, and by keys."""

    gesture: Gesture
    text: str
    keys: str


WISHES: Final = {
    Wish.STEP: Gesture.SCROLL,
    Wish.ACROSS: Gesture.CROSSHAIR,
    Wish.DOWN: Gesture.CROSSHAIR,
    Wish.WIDTH: Gesture.GREYS,
    Wish.LEVEL: Gesture.GREYS,
    Wish.PEEK: Gesture.LABELS,
    Wish.TOGGLE_OVERLAY: Gesture.LABELS,
    Wish.OVERLAY: Gesture.LABELS,
    Wish.MAXIMISE: Gesture.PLANE,
}
"""Which gesture the viewer's keys are."""

_BUTTON_NAMES: Final = {
    Qt.MouseButton.LeftButton: "left",
    Qt.MouseButton.RightButton: "right",
    Qt.MouseButton.MiddleButton: "middle",
}
DRAGS: Final = {Tool.CROSSHAIR: Gesture.CROSSHAIR, Tool.WINDOW: Gesture.GREYS}


def things_to_try(profile: MouseProfile) -> tuple[Try, ...]:
    """Return what to try, in the words of a mouse profile."""
    return (
        Try(gesture=Gesture.SCROLL, text="Turn the wheel: slices go by", keys=keys_of(Wish.STEP)),
        Try(
            gesture=Gesture.CROSSHAIR,
            text=f"{_drag(profile, Tool.CROSSHAIR)}: all three planes follow",
            keys=keys_of(Wish.ACROSS),
        ),
        Try(
            gesture=Gesture.GREYS,
            text=f"{_drag(profile, Tool.WINDOW)}: brightness and contrast",
            keys=f"{keys_of(Wish.WIDTH)} and {keys_of(Wish.LEVEL)}",
        ),
        Try(
            gesture=Gesture.LABELS,
            text="Hold Space: the image without its labels",
            keys=f"{keys_of(Wish.PEEK)} or {keys_of(Wish.TOGGLE_OVERLAY)}",
        ),
        Try(
            gesture=Gesture.PLANE,
            text="Double-click: one plane alone, and back",
            keys=keys_of(Wish.MAXIMISE),
        ),
    )


def _drag(profile: MouseProfile, tool: Tool) -> str:
    """Return how a tool is used: with which button, plain or with Shift."""
    for button, (plain, shifted) in BUTTONS[profile].items():
        if plain is tool:
            return f"Drag with the {_BUTTON_NAMES[button]} button"
        if shifted is tool:
            return f"Shift and drag with the {_BUTTON_NAMES[button]} button"
    raise KeyError(tool)


def tool_of(profile: MouseProfile, button: Qt.MouseButton, *, shift: bool) -> Tool | None:
    """Return what dragging a button does."""
    pair = BUTTONS[profile].get(button)
    return None if pair is None else pair[shift]


def region_sentence(now: datetime) -> str:
    """Return what there is to know of language and region; `now` is in this computer's zone."""
    offset = now.strftime("%z")
    return (
        "The window is in English. Times are those of this computer's clock and zone "
        f"(UTC{offset[:3]}:{offset[3:5]}), as set in its system."
    )


def sample_case() -> tuple[CasePaths, dict[int, str]]:
    """Return a case that ships with the program, with its label, and what the labels are called.

    Raises:
        SetupProblem: the samples are not part of this installation.
        DataProblem: its description is damaged.
    """
    site = sample_folder() / _SITE
    description = read_description(site / "dataset.json")
    label = min((site / "labelsTr").glob(f"*{description.file_ending}"))
    name = label.name.removesuffix(description.file_ending)
    image = site / "imagesTr" / f"{name}_0000{description.file_ending}"
    paths = CasePaths(
        case=name,
        image=str(image),
        reference=str(label),
        channel_names=description.channel_names,
    )
    return paths, label_names(description)


def label_names(description: DatasetDescription) -> dict[int, str]:
    """Return what each label value is called; the first structure that holds a value names it."""
    names: dict[int, str] = {}
    for name, value in description.foreground.items():
        for one in value if isinstance(value, tuple) else (value,):
            names.setdefault(one, name)
    return names
