"""The one table of the viewer's keys: the viewer obeys it, the keyboard sheet shows it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QKeyCombination, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence

from app.ui.widgets.viewer_volumes import Window

CT_PRESETS: Final = {
    1: ("Soft tissue", Window(width=400, level=40)),
    2: ("Lung", Window(width=1500, level=-600)),
    3: ("Liver", Window(width=150, level=90)),
    4: ("Bone", Window(width=2500, level=480)),
    5: ("Brain", Window(width=80, level=40)),
    6: ("Mediastinum", Window(width=400, level=80)),
    7: ("Abdomen", Window(width=320, level=50)),
}
FURTHEST: Final = 1 << 30
"""More slices than any volume has."""


class Wish(enum.Enum):
    """What a key asks of the viewer."""

    STEP = "step"
    OVERLAY = "overlay"
    PEEK = "peek"
    TOGGLE_OVERLAY = "toggle overlay"
    OPACITY = "opacity"
    FILL = "fill"
    REFERENCE = "reference"
    PREDICTION = "prediction"
    ERRORS = "errors"
    LABEL = "label"
    PRESET = "preset"
    INVERT = "invert"
    WIDTH = "width"
    LEVEL = "level"
    ACROSS = "across"
    DOWN = "down"
    ZOOM = "zoom"
    PAN_ACROSS = "pan across"
    PAN_DOWN = "pan down"
    CROSSHAIR = "crosshair"
    RESET = "reset"
    MAXIMISE = "maximise"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Keys of one kind of wish. `keys` pair a key with the number it hands over."""

    shown: str
    text: str
    wish: Wish
    keys: tuple[tuple[str, int], ...]


BINDINGS: Final = (
    Binding(
        shown="Up / Down",
        text="Next or previous slice of the plane under the pointer",
        wish=Wish.STEP,
        keys=(
            ("Up", 1),
            ("Down", -1),
            ("PgUp", 5),
            ("PgDown", -5),
            ("Home", -FURTHEST),
            ("End", FURTHEST),
        ),
    ),
    Binding(
        shown="Left / Right",
        text="Hide or show the labels",
        wish=Wish.OVERLAY,
        keys=(("Left", 0), ("Right", 1)),
    ),
    Binding(
        shown="Space",
        text="Hide the labels while held",
        wish=Wish.PEEK,
        keys=(("Space", 0),),
    ),
    Binding(shown="S", text="Labels on or off", wish=Wish.TOGGLE_OVERLAY, keys=(("S", 0),)),
    Binding(
        shown="- / =",
        text="Opacity of the labels",
        wish=Wish.OPACITY,
        keys=(("-", -10), ("=", 10), ("+", 10)),
    ),
    Binding(shown="O", text="Filled labels or outlines only", wish=Wish.FILL, keys=(("O", 0),)),
    Binding(shown="H", text="Prediction on or off", wish=Wish.PREDICTION, keys=(("H", 0),)),
    Binding(shown="G", text="Reference on or off", wish=Wish.REFERENCE, keys=(("G", 0),)),
    Binding(
        shown="E",
        text="Errors: false positives blue, false negatives orange",
        wish=Wish.ERRORS,
        keys=(("E", 0),),
    ),
    Binding(
        shown="Alt+1 ... Alt+9",
        text="Hide or show one label",
        wish=Wish.LABEL,
        keys=tuple((f"Alt+{digit}", digit) for digit in range(1, 10)),
    ),
    Binding(
        shown="0 ... 7",
        text="Grey window: 0 automatic, then "
        + ", ".join(f"{number} {name.lower()}" for number, (name, _) in CT_PRESETS.items()),
        wish=Wish.PRESET,
        keys=tuple((str(digit), digit) for digit in (0, *CT_PRESETS)),
    ),
    Binding(shown="I", text="Invert greys", wish=Wish.INVERT, keys=(("I", 0),)),
    Binding(
        shown="[ / ]",
        text="Narrower or wider grey window",
        wish=Wish.WIDTH,
        keys=(("[", -1), ("]", 1)),
    ),
    Binding(
        shown="; / '",
        text="Darker or brighter",
        wish=Wish.LEVEL,
        keys=((";", 1), ("'", -1)),
    ),
    Binding(
        shown="Ctrl+arrows",
        text="Move the crosshair in the plane",
        wish=Wish.ACROSS,
        keys=(("Ctrl+Left", -1), ("Ctrl+Right", 1)),
    ),
    Binding(shown="", text="", wish=Wish.DOWN, keys=(("Ctrl+Up", -1), ("Ctrl+Down", 1))),
    Binding(
        shown="Z / Shift+Z",
        text="Zoom in or out",
        wish=Wish.ZOOM,
        keys=(("Z", 1), ("Shift+Z", -1)),
    ),
    Binding(
        shown="Shift+arrows",
        text="Move the image in its pane",
        wish=Wish.PAN_ACROSS,
        keys=(("Shift+Left", -1), ("Shift+Right", 1)),
    ),
    Binding(shown="", text="", wish=Wish.PAN_DOWN, keys=(("Shift+Up", -1), ("Shift+Down", 1))),
    Binding(shown="R", text="Fit images into their panes", wish=Wish.RESET, keys=(("R", 0),)),
    Binding(shown="M", text="One plane only, or all three", wish=Wish.MAXIMISE, keys=(("M", 0),)),
    Binding(shown="X", text="Crosshair on or off", wish=Wish.CROSSHAIR, keys=(("X", 0),)),
    Binding(
        shown=", / .",
        text="Previous or next channel",
        wish=Wish.CHANNEL,
        keys=((",", -1), (".", 1)),
    ),
)


class Tool(enum.Enum):
    """What a drag does; the value says it."""

    CROSSHAIR = "move the crosshair"
    WINDOW = "grey window: width across, level up and down"
    PAN = "move the image"
    ZOOM = "zoom"


class MouseProfile(enum.Enum):
    """Which button does what: reading rooms and research tools disagree."""

    PACS = "PACS"
    RESEARCH = "Research (ITK-SNAP, 3D Slicer)"


BUTTONS: Final = {
    MouseProfile.PACS: {
        Qt.MouseButton.LeftButton: (Tool.CROSSHAIR, Tool.PAN),
        Qt.MouseButton.RightButton: (Tool.WINDOW, Tool.ZOOM),
        Qt.MouseButton.MiddleButton: (Tool.PAN, Tool.PAN),
    },
    MouseProfile.RESEARCH: {
        Qt.MouseButton.LeftButton: (Tool.CROSSHAIR, Tool.PAN),
        Qt.MouseButton.RightButton: (Tool.ZOOM, Tool.WINDOW),
        Qt.MouseButton.MiddleButton: (Tool.PAN, Tool.PAN),
    },
}
"""The tool of each button: plain, and with Shift held."""


def mouse_lines(profile: MouseProfile) -> tuple[tuple[str, str], ...]:
    """Return (what is moved or pressed, what it does) of a profile."""
    further = {
        Qt.MouseButton.LeftButton: "; twice: one plane only",
        Qt.MouseButton.RightButton: "; without dragging: menu",
        Qt.MouseButton.MiddleButton: "",
    }
    names = {
        Qt.MouseButton.LeftButton: "Left button",
        Qt.MouseButton.RightButton: "Right button",
        Qt.MouseButton.MiddleButton: "Middle button",
    }
    lines = [("Wheel", "Next or previous slice; with Shift five; with Ctrl zoom")]
    for button, (plain, shifted) in BUTTONS[profile].items():
        text = plain.value[0].upper() + plain.value[1:]
        if shifted is not plain:
            text += f"; with Shift {shifted.value}"
        lines.append((names[button], text + further[button]))
    return tuple(lines)


def keys_of(wish: Wish, number: int | None = None) -> str:
    """Return the keys of a wish, for tooltips and menus; with `number` those that hand it over."""
    binding = next(binding for binding in BINDINGS if binding.wish is wish)
    if number is None:
        return binding.shown
    return next(keys for keys, handed in binding.keys if handed == number)


def described(wish: Wish) -> str:
    """Return a tooltip: what the keys of a wish do, and which they are."""
    binding = next(binding for binding in BINDINGS if binding.wish is wish)
    return f"{binding.text} ({binding.shown})"


VIEWER_SHORTCUTS: Final[tuple[tuple[str, str], ...]] = (
    *((binding.shown, binding.text) for binding in BINDINGS if binding.shown),
    ("Page Up / Page Down", "Five slices further or back"),
    ("Home / End", "First or last slice"),
)
"""(keys, what they do) for the keyboard sheet."""


_WISHES: Final = {
    QKeySequence(keys).toString(): (binding.wish, number)
    for binding in BINDINGS
    for keys, number in binding.keys
}


def wish_of(event: QKeyEvent) -> tuple[Wish, int] | None:
    """Return what a key asks for, with its number; None when the viewer has no such key."""
    ignored = Qt.KeyboardModifier.KeypadModifier | Qt.KeyboardModifier.GroupSwitchModifier
    if Qt.Key.Key_Space < event.key() < Qt.Key.Key_AsciiTilde and not chr(event.key()).isalnum():
        # Where brackets and signs are on a keyboard is another matter in every country.
        ignored |= Qt.KeyboardModifier.ShiftModifier
    keys = QKeyCombination(event.modifiers() & ~ignored, Qt.Key(event.key()))
    return _WISHES.get(QKeySequence(keys).toString())
