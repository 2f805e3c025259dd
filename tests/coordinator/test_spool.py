from __future__ import annotations

import hashlib
import os

import pytest
from helpers.clock import HandClock

from app.coordinator.spool import Spool
from app.domain.errors import ErrorCode, OurMistake, PeerMistake
from app.domain.ids import SiteName, StudyId
from app.wire.blobs import checksum
from app.wire.messages import Blob, BlobKind

STUDY = StudyId("0123456789abcdef0123456789abcdef")
ALPHA, BETA = SiteName("alpha"), SiteName("beta")
DATA = b"weights" * 1000
BLOB = Blob(sha256=hashlib.sha256(DATA).hexdigest(), size=len(DATA))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def spool(tmp_path, clock):
    spool = Spool(tmp_path, study=STUDY, clock=clock, reserve_bytes=0)
    yield spool
    spool.close()


def arrived(spool, data=DATA, site=ALPHA, blob=BLOB):
    partial = spool.partial(site, spool.upload_id(site, BlobKind.WEIGHTS, blob))
    partial.append(data, checksum(data))
    return partial


def accept(path):
    assert path.read_bytes() == DATA


def test_our_own_bytes_and_files_become_blobs(spool, tmp_path):
    assert spool.keep_bytes(DATA) == spool.keep_bytes(DATA) == BLOB
    assert spool.holds(BLOB.sha256)
    assert spool.size(BLOB.sha256) == len(DATA)
    spool.discard(BLOB.sha256)
    spool.discard(BLOB.sha256)
    assert not spool.holds(BLOB.sha256)
    (tmp_path / "own").write_bytes(DATA)
    assert spool.keep_file(tmp_path / "own") == BLOB
    assert spool.verify(BLOB.sha256).read_bytes() == DATA
    assert not (tmp_path / "own").exists()
    assert names(tmp_path / "partial") == []


def test_an_arrived_file_is_checked_placed_and_recorded(spool):
    assert spool.check_and_place(arrived(spool), BLOB, accept)
    assert not spool.has_from(ALPHA, BlobKind.WEIGHTS, BLOB), "placed is not yet recorded"
    spool.record(ALPHA, BlobKind.WEIGHTS, BLOB)
    assert spool.has_from(ALPHA, BlobKind.WEIGHTS, BLOB)
    assert not spool.has_from(ALPHA, BlobKind.FINGERPRINT, BLOB)
    assert not spool.has_from(BETA, BlobKind.WEIGHTS, BLOB)
    assert (spool.received(ALPHA), spool.received(BETA)) == ({BLOB.sha256}, frozenset())


def test_other_bytes_than_named_start_again(spool):
    partial = arrived(spool, data=bytes(len(DATA)))
    assert not spool.check_and_place(partial, BLOB, accept)
    assert partial.offset == 0
    assert not spool.holds(BLOB.sha256)
    with pytest.raises(PeerMistake, match="an upload of 0 bytes was committed as one of 7000"):
        spool.check_and_place(partial, BLOB, accept)
    partial.close()


def test_a_refused_file_leaves_nothing(spool, tmp_path):
    def refuse(path):
        raise PeerMistake("no", code=ErrorCode.TENSORS_REFUSED)

    with pytest.raises(PeerMistake, match="no"):
        spool.check_and_place(arrived(spool), BLOB, refuse)
    assert names(tmp_path / "partial") == names(tmp_path / "blobs") == []


def test_a_bit_that_rots_is_found_before_the_blob_is_used(spool):
    spool.keep_bytes(DATA)
    spool.record(ALPHA, BlobKind.WEIGHTS, BLOB)
    path = spool.path(BLOB.sha256)
    path.write_bytes(b"W" + DATA[1:])
    with pytest.raises(OurMistake, match="the disk has changed the blob"):
        spool.verify(BLOB.sha256)
    assert not spool.has_from(ALPHA, BlobKind.WEIGHTS, BLOB), "the site is asked for it again"
    with pytest.raises(OurMistake, match="is not in the spool"):
        spool.verify(BLOB.sha256)


def test_an_arriving_file_is_found_again_after_a_restart_and_replaces_others(
    tmp_path, clock, spool
):
    arrived(spool, data=DATA[:500])
    beta = arrived(spool, data=DATA[:100], site=BETA)
    again = Spool(tmp_path, study=STUDY, clock=clock, reserve_bytes=0)
    partial = again.partial(ALPHA, again.upload_id(ALPHA, BlobKind.WEIGHTS, BLOB))
    assert partial.offset == 500
    other = Blob(sha256="a" * 64, size=10)
    again.partial(ALPHA, again.upload_id(ALPHA, BlobKind.WEIGHTS, other)).close()
    found = names(tmp_path / "partial")
    assert [name.split(".")[0] for name in found] == ["alpha", "alpha", "beta", "beta"]
    again.close()
    beta.close()


def test_arriving_files_expire_after_a_day(tmp_path, clock, spool):
    arrived(spool, data=DATA[:500]).close()
    for path in (tmp_path / "partial").iterdir():
        os.utime(path, (clock.now(), clock.now()))
    clock.advance(23 * 3600)
    assert spool.expire() == 0
    clock.advance(2 * 3600)
    assert spool.expire() == 2
    assert names(tmp_path / "partial") == []


def test_room_is_kept_free(tmp_path, clock):
    spool = Spool(tmp_path, study=STUDY, clock=clock, reserve_bytes=1 << 60)
    assert not spool.room_for(1)
    spool.close()


def test_a_name_that_is_no_digest_is_no_path(spool):
    with pytest.raises(PeerMistake):
        spool.path("../../etc/passwd")


def test_bytes_that_arrive_are_seen_per_site(spool):
    assert spool.arriving() == {}
    partial = arrived(spool, data=DATA[:500])
    assert spool.arriving() == {"alpha": 500}
    partial.close()
