"""Plans that stock planners of nnU-Net 2.8.1 wrote, and the study terms they were made for.

`tests/federation/stock_plans.json` holds every stock planner's plans for four kinds of images
(small MR, large CT with a cascade, anisotropic MR with regions, 2D photographs).
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from app.domain.study import StudyTerms
from app.federation.plan_rules import pack

STOCK = Path(__file__).parent.parent / "federation" / "stock_plans.json"

Entry = dict[str, Any]


def stock_plans() -> list[Entry]:
    entries: list[Entry] = json.loads(STOCK.read_text())
    return entries


def stock_plan(planner: str, dataset: str) -> Entry:
    return copy.deepcopy(
        next(e for e in stock_plans() if e["planner"] == planner and dataset in name_of(e))
    )


def name_of(entry: Entry) -> str:
    return f"{entry['plans']['dataset_name']}-{entry['planner']}"


def terms_of(entry: Entry) -> StudyTerms:
    dataset, configurations = entry["dataset"], entry["plans"]["configurations"]
    return StudyTerms(
        name="n",
        purpose="p",
        contact="c",
        channel_names=tuple(dataset["channel_names"].values()),
        labels={
            name: tuple(value) if isinstance(value, list) else value
            for name, value in dataset["labels"].items()
        },
        regions_class_order=tuple(dataset.get("regions_class_order", ())),
        planner=entry["planner"],
        configuration="3d_fullres" if "3d_fullres" in configurations else "2d",
    )


def document_of(entry: Entry) -> bytes:
    versions = {"nnunetv2": "2.8.1"}
    return pack(entry["plans"], entry["dataset"], entry["fingerprint"], versions).document
