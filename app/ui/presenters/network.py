"""The picture of this site's network: which of its layers are averaged with those of other sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.control.messages import NetworkLayer, NetworkView
from app.ui.models.network import NetworkBox, NetworkStage, NetworkState
from app.ui.text import count

_DOWN: Final = frozenset({"stem", "encoder", "bottleneck"})


def present_network(view: NetworkView | None) -> NetworkState:
    """Return what is drawn, from full resolution down; nothing where all sites have one network."""
    if view is None:
        return NetworkState()
    scales = list(dict.fromkeys(layer.scale for layer in view.layers if layer.role in _DOWN))
    stages = []
    for scale in scales:
        here = [layer for layer in view.layers if layer.scale == scale]
        up = [layer for layer in here if layer.role not in _DOWN]
        resolution = resolution_words(scale)
        stages.append(
            NetworkStage(
                resolution=resolution,
                down=_box([layer for layer in here if layer.role in _DOWN], resolution, "down"),
                up=_box(up, resolution, "up") if up else None,
            )
        )
    return NetworkState(sentence=view.sentence, stages=tuple(stages))


def resolution_words(scale: Sequence[int]) -> str:
    """Return e.g. "full resolution", "1/4", or "1 x 1/4 x 1/4" where axes differ."""
    if all(step == 1 for step in scale):
        return "full resolution"
    parts = ["1" if step == 1 else f"1/{step}" for step in scale]
    return parts[0] if len(set(parts)) == 1 else " x ".join(parts)


def _box(layers: Sequence[NetworkLayer], resolution: str, way: str) -> NetworkBox:
    weights = sum(layer.weights for layer in layers)
    shared = sum(layer.shared for layer in layers)
    sites = max((layer.sites for layer in layers if layer.shared), default=0)
    percent = 100 * shared // weights
    if not shared:
        words = "stays here"
    elif shared == weights:
        words = f"shared with {count(sites, 'site')}"
    else:
        words = f"{max(1, percent)} % with {count(sites, 'site')}"
    return NetworkBox(
        words=words,
        share=shared / weights,
        hint=f"Way {way}, {resolution}: {shared:,} of {weights:,} weights are shared.",
    )
