"""Compare our fingerprint extractor with `nnUNetv2_extract_fingerprint`: wall time and memory.

    python tests/benchmarks/fingerprint.py [--cases 8] [--size 96] [--processes 2] [--json]

Both run as whole programs, imports included, on the same synthetic cases and with the same number
of processes (ours reads that many cases at a time). Peak memory is the proportional set size (PSS)
of the program with all its children, sampled every 50 ms, so shared pages count once. Limits of
the project: wall at most 0.5x, memory at most 0.25x of stock.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import SimpleITK

ROOT = Path(__file__).resolve().parents[2]
OURS = """
import sys
from pathlib import Path
from app.domain.dataset import Case, DatasetDescription, DatasetFolder
from app.nnunet.fingerprint import extract
raw, processes = Path(sys.argv[1]), int(sys.argv[2])
names = sorted(path.name.removesuffix(".nii.gz") for path in (raw / "labelsTr").iterdir())
cases = tuple(
    Case(
        name=name,
        channels=(str(raw / "imagesTr" / f"{name}_0000.nii.gz"),),
        label=str(raw / "labelsTr" / f"{name}.nii.gz"),
    )
    for name in names
)
description = DatasetDescription(
    channel_names=("CT",), labels={"background": 0, "organ": 1}, file_ending=".nii.gz"
)
folder = DatasetFolder(root=str(raw), layout="nnunet", description=description, training=cases)
assert len(extract(folder, content_digest="", processes=processes).cases) == len(names)
"""


def make_dataset(root: Path, cases: int, size: int) -> Path:
    """Write `cases` smooth volumes of `size` cubed with a labelled ball as a raw nnU-Net dataset."""
    raw = root / "nnUNet_raw" / "Dataset777_Benchmark"
    (raw / "imagesTr").mkdir(parents=True)
    (raw / "labelsTr").mkdir()
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    for number in range(cases):
        image = (rng.normal(0, 40, radius.shape) + 300 * (radius < 0.6) - 200).astype(np.int16)
        for folder, name, array in (
            ("imagesTr", f"case_{number:03d}_0000", image),
            ("labelsTr", f"case_{number:03d}", (radius < 0.5).astype(np.uint8)),
        ):
            volume = SimpleITK.GetImageFromArray(array)
            volume.SetSpacing((0.8, 0.8, 1.5))
            SimpleITK.WriteImage(volume, str(raw / folder / f"{name}.nii.gz"), True)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    return raw


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a program; return its wall time in seconds and its tree's peak PSS in MiB."""
    peak = 0
    start = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT
    ) as program:
        tree = psutil.Process(program.pid)
        while program.poll() is None:
            total = 0
            try:
                for process in (tree, *tree.children(recursive=True)):
                    try:
                        total += process.memory_full_info().pss
                    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                        continue
            except psutil.NoSuchProcess:
                break
            peak = max(peak, total)
            time.sleep(0.05)
        _, errors = program.communicate()
        if program.returncode:
            raise SystemExit(f"{command[0]} failed:\n{errors.decode()[-3000:]}")
    return time.perf_counter() - start, peak / 2**20


def compare(cases: int, size: int, processes: int) -> dict[str, float]:
    """Run both extractors once on the same new data and return figures and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        raw = make_dataset(root, cases, size)
        environment = dict(
            os.environ,
            OMP_NUM_THREADS="1",
            PYTHONPATH=str(ROOT),
            **{
                name: str(root / name)
                for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
            },
        )
        ours = measure([sys.executable, "-c", OURS, str(raw), str(processes)], environment)
        stock = measure(
            [
                str(Path(sys.executable).with_name("nnUNetv2_extract_fingerprint")),
                *("-d", "777", "-np", str(processes)),
            ],
            environment,
        )
    return {
        "cases": cases,
        "voxels_per_case": size**3,
        "processes": processes,
        "wall_s": round(ours[0], 2),
        "stock_wall_s": round(stock[0], 2),
        "wall_ratio": round(ours[0] / stock[0], 3),
        "peak_mib": round(ours[1], 1),
        "stock_peak_mib": round(stock[1], 1),
        "peak_ratio": round(ours[1] / stock[1], 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = compare(arguments.cases, arguments.size, arguments.processes)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:>16} {value}")
    return 0 if figures["wall_ratio"] <= 0.5 and figures["peak_ratio"] <= 0.25 else 1


if __name__ == "__main__":
    sys.exit(main())
