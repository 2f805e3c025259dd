"""Commands of a site without a window."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli import DONE, FAILED
from app.domain.errors import ErrorCode, FednnunetError, SetupProblem

if TYPE_CHECKING:
    from app.control.client import ControlClient
    from app.control.messages import Snapshot


def home_of(parsed: argparse.Namespace) -> Path:
    """Return the site's home: --home, else this user's."""
    from app.system.paths import default_home

    return (parsed.home or default_home()).absolute()


def join(parsed: argparse.Namespace) -> int:
    """Enrol this site with an invitation file and remember its data folder."""
    from app.site.joining import join_study
    from app.system.clock import SystemClock

    study = asyncio.run(
        join_study(
            parsed.invitation.absolute(),
            home=home_of(parsed),
            data=parsed.data.absolute(),
            allow_fingerprint=parsed.allow_fingerprint,
            clock=SystemClock(),
        )
    )
    _say(f"joined “{study}”; start the service with: fednnunet site run --home {home_of(parsed)}")
    return DONE


def run_service(parsed: argparse.Namespace) -> int:
    """Run the site service until it is stopped."""
    from app.site.service import serve

    asyncio.run(
        serve(
            home_of(parsed),
            threads=parsed.threads,
            device=parsed.device,
            control_port=parsed.control_port,
        )
    )
    return DONE


def status(parsed: argparse.Namespace) -> int:
    """Print what the site is doing; exit code 1 when it cannot go on."""
    return asyncio.run(_status(home_of(parsed), as_json=parsed.json, watch=parsed.watch))


async def _status(home: Path, *, as_json: bool, watch: bool) -> int:
    from app.cli import status_page
    from app.control.client import ControlClient

    async with await ControlClient.connect(home) as client:
        if watch and not as_json and sys.stdout.isatty():
            await _live(client)
        else:
            last = _tell(client.snapshot, as_json=as_json)
            if watch:
                async for _ in client.events():
                    if status_page.lines(client.snapshot) != last:
                        last = _tell(client.snapshot, as_json=as_json)
        return FAILED if client.snapshot.service.problem else DONE


def _tell(snapshot: Snapshot, *, as_json: bool) -> list[str]:
    """Print the status; return its lines, by which a change is known that is worth a new print."""
    from app.cli import status_page

    lines = status_page.lines(snapshot)
    _say(json.dumps(status_page.summary(snapshot)) if as_json else "\n".join(lines))
    return lines


async def _live(client: ControlClient) -> None:
    """Draw the page over and over, at most four times a second, until the service goes."""
    from rich.live import Live

    from app.cli.status_page import page
    from app.system.clock import SystemClock

    clock = SystemClock()
    with Live(page(client.snapshot, now=clock.now()), refresh_per_second=4) as live:
        async for _ in client.events():
            live.update(page(client.snapshot, now=clock.now()))


def verify_audit(parsed: argparse.Namespace) -> int:
    """Check the audit log; exit code 1 names the first bad entry."""
    from app.cli.audit_answer import tell_audit
    from app.site.audit import verify_site

    return tell_audit(*verify_site(home_of(parsed), witness=parsed.witness))


def doctor(parsed: argparse.Namespace) -> int:
    """Test the way to the coordinator and print a ticket for IT; exit code 1 when a line failed."""
    import msgspec

    from app.site import membership
    from app.site.doctor import DoctorTarget, examine, failed, ticket_text
    from app.site.doctor_desk import row_of
    from app.site.joining import proxy_for, read_invitation
    from app.system.clock import SystemClock
    from app.system.settings import load_settings

    home, clock = home_of(parsed), SystemClock()
    if parsed.invitation is not None:
        target = DoctorTarget.of_invitation(read_invitation(parsed.invitation))
    else:
        joined = membership.load(home)
        if joined is None:
            raise SetupProblem("no study is joined; name a file", code=ErrorCode.STUDY_STATE)
        target = DoctorTarget.of_membership(joined)
    proxy = proxy_for(target.urls, setting=parsed.proxy or load_settings(home).proxy)
    lines = asyncio.run(examine(target, proxy=proxy, clock=clock))
    if parsed.json:
        rows = [msgspec.to_builtins(row_of(line)) for line in lines]
        _say(json.dumps({"failed": failed(lines), "lines": rows}, indent=2))
    else:
        _say(ticket_text(lines, target, proxy=proxy, now=clock.now()))
    return FAILED if failed(lines) else DONE


def proxy(parsed: argparse.Namespace) -> int:
    """Choose the proxy; a running service connects again by it."""
    return asyncio.run(_set_proxy(home_of(parsed), parsed.proxy))


async def _set_proxy(home: Path, chosen: str) -> int:
    from app.control.client import ControlClient
    from app.control.messages import Refused, SetProxy
    from app.site.joining import choose_proxy, shown_proxy

    try:
        client = await ControlClient.connect(home)
    except SetupProblem as exc:
        if exc.code is not ErrorCode.SERVICE_NOT_RUNNING:
            raise
        choose_proxy(home, chosen)
    else:
        async with client:
            answer = await client.request(SetProxy(proxy=chosen))
        if isinstance(answer, Refused):
            raise FednnunetError(answer.sentence, code=ErrorCode(answer.code))
    _say(f"proxy: {shown_proxy(chosen)}")
    return DONE


def stop(parsed: argparse.Namespace) -> int:
    """Stop the site service; it goes on where it was when it is started again."""
    return asyncio.run(_stop(home_of(parsed)))


async def _stop(home: Path) -> int:
    from app.control.client import ControlClient
    from app.control.messages import Refused, StopService

    try:
        client = await ControlClient.connect(home)
    except SetupProblem as exc:
        if exc.code is ErrorCode.SERVICE_NOT_RUNNING:
            _say("no site service runs")
            return DONE
        raise
    async with client:
        answer = await client.request(StopService())
    if isinstance(answer, Refused):
        raise FednnunetError(answer.sentence, code=ErrorCode(answer.code))
    _say("stopped")
    return DONE


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
