"""Measure the memory that averaging a round needs: the coordinator's process, file by file.

    python tests/benchmarks/averaging_memory.py [--mib 124] [--sites 10] [--json]

The limit: 150 MiB and twice the largest tensor over the process's base, however many sites and
however large the model. The updates are written by another process, so that only averaging counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from app.coordinator.averaging import average_updates  # noqa: E402
from app.coordinator.spool import Spool  # noqa: E402
from app.coordinator.translation import reference  # noqa: E402
from app.domain.ids import SiteName, StudyId  # noqa: E402
from app.domain.rounds import ModelUpdate  # noqa: E402
from app.domain.study import Aggregation  # noqa: E402
from app.system.clock import SystemClock  # noqa: E402

MIB = 1 << 20
STUDY = StudyId("0" * 32)
TENSORS = 8
"""Of equal size: an eighth of the model is what nnU-Net's largest tensor has (3 x 3 x 3 x 320 x 320)."""


def spool_in(folder: Path) -> Spool:
    return Spool(folder / "spool", study=STUDY, clock=SystemClock(), reserve_bytes=0)


def write(folder: Path, mib: int, sites: int) -> None:
    """Write a first model and an update of each site; print their digests."""
    spool = spool_in(folder)
    length = mib * MIB // TENSORS // 4
    for number in range(sites + 1):
        random = np.random.default_rng(number)
        path = folder / "made.safetensors"
        save_file({f"t{n}": random.random(length, np.float32) for n in range(TENSORS)}, path)
        print(spool.keep_file(path).sha256)
    spool.close()


def measure(mib: int, sites: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ["--write", name, "--mib", str(mib), "--sites", str(sites)]
        made = subprocess.run(
            [sys.executable, __file__, *words], check=True, capture_output=True, text=True
        )
        first, *updates = made.stdout.split()
        spool = spool_in(folder)
        blobs = {sha256: reference(spool_blob(spool, sha256)) for sha256 in (first, *updates)}
        told = [
            ModelUpdate(
                round=1, attempt=1, site=SiteName(f"site-{n}"), base=first, weights=blobs[sha256],
                cases=5 + n, train_loss=0.0, validation_loss=None, pseudo_dice=(), epoch_seconds=1.0,
            )
            for n, sha256 in enumerate(updates)
        ]  # fmt: skip
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        average_updates(
            told,
            base=blobs[first],
            rule=Aggregation.CASES,
            spool=spool,
            target=folder / "average.safetensors",
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        spool.close()
    return {
        "sites": sites,
        "model_mib": mib,
        "largest_tensor_mib": mib / TENSORS,
        "base_mib": base / 1024,
        "grown_mib": (peak - base) / 1024,
    }


def spool_blob(spool: Spool, sha256: str):
    from app.wire.messages import Blob

    return Blob(sha256=sha256, size=spool.size(sha256))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=124)
    parser.add_argument("--sites", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    if options.write is not None:
        write(options.write, options.mib, options.sites)
        return
    figures = {name: round(value, 1) for name, value in measure(options.mib, options.sites).items()}
    print(json.dumps(figures) if options.json else figures)


if __name__ == "__main__":
    main()
