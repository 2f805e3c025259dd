"""A site's network as the Federation page draws it: boxes along a U, and what of them is shared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkBox:
    """Layers at one place of the U; `share` (0..1) of their weights go round.

    `words` are short enough to stand inside, `hint` says the same with numbers.
    """

    words: str
    share: float
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkStage:
    """One resolution of the U: its way down and, but for the lowest, its way up again."""

    resolution: str
    down: NetworkBox
    up: NetworkBox | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkState:
    """The whole picture; without a sentence there is nothing to draw."""

    sentence: str = ""
    stages: tuple[NetworkStage, ...] = ()
