"""Between nnU-Net's dicts and our values. With `app.wire.codec` the only place that says `Any`."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.domain.dataset import DatasetFolder
from app.domain.errors import SetupProblem
from app.domain.folds import ALL_FOLDS
from app.domain.ids import Digest
from app.federation.plan_rules import unpack
from app.jobs.workspace import DATASET

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDocument:
    """A plan package taken apart: nnU-Net's dicts, and the digest of the bytes they came in.

    nnU-Net changes dicts that it is given; take copies through the methods.
    """

    plans: Json
    dataset: Json
    fingerprint: Json
    versions: Json
    digest: Digest

    def plans_for(self, dataset_name: str = DATASET) -> Json:
        """Return a copy of the plans that points to a local dataset's folders."""
        return {**copy.deepcopy(self.plans), "dataset_name": dataset_name}

    def configuration(self, name: str) -> Json:
        """Return a copy of a configuration with what it inherits: a cascade's second pass does.

        Raises:
            KeyError: the plans have no such configuration.
        """
        configurations = self.plans["configurations"]
        chosen = configurations[name]
        inherited = configurations[chosen["inherits_from"]] if "inherits_from" in chosen else {}
        return copy.deepcopy({**inherited, **chosen})

    def local_dataset(self, folder: DatasetFolder, leave_out: frozenset[str]) -> Json:
        """Return dataset.json for the local cases: the study's words, this site's files.

        Files are named by absolute path, so that nnU-Net neither copies nor searches for them.
        """
        cases = {
            case.name: {"images": list(case.channels), "label": case.label}
            for case in folder.training
            if case.name not in leave_out and case.label is not None
        }
        return {
            **copy.deepcopy(self.dataset),
            "file_ending": folder.description.file_ending,
            "numTraining": len(cases),
            "dataset": cases,
        }


def read_plan(path: Path) -> PlanDocument:
    """Read a plan package from disk.

    Raises:
        SetupProblem: the file is not there.
        PeerMistake: it is not a plan package (PLANS_REFUSED).
    """
    try:
        document = path.read_bytes()
    except OSError as exc:
        raise SetupProblem("the study's plan is not in the workspace") from exc
    plans, dataset, fingerprint, versions = unpack(document)
    return PlanDocument(
        plans=plans,
        dataset=dataset,
        fingerprint=fingerprint,
        versions=versions,
        digest=Digest(hashlib.sha256(document).hexdigest()),
    )


def fold_of(text: str) -> int | str:
    """Return a fold as nnU-Net takes it: a number, or "all"."""
    return text if text == ALL_FOLDS else int(text)
