from __future__ import annotations

import pytest
from helpers.clock import HandClock

from app.coordinator.auditing import CoordinatorEntry, audit_copy, open_audit
from app.domain.errors import OurMistake
from app.site.audit import AuditKind, AuditLog, verify_site
from app.site.home import SiteHome
from app.site.state import SiteStore

STUDY = "0123456789abcdef0123456789abcdef"


def write(folder, rounds):
    """Write a site's log of so many rounds; return its heads."""
    layout, heads = SiteHome(root=folder), []
    store = SiteStore(layout.database)
    log = AuditLog(store.database, layout.audit)
    log.append(AuditKind.STUDY_JOINED, now=1.0, study=STUDY, site="north")
    for number in range(rounds):
        log.append(AuditKind.UPDATE_SENT, now=2.0, round=number, size=9)
        heads.append(log.head)
    store.close()
    return heads


def coordinator(folder, heads, site="north"):
    """Write the log of a coordinator that kept these heads of `site`; return its copy."""
    folder.mkdir(exist_ok=True)
    with open_audit(folder, HandClock()) as log:
        log.append(CoordinatorEntry.STUDY_CREATED, study=STUDY)
        for head in heads:
            log.append(CoordinatorEntry.SITE_WITNESSED, site=site, site_head=head)
    return audit_copy(folder)


def test_a_site_that_cut_its_log_is_found_by_the_coordinators(tmp_path):
    heads = write(tmp_path / "long", 5)
    copy = coordinator(tmp_path / "coordinator", heads[::2])
    assert verify_site(tmp_path / "long", witness=copy) == (6, None)
    write(tmp_path / "cut", 2)
    count, broken = verify_site(tmp_path / "cut", witness=copy)
    assert (count, broken.number) == (3, 3)
    assert verify_site(tmp_path / "cut", witness=None) == (3, None)


def test_heads_of_other_sites_prove_nothing(tmp_path):
    write(tmp_path / "site", 2)
    copy = coordinator(tmp_path / "coordinator", ["f" * 64], site="valley")
    assert verify_site(tmp_path / "site", witness=copy) == (3, None)


def test_an_edited_log_is_named(tmp_path):
    write(tmp_path, 4)
    store = SiteStore(SiteHome(root=tmp_path).database)
    with store.database:
        store.database.execute("UPDATE audit SET facts='{\"round\":7}' WHERE number=3")
    store.close()
    assert verify_site(tmp_path, witness=None)[1].number == 3


def test_a_site_has_no_place_for_paths(tmp_path):
    store = SiteStore(SiteHome(root=tmp_path).database)
    log = AuditLog(store.database, SiteHome(root=tmp_path).audit)
    with pytest.raises(OurMistake, match="path"):
        log.append(AuditKind.UPDATE_SENT, now=1.0, path="/data/smith")
    store.close()
