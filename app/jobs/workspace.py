"""Where nnU-Net's folders lie in a job's workspace, and the environment that tells it so.

nnU-Net takes its folders from three environment variables. The runner sets them for each child;
`app.nnunet.environment` speaks of the same places on the child's side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

DATASET: Final = "Dataset001_Study"
"""nnU-Net's name of the only dataset in a workspace; never a hospital's or a study's own name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """One study's private nnU-Net folders below `root`."""

    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "nnUNet_raw"

    @property
    def preprocessed(self) -> Path:
        return self.root / "nnUNet_preprocessed"

    @property
    def results(self) -> Path:
        return self.root / "nnUNet_results"

    @property
    def raw_dataset(self) -> Path:
        """Folder of the dataset.json that names the source files; no image is ever copied here."""
        return self.raw / DATASET

    @property
    def preprocessed_dataset(self) -> Path:
        return self.preprocessed / DATASET

    @property
    def results_dataset(self) -> Path:
        """Folder of what nnU-Net's trainers of this dataset write."""
        return self.results / DATASET

    @property
    def environment(self) -> dict[str, str]:
        """The three variables by which nnU-Net finds its folders."""
        return {
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(self.preprocessed),
            "nnUNet_results": str(self.results),
        }
