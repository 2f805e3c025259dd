"""Opening a case in a program for drawing: ITK-SNAP or 3D Slicer, found here or chosen once.

What is opened is a copy of the segmentation: the one that the model made, and that its scores and
verdicts are about, stays as it is.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from app.domain.errors import ErrorCode, SetupProblem
from app.jobs.detached import start_foreign
from app.system.atomic import disk_errors, make_folder

EDITED: Final = "edited"
"""Folder beside the segmentations in which copies for drawing lie."""
_COMMANDS: Final = (
    ("ITK-SNAP", ("itksnap", "itk-snap", "ITK-SNAP")),
    ("3D Slicer", ("Slicer", "slicer")),
)
# Where their installers put them when nobody adds them to the PATH.
_USUAL_PLACES: Final = {
    "linux": ("/opt/itksnap/bin/itksnap", "/opt/Slicer/Slicer", "/usr/local/Slicer/Slicer"),
    "darwin": (
        "/Applications/ITK-SNAP.app/Contents/MacOS/ITK-SNAP",
        "/Applications/Slicer.app/Contents/MacOS/Slicer",
    ),
    "win32": (r"C:\Program Files\ITK-SNAP 4.2\bin\ITK-SNAP.exe",),
}


class Editor(Struct, frozen=True, kw_only=True):
    """A program that can draw on label maps."""

    name: str
    program: str

    def command(self, image: Path, segmentation: Path) -> tuple[str, ...]:
        """Return the words that open a case in it."""
        if "slicer" in Path(self.program).name.casefold():
            load = (
                f"slicer.util.loadVolume({json.dumps(str(image))}); "
                f"slicer.util.loadSegmentation({json.dumps(str(segmentation))})"
            )
            return (self.program, "--python-code", load)
        return (self.program, "-g", str(image), "-s", str(segmentation))


def find_editors(
    chosen: str = "", *, which: Callable[[str], str | None] = shutil.which
) -> tuple[Editor, ...]:
    """Return the programs of this computer; the one that a person chose comes first."""
    found: list[Editor] = []
    if chosen and Path(chosen).is_file():
        found.append(Editor(name=Path(chosen).stem, program=chosen))
    for name, commands in _COMMANDS:
        program = next((path for one in commands if (path := which(one)) is not None), None)
        if program is not None:
            found.append(Editor(name=name, program=program))
    for place in _USUAL_PLACES.get(sys.platform, ()):
        if Path(place).is_file() and all(one.program != place for one in found):
            found.append(Editor(name=Path(place).stem, program=place))
    return tuple(found)


def copy_for_drawing(segmentation: Path) -> Path:
    """Return a copy of a segmentation to draw on; one that was made before goes on.

    Raises:
        SetupProblem: the copy cannot be made.
    """
    copy = make_folder(segmentation.parent / EDITED) / segmentation.name
    if not copy.exists():
        with disk_errors(copy):
            shutil.copyfile(segmentation, copy)
    return copy


def open_in(
    editor: Editor,
    image: Path,
    segmentation: Path,
    *,
    log: Path,
    start: Callable[[Sequence[str], Path], int] = lambda words, log: start_foreign(words, log=log),
) -> Path:
    """Open image and a copy of the segmentation in a program; return the copy.

    Raises:
        SetupProblem: the copy cannot be made, or the program cannot be started.
    """
    copy = copy_for_drawing(segmentation)
    try:
        start(editor.command(image, copy), log)
    except OSError as exc:
        raise SetupProblem(
            f"{editor.name} cannot be started: {exc.strerror}", code=ErrorCode.MISSING_LIBRARY
        ) from exc
    return copy
