"""Time planning, export and segmentation on the sample study's images, with random weights.

    python tests/benchmarks/segmentation.py [--site north] [--cases 5] [--threads 1] [--json]

The plan is the one that the sample study gets (three sites merged), so the network and patch are
those that a person meets there; random weights take as long as trained ones.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "resources" / "samples" / "hippocampus"


def timed(figures: dict[str, object], name: str, work):
    start = time.perf_counter()
    answer = work()
    figures[name] = round(time.perf_counter() - start, 2)
    return answer


def measure(site: str, cases: int, threads: int) -> dict[str, object]:
    """Return seconds of each step; `segment_s_per_case` without opening the model."""
    figures: dict[str, object] = {"site": site, "cases": cases, "threads": threads}
    start = time.perf_counter()
    from app.datasets.scan import scan
    from app.domain.study import Aggregation, Policy, StudyTerms
    from app.federation.merging import merge
    from app.federation.plan_rules import summarise
    from app.nnunet import environment
    from app.nnunet.export import export_model
    from app.nnunet.fingerprint import extract
    from app.nnunet.planning import plan
    from app.site.disclosure import share

    environment.prepare()
    from app.nnunet.initial import draw
    from app.nnunet.segmentation import segment

    figures["import_s"] = round(time.perf_counter() - start, 2)
    folders = {path.name: scan(path) for path in sorted(SAMPLES.iterdir()) if path.is_dir()}
    description = folders[site].description
    terms = StudyTerms(
        name="benchmark",
        purpose="",
        contact="",
        channel_names=description.channel_names,
        labels=description.labels,
    )
    fingerprints = timed(
        figures,
        "fingerprint_s",
        lambda: [extract(folder, content_digest="") for folder in folders.values()],
    )
    merged = timed(
        figures,
        "share_and_merge_s",
        lambda: merge([share(f, Policy.MINIMAL) for f in fingerprints], rule=Aggregation.CASES),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        package = timed(figures, "plan_s", lambda: plan(terms, merged, folder / "workspace"))
        (folder / "plan.json").write_bytes(package.document)
        summary = summarise(package.document, terms.configuration)
        figures["patch"] = summary.patch
        figures["parameters"] = summary.parameters
        draw(
            folder / "plan.json",
            configuration=terms.configuration,
            seed=1,
            output=folder / "model.safetensors",
        )
        timed(
            figures,
            "export_s",
            lambda: export_model(
                plan=folder / "plan.json",
                folds={"0": folder / "model.safetensors"},
                configuration=terms.configuration,
                model_name="Benchmark",
                output=folder / "model.zip",
            ),
        )
        held_out = folders[site].held_out[:cases]
        for mirroring in (False, True):
            ends: list[float] = []
            segment(
                folder / "model.zip",
                held_out,
                folder / f"mirroring-{mirroring}",
                device="cpu",
                mirroring=mirroring,
                threads=threads,
                progress=lambda *_, ends=ends: ends.append(time.perf_counter()),
            )
            name = "segment_s_per_case" + ("_mirrored" if mirroring else "")
            figures[name] = round((ends[-1] - ends[0]) / len(held_out), 2)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", default="north")
    parser.add_argument("--cases", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads))
    with contextlib.redirect_stdout(sys.stderr):  # nnU-Net talks
        figures = measure(arguments.site, arguments.cases, arguments.threads)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:>28} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
