"""Commands that a running site service takes, and what is done where none runs."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli import DONE, FAILED
from app.cli.site_commands import home_of
from app.domain.errors import ErrorCode, FednnunetError, SetupProblem

if TYPE_CHECKING:
    from app.control.messages import AnyCommand, AnyReply, Snapshot
    from app.system.problem_report import ReportText


def pause(parsed: argparse.Namespace) -> int:
    """Pause training, at once or at its next checkpoint; say what it costs."""
    from app.control.messages import PauseTraining

    before, _ = asyncio.run(
        _ask(home_of(parsed), PauseTraining(at_checkpoint=parsed.at_checkpoint))
    )
    costs = before.training.costs
    _say(costs.pause_at_checkpoint or costs.pause if parsed.at_checkpoint else costs.pause)
    return DONE


def resume(parsed: argparse.Namespace) -> int:
    """Go on after a pause."""
    from app.control.messages import ResumeTraining

    before, _ = asyncio.run(_ask(home_of(parsed), ResumeTraining()))
    _say(before.training.costs.resume or "Training is not paused.")
    return DONE


def leave(parsed: argparse.Namespace) -> int:
    """Leave the study for good, after saying what that costs."""
    from app.control.messages import LeaveStudy

    home = home_of(parsed)
    cost = asyncio.run(_costs_of_leaving(home))
    if not parsed.yes and not _agreed(cost, "Leave the study?"):
        return FAILED
    asyncio.run(_ask(home, LeaveStudy()))
    _say("this site has left the study")
    return DONE


async def _costs_of_leaving(home: Path) -> str:
    from app.control.client import ControlClient

    async with await ControlClient.connect(home) as client:
        return client.snapshot.training.costs.leave


def schedule(parsed: argparse.Namespace) -> int:
    """Show or choose when this site trains."""
    from app.control.messages import SetSchedule

    home = home_of(parsed)
    if not (parsed.always or parsed.hours or parsed.weekends or parsed.yield_card):
        return _show_schedule(home)
    first, last = (None, None) if parsed.hours is None else _hours(parsed.hours)
    command = SetSchedule(
        from_minute=first,
        to_minute=last,
        weekends=parsed.weekends,
        yield_card=parsed.yield_card,
    )
    try:
        asyncio.run(_ask(home, command))
    except SetupProblem as exc:
        if exc.code is not ErrorCode.SERVICE_NOT_RUNNING:
            raise
        from app.site.schedule import keep

        keep(home, command)
    return _show_schedule(home)


def _show_schedule(home: Path) -> int:
    from app.site.schedule import kept_sentence

    _say(kept_sentence(home))
    return DONE


def _hours(text: str) -> tuple[int, int]:
    """Read “20:00-07:00” as minutes after midnight.

    Raises:
        SetupProblem: it is no such text.
    """
    try:
        first, last = (_minute(part) for part in text.split("-"))
    except ValueError as exc:
        raise SetupProblem(
            f"“{text[:40]}” are no hours; write them as 20:00-07:00", code=ErrorCode.SETTING
        ) from exc
    return first, last


def _minute(text: str) -> int:
    hour, minute = (int(part) for part in text.strip().split(":"))
    if not (0 <= hour < 24 and 0 <= minute < 60):
        raise ValueError(text)
    return hour * 60 + minute


def autostart(parsed: argparse.Namespace) -> int:
    """Start the service at login, or no longer."""
    from app.jobs.detached import fednnunet_command
    from app.system.autostart import autostart_of

    home = home_of(parsed)
    way = autostart_of(home)
    if parsed.switch == "on":
        way.enable((*fednnunet_command(), "site", "run", "--home", str(home)))
    elif parsed.switch == "off":
        way.disable()
    _say(
        "this site's service starts when you log in"
        if way.enabled
        else "this site's service does not start by itself when you log in"
    )
    return DONE


def report(parsed: argparse.Namespace) -> int:
    """Show what a problem report would hold and, when agreed to, save it."""
    from app.system.problem_report import write_report

    texts = _report(home_of(parsed))
    for text in texts:
        _say(f"===== {text.name} =====\n{text.text}")
    question = f"Nothing was sent anywhere. Save these {len(texts)} files as {parsed.out}?"
    if not parsed.yes and not _agreed("", question):
        return FAILED
    write_report(parsed.out.absolute(), texts)
    _say(f"saved: {parsed.out}")
    return DONE


def _report(home: Path) -> tuple[ReportText, ...]:
    from app.control.messages import PrepareReport, ReportView
    from app.site.reporting import report_of_resting_site
    from app.system.problem_report import ReportText

    try:
        _, reply = asyncio.run(_ask(home, PrepareReport()))
    except FednnunetError:
        # It does not run, or not well: that may be the problem.
        return report_of_resting_site(home)
    files = reply.files if isinstance(reply, ReportView) else ()
    return tuple(ReportText(name=file.name, text=file.text) for file in files)


async def _ask(home: Path, command: AnyCommand) -> tuple[Snapshot, AnyReply]:
    """Send `command` to the service of `home`; return the snapshot before it and the answer.

    Raises:
        FednnunetError: no service runs there, or it refuses.
    """
    from app.control.client import ControlClient
    from app.control.messages import Refused

    async with await ControlClient.connect(home) as client:
        before = client.snapshot
        reply = await client.request(command)
    if isinstance(reply, Refused):
        raise FednnunetError(reply.sentence, code=ErrorCode(reply.code))
    return before, reply


def _agreed(text: str, question: str) -> bool:
    """Ask a person; without a terminal nobody can agree."""
    if text:
        _say(text)
    if not sys.stdin.isatty():
        _say(f"{question} Nobody can answer here; say --yes to agree.")
        return False
    return input(f"{question} [y/N] ").strip().casefold() in ("y", "yes")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
