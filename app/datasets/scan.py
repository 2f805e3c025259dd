"""From a folder that a person chose to a dataset with cases; or a sentence on why not.

Only names and dataset.json are read, except that a layout without dataset.json has a few labels
opened so that a description can be proposed. Nothing is written.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from app.datasets.description import (
    DESCRIPTION_NAME,
    DescriptionFile,
    Labels,
    ListedCase,
    read_description_file,
)
from app.datasets.images import read_volume
from app.datasets.layouts import LooseCase, LooseLayout, ending_of, recognise
from app.domain.dataset import BACKGROUND, Case, DatasetDescription, DatasetFolder
from app.domain.errors import DataProblem, ErrorCode

_IMAGES: Final = "imagesTr"
_LABELS: Final = "labelsTr"
_HELD_OUT_IMAGES: Final = "imagesTs"
_HELD_OUT_LABELS: Final = "labelsTs"
_DEEPEST_FOLDER: Final = 6
_LABELS_READ_FOR_PROPOSAL: Final = 8
_MOST_PROPOSED_LABELS: Final = 256
# Air is -1000 HU and no other modality has values like it.
_AIR_HU: Final = -500


class StrayKind(enum.Enum):
    """Files that lie where cases are expected but belong to none."""

    EXTRA_CHANNEL = "extra channel"
    LABEL_WITHOUT_IMAGE = "label without image"
    NO_CHANNEL_NUMBER = "no channel number"
    UNMATCHED = "unmatched"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """One file that belongs to no case, with the case it seems meant for."""

    kind: StrayKind
    path: str
    case: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A recognised folder, what lies in it besides the cases, and what dataset.json counts."""

    dataset: DatasetFolder
    strays: tuple[Stray, ...]
    training_count: int | None = None


def scan(folder: Path, *, description: DatasetDescription | None = None) -> DatasetFolder:
    """Recognise the layout of a folder and list its cases.

    A case that lacks a channel or label is listed with the path where the file should lie, so
    that the checks can name it. `description` replaces the proposed one where there is no
    dataset.json: the mapping that a person confirmed, or the study's; its `file_ending` is taken
    from the files.

    Raises:
        DataProblem: one sentence and code for each reason why the folder cannot be used.
    """
    return survey(folder, description=description).dataset


def survey(folder: Path, *, description: DatasetDescription | None = None) -> Survey:
    """Do as `scan`, and list the files that belong to no case.

    Raises:
        DataProblem: as `scan`.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links
    entries = _entries(folder)
    visible = [name for name in entries if not name.startswith(".")]
    if not visible:
        raise DataProblem(f"{folder} is empty", code=ErrorCode.FOLDER_EMPTY)
    if DESCRIPTION_NAME in visible:
        return _described(folder, read_description_file(folder / DESCRIPTION_NAME))
    if _IMAGES in visible:
        raise DataProblem(
            f"{folder} has {_IMAGES} but no {DESCRIPTION_NAME}", code=ErrorCode.DESCRIPTION_MISSING
        )
    _point_to_neighbour(folder, visible)
    files = _walk(folder)
    layout = recognise(files)
    if layout is None:
        raise DataProblem(_why_not_recognised(folder, files), code=ErrorCode.FOLDER_LAYOUT)
    return _loose(folder, layout, description)


def unlabelled_cases(folder: Path) -> tuple[Case, ...]:
    """List the cases of a folder with images only, for segmenting.

    Images are named as nnU-Net does (``NAME_0000.nii.gz``, one per channel); where none carries a
    channel number each file is a case of its own.

    Raises:
        DataProblem: the folder cannot be read, holds no images, or a case lacks a channel.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links
    channels: dict[str, dict[int, str]] = {}
    plain: dict[str, str] = {}
    for name in _entries(folder):
        ending = ending_of(name)
        if ending is None or name.startswith("."):
            continue
        stem = name[: len(name) - len(ending)]
        numbered = re.fullmatch(r"(.+)_(\d{4})", stem)
        if numbered is None:
            plain[stem] = str(folder / name)
        else:
            channels.setdefault(numbered[1], {})[int(numbered[2])] = str(folder / name)
    if not channels and not plain:
        raise DataProblem(
            f"{folder} holds no image in a format that nnU-Net reads", code=ErrorCode.NO_CASES
        )
    if not channels:
        return tuple(
            Case(name=name, channels=(path,), label=None) for name, path in sorted(plain.items())
        )
    count = max(number for found in channels.values() for number in found) + 1
    for name, found in sorted(channels.items()):
        missing = sorted(set(range(count)) - set(found))
        if missing:
            raise DataProblem(
                f"case {name} in {folder} has no channel {missing[0]:04d}; others have {count}",
                code=ErrorCode.CASE_UNREADABLE,
            )
    return tuple(
        Case(name=name, channels=tuple(found[n] for n in range(count)), label=None)
        for name, found in sorted(channels.items())
    )


def _entries(folder: Path) -> list[str]:
    """List a folder's names, turning what the disk says into sentences."""
    try:
        with os.scandir(folder) as found:
            return sorted(entry.name for entry in found)
    except FileNotFoundError as exc:
        raise DataProblem(f"there is no folder {folder}", code=ErrorCode.FOLDER_MISSING) from exc
    except NotADirectoryError as exc:
        raise DataProblem(
            f"{folder} is a file, not a folder", code=ErrorCode.FOLDER_IS_FILE
        ) from exc
    except PermissionError as exc:
        raise DataProblem(
            f"the folder {folder} may not be read", code=ErrorCode.FOLDER_NOT_READABLE
        ) from exc
    except OSError as exc:
        raise DataProblem(
            f"the folder {folder} cannot be read: the disk reports “{exc.strerror}”",
            code=ErrorCode.FOLDER_NOT_READABLE,
        ) from exc


def _files(folder: Path) -> list[str]:
    """List the visible files of a folder that may be absent."""
    if not folder.is_dir():
        return []
    return [name for name in _entries(folder) if not name.startswith(".")]


def _walk(root: Path) -> list[str]:
    """List all visible files below `root` as relative paths, down to a few levels."""
    found: list[str] = []
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        for name in _files(folder):
            path = folder / name
            if not path.is_dir():
                found.append(path.relative_to(root).as_posix())
            elif depth < _DEEPEST_FOLDER:
                waiting.append((path, depth + 1))
    return sorted(found)


def _point_to_neighbour(folder: Path, visible: list[str]) -> None:
    """Say which folder was probably meant: one level up or down."""
    if folder.name in {_IMAGES, _LABELS} and (folder.parent / DESCRIPTION_NAME).is_file():
        raise DataProblem(
            f"{folder} is only one part of a dataset; choose {folder.parent} instead",
            code=ErrorCode.FOLDER_LAYOUT,
        )
    datasets = [name for name in visible if (folder / name / DESCRIPTION_NAME).is_file()]
    if datasets:
        raise DataProblem(
            f"{folder} holds {len(datasets)} dataset(s); choose one of them, e.g. {datasets[0]}",
            code=ErrorCode.FOLDER_LAYOUT,
        )


def _why_not_recognised(folder: Path, files: list[str]) -> str:
    if any(ending_of(file) for file in files):
        return f"{folder} holds images, but no file in it can be told to be a label"
    dicom = [file for file in files if file.casefold().endswith(".dcm")]
    if dicom:
        series = {os.path.dirname(file) for file in dicom}  # noqa: PTH120 - relative, posix
        return (
            f"{folder} holds {len(dicom)} DICOM files in {len(series)} folder(s) but no labels "
            "that nnU-Net reads"
        )
    if not files:
        return f"{folder} holds folders but no files"
    return f"{folder} holds no images in a format that nnU-Net reads"


# Folders with a dataset.json.


def _described(folder: Path, file: DescriptionFile) -> Survey:
    if file.listed is not None:
        return _listed(folder, file, file.listed)
    description = file.description
    if not (folder / _IMAGES).is_dir():
        raise DataProblem(
            f"{folder} has a {DESCRIPTION_NAME} but no folder {_IMAGES}",
            code=ErrorCode.FOLDER_LAYOUT,
        )
    found, strays = _numbered(folder, _IMAGES, description)
    labels = _label_names(folder / _LABELS, description.file_ending)
    if not found:
        raise DataProblem(
            f"{folder / _IMAGES} holds no image that ends on _0000{description.file_ending}",
            code=ErrorCode.NO_CASES,
        )
    strays += [
        Stray(
            kind=StrayKind.LABEL_WITHOUT_IMAGE,
            path=str(folder / _LABELS / f"{name}{description.file_ending}"),
            case=name,
        )
        for name in sorted(labels - set(found))
    ]
    held_out, _ = _numbered(folder, _HELD_OUT_IMAGES, description)
    held_out_labels = _label_names(folder / _HELD_OUT_LABELS, description.file_ending)
    return Survey(
        dataset=DatasetFolder(
            root=str(folder),
            layout="nnunet",
            description=description,
            training=tuple(
                _case(folder, _IMAGES, _LABELS, name, description) for name in sorted(found)
            ),
            held_out=tuple(
                _case(
                    folder,
                    _HELD_OUT_IMAGES,
                    _HELD_OUT_LABELS if name in held_out_labels else None,
                    name,
                    description,
                )
                for name in sorted(held_out)
            ),
        ),
        strays=tuple(strays),
        training_count=file.training_count,
    )


def _numbered(
    folder: Path, part: str, description: DatasetDescription
) -> tuple[set[str], list[Stray]]:
    """Find the cases of imagesTr or imagesTs by their channel numbers."""
    ending = description.file_ending
    pattern = re.compile(rf"(?P<case>.+)_(?P<channel>\d{{4}}){re.escape(ending)}")
    cases: set[str] = set()
    strays: list[Stray] = []
    for name in _files(folder / part):
        match = pattern.fullmatch(name)
        if match is None:
            if name.endswith(ending):
                strays.append(
                    Stray(
                        kind=StrayKind.NO_CHANNEL_NUMBER,
                        path=str(folder / part / name),
                        case=name.removesuffix(ending),
                    )
                )
            continue
        if int(match["channel"]) < len(description.channel_names):
            cases.add(match["case"])
        else:
            strays.append(
                Stray(
                    kind=StrayKind.EXTRA_CHANNEL,
                    path=str(folder / part / name),
                    case=match["case"],
                )
            )
    return cases, strays


def _label_names(folder: Path, ending: str) -> set[str]:
    return {name.removesuffix(ending) for name in _files(folder) if name.endswith(ending)}


def _case(
    folder: Path, images: str, labels: str | None, name: str, description: DatasetDescription
) -> Case:
    ending = description.file_ending
    return Case(
        name=name,
        channels=tuple(
            str(folder / images / f"{name}_{number:04d}{ending}")
            for number in range(len(description.channel_names))
        ),
        label=None if labels is None else str(folder / labels / f"{name}{ending}"),
    )


def _listed(folder: Path, file: DescriptionFile, listed: Iterable[ListedCase]) -> Survey:
    def absolute(path: str) -> str:
        return os.path.normpath(folder / path)

    def as_case(case: ListedCase) -> Case:
        return Case(
            name=case.name,
            channels=tuple(absolute(image) for image in case.images),
            label=None if case.label is None else absolute(case.label),
        )

    training = tuple(as_case(case) for case in listed)
    if not training:
        raise DataProblem(
            f"{folder / DESCRIPTION_NAME} lists no training cases", code=ErrorCode.NO_CASES
        )
    held_out = tuple(as_case(case) for case in file.listed_held_out)
    if not file.decathlon:
        beside, _ = _numbered(folder, _HELD_OUT_IMAGES, file.description)
        labelled = _label_names(folder / _HELD_OUT_LABELS, file.description.file_ending)
        held_out = tuple(
            _case(
                folder,
                _HELD_OUT_IMAGES,
                _HELD_OUT_LABELS if name in labelled else None,
                name,
                file.description,
            )
            for name in sorted(beside)
        )
    return Survey(
        dataset=DatasetFolder(
            root=str(folder),
            layout="decathlon" if file.decathlon else "nnunet-map",
            description=file.description,
            training=training,
            held_out=held_out,
        ),
        strays=(),
        training_count=file.training_count,
    )


# Folders without one.


def _loose(folder: Path, layout: LooseLayout, confirmed: DatasetDescription | None) -> Survey:
    labels = [str(folder / case.label) for case in layout.cases if case.label is not None]
    if confirmed is not None:
        description = replace(confirmed, file_ending=layout.file_ending)
    else:
        description = DatasetDescription(
            channel_names=_proposed_channels(folder, layout),
            labels=_proposed_labels(labels),
            file_ending=layout.file_ending,
        )
    if len(description.channel_names) != len(layout.channels):
        found = ", ".join(name or "image" for name in layout.channels)
        raise DataProblem(
            f"{folder} has {len(layout.channels)} channel(s) ({found}), but "
            f"{len(description.channel_names)} are expected "
            f"({', '.join(description.channel_names)})",
            code=ErrorCode.FOLDER_LAYOUT,
        )
    return Survey(
        dataset=DatasetFolder(
            root=str(folder),
            layout=layout.name,
            description=description,
            training=tuple(_loose_case(folder, layout, case) for case in layout.cases),
        ),
        strays=tuple(
            Stray(kind=StrayKind.UNMATCHED, path=str(folder / path), case=None)
            for path in layout.unmatched
        ),
    )


def _loose_case(folder: Path, layout: LooseLayout, case: LooseCase) -> Case:
    """Fill in, for a file that is missing, where it should lie: named as in another case."""
    ending = layout.file_ending
    beside = (folder / next(iter(case.images.values()))).parent
    expected_label = beside / f"{case.name}_label{ending}"
    for other in layout.cases:
        if other.label is not None and other.name in Path(other.label).name:
            model = folder / other.label
            # In a folder of its own a label lies beside its images; else all lie together.
            place = beside if layout.name in {"case-folders", "bids"} else model.parent
            expected_label = place / model.name.replace(other.name, case.name)
            break
    return Case(
        name=case.name,
        channels=tuple(
            str(folder / case.images[channel])
            if channel in case.images
            else str(beside / f"{case.name}_{channel or 'image'}{ending}")
            for channel in layout.channels
        ),
        label=str(expected_label if case.label is None else folder / case.label),
    )


def _proposed_channels(folder: Path, layout: LooseLayout) -> tuple[str, ...]:
    """Name the channels by their files; “CT” where the voxels can be nothing else.

    nnU-Net chooses the normalisation by this name, so a person must confirm it.
    """
    names: list[str] = []
    for number, channel in enumerate(layout.channels):
        sample = next(
            folder / case.images[channel] for case in layout.cases if channel in case.images
        )
        if channel.casefold() == "ct" or (not channel and _looks_like_ct(sample)):
            names.append("CT")
        elif channel and not channel.isdigit():
            names.append(channel)
        else:
            names.append("MRI" if len(layout.channels) == 1 else f"channel {number}")
    return tuple(names)


def _looks_like_ct(path: Path) -> bool:
    try:
        return bool(read_volume(path).array.min() < _AIR_HU)
    except DataProblem:
        return False  # the check will name it


def _proposed_labels(paths: list[str]) -> Labels:
    """Number the structures from the values in a few label files."""
    step = max(1, len(paths) // _LABELS_READ_FOR_PROPOSAL)
    highest = 1
    for path in paths[::step][:_LABELS_READ_FOR_PROPOSAL]:
        try:
            values = np.unique(read_volume(Path(path)).array)
        except DataProblem:
            continue  # the check will name it
        usable = [int(v) for v in values if 0 < v < _MOST_PROPOSED_LABELS and v == int(v)]
        # A mask of 0 and 255 has one structure, not 255 of them.
        if usable and len(usable) * 2 >= max(usable):
            highest = max(highest, *usable)
    return {BACKGROUND: 0, **{f"label {value}": value for value in range(1, highest + 1)}}
