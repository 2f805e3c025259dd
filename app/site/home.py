"""The layout of a site's home folder. Everything derived from the images lies below it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.system.paths import SITE_DATABASE


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteHome:
    """Where each thing of one site service lies below `root`."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / SITE_DATABASE

    @property
    def audit(self) -> Path:
        return self.root / "audit.jsonl"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def data(self) -> Path:
        """Folder of data sets that were made of loose files or DICOM after a confirmation."""
        return self.root / "data"

    def confirmed(self, serial: int) -> Path:
        """The data set of one confirmation."""
        return self.data / f"{serial:06d}"

    @property
    def fingerprint(self) -> Path:
        """Folder of the local fingerprint and of the exact bytes that would leave."""
        return self.root / "fingerprint"

    @property
    def local_fingerprint(self) -> Path:
        return self.fingerprint / "local.json"

    @property
    def outgoing(self) -> Path:
        return self.fingerprint / "outgoing.json"

    @property
    def own_plan(self) -> Path:
        """The plan that this site made from its own fingerprint (asymmetric averaging)."""
        return self.fingerprint / "plan.json"

    @property
    def study(self) -> Path:
        """Folder of what came from the coordinator."""
        return self.root / "study"

    def plan(self, sha256: str) -> Path:
        return self.study / f"plan-{sha256}.json"

    def merged(self, sha256: str) -> Path:
        return self.study / f"merged-{sha256}.json"

    def weights(self, sha256: str) -> Path:
        """File of a global model's weights; it exists only when complete and verified."""
        return self.study / f"weights-{sha256}.safetensors"

    @property
    def workspace(self) -> Path:
        """nnU-Net's folders of the joined study."""
        return self.root / "workspace"

    @property
    def training(self) -> Path:
        return self.root / "training"

    def checkpoint(self, fold: int = 0) -> Path:
        """Where the training of the fold at this position goes on from."""
        return self.training / (f"checkpoint-{fold}.pth" if fold else "checkpoint.pth")

    @property
    def at_work(self) -> Path:
        """File that says where training was, in case it ends without a word."""
        return self.training / "at-work.json"

    def update(self, round_number: int, base: str) -> Path:
        """File of this site's update of one round from one base."""
        return self.training / f"update-{round_number}-{base[:16]}.safetensors"

    def own_weights(self, round_number: int, base: str) -> Path:
        """File of this site's own weights after a round whose update holds changes only."""
        return self.training / f"own-{round_number}-{base[:16]}.safetensors"

    def remainder(self, round_number: int, base: str) -> Path:
        """File of what rounding took away from the update of one round."""
        return self.training / f"remainder-{round_number}-{base[:16]}.safetensors"

    def change(self, sha256: str) -> Path:
        """File of the change that makes one global model of the one before."""
        return self.study / f"change-{sha256}.safetensors"

    def first_weights(self, fold: int = 0) -> Path:
        """What this site's own network began the fold at this position with (asymmetric averaging)."""
        return self.training / (f"first-{fold}.safetensors" if fold else "first.safetensors")

    def own_base(self, round_number: int, base: str) -> Path:
        """A shared base with this site's own tensors added, for one round; it does not change."""
        return self.training / f"base-{round_number}-{base[:16]}.safetensors"

    def own_model(self, sha256: str) -> Path:
        """The study's last average with this site's own tensors added."""
        return self.training / f"model-{sha256}.safetensors"

    @property
    def outbox(self) -> Path:
        """The part of an update that leaves (asymmetric averaging)."""
        return self.training / "outbox.safetensors"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def segmentations(self) -> Path:
        return self.root / "segmentations"

    @property
    def scores(self) -> Path:
        """Folder of scores by the content of what they were made of."""
        return self.root / "scores"

    @property
    def baseline(self) -> Path:
        """Folder of what is trained without the federation."""
        return self.root / "baseline"
