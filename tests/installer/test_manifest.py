import hashlib
import json

import pytest

from installer.manifest import (
    differences,
    excuse_of,
    main,
    manifest_of,
    read_manifest,
    write_manifest,
)


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    (folder / "inside").mkdir(parents=True)
    (folder / "inside" / "a").write_bytes(b"a")
    (folder / "b").write_bytes(b"b")
    (folder / "link").symlink_to("inside/a")
    return folder


def test_every_file_has_its_digest_and_every_link_its_target(tree):
    assert manifest_of(tree) == {
        "b": hashlib.sha256(b"b").hexdigest(),
        "inside/a": hashlib.sha256(b"a").hexdigest(),
        "link": "link to inside/a",
    }


def test_a_manifest_survives_its_file(tree, tmp_path):
    path = tmp_path / "manifest.json"
    write_manifest(manifest_of(tree), path)
    assert read_manifest(path) == read_manifest(tree)
    path.write_text('{"format": 9}')
    with pytest.raises(ValueError, match="no manifest"):
        read_manifest(path)


def test_products_of_a_build_are_compared_too(tmp_path, capsys):
    paths = []
    for name, digest in (("one", "aa"), ("two", "bb")):
        paths.append(tmp_path / f"{name}.json")
        record = {"format": 1, "files": {"a": "1"}, "products": {"x.deb": digest}, "window": name}
        paths[-1].write_text(json.dumps(record))
    assert read_manifest(paths[0]) == {"a": "1", "products/x.deb": "aa"}
    assert main([str(path) for path in paths]) == 1
    assert "differs: products/x.deb" in capsys.readouterr().out


def test_builds_that_differ_are_told_apart_file_by_file(tree, tmp_path, capsys):
    first = manifest_of(tree)
    path = tmp_path / "first.json"
    write_manifest(first, path)
    assert main([str(path), str(tree)]) == 0
    (tree / "b").write_bytes(b"c")
    (tree / "inside" / "a").unlink()
    (tree / "new").write_bytes(b"")
    assert main([str(path), str(tree)]) == 1
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "differs: b",
        "only in the first: inside/a",
        "only in the second: new",
        "3 and 3 files, 3 differences",
    ]
    assert main([]) == 2


def test_only_named_exceptions_are_excused():
    assert differences({"x.run.asc": "1", "b": "1"}, {"x.run.asc": "2", "b": "1"}) == []
    assert excuse_of("folder/x.deb.asc")
    assert excuse_of("folder/x.deb") is None
