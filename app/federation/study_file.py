"""The study file: one TOML file that says everything about a study.

Entries carry the names of `StudyTerms`. An unknown entry is refused, never ignored: a misspelt
`minimum_cases` must not silently become the default.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import msgspec

from app.domain.dataset import BACKGROUND, IGNORE
from app.domain.errors import DataProblem, ErrorCode, PeerMistake
from app.domain.folds import CASCADE, COARSE, MOST_FOLDS, SINGLE_FOLDS, folds_of
from app.domain.study import (
    MAXIMUM_SEED,
    Admission,
    Aggregation,
    Method,
    Policy,
    ServerOptimiser,
    StudyTerms,
    Transfer,
)
from app.federation.canonical import Json, canonical, parse

CONFIGURATIONS: Final = ("2d", COARSE, "3d_fullres", CASCADE)
PLANNERS: Final = (
    "ExperimentPlanner",
    "ResEncUNetPlanner",
    "nnUNetPlannerResEncM",
    "nnUNetPlannerResEncL",
    "nnUNetPlannerResEncXL",
)
MAXIMUM_CHANNELS: Final = 32
MAXIMUM_LABELS: Final = 254
"""nnU-Net stores segmentations as unsigned 8-bit integers, 255 stays free."""
MAXIMUM_EPOCHS: Final = 1_000_000

EXAMPLE: Final = """\
# A study of FednnU-Net Desktop. Every entry is listed; those with a default are marked (default).
# For research use only.

# --- what people read before they join ----------------------------------------------------------
name = "Hippocampus in three centres"            # at most 100 characters
purpose = "Segment the anterior and posterior hippocampus on T1 MR images."
contact = "Study office, study-office@example.org"

# --- the images ---------------------------------------------------------------------------------
# In nnU-Net's order. A channel named "CT" is normalised as CT, every other name by its z-score.
channel_names = ["MRI"]

# Only with regions: the label value that each region gets in the output, in the order of [labels].
# regions_class_order = [1, 2]

# --- the method ---------------------------------------------------------------------------------
method = "ffe"              # (default) one plan for all sites | "asymfedavg": each site its own plan
aggregation = "cases"       # (default) "cases": by training cases | "paper": unweighted, as published
transfer = "fp32"           # (default) "fp32": 4 bytes a weight | "fp16": 2 | "int8": 1, see below
# proximal_mu = 0.01        # (default 0) FedProx: keeps each site near the model it began the round from
server_optimiser = "none"   # (default) the average is the next model | "fedavgm" | "fedadam"
# server_learning_rate = 1.0  # (default 1; fedadam has none) how far the coordinator goes each round
# server_momentum = 0.9     # (default) how much of earlier rounds' direction it keeps
configuration = "3d_fullres"     # (default) "2d" | "3d_lowres" | "3d_fullres", and, with
                            # fold = "0-4", "3d_cascade_fullres": "3d_lowres", then a second pass
planner = "ExperimentPlanner"    # (default) or "nnUNetPlannerResEncM", "...L", "...XL"
# gpu_memory_target_gb = 8.0     # (default: the planner's own) smaller makes smaller patches
fold = "0"                  # (default) "0" to "4": that share of cases validates | "all": none
# fold = "0-4"              # five folds as one study, one after the other, each with all its rounds

# "fp16" and "int8" send what a round changed, rounded to 2 bytes or 1; what rounding took away is
# added to the next round, so it does not pile up. The last average is sent as it is.

# --- the length ---------------------------------------------------------------------------------
rounds = 50                 # (default) of each fold
epochs_per_round = 1        # (default) local epochs between two averages
iterations_per_epoch = 250  # (default) as in nnU-Net
validation_iterations = 50  # (default) as in nnU-Net
score_every = 1             # (default) sites score every average on held-out cases | 0: never
seed = 12345                # (default) draws the first model

# --- who takes part -----------------------------------------------------------------------------
minimum_sites = 2           # (default) a round closes with at least so many updates
minimum_cases = 5           # (default) a site with fewer cases shares no fingerprint
policy = "minimal"          # (default) "minimal": additive counts | "paper": values of every case
admission = "approval"      # (default) "approval": you approve each site | "invitation": it suffices
progress_deadline_minutes = 240  # (default) a site without any progress for so long is not waited for

# --- the labels, as in nnU-Net's dataset.json ---------------------------------------------------
[labels]
background = 0
anterior = 1
posterior = 2
# A region is a list of values: "whole hippocampus" = [1, 2]. An optional "ignore" comes last.
"""


class StudyFileProblem(DataProblem):
    """One entry of a study file cannot be used."""

    code = ErrorCode.STUDY_FILE

    def __init__(self, entry: str, reason: str) -> None:
        super().__init__(reason)
        self.entry = entry
        self.reason = reason

    def __str__(self) -> str:
        return f"the study file's entry {self.entry!r} {self.reason}"


def parse_study(text: str) -> StudyTerms:
    """Read a study file.

    Raises:
        StudyFileProblem: (code STUDY_FILE) it is no TOML, lacks or misspells an entry, or an entry
            has a value that is not allowed; the sentence names entry, value and what is allowed.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        problem = DataProblem(f"the study file is not TOML: {exc}", code=ErrorCode.STUDY_FILE)
        raise problem from exc
    except RecursionError as exc:
        problem = DataProblem("the study file nests too deeply", code=ErrorCode.STUDY_FILE)
        raise problem from exc
    return _terms(table)


def terms_to_json(terms: StudyTerms) -> bytes:
    """Write terms as canonical JSON: equal terms are equal bytes, so they can be signed.

    Labels become a list of pairs: their order is part of the terms (regions), and canonical
    JSON sorts keys.
    """
    table: dict[str, object] = {
        field.name: getattr(terms, field.name) for field in dataclasses.fields(terms)
    }
    table["labels"] = list(terms.labels.items())
    return canonical(
        {
            entry: value.value if isinstance(value, enum.Enum) else value
            for entry, value in table.items()
            if value is not None
        }
    )


def terms_from_json(document: bytes) -> StudyTerms:
    """Read terms that came from the network, by the same rules as a study file.

    Raises:
        PeerMistake: it is not the canonical JSON of terms that a study file may state.
    """
    try:
        table = parse(document)
    except ValueError as exc:
        raise PeerMistake("the terms of the study are not JSON") from exc
    if not isinstance(table, dict):
        raise PeerMistake("the terms of the study are not a table")
    labels = table.get("labels")
    if isinstance(labels, list):
        named: dict[str, Json] = {}
        for pair in labels:
            if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
                raise PeerMistake("the labels of the study are not pairs of name and value")
            named[pair[0]] = pair[1]
        table["labels"] = named
    if table.get("regions_class_order") == []:
        del table["regions_class_order"]
    try:
        terms = _terms(table)
    except DataProblem as exc:
        raise PeerMistake(f"the terms of the study cannot be used: {exc}") from exc
    if terms_to_json(terms) != document:
        raise PeerMistake("the terms of the study are not in canonical form")
    return terms


# --- entries -----------------------------------------------------------------------------------


def _terms(table: Mapping[str, object]) -> StudyTerms:
    readers = _READERS
    for entry in table:
        if entry not in readers:
            _refuse_unknown(entry)
    for field in dataclasses.fields(StudyTerms):
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and field.name not in table:
            raise StudyFileProblem(field.name, "is missing")
    values = {entry: readers[entry](entry, value) for entry, value in table.items()}
    _check_server(table)
    terms = msgspec.convert(values, StudyTerms)
    _check_together(terms)
    return terms


def _refuse_unknown(entry: str) -> NoReturn:
    near = difflib.get_close_matches(entry, _READERS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_READERS)}"
    raise StudyFileProblem(entry[:80], f"is not known{hint}")


def _text(longest: int) -> Callable[[str, object], str]:
    def read(entry: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > longest:
            raise StudyFileProblem(
                entry, f"is {_shown(value)}; allowed is a text of 1 to {longest} characters"
            )
        if any(unicodedata.category(mark)[0] == "C" and mark != "\n" for mark in value):
            raise StudyFileProblem(entry, "holds a control character")
        return value.strip()

    return read


def _number(least: int, most: int) -> Callable[[str, object], int]:
    def read(entry: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise StudyFileProblem(
                entry, f"is {_shown(value)}; allowed is a whole number from {least} to {most}"
            )
        return value

    return read


def _one_of(allowed: tuple[str, ...]) -> Callable[[str, object], str]:
    def read(entry: str, value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            near = difflib.get_close_matches(str(value), allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise StudyFileProblem(
                entry, f"is {_shown(value)}; allowed are {', '.join(map(repr, allowed))}{hint}"
            )
        return value

    return read


def _fold(entry: str, value: object) -> str:
    try:
        folds_of(value if isinstance(value, str) else "")
    except ValueError:
        raise StudyFileProblem(
            entry,
            f"is {_shown(value)}; allowed are '0' to '{MOST_FOLDS - 1}', 'all', and a range of "
            "folds that are trained one after the other, such as '0-4'",
        ) from None
    return str(value)


def _member(kind: type[enum.Enum]) -> Callable[[str, object], str]:
    return _one_of(tuple(member.value for member in kind))


def _real(least: float, most: float) -> Callable[[str, object], float]:
    def read(entry: str, value: object) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not least <= value <= most
        ):
            raise StudyFileProblem(
                entry, f"is {_shown(value)}; allowed is a number from {least:g} to {most:g}"
            )
        return float(value)

    return read


def _gigabytes(entry: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.1 <= value <= 1000:
        raise StudyFileProblem(
            entry, f"is {_shown(value)}; allowed is a number of gigabytes from 0.1 to 1000"
        )
    return float(value)


def _channel_names(entry: str, value: object) -> tuple[str, ...]:
    if isinstance(value, dict):  # nnU-Net's own spelling: {"0": "T1", "1": "T2"}
        if list(value) != [str(number) for number in range(len(value))]:
            raise StudyFileProblem(entry, "must number its channels 0, 1, 2, … in order")
        value = list(value.values())
    if not isinstance(value, list) or not 1 <= len(value) <= MAXIMUM_CHANNELS:
        raise StudyFileProblem(
            entry, f"is {_shown(value)}; allowed is a list of 1 to {MAXIMUM_CHANNELS} names"
        )
    read = _text(60)
    names = tuple(read(entry, name) for name in value)
    if len(set(names)) != len(names):
        raise StudyFileProblem(entry, "names a channel twice")
    return names


def _labels(entry: str, value: object) -> dict[str, int | tuple[int, ...]]:
    if not isinstance(value, dict) or len(value) > MAXIMUM_LABELS:
        raise StudyFileProblem(
            entry, f"is {_shown(value)}; allowed is a table of names and label values"
        )
    read_value = _number(0, MAXIMUM_LABELS)
    read_name = _text(60)
    labels: dict[str, int | tuple[int, ...]] = {}
    for name, number in value.items():
        read_name(f"{entry}: {str(name)[:60]}", name)
        where = f"{entry}.{name}"
        if isinstance(number, list):
            if not number:
                raise StudyFileProblem(where, "is an empty region")
            region = tuple(read_value(where, part) for part in number)
            if len(set(region)) != len(region) or 0 in region:
                raise StudyFileProblem(where, "names a value twice or holds the background 0")
            labels[name] = region
        else:
            labels[name] = read_value(where, number)
    if labels.get(BACKGROUND) != 0:
        raise StudyFileProblem(entry, f"must have {BACKGROUND} = 0")
    if len(set(labels) - {BACKGROUND, IGNORE}) == 0:
        raise StudyFileProblem(entry, "must name at least one structure besides the background")
    return labels


def _class_order(entry: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise StudyFileProblem(entry, f"is {_shown(value)}; allowed is a list of label values")
    read = _number(1, MAXIMUM_LABELS)
    return tuple(read(entry, number) for number in value)


def _check_together(terms: StudyTerms) -> None:
    """Check what single entries cannot tell; labels by the rules of nnU-Net's LabelManager."""
    _check_cascade(terms)
    values: set[int] = set()
    singles: list[int] = []
    for name, value in terms.labels.items():
        if isinstance(value, tuple):
            values.update(value)
        else:
            values.add(value)
            if name != IGNORE:
                singles.append(value)
    regions = any(isinstance(value, tuple) for value in terms.labels.values())
    if len(set(singles)) != len(singles):
        raise StudyFileProblem("labels", "give two structures the same value")
    if sorted(values) != list(range(len(values))):
        raise StudyFileProblem(
            "labels", f"must use the values 0 to {len(values) - 1} without a gap"
        )
    ignore = terms.labels.get(IGNORE)
    if ignore is not None and ignore != max(values):
        raise StudyFileProblem("labels.ignore", f"must be the highest value, {max(values)}")
    if regions and len(terms.regions_class_order) != terms.foreground:
        raise StudyFileProblem(
            "regions_class_order", f"must have one value for each of the {terms.foreground} regions"
        )
    if not regions and terms.regions_class_order:
        raise StudyFileProblem("regions_class_order", "is only allowed when labels have regions")
    if not set(terms.regions_class_order) <= values:
        raise StudyFileProblem("regions_class_order", "names a value that no label has")
    if terms.total_epochs > MAXIMUM_EPOCHS:
        raise StudyFileProblem(
            "rounds",
            f"and epochs_per_round make {terms.total_epochs} epochs; allowed are {MAXIMUM_EPOCHS}",
        )


def _check_server(table: Mapping[str, object]) -> None:
    """Refuse a coordinator's optimiser whose defaults would wreck a study."""
    optimiser = table.get("server_optimiser", ServerOptimiser.NONE.value)
    if optimiser == ServerOptimiser.FEDADAM.value and "server_learning_rate" not in table:
        raise StudyFileProblem(
            "server_learning_rate",
            "is missing; 'fedadam' moves every weight by about as much in each round, so there is "
            "no default (0.001 is where to begin)",
        )


def _check_cascade(terms: StudyTerms) -> None:
    """Refuse a cascade whose second pass would learn from cases that the first was trained on."""
    if len(terms.passes) > 1 and terms.folds != SINGLE_FOLDS:
        raise StudyFileProblem(
            "fold",
            f"is {_shown(terms.fold)}; with {terms.configuration!r} it must be "
            f"'0-{MOST_FOLDS - 1}', for the second pass learns from what the first one makes of every "
            "case, and each case needs a fold of the first that was not trained on it",
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


_READERS: Final[dict[str, Callable[[str, object], object]]] = {
    "name": _text(100),
    "purpose": _text(2000),
    "contact": _text(300),
    "channel_names": _channel_names,
    "labels": _labels,
    "regions_class_order": _class_order,
    "method": _member(Method),
    "aggregation": _member(Aggregation),
    "transfer": _member(Transfer),
    "proximal_mu": _real(0.0, 100.0),
    "server_optimiser": _member(ServerOptimiser),
    "server_learning_rate": _real(1e-6, 10.0),
    "server_momentum": _real(0.0, 0.999),
    "configuration": _one_of(CONFIGURATIONS),
    "planner": _one_of(PLANNERS),
    "gpu_memory_target_gb": _gigabytes,
    "fold": _fold,
    "rounds": _number(1, 100_000),
    "epochs_per_round": _number(1, 10_000),
    "iterations_per_epoch": _number(1, 100_000),
    "validation_iterations": _number(1, 100_000),
    "score_every": _number(0, 100_000),
    "seed": _number(0, MAXIMUM_SEED),
    "minimum_sites": _number(1, 200),
    "minimum_cases": _number(1, 100_000),
    "policy": _member(Policy),
    "admission": _member(Admission),
    "progress_deadline_minutes": _number(1, 60 * 24 * 30),
}
