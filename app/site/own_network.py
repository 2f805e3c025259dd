"""Asymmetric averaging at a site: plan at home, add what stays local, send what is shared.

The plan is made by a worker from this site's fingerprint alone. Of it only the network's form
leaves. A round begins from the shared tensors of the average and, for the rest, from this site's
own last weights; both are put into one file, so that training knows no difference.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.control.messages import JobView
from app.domain.dataset import BACKGROUND
from app.domain.errors import (
    DataProblem,
    ErrorCode,
    JobFailed,
    OurMistake,
    PeerMistake,
    safe_text,
)
from app.domain.ids import digest_of
from app.domain.rounds import TensorSpec
from app.domain.shared import SharedFingerprint
from app.domain.study import Aggregation
from app.federation import shared_network
from app.federation.alignment import Coverage
from app.federation.asymmetric import SharedPart, decode_part
from app.federation.merging import encode_merged, merge
from app.federation.network import manifest
from app.federation.plan_rules import check_plan, network_of, output_names, summarise
from app.jobs.events import ModelDrawn, Planned
from app.jobs.spec import InitialModelJob, PlanJob
from app.site.context import JoinedStudy, SiteContext
from app.site.state import CheckedFolder
from app.site.working import run_for
from app.system.atomic import disk_errors, make_folder, sync_folder, write_atomic
from app.system.tensor_files import TensorFile, TensorFileWriter, check_file, read_manifest
from app.wire.messages import Blob


async def plan_at_home(
    site: SiteContext,
    joined: JoinedStudy,
    shared: SharedFingerprint,
    *,
    show: Callable[[JobView], None],
) -> bytes:
    """Plan from this site's own fingerprint; return the statement of the network that came out.

    `shared` is counted as for a merge, but stays here.

    Raises:
        DataProblem: the images' channels or labels are not of the study.
            Or nnU-Net plans none of the study's configuration for images such as these.
        JobFailed: the planner cannot plan for these images.
    """
    checked = site.store.get(CheckedFolder)
    if checked is None or checked.dataset is None:
        raise DataProblem("the folder has not been checked", code=ErrorCode.DATA_BLOCKS)
    form, terms = checked.dataset.description, joined.terms
    misfit = shared_network.misfit_of(form.channel_names, form.labels, terms)
    if misfit:
        raise DataProblem(misfit, code=ErrorCode.DATA_BLOCKS)
    own = shared_network.site_terms(terms, form.channel_names, form.labels)
    folder = make_folder(site.home.fingerprint / "planning")
    merged = folder / "merged.json"
    alone = merge([shared], rule=Aggregation.CASES)
    await asyncio.to_thread(write_atomic, merged, encode_merged(alone))
    output = folder / "plan.json"
    try:
        await run_for(
            site,
            PlanJob(terms=own, merged=str(merged), workspace=str(folder), output=str(output)),
            Planned,
            kind="plan",
            show=show,
            done=lambda planned: f"planned a network of {planned.summary.stages} stages",
        )
    except JobFailed as exc:
        if exc.code is not ErrorCode.STUDY_FILE:
            raise
        raise DataProblem(
            f"{exc}; in this study every site trains by its own plan, so this one cannot take part: "
            "ask the coordinator for a study of another configuration",
            code=ErrorCode.DATA_BLOCKS,
        ) from exc
    document = await asyncio.to_thread(output.read_bytes)
    check_plan(document, own)
    await asyncio.to_thread(write_atomic, site.home.own_plan, document)
    return shared_network.encode(shared_network.statement_of(document, terms.configuration))


def keep_plan(site: SiteContext, joined: JoinedStudy, statement: str) -> None:
    """Keep the plan that belongs to a statement that is sent, under the statement's digest.

    Raises:
        DataProblem: the plan on disk is of another statement; the fingerprint must be made again.
    """
    kept = site.home.plan(statement)
    if kept.exists():
        return
    try:
        document = site.home.own_plan.read_bytes()
    except OSError as exc:
        raise _plan_lost() from exc
    if statement_digest(document, joined) != statement:
        raise _plan_lost()
    make_folder(kept.parent)
    write_atomic(kept, document)


def statement_digest(document: bytes, joined: JoinedStudy) -> str:
    """Return the digest of what a plan package shares."""
    own = shared_network.statement_of(document, joined.terms.configuration)
    return digest_of(shared_network.encode(own))


async def first_weights(
    site: SiteContext,
    joined: JoinedStudy,
    plan: Path,
    *,
    index: int,
    show: Callable[[JobView], None],
) -> Path:
    """Return the weights that this site's own network begins a training with, drawn once by a worker.

    `index` is the training's position in the study.
    """
    target = site.home.first_weights(index)
    if not target.exists():
        await run_for(
            site,
            InitialModelJob(
                plan=str(plan),
                configuration=joined.terms.trainings[index].configuration,
                seed=joined.terms.seed_of(index),
                output=str(target),
            ),
            ModelDrawn,
            kind="prepare",
            show=show,
            done=lambda _: "the network is drawn",
        )
    return target


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Names of the tensors that leave with an update; `whole` are those that leave as they are."""

    sent: tuple[str, ...]
    whole: tuple[str, ...]


class OwnNetwork:
    """This site's own network by its plan, and what of it is shared once that is told.

    `stage` is the pass, from 0, whose network it is.

    Raises:
        PeerMistake: the plan on disk was changed: it is none that stock nnU-Net makes for the study.
    """

    def __init__(self, document: bytes, joined: JoinedStudy, *, stage: int = 0) -> None:
        terms = joined.terms
        check_plan(document, shared_network.terms_of_plan(document, terms))
        self.summary = summarise(document, terms.passes[stage])
        self._site = joined.membership.site
        self._network = network_of(document, terms.passes[stage])
        self._manifest = manifest(self._network)
        self._part: SharedPart | None = None
        self._marks = _structures(self._network.output_names)
        self._study_marks = _structures(output_names(terms.labels))

    def in_study_order(self, figures: tuple[float | None, ...]) -> tuple[float | None, ...]:
        """Put figures of this network's structures in the study's order; None for what it lacks."""
        if self._marks == self._study_marks or len(figures) != len(self._marks):
            return figures
        known = dict(zip(self._marks, figures, strict=True))
        return tuple(known.get(name) for name in self._study_marks)

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """All tensors of this network, in its order."""
        return self._manifest

    @property
    def shared(self) -> tuple[TensorSpec, ...] | None:
        """The tensors that go round, None before that is told."""
        return None if self._part is None else self._part.tensors

    @property
    def coverage(self) -> Coverage | None:
        """How much of this network goes round, None before that is told."""
        return None if self._part is None else self._part.coverage

    def take_part(self, document: bytes) -> None:
        """Take the coordinator's statement of what is shared; raises PartRefused."""
        self._part = decode_part(document, site=self._site, network=self._network)

    def add_own(self, base: Path, own: Path, target: Path) -> None:
        """Write a whole network to `target`: from `base` what is in it, from `own` the rest.

        A tensor that too few sites sent in the last round is not in `base`. Durable when this
        returns; the same files give the same bytes.

        Raises:
            PeerMistake: (TENSORS_REFUSED) `base` holds what is not shared, or is damaged.
            SetupProblem: the disk refuses.
        """
        found = read_manifest(base)
        self._check_base(base, found)
        names = {spec.name for spec in found}
        shared, local = TensorFile(base, found), TensorFile(own, self._manifest)
        _write(target, self._manifest, lambda name: shared if name in names else local)

    def leaving(self, base: Path) -> Leaving:
        """Return what leaves where changes travel: a tensor that is not in `base` leaves whole."""
        if self._part is None:
            raise OurMistake("nothing is known to be shared of this site's network")
        held = {spec.name for spec in read_manifest(base)}
        sent = tuple(spec.name for spec in self._part.tensors)
        return Leaving(sent=sent, whole=tuple(name for name in sent if name not in held))

    def cut_shared(self, update: Path, target: Path) -> Blob:
        """Write the shared tensors of an update to `target`: what leaves. Durable when it returns."""
        if self._part is None:
            raise OurMistake("nothing is known to be shared of this site's network")
        whole = TensorFile(update, self._manifest)
        _write(target, self._part.tensors, lambda _: whole)
        with target.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Blob(sha256=sha256, size=target.stat().st_size)

    def _check_base(self, base: Path, found: Sequence[TensorSpec]) -> None:
        shared = {spec.name: spec for spec in self._part.tensors} if self._part else {}
        for spec in found:
            if shared.get(spec.name) != spec:
                raise PeerMistake(
                    f"the tensor {safe_text(spec.name, 80)!r} is none that this site shares",
                    code=ErrorCode.TENSORS_REFUSED,
                )
        check_file(base, found)


def _write(
    target: Path, specs: Sequence[TensorSpec], source_of: Callable[[str], TensorFile]
) -> None:
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    with disk_errors(target):
        try:
            with TensorFileWriter(beside, specs) as output:
                for spec in specs:
                    output.write(spec.name, source_of(spec.name).read(spec.name))
            beside.replace(target)
            sync_folder(target.parent)
        except KeyError as exc:
            raise OurMistake(f"the tensor {exc} is in none of the files") from exc
        finally:
            beside.unlink(missing_ok=True)


def _structures(outputs: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in outputs if name != BACKGROUND)


def _plan_lost() -> DataProblem:
    return DataProblem(
        "the plan that belongs to what was sent is not here; compute the fingerprint again",
        code=ErrorCode.FINGERPRINT_REFUSED,
    )
