"""Commands of a site without a window."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli import DONE, FAILED
from app.domain.errors import ErrorCode, FednnunetError, SetupProblem

if TYPE_CHECKING:
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

    asyncio.run(serve(home_of(parsed), threads=parsed.threads, device=parsed.device))
    return DONE


def status(parsed: argparse.Namespace) -> int:
    """Print what the site is doing; exit code 1 when it cannot go on."""
    return asyncio.run(_status(home_of(parsed), as_json=parsed.json, watch=parsed.watch))


async def _status(home: Path, *, as_json: bool, watch: bool) -> int:
    from app.control.client import ControlClient

    async with await ControlClient.connect(home) as client:
        _show(client.snapshot, as_json=as_json)
        if watch:
            last = _summary(client.snapshot)
            async for _ in client.events():
                now = _summary(client.snapshot)
                if now != last:
                    _show(client.snapshot, as_json=as_json)
                    last = now
        return FAILED if client.snapshot.service.problem else DONE


def _summary(snapshot: Snapshot) -> dict[str, object]:
    training, federation = snapshot.training, snapshot.federation
    study = federation.study
    return {
        "study": None if study is None else study.name,
        "site": None if study is None else study.site,
        "link": federation.link.value,
        "study_state": federation.study_state,
        "sentence": training.sentence or federation.sentence,
        "phase": training.phase,
        "round": training.round,
        "rounds": training.rounds,
        "epoch": training.epoch,
        "step": training.step,
        "steps_per_epoch": training.steps_per_epoch,
        "problem": snapshot.service.problem,
        "remedy": snapshot.service.remedy,
        "models": [model.path for model in snapshot.review.models],
    }


def _show(snapshot: Snapshot, *, as_json: bool) -> None:
    summary = _summary(snapshot)
    if as_json:
        _say(json.dumps(summary))
        return
    if summary["study"] is None:
        _say("this site has not joined a study")
        return
    _say(f"{summary['study']} ({summary['site']}): {summary['link']}")
    _say(f"  {summary['sentence'] or summary['study_state']}")
    if summary["problem"]:
        _say(f"  problem: {summary['problem']}\n  what you can do: {summary['remedy']}")


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
