"""What an operator is used to in viewers: the same in all of them, and the next time."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QObject, QSettings

from app.datasets.geometry import Convention
from app.ui.widgets.rendering import OverlayStyle
from app.ui.widgets.viewer_keys import MouseProfile

if TYPE_CHECKING:
    from app.ui.widgets.volume_view import VolumeView

_MOUSE, _SIDES, _OPACITY, _FILL = (
    "viewer/mouse",
    "viewer/sides",
    "viewer/opacity",
    "viewer/fill",
)
_PERCENT: Final = range(101)


class ViewerHabits(QObject):
    """Keeps mouse profile, sides and looks of the fill in the settings and alike in all viewers."""

    def __init__(self, settings: QSettings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._views: weakref.WeakSet[VolumeView] = weakref.WeakSet()

    def adopt(self, view: VolumeView) -> None:
        """Give a new viewer the habits, and learn from it."""
        self._views.add(view)
        self._teach(view)
        view.profile_changed.connect(lambda chosen: self._learn(_MOUSE, chosen.name))
        view.convention_changed.connect(lambda chosen: self._learn(_SIDES, chosen.name))
        view.style_changed.connect(self._keep_style)

    @property
    def profile(self) -> MouseProfile:
        """What the mouse buttons do, as kept; PACS until somebody chose."""
        return MouseProfile.__members__.get(str(self._settings.value(_MOUSE)), MouseProfile.PACS)

    def choose_profile(self, profile: MouseProfile) -> None:
        """Let the mouse buttons do this in every viewer, now and the next time."""
        self._learn(_MOUSE, profile.name)

    def _keep_style(self, style: OverlayStyle) -> None:
        self._settings.setValue(_OPACITY, round(style.opacity * 100))
        self._settings.setValue(_FILL, int(style.fill))

    def _learn(self, key: str, value: str) -> None:
        self._settings.setValue(key, value)
        for view in list(self._views):
            self._teach(view)

    def _teach(self, view: VolumeView) -> None:
        # Files of settings are edited by hand, too: what is not understood is left as it is.
        mouse, sides = str(self._settings.value(_MOUSE)), str(self._settings.value(_SIDES))
        if mouse in MouseProfile.__members__:
            view.set_profile(MouseProfile[mouse])
        if sides in Convention.__members__:
            view.set_convention(Convention[sides])
        opacity, fill = str(self._settings.value(_OPACITY)), str(self._settings.value(_FILL))
        style = view.style_in_force
        if opacity.isdecimal() and int(opacity) in _PERCENT:
            style = replace(style, opacity=int(opacity) / 100)
        if fill in ("0", "1"):
            style = replace(style, fill=fill == "1")
        if style != view.style_in_force:
            view.set_style(style)
