"""The operator's data in a running service: check, fingerprint, allowance."""

from __future__ import annotations

import asyncio

import pytest
from helpers.site_home import OPERATOR

from app.control.messages import (
    Accepted,
    AllowFingerprint,
    CheckFolder,
    ChooseFolder,
    ComputeFingerprint,
    Refused,
    StopJob,
    WithdrawAllowance,
)
from app.domain.errors import ErrorCode
from app.domain.findings import Finding, Severity
from app.domain.ids import digest_of
from app.federation.shared_codec import decode
from app.jobs.events import Failed
from app.system.audit import verify
from app.site.data_desk import receipt_of
from app.wire.messages import (
    BlobKind,
    FingerprintOffered,
    SitePhase,
    Step,
)

pytestmark = pytest.mark.asyncio


async def test_what_is_uploaded_are_the_bytes_that_were_shown(site):
    site.join(standing=False)
    await site.start()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await site.until(lambda: site.snapshot.data.report is not None)
    assert site.coordinator.reports[-1].phase is SitePhase.AWAITING_CONSENT
    assert await site.service.command(ComputeFingerprint()) == Accepted()
    await site.until(lambda: site.snapshot.fingerprint.outgoing is not None)
    shown = site.snapshot.fingerprint
    assert shown.blocked == ""
    assert shown.allowance is None
    assert site.coordinator.uploads == []

    answer = await site.service.command(
        AllowFingerprint(operator="  Ada   Operator ", digest=shown.outgoing_digest)
    )
    assert answer == Accepted()
    await site.until(lambda: site.coordinator.told(FingerprintOffered))
    assert site.coordinator.uploads == [(BlobKind.FINGERPRINT, shown.outgoing.encode())]
    assert digest_of(shown.outgoing.encode()) == shown.outgoing_digest
    assert decode(shown.outgoing.encode()).cases == 6
    (offered,) = site.coordinator.told(FingerprintOffered)
    allowance = site.snapshot.fingerprint.allowance
    assert offered.fingerprint.sha256 == shown.outgoing_digest
    assert (allowance.operator, allowance.sent) == (OPERATOR, True)
    assert offered.receipt == allowance.receipt
    assert allowance.receipt == receipt_of(
        digest=shown.outgoing_digest,
        time=allowance.allowed_at,
        study="5" * 32,
        policy="minimal",
        operator=OPERATOR,
        app_version="0.1.0",
    )
    log = site._site.audit
    assert [entry.kind for entry in log.entries()] == ["fingerprint allowed", "fingerprint sent"]
    assert log.verify() is None
    assert log.entries()[0].facts["standing"] is False


async def test_a_standing_allowance_is_named_so_in_the_log(site):
    await site.to_prepared()
    allowed = site._site.audit.entries()[0]
    assert (allowed.kind, allowed.facts["operator"]) == ("fingerprint allowed", OPERATOR)
    assert allowed.facts["standing"] is True
    assert verify(site._site.audit.entries()) is None
    assert site.coordinator.reports[-1].audit_head == site._site.audit.head


async def test_other_bytes_than_those_looked_at_cannot_be_allowed(site):
    site.join(standing=False)
    await site.start()
    await site.until(lambda: site.snapshot.data.report is not None)
    await site.service.command(ComputeFingerprint())
    await site.until(lambda: site.snapshot.fingerprint.outgoing_digest is not None)
    looked_at = site.snapshot.fingerprint.outgoing_digest
    await site.service.command(ComputeFingerprint(leave_out=("case_03",)))
    await site.until(lambda: site.snapshot.fingerprint.outgoing_digest not in (None, looked_at))
    answer = await site.service.command(AllowFingerprint(operator="Ada", digest=looked_at))
    assert isinstance(answer, Refused)
    assert answer.code == ErrorCode.NOT_ALLOWED.value
    rows = site.snapshot.fingerprint.cases
    assert len(rows) == 5
    assert decode(site.snapshot.fingerprint.outgoing.encode()).cases == 5


async def test_a_changed_folder_voids_the_allowance_and_nothing_is_sent(site, expected_log):
    expected_log("app.site.study_desk", "the folder has changed")
    site.join(standing=False)
    await site.start()
    await site.until(lambda: site.snapshot.data.report is not None)
    await site.service.command(ComputeFingerprint())
    await site.until(lambda: site.snapshot.fingerprint.outgoing_digest is not None)
    digest = site.snapshot.fingerprint.outgoing_digest
    await site.service.command(AllowFingerprint(operator="Ada", digest=digest))
    (site.folder / "labelsTr" / "case_00.nii.gz").write_bytes(b"another label")
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await site.until(lambda: "changed" in site.snapshot.fingerprint.blocked)
    assert site.snapshot.fingerprint.allowance is None
    assert site.coordinator.uploads == []
    assert site.coordinator.told(FingerprintOffered) == []
    kinds = [entry.kind for entry in site._site.audit.entries()]
    assert kinds == ["fingerprint allowed", "allowance void: the data changed"]
    answer = await site.service.command(AllowFingerprint(operator="Ada", digest=digest))
    assert answer.code == ErrorCode.NOT_ALLOWED.value


async def test_an_allowance_can_be_withdrawn_before_it_is_used(site):
    site.join(standing=False)
    await site.start()
    await site.until(lambda: site.snapshot.data.report is not None)
    await site.service.command(ComputeFingerprint())
    await site.until(lambda: site.snapshot.fingerprint.outgoing_digest is not None)
    digest = site.snapshot.fingerprint.outgoing_digest
    await site.service.command(AllowFingerprint(operator="Ada", digest=digest))
    assert await site.service.command(WithdrawAllowance()) == Accepted()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await asyncio.sleep(0.05)
    assert site.coordinator.uploads == []
    assert site.snapshot.training.phase == "awaiting consent"


async def test_small_cohorts_are_not_shared(site):
    for path in sorted((site.folder / "labelsTr").iterdir())[2:]:
        path.unlink()
        (site.folder / "imagesTr" / path.name.replace(".nii", "_0000.nii")).unlink()
    site.join()
    await site.start()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await site.until(lambda: "fewer than 5" in site.snapshot.fingerprint.blocked)
    await site.until(lambda: "fewer than 5" in site.snapshot.service.problem)
    assert site.coordinator.uploads == []
    assert site.coordinator.reports[-1].phase is SitePhase.FAILED


async def test_blocked_data_goes_no_further(site):
    finding = Finding(check="c", severity=Severity.BLOCKS, sentence="s", remedy="r")
    site.runner.findings = (finding,)
    site.join()
    await site.start()
    site.coordinator.direct(Step.SEND_FINGERPRINT)
    await site.until(lambda: site.snapshot.service.problem)
    assert site.runner.kinds() == ["CheckJob"]
    assert site.coordinator.reports[-1].problem == ErrorCode.DATA_BLOCKS.value
    site.runner.findings = ()
    await site.service.command(CheckFolder())
    await site.until(lambda: site.coordinator.told(FingerprintOffered))
    assert site.snapshot.service.problem == ""


async def test_the_folder_cannot_change_under_a_running_study(site, tmp_path):
    await site.to_prepared()
    answer = await site.service.command(ChooseFolder(folder=str(tmp_path)))
    assert answer.code == ErrorCode.STUDY_STATE.value
    answer = await site.service.command(ComputeFingerprint())
    assert answer.code == ErrorCode.STUDY_STATE.value
    assert site.snapshot.data.folder == str(site.folder)


async def test_a_check_can_be_stopped_and_done_again(site):
    gate = site.runner.hold("check")
    await site.start()
    await site.service.command(ChooseFolder(folder=str(site.folder)))
    await site.until(lambda: site.runner.running)
    await site.service.command(StopJob(kind="check"))
    await site.until(lambda: not site.runner.running)
    await asyncio.sleep(0.02)
    assert site.runner.kinds() == ["CheckJob"]
    gate.set()
    await site.service.command(CheckFolder())
    await site.until(lambda: site.snapshot.data.report is not None)


async def test_a_job_that_fails_for_good_is_a_problem_until_a_person_acts(site, expected_log):
    expected_log("app.site", "check")
    failure = Failed(code="folder-not-readable", sentence="the folder cannot be read")
    site.runner.failures["check"] = [failure] * 3
    site.join()
    await site.start()
    await site.until(lambda: site.snapshot.service.problem)
    assert site.snapshot.service.problem == "the folder cannot be read"
    assert site.snapshot.service.remedy
    assert site.snapshot.data.job.failed
    await site.service.command(CheckFolder())
    await site.until(lambda: site.snapshot.data.report is not None)
    assert site.snapshot.service.problem == ""
