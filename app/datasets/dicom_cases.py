"""From the DICOM objects of a folder to a proposal of cases.

A case is one voxel grid of one study that has a label: the series on which the label was drawn,
and the other series of the study that lie on the very same voxels as further channels. Series on
another grid are never resampled; they are listed as unused, with the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from app.datasets.description import Labels
from app.datasets.dicom_index import MISSING_SLICES, DicomTree, LabelObject, Series
from app.datasets.dicom_labels import file_lies_on, value_name
from app.datasets.geometry import differences
from app.datasets.images import read_volume
from app.datasets.layouts import ending_of
from app.domain.dataset import BACKGROUND
from app.domain.errors import DataProblem
from app.domain.layout_proposal import (
    LayoutProposal,
    ProposedCase,
    ProposedChannel,
    ProposedStructure,
    Source,
    SourceKind,
    UnusedSource,
)

DICOM: Final = "dicom"
WRITTEN_ENDING: Final = ".nii.gz"
_LABEL_FILES_READ: Final = 8
# A kind of series that fewer of the labelled cases have is no channel of the data set.
_CHANNEL_SHARE: Final = 0.5
# Sequences by the words that scanners and people use; the first that fits names the channel.
_SEQUENCES: Final = (
    ("FLAIR", re.compile(r"flair")),
    ("ADC", re.compile(r"\badc\b|apparent")),
    ("DWI", re.compile(r"\bdwi\b|diffusion|trace|\bb\d{3,4}\b")),
    ("T1c", re.compile(r"t1.*(post|gd|gad|contrast|\+c|\bce\b|\bc\b|ce$)|\bt1(c|gd|ce)\b")),
    ("T1", re.compile(r"t1|mp-?rage|bravo|spgr")),
    ("SWI", re.compile(r"\bswi\b|t2\s*\*|t2star")),
    ("T2", re.compile(r"t2")),
    ("PD", re.compile(r"\bpd\b|proton")),
)
_MODALITIES: Final = {"PT": "PET", "MR": "MRI"}


@dataclass(slots=True, kw_only=True)
class GridGroup:
    """Series of one study on one voxel grid, and the labels drawn on it."""

    series: list[Series]
    labels: list[Source] = field(default_factory=list)
    structures: list[str] = field(default_factory=list)
    drawn_on: set[str] = field(default_factory=set)

    @property
    def path(self) -> str:
        return min(one.path for one in self.series)

    def by_channel(self) -> dict[str, Series]:
        """Return one series for each kind; of several, the one on which a label was drawn."""
        found: dict[str, Series] = {}
        ordered = sorted(self.series, key=lambda one: (one.uid not in self.drawn_on, one.path))
        for one in ordered:
            found.setdefault(channel_of(one), one)
        return found

    @property
    def primary(self) -> Series:
        return min(self.series, key=lambda one: (one.uid not in self.drawn_on, one.path))


def channel_of(series: Series) -> str:
    """Name the kind of a series: CT, PET, a sequence of MR, or else the modality.

    The description is searched for known words and never taken over: it is free text.
    """
    if series.modality == "MR":
        words = re.sub(r"[_\s]+", " ", series.description).casefold()
        for name, pattern in _SEQUENCES:
            if pattern.search(words):
                return name
    return _MODALITIES.get(series.modality, series.modality or "image")


def propose_dicom(
    folder: Path,
    tree: DicomTree,
    *,
    study: tuple[Sequence[str], Labels] | None = None,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
) -> LayoutProposal | None:
    """Propose cases; None when there is no DICOM image. Without labels there are no cases.

    `study` is (channel names, labels) of the joined study: structures get its values where their
    names agree, and channels its names where the number is the same.
    """
    unused: list[UnusedSource] = [
        UnusedSource(source=Source(kind=SourceKind.FILE, path=path), reason=why)
        for path, why in tree.ignored
    ]
    groups = grid_groups(tree.series)
    unused += [
        UnusedSource(
            source=source_of(one),
            reason=one.fault,
            # Localizers and time series lie in every export; a torn series was meant to be whole.
            missed=one.fault.startswith(MISSING_SLICES),
        )
        for one in tree.series
        if one.geometry is None
    ]
    _give_objects(tree, groups, unused)
    _give_files(folder, tree, groups, unused, progress)
    labelled = [group for group in groups if group.labels]
    if not tree.series:
        return None
    channels = _channels(labelled) if labelled else ()
    chosen = [(group, _choose(group, channels, labelled=True)) for group in labelled]
    for group in groups:
        if group.labels:
            continue
        images = _choose(group, channels, labelled=False)
        if images and all(images):
            chosen.append((group, images))
        else:
            images = ()
        taken = {id(one) for one in images}
        reason = "no label belongs to it"
        unused += _rest(group, taken, reason)
    for group, images in chosen[: len(labelled)]:
        taken = {id(one) for one in images}
        unused += _rest(group, taken, "it is no channel that most cases have")
    structures = Counter(name for group in labelled for name in dict.fromkeys(group.structures))
    return LayoutProposal(
        layout=DICOM,
        file_ending=WRITTEN_ENDING,
        values_fixed=False,
        channels=tuple(
            ProposedChannel(
                found=name,
                name=given,
                cases=sum(images[number] is not None for _, images in chosen),
            )
            for number, (name, given) in enumerate(
                zip(channels, _channel_names(channels, study), strict=True)
            )
        ),
        structures=tuple(
            ProposedStructure(found=found, name=name, value=value, cases=structures[found])
            for found, name, value in _valued(sorted(structures), study)
        ),
        cases=tuple(
            ProposedCase(
                name=f"case-{number:04d}",
                found=str(PurePosixPath(group.primary.path).parent),
                channels=tuple(None if one is None else source_of(one) for one in images),
                labels=tuple(group.labels),
            )
            for number, (group, images) in enumerate(chosen, start=1)
        ),
        unused=tuple(sorted(unused, key=lambda one: one.source.path)),
    )


def source_of(series: Series) -> Source:
    """Return how a series is called in a proposal."""
    return Source(
        kind=SourceKind.SERIES,
        path=series.path,
        files=len(series.slices),
        detail=series.detail,
    )


def grid_groups(series: Iterable[Series]) -> list[GridGroup]:
    """Sort the usable series by study, frame of reference and voxel grid; in the order of paths."""
    groups: list[GridGroup] = []
    for one in series:
        if one.geometry is None:
            continue
        for group in groups:
            first = group.series[0]
            if (
                first.geometry is not None
                and first.study == one.study
                and first.frame_of_reference == one.frame_of_reference
                and not differences(first.geometry, one.geometry)
            ):
                group.series.append(one)
                break
        else:
            groups.append(GridGroup(series=[one]))
    return groups


def _give_objects(tree: DicomTree, groups: list[GridGroup], unused: list[UnusedSource]) -> None:
    """Give each SEG and RTSTRUCT to the grid of the series it refers to; SEG come first."""
    for label in sorted(tree.labels, key=lambda one: (one.structure_set, one.path)):
        kind = SourceKind.RTSTRUCT if label.structure_set else SourceKind.SEG
        source = Source(kind=kind, path=label.path, detail=_listed(label.structures))
        group, reason = _group_of(label, tree, groups)
        if group is None:
            unused.append(UnusedSource(source=source, reason=reason, missed=True))
        else:
            group.drawn_on.update(label.refers_to)
            _give(group, source, label.structures, unused)


def _group_of(
    label: LabelObject, tree: DicomTree, groups: list[GridGroup]
) -> tuple[GridGroup | None, str]:
    referred = [one for one in tree.series if one.uid in label.refers_to]
    for group in groups:
        if any(one in group.series for one in referred):
            return group, ""
    if referred:
        return None, f"the series it was drawn on cannot be used: {referred[0].fault}"
    in_frame = [
        group
        for group in groups
        if group.series[0].study == label.study
        and group.series[0].frame_of_reference == label.frame_of_reference
    ]
    if len(in_frame) == 1 and not label.refers_to:
        return in_frame[0], ""
    return None, "the series it was drawn on is not in this folder"


def _give_files(
    folder: Path,
    tree: DicomTree,
    groups: list[GridGroup],
    unused: list[UnusedSource],
    progress: Callable[[int, int, str], None],
) -> None:
    """Give each label file to the nearest series, by folders, on whose voxels it lies."""
    files = [path for path in tree.other if ending_of(path) is not None]
    step = max(1, len(files) // _LABEL_FILES_READ)
    for number, path in enumerate(files):
        progress(number, len(files), "looking at label files")
        source = Source(kind=SourceKind.FILE, path=path)
        near = sorted(groups, key=lambda group: (-_shared_folders(path, group.path), group.path))
        for group in near:
            geometry = group.series[0].geometry
            if geometry is not None and file_lies_on(folder / path, geometry):
                read = number % step == 0
                _give(group, source, _file_structures(folder / path) if read else (), unused)
                break
        else:
            unused.append(
                UnusedSource(
                    source=source, reason="it lies on the voxels of no series", missed=True
                )
            )


def _give(
    group: GridGroup, source: Source, structures: Sequence[str], unused: list[UnusedSource]
) -> None:
    """Add a label to a case, unless the case has all its structures already."""
    if group.labels and not set(structures) - set(group.structures):
        unused.append(
            UnusedSource(
                source=source,
                reason="another label of this case has its structures",
                missed=True,
            )
        )
        return
    group.labels.append(source)
    group.structures.extend(structures)


def _file_structures(path: Path) -> tuple[str, ...]:
    try:
        values = np.unique(read_volume(path).array)
    except DataProblem:
        return ()  # the conversion will name it
    return tuple(
        value_name(int(value)) for value in values[:256] if value > 0 and value == int(value)
    )


def _shared_folders(one: str, other: str) -> int:
    shared = 0
    for left, right in zip(
        PurePosixPath(one).parent.parts, PurePosixPath(other).parent.parts, strict=False
    ):
        if left != right:
            break
        shared += 1
    return shared


def _channels(labelled: list[GridGroup]) -> tuple[str, ...]:
    """Return the kinds of series that at least half of the labelled cases have."""
    counted = Counter(name for group in labelled for name in group.by_channel())
    common = sorted(
        name for name, count in counted.items() if count >= _CHANNEL_SHARE * len(labelled)
    )
    if common:
        return tuple(common)
    return (Counter(channel_of(group.primary) for group in labelled).most_common(1)[0][0],)


def _choose(
    group: GridGroup, channels: tuple[str, ...], *, labelled: bool
) -> tuple[Series | None, ...]:
    found = group.by_channel()
    if len(channels) == 1 and labelled:
        # One channel: whatever the label was drawn on, also when its description says less.
        return (found.get(channels[0], group.primary),)
    return tuple(found.get(name) for name in channels)


def _rest(group: GridGroup, taken: set[int], reason: str) -> list[UnusedSource]:
    return [
        UnusedSource(source=source_of(one), reason=reason)
        for one in group.series
        if id(one) not in taken
    ]


def _channel_names(
    channels: tuple[str, ...], study: tuple[Sequence[str], Labels] | None
) -> tuple[str, ...]:
    """Take the study's names where they agree, or where there is only one way to give them."""
    if study is None:
        return channels
    wanted = {name.casefold(): name for name in study[0]}
    if len(channels) == len(study[0]) == 1:
        return tuple(study[0])
    return tuple(wanted.get(name.casefold(), name) for name in channels)


def _valued(
    found: list[str], study: tuple[Sequence[str], Labels] | None
) -> list[tuple[str, str, int]]:
    """Return (found, name, value): the study's where names agree, else numbered from 1."""
    if study is None:
        ordered = sorted(found, key=_natural)
        return [(name, name, number) for number, name in enumerate(ordered, start=1)]
    known = {
        name.casefold(): (name, value)
        for name, value in study[1].items()
        if name != BACKGROUND and isinstance(value, int)
    }
    by_value = {value_name(value): (name, value) for name, value in known.values()}
    valued = []
    for name in sorted(found, key=_natural):
        given, value = known.get(name.casefold()) or by_value.get(name) or (name, 0)
        valued.append((name, given, value))
    taken = {value for _, _, value in valued}
    # A structure of the study that nobody drew here still has its value.
    valued += [(name, name, value) for name, value in known.values() if value not in taken]
    return valued


def _natural(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*?)(\d+)", text)
    return (match[1], int(match[2])) if match else (text, 0)


def _listed(structures: Sequence[str]) -> str:
    named = ", ".join(structures[:6])
    return f"{named} and {len(structures) - 6} more" if len(structures) > 6 else named
