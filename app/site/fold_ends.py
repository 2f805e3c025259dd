"""What a finished study leaves of its folds: one list, whether it has one fold or several."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.ids import digest_of
from app.wire.messages import Blob, Directive, FoldEnd


def ends_of(directive: Directive) -> tuple[FoldEnd, ...]:
    """Return what is left of each fold; that of a study of one fold has no name in the directive.

    Empty where nothing is left for this site.
    """
    if directive.folds or directive.model is None:
        return directive.folds
    return (
        FoldEnd(
            fold="",
            model=directive.model,
            merged=directive.merged,
            score_wanted=directive.score_wanted,
            best=directive.best,
            best_round=directive.best_round,
        ),
    )


def name_of(blobs: Sequence[Blob]) -> str:
    """Return one digest that names all of them; that of a single one is its own."""
    if len(blobs) == 1:
        return blobs[0].sha256
    return digest_of(" ".join(blob.sha256 for blob in blobs).encode())


def best_of(ends: Sequence[FoldEnd]) -> tuple[Blob, ...]:
    """Return the best average of every fold, none while one is not known or where all are the last.

    The best models of some folds and the last ones of others would be neither.
    """
    best = [end.best for end in ends if end.best is not None]
    if len(best) < len(ends) or best == [end.model for end in ends]:
        return ()
    return tuple(best)
