from __future__ import annotations

import json

import pytest
from helpers.loopback import STUDY

from app.domain.errors import SetupProblem
from app.domain.ids import SiteName
from app.site import membership
from app.site.membership import Membership
from app.wire.handshake import six_words

MEMBERSHIP = Membership(
    study=STUDY,
    title="A study",
    site=SiteName("alpha"),
    urls=("wss://h:1", "wss://h:2"),
    authority_pem="pem",
    terms=b'{"a":1}',
    public_key=bytes(32),
    joined_at=1.5,
)


def test_a_membership_is_kept_and_forgotten(tmp_path):
    home = tmp_path / "home"
    assert membership.load(home) is None
    membership.save(home, MEMBERSHIP)
    assert membership.load(home) == MEMBERSHIP
    assert MEMBERSHIP.words == six_words(bytes(32))
    assert MEMBERSHIP.key_name == f"site-key-{STUDY}"
    assert [path.name for path in home.iterdir()] == ["membership.json"]
    membership.forget(home)
    membership.forget(home)
    assert membership.load(home) is None


def test_a_damaged_file_is_explained(tmp_path):
    membership.save(tmp_path, MEMBERSHIP)
    document = json.loads((tmp_path / "membership.json").read_text())
    for harm in ({"version": 2}, {"site": "../x"}, {"urls": []}, {"more": 1}):
        (tmp_path / "membership.json").write_text(json.dumps({**document, **harm}))
        with pytest.raises(SetupProblem, match="the membership file is damaged"):
            membership.load(tmp_path)
    (tmp_path / "membership.json").unlink()
    (tmp_path / "membership.json").mkdir()
    with pytest.raises(SetupProblem, match="cannot be read"):
        membership.load(tmp_path)
