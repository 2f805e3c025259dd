"""The grammar of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path


class _Version(argparse.Action):
    """Prints build and versions; they are looked up only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help="build, versions, licences")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from app.cli.version import version_text

        print(version_text())  # noqa: T201
        parser.exit()


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse a command line; `command` in the result takes the result and returns an exit code.

    Raises:
        SystemExit: help was asked for (code 0) or the words do not fit (code 2).
    """
    parser = argparse.ArgumentParser(
        prog="fednnunet",
        description="Train one nnU-Net across hospitals while every image stays at home. "
        "Without a command, the window opens. For research use only.",
    )
    parser.add_argument("--version", action=_Version)
    parser.add_argument("--home", type=Path, help="folder of this site (default: per user)")
    parser.add_argument("--theme", choices=("system", "light", "dark"), default="system")
    parser.add_argument(
        "--attach", metavar="127.0.0.1:PORT",
        help="show the site of another computer whose control port is forwarded here by ssh -L",
    )  # fmt: skip
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="a copy of that site's control.json"
    )
    parser.add_argument("invitation", nargs="?", type=Path, help=argparse.SUPPRESS)
    parser.set_defaults(command=_later("window_commands", "open_window"))
    if arguments and arguments[0] in _GROUPS:
        parser = argparse.ArgumentParser(prog=f"fednnunet {arguments[0]}")
        _GROUPS[arguments[0]](parser)
        return parser.parse_args(arguments[1:])
    parser.epilog = "commands: " + ", ".join(_GROUPS) + " (each with --help)"
    return parser.parse_args(arguments)


def _later(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """Return a command that imports its module when it runs."""

    def run(parsed: argparse.Namespace) -> int:
        import importlib

        command: Callable[[argparse.Namespace], int] = getattr(
            importlib.import_module(f"app.cli.{module}"), function
        )
        return command(parsed)

    return run


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.description = "Run the sample study: three sites, one coordinator, real MR images."
    parser.add_argument("--headless", action="store_true", help="no window; progress and a table")
    parser.add_argument("--remove", action="store_true", help="end it and delete all that it wrote")
    parser.add_argument("--home", type=Path, help="keep everything under this folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument(
        "--baselines", action="store_true", help="also train each site alone for equal length"
    )
    parser.add_argument("--rounds", type=int, help="rounds instead of the study file's")
    parser.add_argument("--iterations", type=int, help="iterations per epoch instead of the file's")
    parser.add_argument(
        "--transfer", choices=("fp32", "fp16", "int8"), help="how weights travel (default: fp32)"
    )
    parser.add_argument("--theme", choices=("system", "light", "dark"), default="system")
    parser.set_defaults(command=_later("demo", "run_demo"))


def _experiment(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Compare local, AsymFedAvg, FFE and centralised training on held-out cases, as the paper "
        "does. Without folders, the sample study's sites are taken."
    )
    methods = ("local", "asymfedavg", "ffe", "centralised")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="one for each site")
    parser.add_argument("--home", type=Path, required=True, help="keep everything below it")
    parser.add_argument("--study", type=Path, metavar="STUDY.toml", help="default: the sample's")
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--full", action="store_true", help="nnU-Net's own length, for a GPU")
    for name in ("rounds", "epochs-per-round", "iterations-per-epoch", "validation-iterations"):
        parser.add_argument(f"--{name}", type=int, help="instead of the study file's")
    parser.add_argument("--parallel", type=int, default=1, help="sessions that train at once")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.set_defaults(command=_later("experiment", "run_experiment"))


def _check(parser: argparse.ArgumentParser) -> None:
    parser.description = "Check a folder of images and labels; exit code 1 when something blocks."
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true", help="findings as JSON on stdout")
    parser.set_defaults(command=_later("data_commands", "check"))


def _fingerprint(parser: argparse.ArgumentParser) -> None:
    parser.description = "Print the exact bytes that a site would share about a folder."
    parser.add_argument("folder", type=Path)
    parser.add_argument("--policy", choices=("minimal", "paper"), default="minimal")
    parser.set_defaults(command=_later("data_commands", "fingerprint"))


def _segment(parser: argparse.ArgumentParser) -> None:
    parser.description = "Segment a folder of images or DICOM series with a model zip."
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-mirroring", action="store_true", help="faster, slightly less exact")
    parser.add_argument("--step-size", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(command=_later("data_commands", "segment"))


def _score(parser: argparse.ArgumentParser) -> None:
    parser.description = "Score predicted label maps against references."
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--prediction", type=Path, required=True)
    parser.add_argument("--labels", type=Path, help="a dataset.json (default: found beside them)")
    parser.add_argument("--tolerance-mm", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(command=_later("data_commands", "score"))


def _self_test(parser: argparse.ArgumentParser) -> None:
    parser.description = "Try out every part of this installation; exit code 1 when one fails."
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings to FILE")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--only", action="append", metavar="STEP", help="only this step; repeatable"
    )
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.set_defaults(command=_later("self_test", "self_test"))


def _gpu_package(parser: argparse.ArgumentParser) -> None:
    parser.description = "PyTorch for NVIDIA cards, installed from a file; never required."
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    install = commands.add_parser("install", help="check, unpack, try and use a package file")
    install.add_argument("file", type=Path, metavar="FILE.fedgpu")
    install.add_argument("--sha256", metavar="SUM", help="refuse a file with another sum")
    install.set_defaults(command=_later("gpu_commands", "install"))

    status = commands.add_parser("status", help="driver, cards, and the package in use")
    status.add_argument("--verify", action="store_true", help="also check every file")
    status.set_defaults(command=_later("gpu_commands", "status"))

    remove = commands.add_parser("remove", help="go back to computing on the processor")
    remove.set_defaults(command=_later("gpu_commands", "remove"))


def _site(parser: argparse.ArgumentParser) -> None:
    parser.description = "A site without a window."
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    join = commands.add_parser("join", help="join the study of an invitation file")
    join.add_argument("invitation", type=Path, metavar="FILE.fedjoin")
    join.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    join.add_argument("--home", type=Path)
    join.add_argument(
        "--allow-fingerprint",
        metavar="NAME",
        help="the operator NAME permits sharing the fingerprint that this folder gives",
    )
    join.set_defaults(command=_later("site_commands", "join"))

    run = commands.add_parser("run", help="run the site service until it is stopped")
    run.add_argument("--home", type=Path)
    run.add_argument("--threads", type=int, default=0, help="CPU threads per worker (0: all)")
    run.add_argument("--device", default="auto")
    run.add_argument(
        "--control-port", type=int, default=0, metavar="PORT",
        help="where windows attach, on 127.0.0.1 only (default: a free port)",
    )  # fmt: skip
    run.set_defaults(command=_later("site_commands", "run_service"))

    status = commands.add_parser("status", help="what the site is doing")
    status.add_argument("--home", type=Path)
    status.add_argument("--json", action="store_true")
    status.add_argument("--watch", action="store_true", help="go on until interrupted")
    status.set_defaults(command=_later("site_commands", "status"))

    stop = commands.add_parser("stop", help="stop the site service; nothing is lost")
    stop.add_argument("--home", type=Path)
    stop.set_defaults(command=_later("site_commands", "stop"))

    _site_control(commands)
    devices = commands.add_parser("devices", help="choose what this site trains with")
    devices.add_argument("--home", type=Path)
    devices.add_argument("--device", metavar="auto|cpu|cuda|cuda:N|mps")
    devices.add_argument("--gpus", type=int, metavar="N", help="cards for one round (0: all)")
    devices.add_argument("--batch", type=int, metavar="N", help="patches in a step (0: the plan's)")
    devices.set_defaults(command=_later("site_commands", "devices"))

    calibrate = commands.add_parser("calibrate", help="measure how long rounds take here")
    calibrate.add_argument(
        "invitation", type=Path, nargs="?", metavar="FILE.fedjoin",
        help="before joining (default: the joined study)",
    )  # fmt: skip
    calibrate.add_argument("--home", type=Path)
    calibrate.add_argument("--json", action="store_true")
    calibrate.set_defaults(command=_later("site_commands", "calibrate"))

    doctor = commands.add_parser("doctor", help="test the way to the coordinator, layer by layer")
    doctor.add_argument(
        "invitation", type=Path, nargs="?", metavar="FILE.fedjoin",
        help="nothing is joined by it (default: the joined study)",
    )  # fmt: skip
    doctor.add_argument("--home", type=Path)
    doctor.add_argument("--proxy", metavar="URL", help="instead of the one that is set")
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(command=_later("site_commands", "doctor"))

    proxy = commands.add_parser("proxy", help="choose the proxy to the coordinator")
    proxy.add_argument("proxy", metavar="system|none|URL", help="URL as http://host:port")
    proxy.add_argument("--home", type=Path)
    proxy.set_defaults(command=_later("site_commands", "proxy"))

    audit = _audit(commands)
    audit.add_argument("--home", type=Path)
    audit.add_argument(
        "--witness", type=Path, metavar="FILE", help="audit.jsonl of the study's coordinator"
    )
    audit.set_defaults(command=_later("site_commands", "verify_audit"))


def _site_control(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that change how a site trains and lives."""

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text)
        command.add_argument("--home", type=Path)
        command.set_defaults(command=_later("site_control", name))
        return command

    pause = add("pause", "pause training; says what that costs")
    pause.add_argument(
        "--at-checkpoint", action="store_true", help="let the epoch end first: nothing is lost"
    )
    add("resume", "go on after a pause")
    leave = add("leave", "leave the study for good")
    leave.add_argument("--yes", action="store_true", help="without asking")
    schedule = add("schedule", "when this site trains; without options, show it")
    schedule.add_argument("--hours", metavar="20:00-07:00", help="only between these times")
    schedule.add_argument("--weekends", action="store_true", help="and all Saturday and Sunday")
    schedule.add_argument(
        "--yield-card", action="store_true", help="wait while another program uses the card"
    )
    schedule.add_argument("--always", action="store_true", help="at any time")
    autostart = add("autostart", "start the service when you log in")
    autostart.add_argument("switch", choices=("on", "off", "show"))
    report = add("report", "show and save a problem report that names nobody")
    report.add_argument("--out", type=Path, required=True, metavar="FILE.zip")
    report.add_argument("--yes", action="store_true", help="save it without asking")


def _audit(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    """Add `audit verify`, and return it for its own arguments."""
    audit = commands.add_parser("audit", help="the log of what happened, which cannot be changed")
    return audit.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "verify", help="check it; exit code 1 names the first bad entry"
    )


def _coordinator(parser: argparse.ArgumentParser) -> None:
    parser.description = "The coordinator service, which the sites of a study join."
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    create = commands.add_parser("create", help="make a study from a study file")
    create.add_argument("study", type=Path, metavar="STUDY.toml")
    create.add_argument("--home", type=Path, required=True)
    create.add_argument("--host", default="localhost", help="name that sites dial")
    create.add_argument("--port", type=int, default=8443, help="port that sites dial")
    create.set_defaults(command=_later("coordinator_commands", "create"))

    example = commands.add_parser("example", help="print a commented study file")
    example.set_defaults(command=_later("coordinator_commands", "example"))

    invite = commands.add_parser("invite", help="write an invitation for one site")
    invite.add_argument("--home", type=Path, required=True)
    invite.add_argument("--site", required=True, metavar="NAME")
    invite.add_argument("--out", type=Path, required=True, metavar="FILE.fedjoin")
    invite.add_argument("--days", type=int, default=7, help="days until it expires (at most 14)")
    invite.set_defaults(command=_later("coordinator_commands", "invite"))

    serve = commands.add_parser("serve", help="run the coordinator service until it is stopped")
    serve.add_argument("--home", type=Path, required=True)
    serve.add_argument("--host", help="address to listen on (default: the study's)")
    serve.add_argument("--port", type=int, help="port to listen on (default: the study's)")
    serve.set_defaults(command=_later("coordinator_commands", "serve"))

    status = commands.add_parser("status", help="the study, its sites and rounds")
    status.add_argument("--home", type=Path, required=True)
    status.add_argument("--json", action="store_true")
    status.set_defaults(command=_later("coordinator_commands", "status"))

    for name, text in (
        ("begin", "close the roster and go on with the sites that have joined"),
        ("pause", "let every site stop at its next checkpoint"),
        ("resume", "go on after a pause"),
    ):
        simple = commands.add_parser(name, help=text)
        simple.add_argument("--home", type=Path, required=True)
        simple.set_defaults(command=_later("coordinator_commands", name))
    for name, text in (
        ("approve", "admit a site whose six words were compared"),
        ("revoke", "exclude a site at once"),
    ):
        named = commands.add_parser(name, help=text)
        named.add_argument("site", metavar="NAME")
        named.add_argument("--home", type=Path, required=True)
        named.set_defaults(command=_later("coordinator_commands", name))

    export = commands.add_parser("export", help="write the global model as an nnU-Net model zip")
    export.add_argument("--home", type=Path, required=True)
    export.add_argument("--out", type=Path, required=True, metavar="model.zip")
    which = export.add_mutually_exclusive_group()
    which.add_argument(
        "--round", type=int, help="the average of this round of its fold (default: the last)"
    )
    which.add_argument(
        "--best", action="store_true", help="the average that did best on held-out cases"
    )
    export.add_argument(
        "--fold", help="this fold only (default: all that the study has, as one model)"
    )
    export.set_defaults(command=_later("coordinator_commands", "export"))

    audit = _audit(commands)
    audit.add_argument("--home", type=Path, required=True)
    audit.add_argument("--witness", type=Path, metavar="FILE", help="audit.jsonl of a site")
    audit.set_defaults(command=_later("coordinator_commands", "verify_audit"))


_GROUPS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "demo": _demo,
    "experiment": _experiment,
    "check": _check,
    "fingerprint": _fingerprint,
    "segment": _segment,
    "score": _score,
    "self-test": _self_test,
    "gpu-package": _gpu_package,
    "site": _site,
    "coordinator": _coordinator,
}
