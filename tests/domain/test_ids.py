import pytest

from app.domain.errors import DataProblem, PeerMistake
from app.domain.ids import digest, digest_of, site_name, study_id


@pytest.mark.parametrize("text", ["a", "north", "site-2", "a" * 40])
def test_site_names_are_kept(text):
    assert site_name(text) == text


@pytest.mark.parametrize("text", ["", "North", "-a", "a-", "a b", "a/b", "a" * 41, "ä", "a\n"])
def test_other_names_are_refused_with_the_name(text):
    with pytest.raises(DataProblem, match="lower-case letters"):
        site_name(text)


def test_digests_and_study_ids_are_checked():
    assert digest(digest_of(b"x")) == digest_of(b"x")
    with pytest.raises(PeerMistake):
        digest("A" * 64)
    with pytest.raises(PeerMistake):
        study_id("xyz")
