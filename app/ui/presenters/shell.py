"""The frame around the pages: header, banner, status bar, marks at the navigation."""

from __future__ import annotations

from msgspec import Struct

from app.control.messages import Snapshot
from app.ui.presenters.home import StepMark, five_steps
from app.ui.presenters.parts import LINK_WORDS, Badge
from app.ui.presenters.training import training_brief
from app.ui.text import Page, Tone, sentence_case, site_title


class ShellState(Struct, frozen=True, kw_only=True):
    """What the frame draws. `banner` is empty while all is well."""

    site: str
    study: str
    banner: str
    banner_remedy: str
    link: Badge
    training: str
    marks: tuple[tuple[Page, StepMark], ...]


def present_shell(snapshot: Snapshot | None, *, away: str = "", reviewed: int = 0) -> ShellState:
    """Return the frame; `away` says why no service is attached, empty when one is."""
    if snapshot is None:
        return ShellState(
            site="",
            study="",
            banner=sentence_case(away),
            banner_remedy="",
            link=Badge(text="Service: connecting" if not away else "Service: away"),
            training="Training state not known",
            marks=tuple((step.page, step.mark) for step in five_steps(None)),
        )
    study = snapshot.federation.study
    link, tone = LINK_WORDS[snapshot.federation.link]
    if away:
        banner, remedy = sentence_case(away), "What you see is the last known state."
    else:
        banner, remedy = sentence_case(snapshot.service.problem), snapshot.service.remedy
    return ShellState(
        site=site_title(study.site) if study is not None else "",
        study=study.name if study is not None else "",
        banner=banner,
        banner_remedy=remedy,
        link=Badge(text="Service: away", tone=Tone.WARNING)
        if away
        else Badge(text=f"Coordinator: {link.lower()}", tone=tone),
        training=training_brief(snapshot.training) if not away else "Training state not known",
        marks=tuple((step.page, step.mark) for step in five_steps(snapshot, reviewed=reviewed)),
    )
