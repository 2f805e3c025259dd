"""Commands of the coordinator's centre."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli import DONE, FAILED
from app.domain.errors import ErrorCode, FednnunetError

if TYPE_CHECKING:
    from app.control.coordinator_messages import CoordinatorCommand, CoordinatorStatus


def create(parsed: argparse.Namespace) -> int:
    """Make a study: its certificates, its database, its folder."""
    from app.coordinator.workspace import create_study
    from app.system.clock import SystemClock

    name = create_study(
        parsed.study,
        parsed.home.absolute(),
        host=parsed.host,
        port=parsed.port,
        clock=SystemClock(),
    )
    _say(f"study “{name}” made in {parsed.home}; sites will dial {parsed.host}:{parsed.port}")
    return DONE


def example(_: argparse.Namespace) -> int:
    """Print a commented study file."""
    from app.federation.study_file import EXAMPLE

    _say(EXAMPLE)
    return DONE


def invite(parsed: argparse.Namespace) -> int:
    """Write an invitation for one site."""
    from app.coordinator.workspace import write_invitation
    from app.system.clock import SystemClock

    write_invitation(
        parsed.home.absolute(),
        site=parsed.site,
        out=parsed.out.absolute(),
        days=parsed.days,
        clock=SystemClock(),
    )
    _say(f"invitation for {parsed.site} written to {parsed.out}; it works once")
    return DONE


def serve(parsed: argparse.Namespace) -> int:
    """Run the coordinator service until it is stopped."""
    from app.coordinator.service import serve_study

    asyncio.run(serve_study(parsed.home.absolute(), host=parsed.host, port=parsed.port))
    return DONE


def status(parsed: argparse.Namespace) -> int:
    """Print what the study is doing, from the service or, when none runs, from its database."""
    from app.control.coordinator_client import study_status
    from app.coordinator.service import resting_status
    from app.domain.errors import SetupProblem

    home = parsed.home.absolute()
    try:
        found = asyncio.run(study_status(home))
    except SetupProblem as exc:
        if exc.code is not ErrorCode.SERVICE_NOT_RUNNING:
            raise
        found = resting_status(home)
    if parsed.json:
        import msgspec

        _say(json.dumps(msgspec.to_builtins(found), indent=2))
    else:
        _print_status(found)
    return FAILED if found.state == "failed" else DONE


def begin(parsed: argparse.Namespace) -> int:
    """Close the roster."""
    from app.control.coordinator_messages import BeginStudy

    return _ask(parsed.home, BeginStudy())


def pause(parsed: argparse.Namespace) -> int:
    """Pause the study."""
    from app.control.coordinator_messages import PauseStudy

    return _ask(parsed.home, PauseStudy())


def resume(parsed: argparse.Namespace) -> int:
    """Go on after a pause."""
    from app.control.coordinator_messages import ResumeStudy

    return _ask(parsed.home, ResumeStudy())


def approve(parsed: argparse.Namespace) -> int:
    """Admit a site."""
    from app.control.coordinator_messages import ApproveSite

    return _ask(parsed.home, ApproveSite(site=parsed.site))


def revoke(parsed: argparse.Namespace) -> int:
    """Exclude a site."""
    from app.control.coordinator_messages import RevokeSite

    return _ask(parsed.home, RevokeSite(site=parsed.site))


def export(parsed: argparse.Namespace) -> int:
    """Write the global model as a zip that plain nnU-Net installs."""
    from app.coordinator.exporting import export_model

    digest = asyncio.run(
        export_model(
            parsed.home.absolute(),
            parsed.out.absolute(),
            best=parsed.best,
            round_number=parsed.round,
            fold=parsed.fold,
        )
    )
    _say(f"{parsed.out} written (SHA-256 {digest})")
    return DONE


def verify_audit(parsed: argparse.Namespace) -> int:
    """Check the audit log; exit code 1 names the first bad entry."""
    from app.cli.audit_answer import tell_audit
    from app.coordinator.auditing import verify_study
    from app.coordinator.store import StudyStore
    from app.coordinator.workspace import CoordinatorHome

    home = parsed.home.absolute()
    store = StudyStore.open(CoordinatorHome(folder=home).database)
    try:
        study = store.identity
    finally:
        store.close()
    return tell_audit(*verify_study(home, study=study, witness=parsed.witness))


def _ask(home: Path, command: CoordinatorCommand) -> int:
    from app.control.coordinator_client import ask_coordinator
    from app.control.messages import Refused

    answer = asyncio.run(ask_coordinator(home.absolute(), command))
    if isinstance(answer, Refused):
        raise FednnunetError(answer.sentence, code=ErrorCode(answer.code))
    _say("done")
    return DONE


def _print_status(status: CoordinatorStatus) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"{status.study}: {status.sentence or status.state}", highlight=False)
    if not status.running:
        console.print("the coordinator service is not running", highlight=False)
    table = Table("site", "state", "link", "cases", "round", "epoch", "step", "words")
    for site in status.sites:
        table.add_row(
            site.name,
            site.state,
            "connected" if site.connected else f"silent for {site.silent_s} s",
            str(site.cases),
            _short_place(status, site.round),
            str(site.epoch),
            f"{site.step}/{site.steps}",
            site.words,
        )
    if status.sites:
        console.print(table)
    for site in status.sites:
        if site.problem_sentence:
            console.print(f"{site.name} waits: {site.problem_sentence}", highlight=False)
    for invitation in status.invitations:
        console.print(f"invited, not joined yet: {invitation.site}", highlight=False)
    for closed in status.closed_rounds:
        console.print(
            f"{_place(status, closed.number)}: {', '.join(closed.contributors)}; "
            f"training loss {closed.train_loss:.3f}",
            highlight=False,
        )


def _place(status: CoordinatorStatus, number: int) -> str:
    """Return which round of which pass and fold a round of the study is."""
    from app.domain.folds import place_in

    if status.folds == status.stages == 1:
        return f"round {number}"
    return str(place_in(status, number))


def _short_place(status: CoordinatorStatus, number: int) -> str:
    """Return the same for a narrow column."""
    from app.domain.folds import place_in

    if status.folds == status.stages == 1 or not number:
        return str(number)
    return place_in(status, number).short


def _say(line: str) -> None:
    print(line)  # noqa: T201
