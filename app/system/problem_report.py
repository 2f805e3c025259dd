"""A report of a problem: a zip of stripped logs and of what this computer is, seen before saved.

`texts_of` gives exactly the texts that `write_report` puts into the zip, so that a person can read
every byte first.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import app
from app.system.atomic import write_atomic
from app.system.hardware import MachineReading
from app.system.stripping import Stripper

_LARGEST_TAIL: Final = 200 << 10
_MOST_JOBS: Final = 5
_LIBRARIES: Final = (
    "cryptography",
    "msgspec",
    "nnunetv2",
    "numpy",
    "PySide6-Essentials",
    "pyqtgraph",
    "SimpleITK",
    "torch",
    "websockets",
)
_LOG: Final = re.compile(r"[a-z-]+\.log(\.\d+)?")
_JOB: Final = re.compile(r"\d{4}-[a-z-]+")
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
_README: Final = """This report was made for the people who maintain FednnU-Net Desktop.

It holds parts of the logs and what kind of computer this is. Every word that the program itself
does not use was replaced by […]: names of people, cases, folders and files. No image, no label and
no result is in it. It was shown before it was saved, and nothing was sent anywhere.

Research use only.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportText:
    """One file of a report; its bytes in the zip are `text` in UTF-8."""

    name: str
    text: str


def texts_of(
    home: Path,
    *,
    machine: MachineReading | None = None,
    state: dict[str, object] | None = None,
    private: Iterable[str] = (),
) -> tuple[ReportText, ...]:
    """Collect and strip what a report of the site or coordinator in `home` holds.

    `state` is stripped too. `private` are words that must never stay: cases' names, people's
    names. A file that cannot be read is told as such.
    """
    stripper = Stripper(private)
    texts = [
        ReportText(name="README.txt", text=_README),
        ReportText(name="computer.json", text=_json(_computer(machine))),
    ]
    if state is not None:
        texts.append(ReportText(name="state.json", text=_json(_stripped(state, stripper))))
    texts += [
        ReportText(name=f"logs/{path.name}", text=_tail(path, stripper.own))
        for path in _named(home / "logs", _LOG)
    ]
    texts += [
        ReportText(name=f"jobs/{folder.name}/{name}", text=_tail(folder / name, stripper.foreign))
        for folder in _named(home / "jobs", _JOB)[-_MOST_JOBS:]
        for name in ("log.txt", "outcome.json")
        if (folder / name).is_file()
    ]
    return tuple(texts)


def write_report(path: Path, texts: Iterable[ReportText]) -> None:
    """Save `texts` as a zip that only this user can read; raises SetupProblem when it cannot."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for text in texts:
            archive.writestr(zipfile.ZipInfo(text.name, _EARLIEST), text.text.encode())
    write_atomic(path, buffer.getvalue())


def _named(folder: Path, names: re.Pattern[str]) -> list[Path]:
    """Return what this program itself has put into `folder`; another name may say anything."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if names.fullmatch(path.name))


def _tail(path: Path, strip: Callable[[str], str]) -> str:
    """Return the stripped end of a file, from a whole line on."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - _LARGEST_TAIL)
            file.seek(start)
            text = file.read().decode("utf-8", "replace")
    except OSError as exc:
        return f"this file could not be read ({type(exc).__name__})\n"
    if start:
        text = text.partition("\n")[2]
    return strip(text)


def _stripped(value: object, stripper: Stripper) -> object:
    if isinstance(value, str):
        return stripper.sentence(value)
    if isinstance(value, dict):
        return {name: _stripped(item, stripper) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_stripped(item, stripper) for item in value]
    return value


def _computer(machine: MachineReading | None) -> dict[str, object]:
    """Return what kind of computer this is, without its name or its user's."""
    told: dict[str, object] = {
        "program": app.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "processors": os.cpu_count(),
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
    }
    if machine is not None:
        told |= {
            "memory percent": round(machine.memory_percent),
            "memory free GB": round(machine.memory_free_gb, 1),
            "disk free GB": round(machine.disk_free_gb, 1),
            "graphics cards": [
                {"name": card.name, "memory GB": card.memory_gb} for card in machine.cards
            ],
        }
    return told


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
