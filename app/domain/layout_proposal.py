"""What a folder seems to hold, laid out for a person to confirm. Stays at the site."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

import msgspec

from app.domain.dataset import BACKGROUND
from app.domain.ids import digest_of

NORMALISATIONS: Final[tuple[tuple[str, str], ...]] = (
    ("CT", "Hounsfield units: cut to the range of the structures, scaled the same for all cases"),
    ("MRI", "any other name: each image is scaled by its own mean and standard deviation"),
    ("rescale_to_0_1", "each image is scaled from its own minimum and maximum to 0 and 1"),
    ("rgb_to_0_1", "grey values from 0 to 255 are divided by 255"),
    ("noNorm", "values are used as they are"),
)
"""Channel names by which nnU-Net chooses how it scales grey values, each with a sentence."""


class SourceKind(enum.Enum):
    """In what form an image or a label was found."""

    FILE = "file"
    SERIES = "DICOM series"
    SEG = "DICOM SEG"
    RTSTRUCT = "DICOM RTSTRUCT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One image or label where it lies.

    `path` is relative to the folder; of a DICOM series it is the first of its `files` by name.
    `detail` is for a person to read ("CT, 512 x 512, 108 slices").
    """

    kind: SourceKind
    path: str
    files: int = 1
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedChannel:
    """A channel: `found` is what files call it, `name` what dataset.json will, `cases` have it."""

    found: str
    name: str
    cases: int

    @property
    def normalisation(self) -> str:
        """How nnU-Net scales a channel of this name."""
        known = {name.casefold(): sentence for name, sentence in NORMALISATIONS}
        return known.get(self.name.casefold(), known["mri"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedStructure:
    """A structure: what labels call it, its name and value in dataset.json; 0 leaves it out.

    Structures with the same name and value become one.
    """

    found: str
    name: str
    value: int
    cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedCase:
    """One case: `name` as it will be called, `found` where it lies or what files call it.

    `channels` are in the order of the proposal's channels, None where one is missing. Without
    `labels` the case is held out: it can be segmented but teaches nothing.
    """

    name: str
    found: str
    channels: tuple[Source | None, ...]
    labels: tuple[Source, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedSource:
    """What belongs to no case, and why; `missed` where somebody may have meant it to be used."""

    source: Source
    reason: str
    missed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutProposal:
    """Which file is which channel, which is the label, and how cases are named.

    `values_fixed` says that label files are used as they are, so that values of structures cannot
    be chosen, only their names.
    """

    layout: str
    file_ending: str
    values_fixed: bool
    channels: tuple[ProposedChannel, ...]
    structures: tuple[ProposedStructure, ...]
    cases: tuple[ProposedCase, ...]
    unused: tuple[UnusedSource, ...] = ()

    @property
    def labels(self) -> dict[str, int | tuple[int, ...]]:
        """The labels of dataset.json: background and the structures that are kept, by value."""
        kept = sorted(
            (one for one in self.structures if one.value > 0), key=lambda one: (one.value, one.name)
        )
        return {BACKGROUND: 0, **{one.name: one.value for one in kept}}

    @property
    def digest(self) -> str:
        """SHA-256 by which an answer says which proposal it is about."""
        return digest_of(msgspec.json.encode(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelAnswer:
    """A person's word on a channel: use what was `found` under this `name`."""

    found: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureAnswer:
    """A person's word on a structure; the value 0 leaves it out."""

    found: str
    name: str
    value: int
