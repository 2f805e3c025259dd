"""What stopping costs now: the numbers and a sentence for each way to stop. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from app.control.messages import StopCosts
from app.site.spoken import ago, span

_NOTHING = "Stopping now loses nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostFacts:
    """What the costs follow from; times in seconds since the epoch.

    `training` is True while steps are taken. `lost_s` is the training since the last checkpoint.
    `last_epoch` says that the epoch that is trained ends this site's part of the round. `sending`
    is True while an update is on its way or waits for the link.
    """

    now: float
    joined: bool
    training: bool
    checkpoint_at: float | None
    lost_s: float
    next_checkpoint_s: float | None
    last_epoch: bool = False
    sending: bool = False
    paused: bool = False
    pausing: bool = False


def stop_costs(facts: CostFacts) -> StopCosts:
    """Return what each way to stop costs at `facts.now`."""
    lost_s = facts.lost_s if facts.training else 0.0
    return StopCosts(
        checkpoint_at=facts.checkpoint_at,
        lost_s=lost_s,
        next_checkpoint_s=facts.next_checkpoint_s if facts.training else None,
        pause="" if facts.paused else _pause(facts, lost_s),
        pause_at_checkpoint=_at_checkpoint(facts) if facts.training and not facts.paused else "",
        resume=_resume(facts),
        leave=_leave(facts, lost_s) if facts.joined else "",
        switch_off=_switch_off(facts, lost_s),
    )


def _pause(facts: CostFacts, lost_s: float) -> str:
    if not facts.training:
        return f"{_NOTHING}: no training runs."
    return f"{_checkpoint(facts)}; {_loses(lost_s)}."


def _checkpoint(facts: CostFacts) -> str:
    if facts.checkpoint_at is None:
        return "There is no checkpoint yet"
    return f"Last checkpoint {ago(facts.now - facts.checkpoint_at)}"


def _loses(lost_s: float, doing: str = "stopping now") -> str:
    if lost_s < 1:
        return f"{doing} loses nothing"
    return f"{doing} loses {span(lost_s)} of training, which is done again"


def _at_checkpoint(facts: CostFacts) -> str:
    when = (
        "at the next checkpoint"
        if facts.next_checkpoint_s is None
        else f"at the next checkpoint, in about {span(facts.next_checkpoint_s)}"
    )
    last = ", with this site's part of the round done" if facts.last_epoch else ""
    return f"Stops {when}{last}; nothing is lost."


def _resume(facts: CostFacts) -> str:
    if facts.paused:
        return "Training goes on from the last checkpoint; finished epochs are kept."
    return "The pause is taken back; training simply goes on." if facts.pausing else ""


def _leave(facts: CostFacts, lost_s: float) -> str:
    lost = (
        f"{span(lost_s)} of training and what this round has learned here are thrown away. "
        if lost_s >= 1
        else "An update that is not yet delivered is thrown away. "
        if facts.sending
        else ""
    )
    return (
        f"Leaving is for good: the study goes on without this site. {lost}Updates that were "
        "delivered stay in the study; models that were exported stay on this computer."
    )


def _switch_off(facts: CostFacts, lost_s: float) -> str:
    after = "it goes on by itself when this site's service runs again"
    if facts.training and lost_s >= 1:
        return (
            f"Better not yet: {_loses(lost_s, 'switching off now')}. "
            f"Stop at the next checkpoint first; {after}."
        )
    if facts.sending:
        return f"You may, but this site's update is not delivered yet; {after}."
    if not facts.joined:
        return "You may: nothing runs for a study."
    return f"You may: nothing is lost; {after}."
