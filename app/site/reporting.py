"""What a problem report of this site holds: its stripped logs, its state, never its data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.control.messages import ReportFile, ReportView, Snapshot
from app.site.home import SiteHome
from app.site.membership import load as load_membership
from app.site.state import Allowance, CheckedFolder, SiteStore, StandingAllowance
from app.system.clock import SystemClock
from app.system.hardware import MachineProbe, NvmlProbe
from app.system.problem_report import ReportText, texts_of
from app.system.stripping import private_words_here


def view_of(texts: tuple[ReportText, ...]) -> ReportView:
    """Return a report as a person reads it before it is saved."""
    return ReportView(files=tuple(ReportFile(name=text.name, text=text.text) for text in texts))


def report_of_resting_site(home: Path) -> tuple[ReportText, ...]:
    """Return the report of a site whose service does not run, perhaps because it cannot.

    Raises:
        SetupProblem: its database cannot be used.
    """
    probe = MachineProbe(home=home, clock=SystemClock(), card=NvmlProbe())
    store = SiteStore(SiteHome(root=home).database)
    try:
        private = tuple(private_words(home, store))
    finally:
        store.close()
    return texts_of(home, machine=probe.read(None), private=private)


def private_words(home: Path, store: SiteStore) -> Iterator[str]:
    """Yield every word that is known to name a case, a person or this site here."""
    yield from private_words_here()
    checked = store.get(CheckedFolder)
    if checked is not None and checked.dataset is not None:
        for case in checked.dataset.training:
            yield case.name
    if checked is not None and checked.proposal is not None:
        for proposed in checked.proposal.cases:
            yield proposed.name
    for permission in (store.get(Allowance), store.get(StandingAllowance)):
        if permission is not None:
            yield from permission.operator.split()
    joined = load_membership(home)
    if joined is not None:
        yield joined.site


def state_of(snapshot: Snapshot) -> dict[str, object]:
    """Return the fields of a snapshot that explain a problem: no case, no figure of a result."""
    training, federation, service = snapshot.training, snapshot.federation, snapshot.service
    return {
        "problem": service.problem,
        "link": federation.link.value,
        "link sentence": federation.link_sentence,
        "study state": federation.study_state,
        "sites": len(federation.sites),
        "sentence": training.sentence,
        "phase": training.phase,
        "round": training.round,
        "rounds": training.rounds,
        "epoch": training.epoch,
        "step": training.step,
        "device": training.device.partition(" ")[0],
        "paused": training.paused,
        "alarms": [alarm.code for alarm in training.alarms],
        "interruptions": [
            {"what": one.what, "lost steps": one.lost_steps} for one in training.interruptions
        ],
        "connection": [{"step": row.step, "state": row.state} for row in federation.doctor],
    }
