"""Recognising folders that are not laid out as nnU-Net wants: what is image, label and case.

File and folder names are all that is looked at. Four layouts are known:

``two-folders``   images in one folder, labels in another (``images/``, ``labels/``)
``pairs``         both in one folder (``case_1.nii.gz``, ``case_1_seg.nii.gz``)
``case-folders``  one folder per case, the label marked by a word in its name
``bids``          ``sub-01/anat/sub-01_T1w.nii.gz`` with labels in ``derivatives``
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from app.datasets.description import FILE_ENDINGS

LABEL_WORDS: Final = frozenset(
    [
        "seg",
        "segs",
        "segmentation",
        "segmentations",
        "label",
        "labels",
        "labelmap",
        "lbl",
        "mask",
        "masks",
        "gt",
        "groundtruth",
        "truth",
        "roi",
        "rois",
        "annotation",
        "annotations",
        "manual",
        "dseg",
    ]
)
IMAGE_WORDS: Final = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "im",
        "scan",
        "scans",
        "volume",
        "volumes",
        "vol",
        "data",
        "raw",
    ]
)
_SUBJECT: Final = re.compile(r"sub-[A-Za-z0-9]+")
_SESSION: Final = re.compile(r"ses-[A-Za-z0-9]+")
_BIDS_CONTRAST: Final = ("acq", "ce", "rec", "run", "echo", "part")


@dataclass(frozen=True, slots=True, kw_only=True)
class LooseCase:
    """A case as its file names tell: relative paths by channel name; label None when not found."""

    name: str
    images: dict[str, str]
    label: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LooseLayout:
    """A recognised layout. `channels` are in the order in which they are to be numbered.

    `unmatched` are label files that belong to no image, and files of a second file ending.
    """

    name: str
    file_ending: str
    channels: tuple[str, ...]
    cases: tuple[LooseCase, ...]
    unmatched: tuple[str, ...] = ()


def ending_of(file: str) -> str | None:
    """Return the file ending that nnU-Net reads, as the file spells it, or None."""
    folded = file.casefold()
    for ending in FILE_ENDINGS:
        if folded.endswith(ending):
            return file[len(file) - len(ending) :]
    return None


def recognise(files: Iterable[str]) -> LooseLayout | None:
    """Recognise a layout from the relative paths ("/" between parts) of all files in a folder.

    None when there are no images, or not one label can be told from them.
    """
    endings = {file: ending for file in files if (ending := ending_of(file)) is not None}
    if not endings:
        return None
    # The most common file ending in which labels are found; nnU-Net takes only one.
    for common, _ in Counter(endings.values()).most_common():
        images = sorted(file for file, ending in endings.items() if ending == common)
        others = sorted(file for file, ending in endings.items() if ending != common)
        for attempt in (_bids, _case_folders, _by_names):
            layout = attempt(images, common)
            if layout is not None:
                return replace(layout, unmatched=(*layout.unmatched, *others))
    return None


def _words(stem: str) -> list[str]:
    return [word for word in re.split(r"[_\-.\s]+", stem) if word]


def _stem(file: str) -> str:
    name = PurePosixPath(file).name
    return name[: len(name) - len(ending_of(name) or "")]


def _is_label(file: str) -> bool:
    """Tell by a word in the file's name, or else in the folder it lies in."""
    words = {word.casefold() for word in _words(_stem(file))}
    if words & LABEL_WORDS:
        return True
    parent = PurePosixPath(file).parent.name
    return bool({word.casefold() for word in _words(parent)} & LABEL_WORDS)


def _plain(words: Sequence[str]) -> tuple[str, ...]:
    """Drop the words that only say “image” or “label”; what is left names case and channel."""
    kept = tuple(word for word in words if word.casefold() not in LABEL_WORDS | IMAGE_WORDS)
    return kept or tuple(words)


def _ordered(channels: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(channels), key=lambda name: (name.casefold(), name)))


def _by_names(files: Sequence[str], ending: str) -> LooseLayout | None:
    """Match images and labels in one or two folders by what their names share."""
    labels = {_plain(_words(_stem(file))): file for file in files if _is_label(file)}
    images = {file: _plain(_words(_stem(file))) for file in files if not _is_label(file)}
    if not labels or not images:
        return None
    found: dict[tuple[str, ...], dict[str, str]] = {}
    orphans: dict[str, tuple[str, ...]] = {}
    for file, words in images.items():
        for length in range(len(words), 0, -1):
            if words[:length] in labels:
                found.setdefault(words[:length], {})["_".join(words[length:])] = file
                break
        else:
            orphans[file] = words
    if not found:
        return None
    known = sorted({channel for case in found.values() for channel in case}, key=len, reverse=True)
    for file, words in orphans.items():
        channel = next(
            (name for name in known if name and "_".join(words).endswith("_" + name)), ""
        )
        own = words[: len(words) - len(_words(channel))]
        found.setdefault(own, {})[channel] = file
    folders = {str(PurePosixPath(file).parent) for file in files}
    return LooseLayout(
        name="pairs" if len(folders) == 1 else "two-folders",
        file_ending=ending,
        channels=_ordered(channel for case in found.values() for channel in case),
        cases=tuple(
            LooseCase(name="_".join(words), images=case, label=labels.get(words))
            for words, case in sorted(found.items())
        ),
        unmatched=tuple(file for words, file in labels.items() if words not in found),
    )


def _case_folders(files: Sequence[str], ending: str) -> LooseLayout | None:
    """Take each folder that holds images and a label as one case."""
    folders: dict[PurePosixPath, list[str]] = {}
    for file in files:
        folders.setdefault(PurePosixPath(file).parent, []).append(file)
    if PurePosixPath(".") in folders or len(folders) < 2:
        return None
    own_label = {
        folder: [
            file for file in inside if set(map(str.casefold, _words(_stem(file)))) & LABEL_WORDS
        ]
        for folder, inside in folders.items()
    }
    labelled = [f for f, found in own_label.items() if len(found) == 1 < len(folders[f])]
    # Most folders must look like a case: otherwise these are folders of images and of labels.
    if 2 * len(labelled) < len(folders):
        return None
    cases: list[LooseCase] = []
    unmatched: list[str] = []
    for folder, inside in sorted(folders.items()):
        found = own_label[folder]
        images: dict[str, str] = {}
        for file in inside:
            if file not in found:
                images[_channel_in_folder(folder.name, file)] = file
        if not images:
            unmatched.extend(inside)
            continue
        unmatched.extend(found[1:])
        cases.append(
            LooseCase(name="_".join(folder.parts), images=images, label=found[0] if found else None)
        )
    return LooseLayout(
        name="case-folders",
        file_ending=ending,
        channels=_ordered(channel for case in cases for channel in case.images),
        cases=tuple(cases),
        unmatched=tuple(unmatched),
    )


def _channel_in_folder(folder: str, file: str) -> str:
    """Name a channel by the words of its file that neither the folder nor “image” accounts for."""
    known = {word.casefold() for word in _words(folder)} | IMAGE_WORDS
    return "_".join(word for word in _words(_stem(file)) if word.casefold() not in known)


def _bids(files: Sequence[str], ending: str) -> LooseLayout | None:
    """Read BIDS names: ``sub-…[_ses-…][_entity-…]_suffix``."""
    images: dict[str, dict[str, str]] = {}
    labels: dict[str, list[str]] = {}
    strangers: list[str] = []
    for file in files:
        name = PurePosixPath(file).name
        subject = _SUBJECT.match(name)
        if subject is None:
            strangers.append(file)
            continue
        session = _SESSION.search(name)
        case = subject[0] if session is None else f"{subject[0]}_{session[0]}"
        parts = _stem(file).split("_")
        suffix = parts[-1]
        said = {word.casefold() for word in _words(_stem(file))}
        if said & LABEL_WORDS:
            labels.setdefault(case, []).append(file)
        elif "derivatives" not in PurePosixPath(file).parts:
            entities = [p for p in parts[1:-1] if p.split("-")[0] in _BIDS_CONTRAST]
            images.setdefault(case, {})["_".join([*entities, suffix])] = file
    if not images or not labels:
        return None
    return LooseLayout(
        name="bids",
        file_ending=ending,
        channels=_ordered(channel for case in images.values() for channel in case),
        cases=tuple(
            LooseCase(name=case, images=found, label=labels[case][0] if case in labels else None)
            for case, found in sorted(images.items())
        ),
        unmatched=(
            *strangers,
            *(file for case, found in labels.items() if case not in images for file in found),
            *(file for case, found in labels.items() if case in images for file in found[1:]),
        ),
    )
