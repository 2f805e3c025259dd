"""One round as this site works it: from the wish to the delivered update, as a table.

The task is kept on disk and survives every restart. Its identity is (round, base, start epoch):
a new attempt of the same round from the same base is the same work, so an update that is already
trained is delivered again and nothing is trained twice.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from app.domain.errors import OurMistake
from app.domain.training import HeldOutScore
from app.jobs.events import RoundTrained


class RoundState(enum.Enum):
    """How far this site is with its round."""

    WANTED = "wanted"
    TRAINING = "training"
    TRAINED = "trained"
    DELIVERED = "delivered"
    SPOILT = "spoilt"
    TOLD = "told that it is spoilt"


class RoundEvent(enum.Enum):
    """What can happen to a round at a site."""

    BEGUN = "begun"
    TRAINED = "trained"
    LOST = "lost"
    """The worker or the update file is gone; work since the last checkpoint is done again."""
    SPOILT = "spoilt"
    """Trying again gives the same: no memory, not finite, refused."""
    DELIVERED = "delivered"
    TOLD = "told"
    ASKED_ANEW = "asked for a new attempt"
    UNHEARD = "still asked for what was delivered"


class UnexpectedRoundEvent(OurMistake):
    """Raised when a round is told something its state has no answer to."""

    def __init__(self, state: RoundState, event: RoundEvent) -> None:
        super().__init__(f"a round that is {state.value} cannot be {event.value}")
        self.state, self.event = state, event


TRANSITIONS: Final[dict[RoundState, dict[RoundEvent, RoundState]]] = {
    RoundState.WANTED: {
        RoundEvent.BEGUN: RoundState.TRAINING,
        RoundEvent.SPOILT: RoundState.SPOILT,
        RoundEvent.ASKED_ANEW: RoundState.WANTED,
    },
    RoundState.TRAINING: {
        RoundEvent.TRAINED: RoundState.TRAINED,
        RoundEvent.LOST: RoundState.WANTED,
        RoundEvent.SPOILT: RoundState.SPOILT,
        RoundEvent.ASKED_ANEW: RoundState.TRAINING,
    },
    RoundState.TRAINED: {
        RoundEvent.DELIVERED: RoundState.DELIVERED,
        RoundEvent.LOST: RoundState.WANTED,
        RoundEvent.SPOILT: RoundState.SPOILT,
        RoundEvent.ASKED_ANEW: RoundState.TRAINED,
    },
    RoundState.DELIVERED: {
        RoundEvent.ASKED_ANEW: RoundState.TRAINED,
        RoundEvent.UNHEARD: RoundState.TRAINED,
    },
    RoundState.SPOILT: {
        RoundEvent.TOLD: RoundState.TOLD,
        RoundEvent.ASKED_ANEW: RoundState.WANTED,
    },
    RoundState.TOLD: {
        RoundEvent.ASKED_ANEW: RoundState.WANTED,
        RoundEvent.UNHEARD: RoundState.SPOILT,
    },
}


def advance(state: RoundState, event: RoundEvent) -> RoundState:
    """Return the state after `event`; raises UnexpectedRoundEvent when there is none."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise UnexpectedRoundEvent(state, event) from None


class TrainedUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker made of a round; its file is durable."""

    sha256: str
    size: int
    cases: int
    train_loss: float
    validation_loss: float | None
    pseudo_dice: tuple[float | None, ...]
    epoch_seconds: float
    base_score: HeldOutScore | None = None

    @classmethod
    def of(cls, trained: RoundTrained) -> TrainedUpdate:
        """Take the figures of the round's last epoch, and the mean time of its epochs."""
        if not trained.epochs:
            raise OurMistake(f"round {trained.round} was trained without an epoch")
        last = trained.epochs[-1]
        return cls(
            sha256=trained.sha256,
            size=trained.size,
            cases=trained.cases,
            train_loss=last.train_loss,
            validation_loss=last.validation_loss,
            pseudo_dice=last.pseudo_dice,
            epoch_seconds=sum(epoch.seconds for epoch in trained.epochs) / len(trained.epochs),
            base_score=trained.base_score,
        )


class RoundTask(msgspec.Struct, frozen=True, kw_only=True):
    """This site's part of one round.

    `begun` is the attempt under which the worker knows this work: a worker goes on inside a
    round it was killed in only when it is asked for by the same attempt. `losses` counts how often
    the worker was lost. `part` names the statement of what this site shares, where that is a part
    of its network only.
    """

    round: int
    attempt: int
    base: str
    base_size: int
    start_epoch: int
    state: RoundState = RoundState.WANTED
    begun: int = 0
    update: TrainedUpdate | None = None
    losses: int = 0
    code: str = ""
    part: str = ""
    part_size: int = 0

    @property
    def identity(self) -> tuple[int, str, int]:
        """What makes two wishes the same work."""
        return (self.round, self.base, self.start_epoch)

    def after(self, event: RoundEvent) -> RoundTask:
        """Return the task after an event without facts; raises UnexpectedRoundEvent."""
        state = advance(self.state, event)
        update = None if state in (RoundState.WANTED, RoundState.SPOILT) else self.update
        losses = self.losses + (event is RoundEvent.LOST)
        return msgspec.structs.replace(self, state=state, update=update, losses=losses)

    def begun_as(self) -> RoundTask:
        """Return the task as one that the worker is asked for."""
        return msgspec.structs.replace(
            self.after(RoundEvent.BEGUN), begun=self.begun or self.attempt
        )

    def trained(self, update: TrainedUpdate) -> RoundTask:
        """Return the task with its update."""
        return msgspec.structs.replace(
            self, state=advance(self.state, RoundEvent.TRAINED), update=update
        )

    def spoilt(self, code: str) -> RoundTask:
        """Return the task as one that gives nothing that may count."""
        return msgspec.structs.replace(self.after(RoundEvent.SPOILT), code=code)

    def asked(self, wish: RoundTask) -> RoundTask:
        """Return what becomes of this task when `wish` is asked for: the same work, or new work."""
        if wish.identity != self.identity:
            return wish
        if wish.attempt == self.attempt:
            return self
        renewed = self.after(RoundEvent.ASKED_ANEW)
        if renewed.state is RoundState.WANTED and self.state is not RoundState.WANTED:
            # What was spoilt is trained from the start, not from where it went wrong.
            renewed = msgspec.structs.replace(renewed, begun=0, losses=0)
        return msgspec.structs.replace(renewed, attempt=wish.attempt, code="")
