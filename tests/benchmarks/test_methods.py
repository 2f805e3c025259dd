"""The paper's claims on the sample study, trained for real: by --slow only, for an hour and a half.

python3 -m pytest --slow tests/benchmarks/test_methods.py
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.system.sample_study import sample_folder

pytestmark = [pytest.mark.nnunet, pytest.mark.slow, pytest.mark.timeout(4 * 3600)]

ROUNDS, ITERATIONS = 20, 20
MEMORY_TARGET_GB = 0.1
"""Makes nnU-Net plan patches of 24 x 40 x 32 voxels: less than half the work of a step."""


@pytest.fixture(scope="module")
def figures(tmp_path_factory, project_root):
    """The table of the four methods, each trained for the same number of epochs."""
    folder = tmp_path_factory.mktemp("methods")
    text = (sample_folder() / "study.toml").read_text(encoding="utf-8")
    study = folder / "study.toml"
    study.write_text(f"gpu_memory_target_gb = {MEMORY_TARGET_GB}\n{text}", encoding="utf-8")
    output = folder / "figures.json"
    subprocess.run(
        [
            sys.executable, "-m", "app", "experiment", "--home", folder / "home",
            "--study", study, "--rounds", str(ROUNDS), "--iterations-per-epoch", str(ITERATIONS),
            "--validation-iterations", "1", "--parallel", "2", "--json", output,
        ],
        cwd=project_root,
        check=True,
    )  # fmt: skip
    return json.loads(Path(output).read_text())


def mean_of_sites(arm):
    return sum(site["dice"] for site in arm["sites"].values()) / len(arm["sites"])


def test_the_merged_fingerprint_plans_what_all_images_together_plan(figures):
    assert figures["same_plan_as_pooled"]


def test_ffe_reaches_the_centralised_model(figures):
    methods = figures["methods"]
    ffe, centralised = methods["ffe"], methods["centralised"]
    assert mean_of_sites(ffe) >= mean_of_sites(centralised) - 0.02


def test_ffe_beats_every_local_model_on_all_held_out_cases(figures):
    methods = figures["methods"]
    ffe = methods["ffe"]["union"]["all"]["dice"]
    for site, alone in methods["local"]["union"].items():
        assert ffe > alone["dice"], site


def test_asymfedavg_beats_local_training_at_every_site(figures):
    methods = figures["methods"]
    for site, alone in methods["local"]["sites"].items():
        assert methods["asymfedavg"]["sites"][site]["dice"] > alone["dice"], site
