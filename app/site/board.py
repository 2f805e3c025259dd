"""What windows see of this site: one snapshot, changed in one place, told to all at once."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from app.control.messages import (
    Changed,
    DataView,
    EpochFinished,
    FederationView,
    FingerprintView,
    Logged,
    ReviewView,
    Sampled,
    ServiceView,
    Snapshot,
    StepTaken,
    TrainingView,
)
from app.control.mirror import apply


class Board:
    """The snapshot of a site service and the way its changes go out."""

    def __init__(self, service: ServiceView) -> None:
        self.snapshot = Snapshot(
            service=service,
            data=DataView(),
            fingerprint=FingerprintView(),
            federation=FederationView(),
            training=TrainingView(),
            review=ReviewView(),
        )
        self.broadcast: Callable[[msgspec.Struct], None] = lambda _: None

    def change(self, change: Changed) -> None:
        """Replace the sections that `change` holds; of those that are as before nothing is told."""
        told = {
            name: section
            for name in change.__struct_fields__
            if (section := getattr(change, name)) is not None
            and section != getattr(self.snapshot, name)
        }
        if told:
            self._out(msgspec.structs.replace(Changed(), **told))

    def tell(self, event: StepTaken | EpochFinished | Sampled | Logged) -> None:
        """Add one event of the training section."""
        self._out(event)

    def _out(self, event: Changed | StepTaken | EpochFinished | Sampled | Logged) -> None:
        self.snapshot = apply(self.snapshot, event)
        self.broadcast(event)
