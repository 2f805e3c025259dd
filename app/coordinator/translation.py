"""Between the words of the wire and the words of the federation, which do not know each other."""

from __future__ import annotations

from app.domain.ids import SiteName, digest
from app.domain.rounds import BlobRef, ModelUpdate
from app.domain.training import HeldOutScore
from app.federation.study_events import SiteReport
from app.federation.study_views import Instruction
from app.wire import messages


def directive(instruction: Instruction) -> messages.Directive:
    """Return what a site is told as a message."""
    return messages.Directive(
        serial=instruction.serial,
        step=messages.Step(instruction.step.value),
        study_state=instruction.study_state,
        sentence=instruction.sentence,
        sites=tuple(
            messages.SiteSummary(
                name=site.name,
                state=site.state,
                connected=site.connected,
                cases=site.cases,
                round=site.round,
                epoch=site.epoch,
                step=site.step,
                steps=site.steps,
                silent_s=site.silent_s,
                phase=site.phase,
            )
            for site in instruction.sites
        ),
        closed_rounds=tuple(
            messages.RoundSummary(
                number=closed.number,
                contributors=closed.contributors,
                train_loss=closed.train_loss,
                validation_loss=closed.validation_loss,
                pseudo_dice=closed.pseudo_dice,
                held_out_dice=closed.held_out_dice,
                held_out_cases=closed.held_out_cases,
            )
            for closed in instruction.closed_rounds
        ),
        plan=_blob(instruction.plan),
        merged=_blob(instruction.merged),
        base=_blob(instruction.base),
        round=instruction.round,
        attempt=instruction.attempt,
        start_epoch=instruction.start_epoch,
        rounds=instruction.rounds,
        model=_blob(instruction.model),
        score_base=instruction.score_base,
        score_wanted=instruction.score_wanted,
        best=_blob(instruction.best),
        best_round=instruction.best_round,
        folds=tuple(
            messages.FoldEnd(
                fold=end.fold,
                stage=end.stage,
                model=_known(end.model),
                merged=_blob(end.merged),
                score_wanted=end.score_wanted,
                best=_blob(end.best),
                best_round=end.best_round,
            )
            for end in instruction.folds
        ),
    )


def site_report(report: messages.Report) -> SiteReport:
    """Return a site's report in the federation's words."""
    return SiteReport(
        phase=report.phase.value,
        plan=None if report.plan is None else digest(report.plan),
        training_cases=report.training_cases,
        fold_cases=report.fold_cases,
        round=report.round,
        attempt=report.attempt,
        epoch=report.epoch,
        step=report.step,
        steps=report.steps,
        problem=report.problem,
    )


def model_update(site: SiteName, offer: messages.UpdateOffered) -> ModelUpdate:
    """Return a site's offer of an update in the federation's words."""
    return ModelUpdate(
        round=offer.round,
        attempt=offer.attempt,
        site=site,
        base=digest(offer.base),
        weights=reference(offer.weights),
        cases=offer.cases,
        train_loss=offer.train_loss,
        validation_loss=offer.validation_loss,
        pseudo_dice=offer.pseudo_dice,
        epoch_seconds=offer.epoch_seconds,
        base_score=None if offer.base_score is None else held_out_score(offer.base_score),
    )


def held_out_score(told: messages.HeldOut) -> HeldOutScore:
    """Return a site's score in our own words."""
    return HeldOutScore(cases=told.cases, dice=told.dice)


def reference(blob: messages.Blob) -> BlobRef:
    """Return a blob of the wire as the federation names it."""
    return BlobRef(sha256=digest(blob.sha256), size=blob.size)


def _blob(blob: BlobRef | None) -> messages.Blob | None:
    return None if blob is None else _known(blob)


def _known(blob: BlobRef) -> messages.Blob:
    return messages.Blob(sha256=blob.sha256, size=blob.size)
