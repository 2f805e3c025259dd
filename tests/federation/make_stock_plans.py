"""Write stock_plans.json anew: what every stock planner of the installed nnU-Net plans.

Run with the project's Python: `python tests/federation/make_stock_plans.py FOLDER`, where FOLDER
is an empty folder for nnU-Net's files. No image is needed; the large residual plans take minutes.
"""

import json
import os
import sys
from pathlib import Path

root, target = Path(sys.argv[1]), Path(__file__).parent / "stock_plans.json"
for part in ("raw", "preprocessed", "results"):
    os.environ[f"nnUNet_{part}"] = str(root / part)
os.environ.update(nnUNet_n_proc_DA="1")

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (  # noqa: E402
    ExperimentPlanner,
)
from nnunetv2.experiment_planning.experiment_planners.resampling import (  # noqa: E402
    planners_no_resampling as unresampled,
    resample_with_torch as resampled,
)
from nnunetv2.experiment_planning.experiment_planners.residual_unets import (  # noqa: E402
    residual_encoder_unet_planners as residual,
)

USUAL = (
    ExperimentPlanner,
    residual.ResEncUNetPlanner,
    residual.nnUNetPlannerResEncM,
    residual.nnUNetPlannerResEncL,
    residual.nnUNetPlannerResEncXL,
)
SPECIAL = (
    resampled.nnUNetPlanner_torchres,
    resampled.nnUNetPlannerResEncL_torchres,
    resampled.nnUNetPlannerResEncL_torchres_sepz,
    unresampled.nnUNetPlannerResEncL_noResampling,
)
# name: channels, labels, order of regions, cases, spacing (mm), shape
IMAGES = {
    "hippocampus": (["MRI"], {"background": 0, "anterior": 1, "posterior": 2}, None, 40, [1.0, 1.0, 1.0], [36, 50, 35]),
    "liver": (["CT"], {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}, None, 130, [1.0, 0.76, 0.76], [432, 512, 512]),
    "prostate": (["T2", "ADC"], {"background": 0, "whole": [1, 2], "peripheral": 2}, [1, 2], 32, [3.6, 0.62, 0.62], [20, 320, 319]),
    "retina": (["R", "G", "B"], {"background": 0, "vessel": 1}, None, 20, [999.0, 1.0, 1.0], [1, 584, 565]),
}  # fmt: skip
PROPERTIES = {
    "max": 300.0, "mean": 100.5, "median": 99.0, "min": -20.0,
    "percentile_00_5": -16.25, "percentile_99_5": 250.75, "std": 30.5,
}  # fmt: skip

entries = []
for number, (name, (channels, labels, order, cases, spacing, shape)) in enumerate(
    IMAGES.items(), 1
):
    folder = f"Dataset{number:03d}_{name}"
    for part in ("raw", "preprocessed"):
        (root / part / folder).mkdir(parents=True, exist_ok=True)
    dataset = {
        "channel_names": {str(index): channel for index, channel in enumerate(channels)},
        "labels": labels,
        "numTraining": cases,
        "file_ending": ".png" if name == "retina" else ".nii.gz",
        "overwrite_image_reader_writer": "NaturalImage2DIO" if name == "retina" else "SimpleITKIO",
    }
    if order:
        dataset["regions_class_order"] = order
    fingerprint = {
        "spacings": [spacing] * 2,
        "shapes_after_crop": [shape] * 2,
        "median_relative_size_after_cropping": 0.9,
        "foreground_intensity_properties_per_channel": {
            str(index): PROPERTIES for index in range(len(channels))
        },
    }
    listed = dataset | {"dataset": {"x": {"images": ["nowhere"], "label": "nowhere"}}}
    (root / "raw" / folder / "dataset.json").write_text(json.dumps(listed))
    (root / "preprocessed" / folder / "dataset_fingerprint.json").write_text(
        json.dumps(fingerprint)
    )
    for kind in (*USUAL, *(SPECIAL if name == "liver" else ())):
        planner = kind(folder)
        planner.plan_experiment()
        written = root / "preprocessed" / folder / f"{planner.plans_identifier}.json"
        entries.append(
            {
                "planner": kind.__name__,
                "dataset": dataset,
                "fingerprint": fingerprint,
                "plans": json.loads(written.read_text()),
            }
        )
lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
target.write_text(f"[\n{lines}\n]\n")
