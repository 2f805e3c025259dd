"""Is this speed normal? Compared with this computer's own history, and with a kept table of cards.

The history is the better judge: the same plan on the same device of the same computer. The table
only catches a new computer that is far too slow, e.g. without its card's fast arithmetic.

Sources of the table (facts read there, 2026-11): nnU-Net's ``documentation/resenc_presets.md``
(hours of a whole training of 1000 epochs on one A100 PCIe 40 GB, per planner) and
``documentation/expected_epoch_times.md`` of its first version (seconds per epoch on seven cards for
three data sets; only the ratios between cards are used). nnU-Net plans every 3-D network for the
same amount of graphics memory, which is why one number can stand for many data sets. Its makers
call differences of 5 to 10 % between runs normal.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.control.messages import SpeedView
from app.site.estimates import seconds
from app.site.state import PaceEntry, PaceHistory

FEWEST_STEPS: Final = 5
"""Fewer are not judged."""
_FEWEST_EPOCHS: Final = 3
_KEPT_PER_KEY: Final = 50
_KEPT: Final = 500
_SLOW: Final = 1.25
_FAST: Final = 0.8
_SLOW_BY_TABLE: Final = 2.0

_A100_STEP_S: Final = 0.12
"""9 hours for 1000 epochs of 250 steps; validation is about a tenth of it."""
_PLANNERS: Final = {
    "ExperimentPlanner": 1.0,
    "nnUNetPlannerResEncM": 12 / 9,
    "nnUNetPlannerResEncL": 35 / 9,
    "nnUNetPlannerResEncXL": 66 / 9,
}
_CARDS: Final[tuple[tuple[str, float], ...]] = (
    ("A100", 1.0),
    ("V100-SXM", 1.67),
    ("V100", 1.9),
    ("Quadro RTX 6000", 2.07),
    ("TITAN RTX", 2.1),
    ("RTX 2080 Ti", 2.71),
    ("TITAN Xp", 8.4),
)
"""Part of the name that the driver gives, and how much longer a step takes than on an A100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedFacts:
    """What is compared. `key` names plan, device and threads; `card` is the card's name or empty.

    `steps` are how many steps `step_s` is the median of; `began_at` is when this session began:
    only what was before it is history.
    """

    key: str
    step_s: float
    steps: int
    began_at: float
    card: str = ""
    planner: str = ""
    configuration: str = ""


def with_epoch(history: PaceHistory, entry: PaceEntry) -> PaceHistory:
    """Return `history` with one epoch more, bounded: the oldest of its kind goes first."""
    same = [item for item in history.items if item.key == entry.key]
    dropped = same[0] if len(same) >= _KEPT_PER_KEY else None
    items = [item for item in history.items if item is not dropped]
    return PaceHistory(items=tuple([*items, entry][-_KEPT:]))


def speed_view(facts: SpeedFacts, history: PaceHistory) -> SpeedView:
    """Return how this speed compares; "unknown" while there is too little to compare."""
    table_s = _by_table(facts)
    if facts.steps < FEWEST_STEPS:
        return SpeedView(table_s=table_s)
    usual_s = _usual(facts, history.items)
    if usual_s is not None:
        verdict, sentence = _by_history(facts.step_s, usual_s)
    elif table_s is not None and facts.step_s > _SLOW_BY_TABLE * table_s:
        verdict, sentence = (
            "slow",
            (
                f"A step takes {seconds(facts.step_s)}; nnU-Net's makers needed about "
                f"{seconds(table_s)} on such a card. Check that nothing else uses it and that the "
                "images come from a fast local disk."
            ),
        )
    else:
        verdict = "unknown"
        sentence = (
            f"A step takes {seconds(facts.step_s)}. After some epochs this computer knows whether "
            "that is usual."
        )
    return SpeedView(
        verdict=verdict,
        sentence=sentence,
        step_s=facts.step_s,
        usual_s=usual_s,
        table_s=table_s,
    )


def _usual(facts: SpeedFacts, items: Sequence[PaceEntry]) -> float | None:
    before = [item.step_s for item in items if item.key == facts.key and item.at < facts.began_at]
    return statistics.median(before) if len(before) >= _FEWEST_EPOCHS else None


def _by_history(step_s: float, usual_s: float) -> tuple[str, str]:
    told = f"A step takes {seconds(step_s)}; usual on this computer are {seconds(usual_s)}"
    if step_s > _SLOW * usual_s:
        return "slow", (
            f"{told}. Something slows it down: another program, heat, or a disk that is busy."
        )
    return ("fast" if step_s < _FAST * usual_s else "usual"), f"{told}."


def _by_table(facts: SpeedFacts) -> float | None:
    planner = _PLANNERS.get(facts.planner)
    if planner is None or facts.configuration != "3d_fullres":
        return None
    name = facts.card.casefold()
    factor = next((factor for part, factor in _CARDS if part.casefold() in name), None)
    return None if factor is None else _A100_STEP_S * planner * factor
