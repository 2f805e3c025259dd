"""Measure the memory that averaging needs: real updates in a real spool, in a process of its own.

    python tests/benchmarks/aggregation.py [--sites 10] [--share 1.0] [--transfer fp32] [--json]

The network is nnU-Net's largest residual one in 3d (102 M weights; `--share` makes it narrower). The
updates lie in the spool as sites send them; averaging and publishing are the coordinator's own functions.
`grown_mib` is the peak of the resident memory over that before; the limit of the project is twice the
largest tensor and 150 MiB for the whole process, `limit_mib`. `seconds` is for comparison only.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.transfer import MemoryWatch  # noqa: E402

MIB = 1 << 20


def specs_of(share: float):
    from app.domain.study import StudyTerms
    from app.federation.network import manifest
    from app.federation.traffic import largest_network

    terms = StudyTerms(
        name="n", purpose="p", contact="c", channel_names=("MRI",),
        labels={"background": 0, "a": 1, "b": 2}, planner="nnUNetPlannerResEncL",
    )  # fmt: skip
    network = largest_network(terms)
    narrow = tuple(max(1, round(features * share)) for features in network.features)
    return manifest(replace(network, features=narrow))


def measure(*, sites: int, share: float, transfer_name: str) -> dict[str, float]:
    import os

    from app.coordinator.averaging import average_updates, publish
    from app.coordinator.spool import Spool
    from app.coordinator.translation import reference
    from app.domain.ids import SiteName, study_id
    from app.domain.rounds import ModelUpdate
    from app.domain.study import Aggregation, Transfer
    from app.federation.transfer import change_manifest, encode
    from app.system.clock import SystemClock
    from app.system.tensor_files import TensorFileWriter

    transfer, specs = Transfer(transfer_name), specs_of(share)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        spool = Spool(folder / "spool", study=study_id("0" * 32), clock=SystemClock())

        def drawn(shape: tuple[int, ...], scale: float) -> np.ndarray:
            return random.standard_normal(shape, dtype=np.float32) * np.float32(scale)

        def kept(number: int) -> ModelUpdate:
            path = folder / "update"
            with TensorFileWriter(path, change_manifest(specs, transfer)) as writer:
                for spec in specs:
                    if transfer is Transfer.FP32:
                        writer.write(spec.name, drawn(spec.shape, 0.02))
                        continue
                    for name, part in encode(spec, drawn(spec.shape, 1e-3), transfer)[0].items():
                        writer.write(name, part)
            return ModelUpdate(
                round=1, attempt=1, site=SiteName(f"site-{number}"), base=base.sha256,
                weights=reference(spool.keep_file(path)), cases=10 + number, train_loss=0.0,
                validation_loss=None, pseudo_dice=(), epoch_seconds=1.0,
            )  # fmt: skip

        path = folder / "base"
        with TensorFileWriter(path, specs) as writer:
            for spec in specs:
                writer.write(spec.name, drawn(spec.shape, 0.02))
        base = reference(spool.keep_file(path))
        updates = [kept(number) for number in range(sites)]
        target = folder / "average"
        with MemoryWatch(os.getpid()) as watch:
            began = time.monotonic()
            master = average_updates(
                updates, base=base, rule=Aggregation.CASES, spool=spool, target=target,
                transfer=transfer,
            )  # fmt: skip
            if transfer is not Transfer.FP32:
                publish(master, base=base, spool=spool, transfer=transfer, target=target)
            seconds = time.monotonic() - began
        spool.close()
    largest = max(4 * math.prod(spec.shape) for spec in specs)
    return {
        "weights": sum(math.prod(spec.shape) for spec in specs),
        "largest_tensor_mib": largest / MIB,
        "grown_mib": watch.grown_mib,
        "peak_mib": watch.peak / MIB,
        "limit_mib": 2 * largest / MIB + 150,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=10)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--transfer", default="fp32", choices=("fp32", "fp16", "int8"))
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args()
    found = measure(sites=parsed.sites, share=parsed.share, transfer_name=parsed.transfer)
    print(json.dumps(found, indent=None if parsed.json else 2))


if __name__ == "__main__":
    main()
