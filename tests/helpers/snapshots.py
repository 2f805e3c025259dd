"""Snapshots for tests of the control API."""

from __future__ import annotations

from app.control.messages import (
    DataView,
    FederationView,
    FingerprintView,
    ReviewView,
    ServiceView,
    Snapshot,
    TrainingView,
)


def empty_snapshot(**sections) -> Snapshot:
    """What a service shows that has just started."""
    whole = {
        "service": ServiceView(version="0.1.0", pid=1, home="/h", started_at=1.0),
        "data": DataView(),
        "fingerprint": FingerprintView(),
        "federation": FederationView(),
        "training": TrainingView(),
        "review": ReviewView(),
    }
    return Snapshot(**(whole | sections))
