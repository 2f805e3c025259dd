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
    from app.control.messages import SetDevices, Snapshot


def home_of(parsed: argparse.Namespace) -> Path:
    """Return the site's home: --home, else this user's."""
    from app.system.paths import default_home

    return (parsed.home or default_home()).absolute()


def join(parsed: argparse.Namespace) -> int:
    """Enrol this site with an invitation file and remember its data folder."""
    from app.site.joining import join_study
    from app.system.clock import SystemClock

    # Before anything is joined: what it will cost this site's line and computer.
    _say(study_costs(home_of(parsed), parsed.invitation.absolute()))
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


def study_costs(home: Path, invitation: Path) -> str:
    """Return what an invitation's study moves over the line and when it would end here."""
    from app.site.home import SiteHome
    from app.site.joining import invitation_view, read_invitation
    from app.site.state import MeasuredPace, SiteStore
    from app.system.clock import SystemClock

    database = SiteHome(root=home).database
    pace = None
    if database.is_file():
        store = SiteStore(database)
        pace = store.get(MeasuredPace)
        store.close()
    view = invitation_view(
        read_invitation(invitation), clock=SystemClock(), already=False, pace=pace
    )
    return "" if view.traffic is None else view.traffic.sentence


def devices(parsed: argparse.Namespace) -> int:
    """Choose device, graphics cards and cases per step; a running service is told."""
    from app.control.messages import SetDevices
    from app.site.device_desk import choose_devices
    from app.system.settings import load_settings

    home = home_of(parsed)
    now = load_settings(home)
    command = SetDevices(
        device=now.device if parsed.device is None else parsed.device,
        gpus=now.gpus if parsed.gpus is None else (parsed.gpus or None),
        batch_size=now.batch_size if parsed.batch is None else (parsed.batch or None),
    )
    if not asyncio.run(_asked(home, command)):
        choose_devices(home, command)
    gpus = "all graphics cards" if command.gpus is None else f"{command.gpus} graphics card(s)"
    batch = "the plan's" if command.batch_size is None else str(command.batch_size)
    _say(f"device: {command.device}, {gpus}, patches in a step: {batch}")
    return DONE


def calibrate(parsed: argparse.Namespace) -> int:
    """Measure a few training steps, with the running service, and print what they say."""
    return asyncio.run(_calibrate(home_of(parsed), parsed.invitation, as_json=parsed.json))


async def _calibrate(home: Path, invitation: Path | None, *, as_json: bool) -> int:
    import msgspec

    from app.control.client import ControlClient
    from app.control.messages import Calibrate, Refused

    async with await ControlClient.connect(home) as client:
        path = None if invitation is None else str(invitation.absolute())
        answer = await client.request(Calibrate(path=path))
        if isinstance(answer, Refused):
            raise FednnunetError(answer.sentence, code=ErrorCode(answer.code))
        async for _ in client.events():
            job = client.snapshot.training.calibration_job
            if job is not None and not job.running:
                break
    training = client.snapshot.training
    if training.calibration_job is None or training.calibration_job.failed:
        outcome = "" if training.calibration_job is None else training.calibration_job.outcome
        raise FednnunetError(f"nothing could be measured: {outcome}", code=ErrorCode.JOB_FAILED)
    if as_json:
        _say(json.dumps(msgspec.to_builtins(training.calibration)))
    elif training.calibration is not None:
        _say(training.calibration.sentence)
    if invitation is not None and not as_json:
        _say(study_costs(home, invitation.absolute()))
    return DONE


async def _asked(home: Path, command: SetDevices) -> bool:
    """Tell a running service; False when none runs."""
    from app.control.client import ControlClient
    from app.control.messages import Refused

    try:
        client = await ControlClient.connect(home)
    except SetupProblem as exc:
        if exc.code is not ErrorCode.SERVICE_NOT_RUNNING:
            raise
        return False
    async with client:
        answer = await client.request(command)
    if isinstance(answer, Refused):
        raise FednnunetError(answer.sentence, code=ErrorCode(answer.code))
    return True


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
            raise SetupProblem("no study is joined; name a file", code=ErrorCode.SETTING)
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
