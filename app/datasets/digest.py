"""The digest by which an allowance or a fingerprint knows its folder again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from app.datasets.confirmation import converted_files
from app.datasets.description import DESCRIPTION_NAME
from app.domain.dataset import DatasetFolder


def content_digest(dataset: DatasetFolder) -> str:
    """Return the SHA-256 over (relative path, size, modification time in ns) of all files.

    Channels and labels of training and held-out cases, dataset.json, and the DICOM files that a
    workspace was converted from. A file that is missing counts as missing, so that its arrival
    changes the digest.
    """
    paths = {str(Path(dataset.root) / DESCRIPTION_NAME)}
    paths.update(converted_files(Path(dataset.root)))
    for case in (*dataset.training, *dataset.held_out):
        paths.update(case.channels)
        if case.label is not None:
            paths.add(case.label)
    digest = hashlib.sha256()
    for path in sorted(paths):
        try:
            status = os.stat(path)  # noqa: PTH116 - called thousands of times on text paths
            entry = [os.path.relpath(path, dataset.root), status.st_size, status.st_mtime_ns]
        except OSError:
            entry = [os.path.relpath(path, dataset.root), None, None]
        digest.update(json.dumps(entry).encode() + b"\n")
    return digest.hexdigest()
