"""A folder of images and labels as nnU-Net understands it. Stays at the site."""

from __future__ import annotations

from dataclasses import dataclass, field

BACKGROUND = "background"
IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: absolute paths of its channels in order, and of its label (None when held out)."""

    name: str
    channels: tuple[str, ...]
    label: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDescription:
    """nnU-Net's dataset.json in our words.

    `channel_names` by channel number; `labels` as nnU-Net writes them: name -> value, or
    name -> several values for a region; `regions_class_order` only with regions.
    """

    channel_names: tuple[str, ...]
    labels: dict[str, int | tuple[int, ...]]
    file_ending: str
    regions_class_order: tuple[int, ...] = ()

    @property
    def foreground(self) -> dict[str, int | tuple[int, ...]]:
        """Labels without background and ignore."""
        return {k: v for k, v in self.labels.items() if k not in (BACKGROUND, IGNORE)}

    @property
    def values(self) -> frozenset[int]:
        """Every voxel value that a label file may hold."""
        found: set[int] = set()
        for value in self.labels.values():
            found.update(value if isinstance(value, tuple) else (value,))
        return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFolder:
    """A folder whose layout was recognised: its description, training and held-out cases."""

    root: str
    layout: str
    description: DatasetDescription
    training: tuple[Case, ...]
    held_out: tuple[Case, ...] = field(default=())
