"""A study of made-up images, run by the sample study's own commands with real processes, and kills."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli import demo
from app.cli.demo import SampleStudy
from app.control.client import ControlClient
from app.control.server import find_service
from app.domain.segmentation import ModelKind
from app.system import sample_study

if TYPE_CHECKING:
    import pytest

    from app.control.messages import Snapshot

MODELS = {ModelKind.FINAL, ModelKind.PERSONAL}
"""What every site keeps of a finished study."""


def study_of(images: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> SampleStudy:
    """Return a study below `home` of the sites and the study.toml in `images`."""
    monkeypatch.setenv("FEDNNUNET_HOME", str(home.with_name("unused")))
    for module in (demo, sample_study):
        monkeypatch.setattr(module, "sample_folder", lambda: images)
    return SampleStudy(home=home)


async def kill(home: Path, *, patience_s: float = 30) -> None:
    """SIGKILL the service of `home`; return when its address is known to be stale."""
    os.kill(find_service(home).holder.pid, signal.SIGKILL)
    async with asyncio.timeout(patience_s):
        while find_service(home) is not None:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)


async def watch_to_the_models(study: SampleStudy) -> dict[str, Snapshot]:
    """Wait until every site holds its models of the finished study; return their snapshots."""
    await demo.watch(study)
    snapshots = {}
    for name in study.names:
        async with await ControlClient.connect(study.site(name)) as client:
            while not {model.kind for model in client.snapshot.review.models} >= MODELS:
                async for _ in client.events():
                    break
            snapshots[name] = client.snapshot
    return snapshots


def zip_of(snapshot: Snapshot, kind: ModelKind) -> Path:
    """Return the file of a site's model."""
    return next(Path(model.path) for model in snapshot.review.models if model.kind is kind)
