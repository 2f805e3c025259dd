"""Which average is the best: judged on cases that no site trained on, at every site.

Every site scores an average on the held-out cases of its own fold. A round's figure is the mean
Dice over labels, weighed by the number of held-out cases behind each site's answer, so that a site
with three cases does not outvote one with fifty. Case-wise results never leave a site.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from app.domain.ids import SiteName
from app.domain.rounds import SiteScore
from app.domain.training import HeldOutScore
from app.federation.study_record import ClosedRound


def case_weighted_mean(figures: Sequence[float | None], cases: Sequence[int]) -> float | None:
    """Return the mean over the figures that are there, weighed by cases; None when none is."""
    there = [(figure, n) for figure, n in zip(figures, cases, strict=True) if figure is not None]
    if not there:
        return None
    return math.fsum(figure * n for figure, n in there) / sum(n for _, n in there)


def case_weighted_means(
    figures: Sequence[Sequence[float | None]], cases: Sequence[int]
) -> tuple[float | None, ...]:
    """Return the means label by label, for sites that tell one figure per label.

    A site that tells fewer labels than another counts for those that it tells.
    """
    return tuple(case_weighted_mean(column, cases) for column in zip_longest(*figures))


def is_plausible(score: HeldOutScore, *, labels: int) -> bool:
    """Tell whether a score can be one: Dice from 0 to 1 for at most as many labels as there are."""
    return (
        score.cases > 0
        and 0 < len(score.dice) <= labels
        and all(dice is None or 0.0 <= dice <= 1.0 for dice in score.dice)
    )


def with_score(closed: ClosedRound, site: SiteName, score: HeldOutScore) -> ClosedRound:
    """Return the round with a site's score; a site that says it again is not counted twice."""
    others = [one for one in closed.scores if one.site != site]
    scores = sorted((*others, SiteScore(site=site, score=score)), key=lambda one: one.site)
    return replace(closed, scores=tuple(scores))


def held_out_cases(closed: ClosedRound) -> int:
    """Return how many held-out cases all sites scored the round's average on."""
    return sum(one.score.cases for one in closed.scores)


def held_out_dice(closed: ClosedRound) -> tuple[float | None, ...]:
    """Return the Dice per label over all sites, weighed by held-out cases; empty without scores."""
    return case_weighted_means(
        [one.score.dice for one in closed.scores], [one.score.cases for one in closed.scores]
    )


def mean_dice(closed: ClosedRound) -> float | None:
    """Return the figure that rounds are compared by, None when no site scored the average."""
    known = [dice for dice in held_out_dice(closed) if dice is not None]
    return math.fsum(known) / len(known) if known else None


def best_round(closed: Sequence[ClosedRound], *, minimum_sites: int) -> ClosedRound | None:
    """Return the round whose average does best; of equals the later one, None without any.

    A round that fewer than `minimum_sites` sites scored is not compared: one site's easy cases
    would decide for all.
    """
    best, figure = None, -1.0
    for one in closed:
        mean = mean_dice(one)
        if mean is not None and len(one.scores) >= minimum_sites and mean >= figure:
            best, figure = one, mean
    return best
