"""The operator's data in a running service: check, fingerprint, allowance."""

from __future__ import annotations

import asyncio

import pytest
from helpers.site_home import OPERATOR, tree_digest

from app.control.messages import (
    Accepted,
    AllowFingerprint,
    CheckFolder,
    ChooseFolder,
    ComputeFingerprint,
    ConfirmLayout,
    ProposeLayout,
    Refused,
    StopJob,
    WithdrawAllowance,
)
from app.domain.errors import ErrorCode
from app.domain.findings import Finding, Severity
from app.domain.ids import digest_of
from app.domain.layout_proposal import ChannelAnswer, StructureAnswer
from app.federation.shared_codec import decode
from app.jobs.events import Failed
from app.site.data_desk import DataDesk, receipt_of
from app.system.audit import verify
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


async def test_a_site_that_starts_again_is_not_said_to_have_other_channels_than_it_has(site):
    """Until it has read its files: a study ended on that word, which was true for a moment only."""
    site.join()
    await site.start()
    await site.until(lambda: site.snapshot.fingerprint.outgoing is not None)
    begins_again = DataDesk(site.service.data._site, changed=lambda: None)
    assert site.service.data.blocked() == begins_again.blocked() == ""


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


def make_loose(folder):
    """Pairs in one folder; the scripted workers do not read what is in the files."""
    folder.mkdir()
    for number in range(6):
        (folder / f"case{number}.nii.gz").write_bytes(b"image")
        (folder / f"case{number}_seg.nii.gz").write_bytes(b"label")
    return folder


def confirmation(site, **changes):
    data = site.snapshot.data
    facts = {
        "digest": data.proposal_digest,
        "channels": (ChannelAnswer(found=data.proposal.channels[0].found, name="T1"),),
        "structures": (StructureAnswer(found="label 1", name="organ", value=1),),
    }
    return ConfirmLayout(**(facts | changes))


async def test_a_confirmed_layout_stands_for_the_folder_from_then_on(site, tmp_path):
    loose = make_loose(tmp_path / "loose")
    before = tree_digest(loose)
    await site.start()
    assert await site.service.command(ChooseFolder(folder=str(loose))) == Accepted()
    await site.until(lambda: site.snapshot.data.proposal is not None)
    assert not site.snapshot.data.confirmed
    stale = await site.service.command(confirmation(site, digest="0" * 64))
    assert (type(stale), stale.sentence) == (
        Refused,
        "the folder was looked at again since; look at its layout once more",
    )
    wrong = await site.service.command(confirmation(site, channels=()))
    assert wrong.code == ErrorCode.DATASET_DESCRIPTION.value
    answer = await site.service.command(confirmation(site, leave_out=("case2",), pseudonyms=True))
    assert answer == Accepted()
    await site.until(lambda: site.snapshot.data.confirmed and site.snapshot.data.report is not None)
    data = site.snapshot.data
    assert (data.folder, data.proposal) == (str(loose), None)
    assert data.dataset.root.startswith(str(site.home / "data"))
    assert data.dataset.description.channel_names == ("T1",)
    assert [case.name for case in data.dataset.training] == [f"case-{n:04d}" for n in range(1, 6)]
    assert await site.service.command(ComputeFingerprint()) == Accepted()
    await site.until(lambda: site.snapshot.fingerprint.cases)
    assert site.runner.started[-1].folder == data.dataset.root
    assert tree_digest(loose) == before

    # A restart finds it again; looking anew forgets it, and its copies are removed.
    await site.stop()
    await site.start()
    assert site.snapshot.data.confirmed
    assert await site.service.command(CheckFolder()) == Accepted()
    await site.until(lambda: site.snapshot.data.report is not None)
    assert site.snapshot.data.dataset == data.dataset
    assert await site.service.command(ProposeLayout()) == Accepted()
    await site.until(lambda: site.snapshot.data.proposal is not None)
    assert not site.snapshot.data.confirmed
    assert site.snapshot.fingerprint.cases == ()
    assert list((site.home / "data").iterdir()) == []


async def test_a_conversion_that_fails_or_is_stopped_leaves_the_proposal(
    site, tmp_path, expected_log
):
    loose = make_loose(tmp_path / "loose")
    failure = Failed(code=ErrorCode.NO_CASES.value, sentence="no case can be used")
    site.runner.failures["convert"] = [failure] * 3
    expected_log("app.site", "convert: no case can be used")
    await site.start()
    await site.service.command(ChooseFolder(folder=str(loose)))
    await site.until(lambda: site.snapshot.data.proposal is not None)
    assert await site.service.command(confirmation(site)) == Accepted()
    await site.until(lambda: site.snapshot.service.problem == "no case can be used")
    assert site.snapshot.data.job.outcome == "no case can be used"
    assert await site.service.command(CheckFolder()) == Accepted()
    await site.until(lambda: site.runner.kinds()[-1] == "CheckJob")
    await site.until(lambda: site.snapshot.data.proposal is not None)
    site.runner.hold("convert")
    assert await site.service.command(confirmation(site)) == Accepted()
    await site.until(lambda: site.snapshot.data.job.running)
    assert site.snapshot.data.job.kind == "convert"
    assert await site.service.command(StopJob(kind="convert")) == Accepted()
    await site.until(lambda: not site.snapshot.data.job.running)
    assert site.snapshot.data.proposal is not None
    assert not site.snapshot.data.confirmed


async def test_nothing_to_confirm_is_a_sentence(site):
    site.join(standing=False)
    await site.start()
    await site.until(lambda: site.snapshot.data.report is not None)
    assert site.snapshot.data.proposal is None
    answer = await site.service.command(ConfirmLayout(digest="", channels=(), structures=()))
    assert answer.sentence == "there is no layout to confirm; check the folder first"
