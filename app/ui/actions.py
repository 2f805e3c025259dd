"""The one table of keys: menus, tooltips, the keyboard sheet and the test for doubles read it."""

from __future__ import annotations

import enum
from typing import Final

from msgspec import Struct


class Scope(enum.Enum):
    """Where a key works."""

    WINDOW = "Everywhere"
    DATA = "Data"
    CASE = "A case of the folder"
    TRAINING = "Training"
    REVIEW = "Review"


class Action(enum.Enum):
    """Everything that has a key."""

    HOME = "home"
    DATA = "data"
    FINGERPRINT = "fingerprint"
    FEDERATION = "federation"
    TRAINING = "training"
    SEGMENT = "segment"
    REVIEW = "review"
    CHOOSE_FOLDER = "choose-folder"
    OPEN_INVITATION = "open-invitation"
    SWITCH_THEME = "switch-theme"
    KEYS = "keys"
    REPORT = "report"
    FIRST_STEPS = "first-steps"
    COMPUTER = "computer"
    ABOUT = "about"
    CLOSE = "close"
    CHECK_AGAIN = "check-again"
    SHOW_CASE = "show-case"
    NEXT_PART = "next-part"
    PREVIOUS_PART = "previous-part"
    LARGEST_SLICE = "largest-slice"
    NEXT_OF_FOLDER = "next-of-folder"
    PREVIOUS_OF_FOLDER = "previous-of-folder"
    PAUSE = "pause"
    READ_NEXT = "read-next"
    READ_PREVIOUS = "read-previous"
    ZOOM_IN = "zoom-in"
    ZOOM_OUT = "zoom-out"
    WHOLE_CURVE = "whole-curve"
    LOGARITHM = "logarithm"
    ACCEPT = "accept"
    FLAG = "flag"
    COMMENT = "comment"
    NEXT_CASE = "next-case"
    PREVIOUS_CASE = "previous-case"
    NEXT_UNREVIEWED = "next-unreviewed"
    UNDO = "undo"
    NEXT_LESION = "next-lesion"
    PREVIOUS_LESION = "previous-lesion"
    WORST_SLICE = "worst-slice"
    OTHER_MODEL = "other-model"
    SIDE_BY_SIDE = "side-by-side"
    COMPARE = "compare"
    EDIT = "edit"


class Shortcut(Struct, frozen=True, kw_only=True):
    """A key with its plain description."""

    scope: Scope
    keys: str
    text: str
    also: str = ""

    @property
    def every(self) -> tuple[str, ...]:
        """The keys, each of which does it."""
        return (self.keys, self.also) if self.also else (self.keys,)

    @property
    def shown(self) -> str:
        """The keys as the sheet shows them."""
        return " / ".join(self.every)


SHORTCUTS: Final[dict[Action, Shortcut]] = {
    Action.HOME: Shortcut(scope=Scope.WINDOW, keys="Ctrl+1", text="Go to Home"),
    Action.DATA: Shortcut(scope=Scope.WINDOW, keys="Ctrl+2", text="Go to Data"),
    Action.FINGERPRINT: Shortcut(scope=Scope.WINDOW, keys="Ctrl+3", text="Go to Fingerprint"),
    Action.FEDERATION: Shortcut(scope=Scope.WINDOW, keys="Ctrl+4", text="Go to Federation"),
    Action.TRAINING: Shortcut(scope=Scope.WINDOW, keys="Ctrl+5", text="Go to Training"),
    Action.SEGMENT: Shortcut(scope=Scope.WINDOW, keys="Ctrl+6", text="Go to Segment"),
    Action.REVIEW: Shortcut(scope=Scope.WINDOW, keys="Ctrl+7", text="Go to Review"),
    Action.CHOOSE_FOLDER: Shortcut(
        scope=Scope.WINDOW, keys="Ctrl+O", text="Choose the folder with images"
    ),
    Action.OPEN_INVITATION: Shortcut(
        scope=Scope.WINDOW, keys="Ctrl+I", text="Open an invitation file"
    ),
    Action.SWITCH_THEME: Shortcut(
        scope=Scope.WINDOW, keys="Ctrl+Shift+L", text="Switch between light and dark"
    ),
    Action.KEYS: Shortcut(scope=Scope.WINDOW, keys="F1", also="?", text="Show all keys"),
    Action.REPORT: Shortcut(scope=Scope.WINDOW, keys="Ctrl+Shift+R", text="Report a problem"),
    Action.FIRST_STEPS: Shortcut(
        scope=Scope.WINDOW, keys="F2", text="First steps: mouse, viewer, sample study"
    ),
    Action.COMPUTER: Shortcut(
        scope=Scope.WINDOW, keys="Shift+F2", text="Check this computer and its graphics card"
    ),
    Action.ABOUT: Shortcut(
        scope=Scope.WINDOW, keys="Shift+F1", text="Show versions, licences and the purpose"
    ),
    Action.CLOSE: Shortcut(
        scope=Scope.WINDOW, keys="Ctrl+Q", text="Close the window (training goes on)"
    ),
    Action.CHECK_AGAIN: Shortcut(scope=Scope.DATA, keys="F5", text="Check the folder again"),
    Action.SHOW_CASE: Shortcut(scope=Scope.DATA, keys="Return", text="Show the selected case"),
    # The same keys as on Review: what is an error there is a part of the labels here.
    Action.NEXT_PART: Shortcut(
        scope=Scope.CASE, keys="L", text="Next part of the labels, the largest first"
    ),
    Action.PREVIOUS_PART: Shortcut(scope=Scope.CASE, keys="Shift+L", text="Previous part"),
    Action.LARGEST_SLICE: Shortcut(
        scope=Scope.CASE, keys="W", text="The slice that holds most of the labels"
    ),
    Action.NEXT_OF_FOLDER: Shortcut(scope=Scope.CASE, keys="N", text="Next case of the folder"),
    Action.PREVIOUS_OF_FOLDER: Shortcut(
        scope=Scope.CASE, keys="P", text="Previous case of the folder"
    ),
    Action.PAUSE: Shortcut(scope=Scope.TRAINING, keys="Ctrl+P", text="Pause or resume training"),
    Action.READ_NEXT: Shortcut(
        scope=Scope.TRAINING, keys="Right", text="In a plot: read the next value"
    ),
    Action.READ_PREVIOUS: Shortcut(
        scope=Scope.TRAINING, keys="Left", text="In a plot: read the value before"
    ),
    Action.ZOOM_IN: Shortcut(
        scope=Scope.TRAINING, keys="+", text="In a plot: zoom in (also Ctrl and the wheel)"
    ),
    Action.ZOOM_OUT: Shortcut(scope=Scope.TRAINING, keys="-", text="In a plot: zoom out"),
    Action.WHOLE_CURVE: Shortcut(
        scope=Scope.TRAINING, keys="Home", text="In a plot: show the whole curve"
    ),
    Action.LOGARITHM: Shortcut(
        scope=Scope.TRAINING, keys="L", text="In a plot: logarithmic values or plain ones"
    ),
    Action.ACCEPT: Shortcut(scope=Scope.REVIEW, keys="A", text="Accept and go to the next case"),
    Action.FLAG: Shortcut(scope=Scope.REVIEW, keys="F", text="Flag for a closer look"),
    Action.COMMENT: Shortcut(scope=Scope.REVIEW, keys="C", text="Write a comment"),
    Action.NEXT_CASE: Shortcut(scope=Scope.REVIEW, keys="N", text="Next case"),
    Action.PREVIOUS_CASE: Shortcut(scope=Scope.REVIEW, keys="P", text="Previous case"),
    Action.NEXT_UNREVIEWED: Shortcut(
        scope=Scope.REVIEW, keys="Shift+N", text="Next case without a verdict"
    ),
    Action.NEXT_LESION: Shortcut(
        scope=Scope.REVIEW, keys="L", text="Next error of this case, the largest first"
    ),
    Action.PREVIOUS_LESION: Shortcut(scope=Scope.REVIEW, keys="Shift+L", text="Previous error"),
    Action.WORST_SLICE: Shortcut(
        scope=Scope.REVIEW, keys="W", text="Worst slice of the worst structure"
    ),
    Action.OTHER_MODEL: Shortcut(
        scope=Scope.REVIEW, keys="T", text="The same case by the next model, at the same place"
    ),
    Action.SIDE_BY_SIDE: Shortcut(
        scope=Scope.REVIEW, keys="Shift+T", text="Two models side by side, or one alone"
    ),
    Action.COMPARE: Shortcut(
        scope=Scope.REVIEW, keys="B", text="What the federation brings here, or back to the cases"
    ),
    Action.EDIT: Shortcut(
        scope=Scope.REVIEW, keys="Ctrl+E", text="Open a copy of the segmentation for editing"
    ),
    Action.UNDO: Shortcut(scope=Scope.REVIEW, keys="Ctrl+Z", text="Take the last verdict back"),
}


def described(action: Action) -> str:
    """Return a tooltip: what the action does and its key."""
    shortcut = SHORTCUTS[action]
    return f"{shortcut.text} ({shortcut.keys})"
