"""The operator's data: choose, check, fingerprint, see what would leave, allow.

The folder is only read. Nothing here sends anything: an allowance names bytes on disk, and the
study's desk sends exactly those.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

import app
from app.control.messages import (
    AllowanceView,
    CaseRow,
    Changed,
    ConfirmLayout,
    DataView,
    FingerprintView,
    HistogramView,
    JobView,
)
from app.datasets.confirmed import answered
from app.datasets.digest import content_digest
from app.datasets.fingerprint_file import read_fingerprint
from app.domain.errors import DataProblem, ErrorCode, FednnunetError, OurMistake
from app.domain.fingerprint import Fingerprint
from app.domain.ids import digest_of
from app.domain.study import Policy
from app.federation import shared_codec
from app.federation.canonical import canonical
from app.jobs.events import Checked, Fingerprinted, LayoutConfirmed
from app.jobs.spec import CheckJob, ConvertJob, FingerprintJob
from app.site import disclosure, fingerprinting
from app.site.agenda import DataFacts, Work, WorkKind
from app.site.audit import AuditKind
from app.site.context import SiteContext
from app.site.fingerprinting import ShownOutgoing
from app.site.own_network import plan_at_home
from app.site.state import (
    Allowance,
    CheckedFolder,
    FingerprintWish,
    Folder,
    LayoutSerial,
    LayoutWish,
    LocalFingerprint,
    Outgoing,
    StandingAllowance,
)
from app.site.working import run_for
from app.system.atomic import make_folder, write_atomic

logger = logging.getLogger(__name__)


_NETWORK: Final = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """What is drawn from the files in home/fingerprint; made once per change of them."""

    rows: tuple[CaseRow, ...] = ()
    outliers: tuple[str, ...] = ()
    outgoing: ShownOutgoing | None = None


class DataDesk:
    """Owns what is known of the folder, its fingerprint and the allowance."""

    def __init__(self, site: SiteContext, *, changed: Callable[[], None]) -> None:
        self._site = site
        self._changed = changed
        self._check_job: JobView | None = None
        self._fingerprint_job: JobView | None = None
        self._shown = _Shown()
        self.merged_pictures: tuple[HistogramView, ...] = ()
        self.merged_sentence = ""

    async def start(self) -> None:
        """Read back what lies on disk; damaged files count as absent and are made again."""
        store = self._site.store
        local = store.get(LocalFingerprint)
        if local is not None:
            try:
                self._shown = await self._looked_at(local, store.get(Outgoing))
            except FednnunetError as exc:
                logger.warning("the fingerprint is made again: %s", exc)
                store.drop(LocalFingerprint, Outgoing, Allowance)

    # --- deciding ------------------------------------------------------------------------------

    def facts(self) -> DataFacts:
        """Return what the agenda decides from."""
        store = self._site.store
        return DataFacts(
            study=self._site.study,
            policy=self._site.discloses,
            folder=store.get(Folder),
            checked=store.get(CheckedFolder),
            wish=store.get(FingerprintWish),
            local=store.get(LocalFingerprint),
            outgoing=store.get(Outgoing),
            blocked=self.blocked(),
            allowance=store.get(Allowance),
            standing=store.get(StandingAllowance) is not None,
            layout=store.get(LayoutWish),
        )

    def blocked(self) -> str:
        """Return why the outgoing bytes cannot be shared, empty when they can (or there are none)."""
        store = self._site.store
        outgoing, checked = store.get(Outgoing), store.get(CheckedFolder)
        if outgoing is None:
            return ""
        folder = store.get(Folder)
        current = checked is not None and folder is not None and checked.serial == folder.serial
        # Not what the files show: after a restart these are still to be read.
        described = None
        if checked is not None and checked.dataset is not None:
            described = checked.dataset.description
        return fingerprinting.reason_not_to_share(
            terms=None if self._site.joined is None else self._site.joined.terms,
            channel_names=() if described is None else described.channel_names,
            labels={} if described is None else described.labels,
            cases=outgoing.cases,
            content_digest=outgoing.content_digest,
            checked_digest=checked.report.content_digest if checked and current else None,
            blocks=checked.report.blocks if checked is not None else False,
        )

    def allowed(self) -> Allowance | None:
        """Return the allowance if it holds for the outgoing bytes, the study and the data as they are."""
        allowance = self._site.store.get(Allowance)
        outgoing = self._site.store.get(Outgoing)
        if allowance is None or outgoing is None or self.blocked():
            return None
        holds = allowance.digest == outgoing.sha256 and allowance.study == self._site.study
        return allowance if holds else None

    # --- the operator's wishes -----------------------------------------------------------------

    def choose(self, folder: str) -> None:
        """Make `folder` this site's data; it is checked next.

        Raises:
            DataProblem: it is not an absolute path.
        """
        if not Path(folder).is_absolute():
            raise DataProblem(f"{folder} is not an absolute path", code=ErrorCode.FOLDER_MISSING)
        store = self._site.store
        before = store.get(Folder)
        self._void_allowance()
        same = before is not None and before.path == folder
        store.put(
            Folder(
                path=folder,
                serial=1 if before is None else before.serial + 1,
                confirmed=before.confirmed if same and before is not None else None,
            )
        )
        if before is not None and not same:
            store.drop(CheckedFolder, LayoutWish, LocalFingerprint, Outgoing, FingerprintWish)
            self._shown, self._fingerprint_job = _Shown(), None
        self._changed()

    def check_again(self) -> None:
        """Wish for a new check; raises DataProblem when no folder is chosen."""
        folder = self._site.store.get(Folder)
        if folder is None:
            raise DataProblem("no folder is chosen", code=ErrorCode.FOLDER_MISSING)
        self._site.store.put(msgspec.structs.replace(folder, serial=folder.serial + 1))
        self._changed()

    def confirm(self, command: ConfirmLayout) -> None:
        """Wish for the folder to be used as proposed, with a person's answers.

        Raises:
            DataProblem: nothing is to be confirmed, it is another proposal, or the answers do not
                fit it.
        """
        store = self._site.store
        folder, checked = store.get(Folder), store.get(CheckedFolder)
        if folder is None or checked is None or checked.proposal is None:
            raise DataProblem("there is no layout to confirm; check the folder first")
        if checked.proposal.digest != command.digest:
            raise DataProblem("the folder was looked at again since; look at its layout once more")
        proposal = answered(
            checked.proposal,
            channels=command.channels,
            structures=command.structures,
            leave_out=command.leave_out,
            pseudonyms=command.pseudonyms,
        )
        last = store.get(LayoutSerial)
        serial = 1 if last is None else last.serial + 1
        store.put(
            LayoutSerial(serial=serial),
            LayoutWish(serial=serial, path=folder.path, proposal=proposal),
        )
        self._changed()

    def forget_layout_wish(self) -> None:
        """Take an unfinished confirmation back: the operator stopped the conversion."""
        self._site.store.drop(LayoutWish)
        self._changed()

    def propose_again(self) -> None:
        """Forget the confirmed layout and look at the folder anew.

        Raises:
            DataProblem: no folder is chosen.
        """
        store = self._site.store
        folder = store.get(Folder)
        if folder is None:
            raise DataProblem("no folder is chosen", code=ErrorCode.FOLDER_MISSING)
        self._void_allowance()
        store.put(Folder(path=folder.path, serial=folder.serial + 1))
        store.drop(CheckedFolder, LayoutWish, LocalFingerprint, Outgoing, FingerprintWish)
        self._shown, self._fingerprint_job = _Shown(), None
        self._changed()

    def compute(self, leave_out: tuple[str, ...]) -> None:
        """Wish for a fingerprint without the cases of `leave_out`.

        Raises:
            DataProblem: the folder is not checked, blocks, or has no such case.
        """
        store = self._site.store
        checked = store.get(CheckedFolder)
        if checked is None:
            raise DataProblem("check the folder first")
        if checked.report.blocks or checked.dataset is None:
            raise DataProblem("the check found something that blocks training")
        unknown = set(leave_out) - {case.name for case in checked.dataset.training}
        if unknown:
            raise DataProblem(f"there is no case {', '.join(sorted(unknown))}")
        self._void_allowance()
        wish = store.get(FingerprintWish)
        store.put(
            FingerprintWish(serial=1 if wish is None else wish.serial + 1, leave_out=leave_out)
        )
        self._changed()

    def allow(self, operator: str, digest: str, *, standing: bool = False) -> Allowance:
        """Write the receipt of an operator's permission to share exactly the bytes with `digest`.

        Raises:
            DataProblem: these are not the outgoing bytes, or they cannot be shared (NOT_ALLOWED).
        """
        site, outgoing, joined = self._site, self._site.store.get(Outgoing), self._site.joined
        name = " ".join(operator.split())
        if not name or len(name) > 100:
            raise DataProblem("write your name (at most 100 letters)", code=ErrorCode.NOT_ALLOWED)
        if outgoing is None or outgoing.sha256 != digest:
            raise DataProblem(
                "what would leave has changed since you looked at it; look again",
                code=ErrorCode.NOT_ALLOWED,
            )
        reason = self.blocked()
        if reason or joined is None:
            raise DataProblem(reason, code=ErrorCode.NOT_ALLOWED)
        now = site.clock.now()
        receipt = receipt_of(
            digest=digest,
            time=now,
            study=joined.membership.study,
            policy=outgoing.policy,
            operator=name,
            app_version=app.__version__,
        )
        allowance = Allowance(
            operator=name,
            allowed_at=now,
            digest=digest,
            study=joined.membership.study,
            receipt=receipt,
            standing=standing,
        )
        # The log first: an allowance without its entry must not exist.
        site.audit.append(
            AuditKind.FINGERPRINT_ALLOWED,
            now=now,
            digest=digest,
            size=outgoing.size,
            study=joined.membership.study,
            policy=outgoing.policy,
            operator=name,
            standing=standing,
            receipt=receipt,
            app_version=app.__version__,
        )
        site.store.put(allowance)
        self._changed()
        return allowance

    def withdraw(self) -> None:
        """Take the allowance back, a standing one too; what was sent cannot be called back."""
        store = self._site.store
        allowance = store.get(Allowance)
        store.drop(Allowance, StandingAllowance)
        if allowance is not None:
            self._site.audit.append(
                AuditKind.ALLOWANCE_WITHDRAWN,
                now=self._site.clock.now(),
                digest=allowance.digest,
                operator=allowance.operator,
            )
        self._changed()

    def forget_fingerprint_wish(self) -> None:
        """Take a wish for a fingerprint back: the operator stopped the job."""
        local = self._site.store.get(LocalFingerprint)
        if local is None:
            self._site.store.drop(FingerprintWish)
        else:
            self._site.store.put(FingerprintWish(serial=local.serial, leave_out=local.leave_out))
        self._changed()

    async def folder_is_as_checked(self) -> bool:
        """Look whether the files are those that were checked; if not, they are checked again."""
        checked = self._site.store.get(CheckedFolder)
        if checked is None or checked.dataset is None:
            return False
        now = await asyncio.to_thread(content_digest, checked.dataset)
        if now == checked.report.content_digest:
            return True
        self._void_allowance()
        self.check_again()
        return False

    # --- work ----------------------------------------------------------------------------------

    async def perform(self, work: Work) -> None:
        """Do one piece of work of the data lane."""
        match work.kind:
            case WorkKind.CHECK:
                await self._check()
            case WorkKind.CONVERT:
                await self._convert()
            case WorkKind.FINGERPRINT:
                await self._fingerprint()
            case WorkKind.SHARE:
                await self._share()
            case WorkKind.ALLOW:
                standing = self._site.store.get(StandingAllowance)
                if standing is not None:
                    self.allow(standing.operator, work.key, standing=True)
            case _:
                raise OurMistake(f"the data desk does not {work.kind.value}")

    async def _check(self) -> None:
        site = self._site
        folder, joined = site.store.get(Folder), site.joined
        if folder is None:
            return
        # Copies of images that are no longer used must not stay.
        await asyncio.to_thread(_remove_others, site.home.data, Path(folder.used))
        terms = None if joined is None else joined.terms
        # A site that plans for itself may have fewer channels or structures; sharing checks those.
        compared = None if site.asymmetric else terms
        result = await run_for(
            site,
            CheckJob(
                folder=folder.used,
                threads=site.settings.worker_threads,
                processes=site.settings.worker_threads,
                channel_names=None if compared is None else compared.channel_names,
                labels=None if compared is None else compared.labels,
                minimum_cases=5 if terms is None else terms.minimum_cases,
            ),
            Checked,
            kind="check",
            show=self._show_check,
            done=lambda checked: f"{checked.report.cases} cases checked",
        )
        before = site.store.get(CheckedFolder)
        if before is not None and before.report.content_digest != result.report.content_digest:
            self._void_allowance()
        site.store.put(
            CheckedFolder(
                serial=folder.serial,
                study=site.study,
                report=result.report,
                dataset=result.dataset,
                proposal=result.proposal,
            )
        )
        self._changed()

    async def _convert(self) -> None:
        """Make the confirmed data set; it is checked next."""
        site = self._site
        folder, wish = site.store.get(Folder), site.store.get(LayoutWish)
        if folder is None or wish is None:
            return
        output = site.home.confirmed(wish.serial)
        make_folder(site.home.data)
        await run_for(
            site,
            ConvertJob(
                folder=folder.path,
                proposal=wish.proposal,
                output=str(output),
                threads=site.settings.worker_threads,
            ),
            LayoutConfirmed,
            kind="convert",
            show=self._show_check,
            done=lambda made: f"{made.cases} cases confirmed",
        )
        self._void_allowance()
        site.store.drop(LocalFingerprint, Outgoing, FingerprintWish)
        self._shown, self._fingerprint_job = _Shown(), None
        # The folder first: a crash in between makes the data set once more, which is harmless.
        site.store.put(Folder(path=folder.path, serial=folder.serial + 1, confirmed=str(output)))
        site.store.drop(LayoutWish)
        self._changed()

    async def _fingerprint(self) -> None:
        site = self._site
        folder, checked = site.store.get(Folder), site.store.get(CheckedFolder)
        if folder is None or checked is None:
            return
        wish = site.store.get(FingerprintWish) or FingerprintWish(serial=0)
        make_folder(site.home.fingerprint)
        await run_for(
            site,
            FingerprintJob(
                folder=folder.used,
                content_digest=checked.report.content_digest,
                output=str(site.home.local_fingerprint),
                leave_out=wish.leave_out,
                threads=site.settings.worker_threads,
                processes=site.settings.worker_threads,
            ),
            Fingerprinted,
            kind="fingerprint",
            show=self._show_fingerprint,
            done=lambda made: f"fingerprint of {made.cases} cases computed",
        )
        local = LocalFingerprint(
            serial=wish.serial,
            content_digest=checked.report.content_digest,
            leave_out=wish.leave_out,
        )
        shown = await self._looked_at(local, None)
        self._void_allowance()
        site.store.drop(Outgoing)
        site.store.put(local)
        self._shown = shown
        self._changed()

    async def _share(self) -> None:
        """Make the exact outgoing bytes and keep them; an allowance of other bytes is void."""
        site = self._site
        local = site.store.get(LocalFingerprint)
        if local is None:
            return
        fingerprint = await asyncio.to_thread(read_fingerprint, site.home.local_fingerprint)
        discloses, joined = site.discloses, site.joined
        left_out = frozenset(local.leave_out)
        if joined is not None and site.asymmetric:
            # Counted as for a merge with others, but only this site's planner reads it.
            shared = await asyncio.to_thread(
                disclosure.share, fingerprint, Policy.MINIMAL, left_out
            )
            document = await plan_at_home(site, joined, shared, show=self._show_fingerprint)
        else:
            shared = await asyncio.to_thread(disclosure.share, fingerprint, site.policy, left_out)
            document = await asyncio.to_thread(shared_codec.encode, shared)
        await asyncio.to_thread(write_atomic, site.home.outgoing, document)
        outgoing = Outgoing(
            sha256=digest_of(document),
            size=len(document),
            cases=shared.cases,
            content_digest=local.content_digest,
            serial=local.serial,
            policy=discloses,
            study=site.study,
        )
        shown = await self._looked_at(local, outgoing)
        allowance = site.store.get(Allowance)
        if allowance is not None and allowance.digest != outgoing.sha256:
            self._void_allowance()
        site.store.put(outgoing)
        # Digest and text change together: a person must never allow one and see the other.
        self._shown = shown
        self._changed()

    async def _looked_at(self, local: LocalFingerprint, outgoing: Outgoing | None) -> _Shown:
        home = self._site.home
        fingerprint: Fingerprint = await asyncio.to_thread(read_fingerprint, home.local_fingerprint)
        shown: ShownOutgoing | None = None
        if outgoing is not None:
            document = await asyncio.to_thread(home.outgoing.read_bytes)
            if digest_of(document) != outgoing.sha256:
                raise DataProblem(
                    "the outgoing bytes on disk were changed", code=ErrorCode.FINGERPRINT_REFUSED
                )
            shown = await asyncio.to_thread(
                fingerprinting.show_network
                if outgoing.policy == _NETWORK
                else fingerprinting.show_outgoing,
                document,
            )
        return _Shown(
            rows=fingerprinting.case_rows(fingerprint, local.leave_out),
            outliers=fingerprinting.outliers(fingerprint, local.leave_out),
            outgoing=shown,
        )

    def _void_allowance(self) -> None:
        allowance = self._site.store.get(Allowance)
        if allowance is None:
            return
        self._site.store.drop(Allowance)
        self._site.audit.append(
            AuditKind.ALLOWANCE_VOID, now=self._site.clock.now(), digest=allowance.digest
        )

    # --- showing -------------------------------------------------------------------------------

    def show(self) -> None:
        """Put both sections on the board as they are now."""
        store = self._site.store
        folder, checked = store.get(Folder), store.get(CheckedFolder)
        current = checked is not None and folder is not None and checked.serial == folder.serial
        outgoing, allowance = store.get(Outgoing), store.get(Allowance)
        shown = self._shown.outgoing if outgoing is not None else None
        proposal = checked.proposal if checked is not None and current else None
        self._site.board.change(
            Changed(
                data=DataView(
                    folder=None if folder is None else folder.path,
                    job=self._check_job,
                    report=checked.report if checked is not None and current else None,
                    dataset=checked.dataset if checked is not None and current else None,
                    proposal=proposal,
                    proposal_digest=None if proposal is None else proposal.digest,
                    confirmed=folder is not None and folder.confirmed is not None,
                ),
                fingerprint=FingerprintView(
                    job=self._fingerprint_job,
                    cases=self._shown.rows,
                    policy=self._site.discloses,
                    outgoing=None if shown is None else shown.text,
                    outgoing_digest=None if outgoing is None else outgoing.sha256,
                    fields=() if shown is None else shown.fields,
                    pictures=() if shown is None else shown.pictures,
                    outliers=self._shown.outliers,
                    blocked=self.blocked(),
                    allowance=None
                    if allowance is None
                    else AllowanceView(
                        operator=allowance.operator,
                        allowed_at=allowance.allowed_at,
                        digest=allowance.digest,
                        receipt=allowance.receipt,
                        sent=allowance.sent,
                    ),
                    merged_pictures=self.merged_pictures,
                    merged_sentence=self.merged_sentence,
                ),
            )
        )

    def _show_check(self, job: JobView) -> None:
        self._check_job = job
        self.show()

    def _show_fingerprint(self, job: JobView) -> None:
        self._fingerprint_job = job
        self.show()


def _remove_others(data: Path, kept: Path) -> None:
    """Remove data sets of earlier confirmations; one that cannot be removed stays."""
    if not data.is_dir():
        return
    for other in data.iterdir():
        if other != kept:
            shutil.rmtree(other, ignore_errors=True)


def receipt_of(
    *, digest: str, time: float, study: str, policy: str, operator: str, app_version: str
) -> str:
    """Return the receipt of an allowance: the SHA-256 of what was said, canonically written."""
    return digest_of(
        canonical(
            {
                "app_version": app_version,
                "digest": digest,
                "operator": operator,
                "policy": policy,
                "study": study,
                "time": time,
            }
        )
    )
