from __future__ import annotations

from pathlib import Path

from app.site.home import SiteHome


def test_everything_lies_below_the_root_and_nothing_twice():
    home = SiteHome(root=Path("/home"))
    paths = [
        home.database, home.audit, home.logs, home.jobs, home.local_fingerprint, home.outgoing,
        home.plan("a" * 64), home.merged("a" * 64), home.weights("a" * 64), home.workspace,
        home.checkpoint(), home.checkpoint(1), home.first_weights(), home.first_weights(1), home.data, home.confirmed(3), home.update(1, "a" * 64), home.models, home.segmentations,
    ]  # fmt: skip
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(home.root) for path in paths)


def test_updates_of_other_rounds_and_bases_do_not_meet():
    home = SiteHome(root=Path("/home"))
    updates = {home.update(number, base * 64) for number in (1, 2, 11) for base in "ab"}
    assert len(updates) == 6
