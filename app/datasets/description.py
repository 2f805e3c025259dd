"""Reading and writing dataset.json, nnU-Net's description of a dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.domain.dataset import BACKGROUND, IGNORE, Case, DatasetDescription
from app.domain.errors import DataProblem, ErrorCode

DESCRIPTION_NAME: Final = "dataset.json"

# What nnU-Net 2.8.1's readers take (SimpleITKIO, NibabelIO, Tiff3DIO, NaturalImage2DIO); longest
# first, so that “.nii.gz” is not taken for “.gz”.
FILE_ENDINGS: Final = (
    ".nii.gz",
    ".nii",
    ".nrrd",
    ".mha",
    ".gipl",
    ".tiff",
    ".tif",
    ".png",
    ".bmp",
)
_LARGEST_FILE: Final = 16 << 20

Labels = dict[str, int | tuple[int, ...]]


class DescriptionProblem(DataProblem):
    """Raised when dataset.json cannot be understood; `entry` is the name of the entry at fault."""

    code = ErrorCode.DATASET_DESCRIPTION

    def __init__(self, entry: str | None, what: str) -> None:
        super().__init__(
            f"{DESCRIPTION_NAME}: “{entry}” {what}" if entry else f"{DESCRIPTION_NAME} {what}"
        )
        self.entry, self.what = entry, what


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedCase:
    """A case that dataset.json itself lists; paths as written there."""

    name: str
    images: tuple[str, ...]
    label: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionFile:
    """Everything a dataset.json says.

    `listed` is None when cases are found by file names. `decathlon` marks the older form of the
    Medical Segmentation Decathlon.
    """

    description: DatasetDescription
    training_count: int | None
    listed: tuple[ListedCase, ...] | None = None
    listed_held_out: tuple[ListedCase, ...] = ()
    decathlon: bool = False


def read_description(path: Path) -> DatasetDescription:
    """Read what a dataset.json says of channels and labels.

    Raises:
        DescriptionProblem: as `read_description_file`.
    """
    return read_description_file(path).description


def read_description_file(path: Path) -> DescriptionFile:
    """Read a dataset.json, nnU-Net's own or that of the Medical Segmentation Decathlon.

    Raises:
        DescriptionProblem: naming the entry that is missing or wrong.
        DataProblem: DESCRIPTION_MISSING, or FOLDER_NOT_READABLE when it may not be read.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise DescriptionProblem(None, "is too large to be a description of a dataset")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as exc:
        raise DataProblem(
            f"there is no {DESCRIPTION_NAME} in {path.parent}", code=ErrorCode.DESCRIPTION_MISSING
        ) from exc
    except PermissionError as exc:
        raise DataProblem(f"{path} may not be read", code=ErrorCode.FOLDER_NOT_READABLE) from exc
    except UnicodeDecodeError as exc:
        raise DescriptionProblem(None, "is not a text file in UTF-8") from exc
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as exc:
        where = (
            f" (line {exc.lineno}, column {exc.colno})"
            if isinstance(exc, json.JSONDecodeError)
            else ""
        )
        raise DescriptionProblem(None, f"is not valid JSON{where}") from exc
    return parse_description(document)


def parse_description(document: object) -> DescriptionFile:
    """Turn the parsed JSON into values.

    Raises:
        DescriptionProblem: naming the entry that is missing or wrong.
    """
    if not isinstance(document, dict):
        raise DescriptionProblem(None, "must hold one JSON object")
    if isinstance(document.get("training"), list) and "channel_names" not in document:
        return _decathlon(document)
    labels = _labels(_required(document, "labels"))
    listed = document.get("dataset")
    return DescriptionFile(
        description=DatasetDescription(
            channel_names=_channel_names(document, "channel_names"),
            labels=labels,
            file_ending=_file_ending(_required(document, "file_ending")),
            regions_class_order=_regions_class_order(document, labels),
        ),
        training_count=_training_count(document),
        listed=None if listed is None else _listed(listed),
    )


def encode_description(
    description: DatasetDescription, cases: Iterable[Case], *, by_map: bool
) -> bytes:
    """Write a dataset.json for stock nnU-Net.

    With `by_map` it lists every case with absolute paths, so that nnU-Net reads the source files
    where they are; otherwise nnU-Net expects its own folder layout beside it.
    """
    cases = tuple(cases)
    document: dict[str, object] = {
        "channel_names": {str(i): name for i, name in enumerate(description.channel_names)},
        "labels": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in description.labels.items()
        },
        "numTraining": len(cases),
        "file_ending": description.file_ending,
    }
    if description.regions_class_order:
        document["regions_class_order"] = list(description.regions_class_order)
    if by_map:
        document["dataset"] = {
            case.name: {"images": list(case.channels), "label": case.label} for case in cases
        }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def check_labels(labels: Labels, regions_class_order: tuple[int, ...] = ()) -> None:
    """Refuse labels that nnU-Net would refuse.

    Raises:
        DescriptionProblem: no background 0, values that are not 0, 1, 2, …, an ignore label that
            is not the highest, regions without an order of classes.
    """
    if labels.get(BACKGROUND) != 0:
        raise DescriptionProblem("labels.background", "must be there and be 0")
    values = sorted(
        {v for value in labels.values() for v in (value if isinstance(value, tuple) else (value,))}
    )
    missing = sorted(set(range(values[-1] + 1)) - set(values))
    if missing:
        raise DescriptionProblem(
            "labels", f"must use the values 0, 1, 2, … without a gap: {missing[0]} is missing"
        )
    if IGNORE in labels and labels[IGNORE] != values[-1]:
        raise DescriptionProblem("labels.ignore", "must be the highest value")
    regions = any(isinstance(value, tuple) for value in labels.values())
    structures = sum(name not in (BACKGROUND, IGNORE) for name in labels)
    if not structures:
        raise DescriptionProblem("labels", "must name at least one structure besides background")
    if regions and len(regions_class_order) != structures:
        raise DescriptionProblem(
            "regions_class_order",
            f"must list {structures} values, one for each region, because labels has regions",
        )


def _required(document: Mapping[str, object], entry: str) -> object:
    if entry not in document:
        raise DescriptionProblem(entry, "is missing")
    return document[entry]


def _channel_names(document: Mapping[str, object], entry: str) -> tuple[str, ...]:
    value = _required(document, entry)
    if not isinstance(value, dict) or not value:
        raise DescriptionProblem(entry, 'must name the channels, as in {"0": "CT"}')
    names: list[str] = []
    for number in range(len(value)):
        name = value.get(str(number))
        if not isinstance(name, str) or not name.strip():
            raise DescriptionProblem(
                f"{entry}.{number}",
                "must be the name of that channel; channels are numbered 0, 1, 2, …",
            )
        names.append(name)
    return tuple(names)


def _labels(value: object) -> Labels:
    if not isinstance(value, dict) or not value:
        raise DescriptionProblem(
            "labels", 'must name the structures, as in {"background": 0, "liver": 1}'
        )
    if all(str(key).isdigit() and isinstance(name, str) for key, name in value.items()):
        raise DescriptionProblem(
            "labels", 'is written the old way ("1": "liver"); nnU-Net needs "liver": 1'
        )
    return {name: _label_value(name, number) for name, number in value.items()}


def _label_value(name: str, value: object) -> int | tuple[int, ...]:
    if _is_label_number(value):
        return int(str(value))
    if isinstance(value, list) and value and all(_is_label_number(number) for number in value):
        return tuple(int(str(number)) for number in value)
    raise DescriptionProblem(
        f"labels.{name}", f"must be a whole number from 0, or a list of them, not {value!r}"
    )


def _is_label_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _file_ending(value: object) -> str:
    if not isinstance(value, str) or value.casefold() not in FILE_ENDINGS:
        raise DescriptionProblem(
            "file_ending", f"is {value!r}; nnU-Net reads {', '.join(FILE_ENDINGS)}"
        )
    return value


def _regions_class_order(document: Mapping[str, object], labels: Labels) -> tuple[int, ...]:
    value = document.get("regions_class_order")
    order: tuple[int, ...] = ()
    if value is not None:
        if not isinstance(value, list) or not all(_is_label_number(number) for number in value):
            raise DescriptionProblem("regions_class_order", "must be a list of label values")
        order = tuple(value)
    check_labels(labels, order)
    return order


def _training_count(document: Mapping[str, object]) -> int | None:
    value = document.get("numTraining")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise DescriptionProblem("numTraining", f"must be a whole number, not {value!r}")
    return value


def _listed(value: object) -> tuple[ListedCase, ...]:
    if not isinstance(value, dict) or not value:
        raise DescriptionProblem("dataset", "must list the cases, or be left out")
    cases: list[ListedCase] = []
    for name, entry in value.items():
        images = entry.get("images") if isinstance(entry, dict) else None
        label = entry.get("label") if isinstance(entry, dict) else None
        if (
            not isinstance(images, list)
            or not images
            or not all(isinstance(image, str) for image in images)
            or not isinstance(label, str)
        ):
            raise DescriptionProblem(
                f"dataset.{name}", 'must be {"images": [file, …], "label": file}'
            )
        # As nnU-Net does: environment variables in paths are filled in.
        cases.append(
            ListedCase(
                name=name,
                images=tuple(os.path.expandvars(image) for image in images),
                label=os.path.expandvars(label),
            )
        )
    return tuple(cases)


def _decathlon(document: Mapping[str, object]) -> DescriptionFile:
    """Read the Decathlon's form: labels as value to name, cases in two lists of files."""
    value = _required(document, "labels")
    if not isinstance(value, dict) or not all(
        str(key).isdigit() and isinstance(name, str) for key, name in value.items()
    ):
        raise DescriptionProblem("labels", 'must be values and names, as in {"1": "liver"}')
    labels: Labels = {
        BACKGROUND if int(key) == 0 else name: int(key)
        for key, name in sorted(value.items(), key=lambda item: int(item[0]))
    }
    check_labels(labels)
    training, ending = document["training"], ".nii.gz"
    if not isinstance(training, list):
        raise DescriptionProblem("training", "must be a list of images and labels")
    listed: list[ListedCase] = []
    for number, entry in enumerate(training):
        image = entry.get("image") if isinstance(entry, dict) else None
        label = entry.get("label") if isinstance(entry, dict) else None
        if not isinstance(image, str) or not isinstance(label, str):
            raise DescriptionProblem(f"training.{number}", 'must be {"image": file, "label": file}')
        listed.append(ListedCase(name=_stem(image), images=(image,), label=label))
    tests = document.get("test", [])
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise DescriptionProblem("test", "must be a list of files")
    if listed:
        ending = next(
            (end for end in FILE_ENDINGS if listed[0].images[0].casefold().endswith(end)), ending
        )
    return DescriptionFile(
        description=DatasetDescription(
            channel_names=_channel_names(document, "modality"), labels=labels, file_ending=ending
        ),
        training_count=_training_count(document),
        listed=tuple(listed),
        listed_held_out=tuple(
            ListedCase(name=_stem(test), images=(test,), label=None) for test in tests
        ),
        decathlon=True,
    )


def _stem(file: str) -> str:
    name = Path(file).name
    ending = next((end for end in FILE_ENDINGS if name.casefold().endswith(end)), "")
    return name[: len(name) - len(ending)]
