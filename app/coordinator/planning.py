"""From the sites' fingerprints to the plan package and the first model, in worker jobs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.coordinator.spool import Spool
from app.coordinator.translation import reference
from app.domain.errors import FednnunetError, OurMistake, PeerMistake
from app.domain.ids import SiteName
from app.domain.rounds import BlobRef
from app.domain.shared import SharedFingerprint
from app.domain.study import StudyTerms
from app.federation import plan_rules, shared_codec
from app.federation.merging import encode_merged, merge
from app.jobs.events import ModelDrawn, Planned
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import FirstModel, InitialModelJob, PlanJob
from app.system.atomic import write_atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStudy:
    """What planning made, as blobs of the spool; `firsts` has a first model for each fold of each pass."""

    plan: BlobRef
    merged: BlobRef
    firsts: tuple[BlobRef, ...]


class UnfitFingerprint(PeerMistake):
    """Raised when one site's fingerprint cannot be used; `site` says whose."""

    def __init__(self, site: SiteName, reason: FednnunetError) -> None:
        super().__init__(f"the fingerprint of {site} cannot be used: {reason}", code=reason.code)
        self.site = site


async def plan_study(
    terms: StudyTerms,
    fingerprints: Sequence[tuple[SiteName, BlobRef]],
    *,
    spool: Spool,
    runner: JobRunner,
    workspace: Path,
) -> PlannedStudy:
    """Merge the fingerprints, plan once, draw the first models; everything is durable at the end.

    Raises:
        UnfitFingerprint: a site's fingerprint is damaged or does not fit the study.
        FednnunetError: they cannot be merged, or a job failed; the sentence says why.
    """
    shared = [_fingerprint(site, blob, terms, spool) for site, blob in fingerprints]
    merged = encode_merged(merge(shared, rule=terms.aggregation))
    if workspace.exists():
        await asyncio.to_thread(shutil.rmtree, workspace)
    workspace.mkdir(parents=True)
    merged_file, plan_file = workspace / "merged.json", workspace / "plan.json"
    write_atomic(merged_file, merged)
    planned = await run_job(
        runner,
        PlanJob(
            terms=terms, merged=str(merged_file), workspace=str(workspace), output=str(plan_file)
        ),
    )
    if not isinstance(planned, Planned):
        raise OurMistake(f"a plan job gave {type(planned).__name__}")
    document = plan_file.read_bytes()
    # Our own plan passes the rules that every site will hold it against.
    plan_rules.check_plan(document, terms)
    first, *others = [
        FirstModel(
            configuration=training.configuration,
            seed=terms.seed_of(index),
            output=str(workspace / f"initial-{index}.safetensors"),
        )
        for index, training in enumerate(terms.trainings)
    ]
    drawn = await run_job(
        runner,
        InitialModelJob(
            plan=str(plan_file),
            configuration=first.configuration,
            seed=first.seed,
            output=first.output,
            also=tuple(others),
        ),
    )
    if not isinstance(drawn, ModelDrawn):
        raise OurMistake(f"a model job gave {type(drawn).__name__}")
    firsts = [
        reference(await asyncio.to_thread(spool.keep_file, Path(one.output)))
        for one in (first, *others)
    ]
    return PlannedStudy(
        plan=reference(spool.keep_bytes(document)),
        merged=reference(spool.keep_bytes(merged)),
        firsts=tuple(firsts),
    )


def _fingerprint(
    site: SiteName, blob: BlobRef, terms: StudyTerms, spool: Spool
) -> SharedFingerprint:
    try:
        shared = shared_codec.decode(spool.verify(blob.sha256).read_bytes())
        shared_codec.check_terms(shared, terms)
    except FednnunetError as exc:
        raise UnfitFingerprint(site, exc) from exc
    return shared
