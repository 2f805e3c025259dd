"""Whether every site trains the very same thing: one digest over what must be equal everywhere.

A common plan is not enough. A site may hold other images than the study describes, or libraries
that build, resample or augment differently from those that the plan was made with. So a digest is
taken over the plan's bytes, the channels and labels of the site's own images, and the versions of
the libraries installed there. The coordinator takes it over what they ought to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.domain.ids import Digest, digest_of
from app.domain.study import StudyTerms
from app.federation.canonical import canonical
from app.federation.plan_rules import unpack

LIBRARIES: Final = {"nnunetv2": "nnU-Net", "torch": "PyTorch"}
"""Libraries whose version counts, by their package's name, and how people call them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What must be equal at every site; `versions` are pairs of package and version, sorted."""

    plan: Digest
    channel_names: tuple[str, ...]
    labels: tuple[tuple[str, int | tuple[int, ...]], ...]
    versions: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> Digest:
        """The one number that is compared."""
        return digest_of(
            canonical(
                {
                    "channel_names": self.channel_names,
                    "labels": self.labels,
                    "plan": self.plan,
                    "versions": self.versions,
                }
            )
        )


def expected(document: bytes, terms: StudyTerms) -> Identity:
    """Return what every site of a study must have, from its plan package and terms.

    Raises:
        PlanRefused: the document is no plan package.
    """
    _, _, _, versions = unpack(document)
    return Identity(
        plan=digest_of(document),
        channel_names=terms.channel_names,
        labels=_sorted(terms.labels),
        versions=tuple(
            sorted((name, str(versions[name])) for name in LIBRARIES if name in versions)
        ),
    )


def found(
    document: bytes,
    *,
    channel_names: tuple[str, ...],
    labels: Mapping[str, int | tuple[int, ...]],
    installed: Mapping[str, str],
) -> Identity:
    """Return what one site has: its images' channels and labels, and its libraries.

    Of the libraries those count that the plan names.

    Raises:
        PlanRefused: the document is no plan package.
    """
    _, _, _, versions = unpack(document)
    return Identity(
        plan=digest_of(document),
        channel_names=channel_names,
        labels=_sorted(labels),
        versions=tuple(
            sorted((name, installed.get(name, "")) for name in LIBRARIES if name in versions)
        ),
    )


def difference(here: Identity, study: Identity) -> str:
    """Say what differs in a sentence for the site's operator, empty when nothing does."""
    for (name, mine), (_, theirs) in zip(here.versions, study.versions, strict=False):
        if mine != theirs:
            return (
                f"this site runs {LIBRARIES[name]} {mine or 'of an unknown version'}, the study's "
                f"plan was made with {theirs}; its rounds would not be comparable"
            )
    if here.channel_names != study.channel_names:
        return (
            f"the images here have the channels {', '.join(here.channel_names)}, the study's are "
            f"{', '.join(study.channel_names)}"
        )
    if here.labels != study.labels:
        strange = sorted(set(map(str, here.labels)) ^ set(map(str, study.labels)))
        return f"the labels here are not the study's; {strange[0]} is only on one side"
    if here.plan != study.plan:
        return "the plan here is not the study's plan"
    return ""


def _sorted(
    labels: Mapping[str, int | tuple[int, ...]],
) -> tuple[tuple[str, int | tuple[int, ...]], ...]:
    # A region's order is in the plan; here only what each name means counts.
    return tuple(sorted(labels.items(), key=lambda label: label[0]))
