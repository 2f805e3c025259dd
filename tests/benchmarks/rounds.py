"""Measure what a round costs besides training: time at each site, and bytes; against Flower.

    python tests/benchmarks/rounds.py [--rounds 4] [--sites 3] [--share 1.0] [--json]
        [--transfers fp32 fp16 int8] [--flower PYTHON]

Ours: a coordinator service and `--sites` site services, each a process of its own, on 127.0.0.1 with
TLS, discs and databases as in a hospital. Only training is played: the network is nnU-Net's largest
plain 3d one (31 M weights; `--share` makes it narrower), its weights change a little for
`--train` seconds, and everything that the worker does with weights is done by the worker's own
functions. Between the last step of a round and the first of the next lie: writing, sending, averaging,
fetching, loading. `gap_s` is the median of that over sites and rounds.

Flower: `flwr.server.start_server` with FedAvg and NumPy clients that send `state_dict()` as Flower's
own examples do, without TLS, discs or torch; the gap is from the end of `fit`'s training to the moment
when the next `fit` has its arrays. `flower_unique` sends every tensor once. PYTHON is an interpreter
with flwr, in an environment of its own (optional extra `benchmark`); without one, only ours is measured.

All runs are in one go, one after the other, for the machine is shared: compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

OPERATOR = "Benchmark"
WAIT_S = 900.0

FLOWER = """
import json, sys, time
import numpy as np
import flwr
from flwr.common import ndarrays_to_parameters
role, address, rounds, train_s, shapes = sys.argv[1:6]
shapes = [tuple(shape) for shape in json.load(open(shapes))]
rounds, train_s, sites = int(rounds), float(train_s), int(sys.argv[6])
random = np.random.default_rng(0)
arrays = [random.standard_normal(shape, dtype=np.float32) for shape in shapes]
def tell(**what):
    print(json.dumps({"at": time.monotonic(), **what}), flush=True)
if role == "server":
    strategy = flwr.server.strategy.FedAvg(
        fraction_evaluate=0.0, min_fit_clients=sites, min_available_clients=sites,
        initial_parameters=ndarrays_to_parameters(arrays),
    )
    flwr.server.start_server(
        server_address=address, config=flwr.server.ServerConfig(num_rounds=rounds),
        strategy=strategy,
    )
else:
    class Client(flwr.client.NumPyClient):
        number = 0
        def fit(self, parameters, config):
            for mine, theirs in zip(arrays, parameters):
                mine[...] = theirs
            self.number += 1
            tell(event="first step", round=self.number, down=sum(a.nbytes for a in parameters))
            end = time.monotonic() + train_s
            while time.monotonic() < end:
                arrays[-1] += 1e-6
                time.sleep(0.01)
            tell(event="last step", round=self.number, up=sum(a.nbytes for a in arrays))
            return arrays, 10, {}
    flwr.client.start_client(server_address=address, client=Client().to_client())
"""


def terms_of(*, rounds: int, sites: int, transfer: str) -> Any:
    from helpers.site_home import study_terms

    from app.domain.study import Admission, Transfer

    return study_terms(
        rounds=rounds, epochs_per_round=1, minimum_sites=sites, minimum_cases=5,
        admission=Admission.INVITATION, transfer=Transfer(transfer), iterations_per_epoch=1,
        validation_iterations=1, progress_deadline_minutes=240,
    )  # fmt: skip


def network_of(share: float) -> Any:
    """Build the network of `--share` of the largest plain one's width, with random weights."""
    import torch

    from app.domain.ids import Digest
    from app.nnunet.calibration import reference_plans
    from app.nnunet.convert import PlanDocument
    from app.nnunet.initial import build_network
    from app.nnunet.planning import describe_dataset

    terms = terms_of(rounds=1, sites=1, transfer="fp32")
    plans = reference_plans(terms)
    (configuration,) = plans["configurations"]
    arguments = plans["configurations"][configuration]["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [
        max(1, round(features * share)) for features in arguments["features_per_stage"]
    ]
    torch.manual_seed(0)
    return build_network(
        PlanDocument(
            plans=plans,
            dataset=describe_dataset(terms, 1),
            fingerprint={},
            versions={},
            digest=Digest("0" * 64),
        ),
        configuration,
    )


# --- our processes ---------------------------------------------------------------------------------


async def be_coordinator(folder: Path, port: int, share: float) -> None:
    from helpers.coordinator_service import serving
    from helpers.plans import document_of, stock_plan
    from helpers.played_jobs import PlayedRunner

    from app.domain.plans import PlanSummary
    from app.jobs.events import ModelDrawn, Planned
    from app.jobs.spec import InitialModelJob, PlanJob
    from app.nnunet.weights import write_tensors

    # Before anyone connects: a job that is played holds up the service's loop.
    first = folder / "first.safetensors"
    blob = write_tensors(network_of(share), first)

    def play(job: Any) -> Any:
        if isinstance(job, PlanJob):
            Path(job.output).write_bytes(document_of(stock_plan("ExperimentPlanner", "")))
            summary = PlanSummary(
                configuration="3d_fullres", spacing_mm=(1.0, 1.0, 1.0), patch=(8, 8, 8),
                batch_size=2, stages=2, features=(32,), normalisation=("ZScoreNormalization",),
                network="PlainConvUNet",
            )  # fmt: skip
            return Planned(output=job.output, digest="0" * 64, summary=summary)
        assert isinstance(job, InitialModelJob)
        shutil.copyfile(first, job.output)
        return ModelDrawn(output=job.output, sha256=blob.sha256, size=blob.size, tensors=())

    async with serving(folder, port, PlayedRunner(play)):
        print("serving", flush=True)
        await asyncio.Event().wait()


def tell(**what: object) -> None:
    print(json.dumps({"at": time.monotonic(), **what}), flush=True)


async def be_site(home: Path, invitation: Path, data: Path, share: float, train_s: float) -> None:
    import torch
    from helpers.scripted_runner import ScriptedRunner, epoch_record
    from helpers.site_home import StillProbe

    from app.domain.rounds import TensorSpec
    from app.domain.study import Transfer
    from app.jobs.events import (
        EpochEnded,
        RoundTrained,
        SessionEnded,
        SessionReady,
        UpdateWritten,
    )
    from app.jobs.spec import Finish
    from app.nnunet.weights import (
        keep_tensors,
        read_into,
        unique_tensors,
        write_changes,
        write_tensors,
    )
    from app.site.joining import join_study
    from app.site.service import NetworkConnections, SiteService, open_site
    from app.system.clock import SystemClock

    network = network_of(share)
    noise = torch.Generator().manual_seed(os.getpid())

    class WeightRunner(ScriptedRunner):
        """Every job is scripted; training does with real weights all that the worker does."""

        async def _train(self, running: Any, job: Any) -> None:
            running.tell(
                SessionReady(
                    training_cases=4, validation_cases=2, device="cpu", epoch=0,
                    tensors=(TensorSpec(name="w", shape=(1,)),),
                )
            )  # fmt: skip
            while True:
                command = await running.commands.get()
                if isinstance(command, Finish):
                    running.result = SessionEnded(epoch=0)
                    running.tell(running.result)
                    return
                await asyncio.to_thread(read_into, network, Path(command.base))
                tell(event="first step", round=command.round, down=link_bytes("received"))
                with torch.no_grad():
                    for tensor in unique_tensors(network).values():
                        tensor.add_(torch.randn(tensor.shape, generator=noise), alpha=1e-3)
                await asyncio.sleep(train_s)
                tell(event="last step", round=command.round, up=link_bytes("sent"))
                update = await asyncio.to_thread(self.write, command)
                facts = {
                    "round": command.round, "attempt": command.attempt, "update": command.update,
                    "sha256": update.sha256, "size": update.size,
                }  # fmt: skip
                running.tell(UpdateWritten(**facts))
                if command.own is not None:
                    await asyncio.to_thread(keep_tensors, network, Path(command.own))
                record = epoch_record(command.round, command.start_epoch + 1)
                running.tell(EpochEnded(record=record))
                running.tell(RoundTrained(**facts, cases=4, epochs=(record,)))

        def write(self, command: Any) -> Any:
            if command.transfer is Transfer.FP32:
                return write_tensors(network, Path(command.update))
            before = command.remainder_before
            return write_changes(
                network, Path(command.update), base=Path(command.base),
                transfer=command.transfer, remainder=Path(command.remainder),
                remainder_before=None if before is None else Path(before),
            )  # fmt: skip

    clock = SystemClock()
    await join_study(invitation, home=home, data=data, allow_fingerprint=OPERATOR, clock=clock)
    site = open_site(home, clock=clock, runner=WeightRunner(), threads=1)
    service = SiteService(
        site, connections=NetworkConnections(home, clock), probe=StillProbe(), sample_every_s=60.0
    )

    def link_bytes(which: str) -> int:
        link = service.study.link
        return 0 if link is None else int(getattr(link, f"{which}_bytes"))

    await service.run()


# --- the parent ------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    try:
        yield started
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def collect(sites: list[subprocess.Popen[str]], rounds: int) -> dict[str, float]:
    """Read every site's events until all have taken the last round's first step."""
    gaps: list[float] = []
    ups: list[int] = []
    downs: list[int] = []
    for site in sites:
        assert site.stdout is not None
        last: float | None = None
        for line in site.stdout:
            if not line.startswith("{"):
                continue
            event = json.loads(line)
            if event["event"] == "first step":
                if last is not None:
                    gaps.append(event["at"] - last)
                downs.append(event["down"])
                if event["round"] == rounds:
                    break
            else:
                last = event["at"]
                ups.append(event["up"])
        else:
            raise RuntimeError(f"a site ended after {len(gaps)} gaps")
    return {"gap_s": statistics.median(gaps), "gaps": len(gaps), "ups": ups, "downs": downs}


def ours(folder: Path, *, rounds: int, sites: int, share: float, train_s: float, transfer: str):
    from helpers.site_home import make_folder

    from app.coordinator.workspace import create_study, write_invitation
    from app.domain.study import Transfer
    from app.system.clock import SystemClock

    folder.mkdir()
    port, clock = free_port(), SystemClock()
    terms = terms_of(rounds=rounds, sites=sites, transfer=transfer)
    study = folder / "study.toml"
    study.write_text(study_file(terms), encoding="utf-8")
    create_study(study, folder / "coordinator", host="127.0.0.1", port=port, clock=clock)
    assert Transfer(transfer) is terms.transfer
    me = [sys.executable, __file__, "--share", str(share), "--train", str(train_s)]
    with processes() as started:
        for number in range(sites):
            write_invitation(
                folder / "coordinator", site=f"site-{number}", out=folder / f"{number}.fedjoin",
                days=1, clock=clock,
            )  # fmt: skip
            make_folder(folder / f"data-{number}")
        coordinator = subprocess.Popen(
            [*me, "--coordinator", str(folder / "coordinator"), str(port)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(coordinator)
        assert coordinator.stdout is not None
        assert coordinator.stdout.readline() == "serving\n"
        workers = []
        for number in range(sites):
            home = folder / f"home-{number}"
            home.mkdir()
            words = [str(home), str(folder / f"{number}.fedjoin"), str(folder / f"data-{number}")]
            environment = {**os.environ, "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
            process = subprocess.Popen(
                [*me, "--site", *words], stdout=subprocess.PIPE, text=True, env=environment
            )
            started.append(process)
            workers.append(process)
        found = collect(workers, rounds)
    # The counters run on: a round's bytes are differences; the first model is fetched whole.
    ups, downs = found.pop("ups"), found.pop("downs")
    per_site_up = [ups[n : n + rounds - 1] for n in range(0, len(ups), rounds - 1)]
    per_site_down = [downs[n : n + rounds] for n in range(0, len(downs), rounds)]
    found["up_bytes"] = statistics.median(
        after - before for counts in per_site_up for before, after in itertools.pairwise(counts)
    )
    found["down_bytes"] = statistics.median(
        after - before for counts in per_site_down for before, after in itertools.pairwise(counts)
    )
    found["first_down_bytes"] = statistics.median(counts[0] for counts in per_site_down)
    return found


def study_file(terms: Any) -> str:
    labels = "\n".join(f'"{name}" = {value}' for name, value in terms.labels.items())
    channels = ", ".join(f'"{name}"' for name in terms.channel_names)
    return (
        f'name = "{terms.name}"\npurpose = "p"\ncontact = "c"\nchannel_names = [{channels}]\n'
        f"rounds = {terms.rounds}\nminimum_sites = {terms.minimum_sites}\nminimum_cases = 5\n"
        f"iterations_per_epoch = 1\nvalidation_iterations = 1\n"
        f'configuration = "{terms.configuration}"\nplanner = "{terms.planner}"\n'
        f'admission = "{terms.admission.value}"\ntransfer = "{terms.transfer.value}"\n'
        f"[labels]\n{labels}\n"
    )


def wait_for(address: str) -> None:
    """Wait until a server listens: a Flower client that comes too early ends."""
    host, port = address.split(":")
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError("the server did not start")


def flower(
    python: str,
    folder: Path,
    shapes: list[tuple[int, ...]],
    *,
    rounds: int,
    sites: int,
    train_s: float,
):
    folder.mkdir()
    (folder / "shapes.json").write_text(json.dumps(shapes))
    (folder / "flower.py").write_text(FLOWER)
    address = f"127.0.0.1:{free_port()}"
    words = [address, str(rounds), str(train_s), str(folder / "shapes.json"), str(sites)]
    environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "GRPC_VERBOSITY": "ERROR"}
    with processes() as started:
        log = folder / "log.txt"
        for role in ("server", *["client"] * sites):
            with log.open("a") as said:
                process = subprocess.Popen(
                    [python, str(folder / "flower.py"), role, *words], stdout=subprocess.PIPE,
                    stderr=said, text=True, env=environment,
                )  # fmt: skip
            started.append(process)
            if role == "server":
                wait_for(address)
        try:
            found = collect(started[1:], rounds)
        except RuntimeError as exc:
            # It logs every step; only its last words tell what went wrong.
            exc.add_note(log.read_text()[-3000:])
            raise
    found["up_bytes"] = statistics.median(found.pop("ups"))
    found["down_bytes"] = statistics.median(found.pop("downs"))
    return found


def measure(
    *,
    rounds: int,
    sites: int,
    share: float,
    train_s: float,
    transfers: list[str],
    python: str | None,
) -> dict[str, Any]:
    """Run everything in turn; ratios are ours to Flower's."""
    network = network_of(share)
    aliased = [tuple(tensor.shape) for tensor in network.state_dict().values()]
    unique = [tuple(tensor.shape) for _, tensor in network.named_parameters()]
    whole = 4 * sum(math.prod(shape) for shape in unique)
    del network
    figures: dict[str, Any] = {"weights_bytes": whole, "rounds": rounds, "sites": sites}
    with tempfile.TemporaryDirectory() as root:
        for transfer in transfers:
            figures[transfer] = ours(
                Path(root) / transfer, rounds=rounds, sites=sites, share=share, train_s=train_s,
                transfer=transfer,
            )  # fmt: skip
            print(transfer, figures[transfer], file=sys.stderr, flush=True)
        if python is not None:
            for name, shapes in (("flower", aliased), ("flower_unique", unique)):
                figures[name] = flower(
                    python, Path(root) / name, shapes, rounds=rounds, sites=sites, train_s=train_s
                )
                print(name, figures[name], file=sys.stderr, flush=True)
    for transfer in transfers:
        mine = figures[transfer]
        moved = mine["up_bytes"] + mine["down_bytes"]
        mine["bytes_to_whole"] = moved / (2 * whole)
        for name in ("flower", "flower_unique"):
            if name in figures:
                theirs = figures[name]
                mine[f"gap_to_{name}"] = mine["gap_s"] / theirs["gap_s"]
                mine[f"bytes_to_{name}"] = moved / (theirs["up_bytes"] + theirs["down_bytes"])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--train", type=float, default=0.5, metavar="S")
    parser.add_argument("--transfers", nargs="*", default=["fp32", "fp16", "int8"])
    parser.add_argument("--flower", metavar="PYTHON")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--coordinator", nargs=2)
    parser.add_argument("--site", nargs=3)
    parsed = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    if os.environ.get("ROUNDS_LOG"):
        logging.basicConfig(level=logging.INFO)
    if parsed.coordinator:
        folder, port = parsed.coordinator
        asyncio.run(be_coordinator(Path(folder), int(port), parsed.share))
    elif parsed.site:
        home, invitation, data = map(Path, parsed.site)
        asyncio.run(be_site(home, invitation, data, parsed.share, parsed.train))
    else:
        figures = measure(
            rounds=parsed.rounds, sites=parsed.sites, share=parsed.share, train_s=parsed.train,
            transfers=parsed.transfers, python=parsed.flower,
        )  # fmt: skip
        print(json.dumps(figures, indent=None if parsed.json else 2))


if __name__ == "__main__":
    main()
