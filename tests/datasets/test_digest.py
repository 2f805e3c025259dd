"""The digest follows what the checks looked at, and nothing else."""

from __future__ import annotations

import os
import shutil

from helpers.image_folders import ImageFolder

from app.datasets.digest import content_digest
from app.datasets.scan import scan


def digest(root) -> str:
    return content_digest(scan(root))


def test_each_change_of_a_used_file_changes_the_digest(tmp_path):
    folder = ImageFolder(tmp_path, cases=2)
    folder.add_case("case_100", seed=100, test=True)
    seen = [digest(tmp_path)]
    for path in (
        folder.image("case_000"),
        folder.label("case_001"),
        folder.image("case_100", 1, "imagesTs"),
        folder.label("case_100", "labelsTs"),
        tmp_path / "dataset.json",
    ):
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        seen.append(digest(tmp_path))
    folder.image("case_000").write_bytes(b"shorter")
    seen.append(digest(tmp_path))
    folder.label("case_000").unlink()
    seen.append(digest(tmp_path))
    assert len(set(seen)) == len(seen) == 8


def test_other_files_do_not_matter(tmp_path):
    ImageFolder(tmp_path, cases=2)
    before = digest(tmp_path)
    (tmp_path / "notes.txt").write_text("new")
    (tmp_path / "imagesTr" / "notes.txt").write_text("new")
    assert digest(tmp_path) == before


def test_the_place_of_the_folder_does_not_matter(tmp_path):
    folder = ImageFolder(tmp_path / "one", cases=2)
    shutil.copytree(folder.root, tmp_path / "two")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
