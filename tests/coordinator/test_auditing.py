from __future__ import annotations

import dataclasses

import pytest
from helpers.clock import HandClock

from app.coordinator.auditing import (
    WITNESS_EVERY_S,
    CoordinatorEntry,
    StudyAudit,
    audit_copy,
    audit_database,
    open_audit,
    verify_study,
)
from app.domain.errors import DataProblem, ErrorCode, OurMistake, SetupProblem
from app.domain.ids import digest, site_name, study_id
from app.domain.rounds import BlobRef, GlobalModel
from app.federation.study_views import RoundSummary, StudyStatus
from app.site.audit import AuditKind, AuditLog as SiteLog
from app.site.state import SiteStore
from app.system.audit import read_copy
from app.wire.messages import Blob, Report, SitePhase

STUDY = study_id("0123456789abcdef0123456789abcdef")
NORTH, VALLEY = site_name("north"), site_name("valley")


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def log(tmp_path, clock):
    with open_audit(tmp_path, clock) as log:
        yield log


def kinds(folder):
    return [entry.kind for entry in read_copy(audit_copy(folder).read_bytes())]


def blob(letter: str) -> BlobRef:
    return BlobRef(sha256=digest(letter * 64), size=7)


BEFORE = StudyStatus(
    study=STUDY, name="s", serial=1, state="enrolling", sentence="", sites=(), round=0, rounds=2,
    plan=None, merged=None, closed_rounds=(), models=(), model=None,
)  # fmt: skip


def closed(number: int) -> RoundSummary:
    return RoundSummary(
        number=number, contributors=(NORTH,), train_loss=0.5, validation_loss=None, pseudo_dice=()
    )


def model(number: int, letter: str) -> GlobalModel:
    return GlobalModel(round=number, weights=blob(letter), contributors=(NORTH,))


def test_what_the_study_became_is_written_once_over_restarts(tmp_path, clock):
    stages = [
        BEFORE,
        dataclasses.replace(BEFORE, plan=blob("a"), merged=blob("b")),
        dataclasses.replace(BEFORE, plan=blob("a"), merged=blob("b"), round=1),
        # A kill may have kept the log from hearing that round 1 was closed before 2 was opened.
        dataclasses.replace(
            BEFORE, plan=blob("a"), merged=blob("b"), round=2, closed_rounds=(closed(1),),
            models=(model(1, "c"),), model=blob("c"),
        ),
    ]  # fmt: skip
    for stage in stages:
        for _ in range(2):
            with open_audit(tmp_path, clock) as log:
                log.follow(stage)
                log.follow(stage)
    assert kinds(tmp_path) == ["plan made", "round opened", "round closed", "round opened"]
    assert verify_study(tmp_path, study=STUDY, witness=None) == (4, None)


def test_another_plan_is_another_entry(log, tmp_path):
    for letter in "ab":
        log.follow(dataclasses.replace(BEFORE, plan=blob(letter)))
    assert kinds(tmp_path) == ["plan made", "plan made"]


def test_a_site_cannot_flood_the_log_with_refusals_or_offers(log, tmp_path):
    for _ in range(100):
        log.refused(NORTH, ErrorCode.TENSORS_REFUSED, 1)
        log.fingerprint_kept(NORTH, Blob(sha256="a" * 64, size=1), receipt="b" * 64, cases=3)
    log.refused(VALLEY, ErrorCode.TENSORS_REFUSED, 1)
    log.refused(NORTH, ErrorCode.TENSORS_REFUSED, 2)
    assert kinds(tmp_path) == ["refused", "fingerprint kept", "refused", "refused"]


def report(letter: str, phase: SitePhase = SitePhase.TRAINING, number: int = 1) -> Report:
    return Report(phase=phase, round=number, audit_head=letter * 64)


def test_the_heads_of_sites_are_kept_when_they_and_the_phase_changed(log, clock, tmp_path):
    for given in (report("a"), report("a"), report("b")):
        log.reported(NORTH, given)
    assert len(kinds(tmp_path)) == 1  # the same phase of the same round: one is enough
    log.reported(NORTH, report("b", SitePhase.UPLOADING))
    assert len(kinds(tmp_path)) == 1  # too soon; the next report brings it again
    clock.advance(WITNESS_EVERY_S)
    log.reported(NORTH, report("b", SitePhase.UPLOADING))
    log.reported(VALLEY, report("b"))
    log.reported(VALLEY, Report(phase=SitePhase.WAITING))
    entries = read_copy(audit_copy(tmp_path).read_bytes())
    assert [(e.facts["site"], e.facts["site_head"][0]) for e in entries] == [
        ("north", "a"), ("north", "b"), ("valley", "b"),
    ]  # fmt: skip


def test_no_other_fact_has_a_place(log):
    with pytest.raises(OurMistake, match="sentence"):
        log.append(CoordinatorEntry.REFUSED, sentence="/data/smith.nii.gz is broken")


@pytest.fixture
def witness(tmp_path):
    """Return a function that writes the log of a site that was told these heads."""

    def write(*heads: str, study: str = STUDY):
        folder = tmp_path / "site"
        store = SiteStore(folder / "site.sqlite")
        log = SiteLog(store.database, folder / "audit.jsonl")
        log.append(AuditKind.STUDY_JOINED, now=1.0, study=study, site="north")
        for number, head in enumerate(heads):
            log.append(AuditKind.ROUND_BEGUN, now=2.0, round=number, coordinator_head=head)
        store.close()
        return folder / "audit.jsonl"

    return write


def fill(folder, clock, sites):
    heads = []
    with open_audit(folder, clock) as log:
        for site in sites:
            log.append(CoordinatorEntry.SITE_INVITED, site=site)
            heads.append(log.head)
    return heads


def test_a_witness_finds_a_cut_log_and_one_written_anew(tmp_path, clock, witness):
    heads = fill(tmp_path, clock, ["a", "b", "c", "d"])
    copy = witness(heads[1], heads[3])
    assert verify_study(tmp_path, study=STUDY, witness=copy) == (4, None)
    for path in (audit_database(tmp_path), audit_copy(tmp_path)):
        path.unlink()
    fill(tmp_path, clock, ["a", "b"])
    count, broken = verify_study(tmp_path, study=STUDY, witness=copy)
    assert (count, broken.number) == (2, 3)
    assert verify_study(tmp_path, study=STUDY, witness=None) == (2, None)


def test_heads_of_another_study_prove_nothing(tmp_path, clock, witness):
    fill(tmp_path, clock, ["a"])
    copy = witness("f" * 64, study="f" * 32)
    assert verify_study(tmp_path, study=STUDY, witness=copy) == (1, None)


def test_a_witness_that_does_not_hold_itself_is_refused(tmp_path, clock, witness):
    heads = fill(tmp_path, clock, ["a"])
    copy = witness(*heads)
    copy.write_bytes(copy.read_bytes().replace(heads[0].encode(), b"0" * 64))
    with pytest.raises(DataProblem, match="does not hold: entry 2"):
        verify_study(tmp_path, study=STUDY, witness=copy)
    with pytest.raises(DataProblem, match="cannot be read"):
        verify_study(tmp_path, study=STUDY, witness=tmp_path / "none.jsonl")


def test_a_folder_without_a_log_is_said(tmp_path):
    with pytest.raises(SetupProblem, match="no audit log"):
        verify_study(tmp_path, study=STUDY, witness=None)


def test_a_command_and_the_service_write_one_log(log, tmp_path, clock):
    other = StudyAudit(tmp_path, clock)
    log.append(CoordinatorEntry.SITE_INVITED, site=NORTH)
    other.append(CoordinatorEntry.SITE_INVITED, site=VALLEY)
    assert log.head == other.head
    other.close()
    assert verify_study(tmp_path, study=STUDY, witness=None) == (2, None)
