import dataclasses

import pytest

from app.domain import rounds


def test_blobs_are_equal_by_content_and_size():
    one = rounds.BlobRef(sha256="0" * 64, size=1)
    assert one == rounds.BlobRef(sha256="0" * 64, size=1) != rounds.BlobRef(sha256="0" * 64, size=2)


def test_what_goes_round_cannot_be_changed():
    spec = rounds.TensorSpec(name="a", shape=(1,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "b"


def test_tensors_are_single_precision_unless_said():
    assert rounds.TensorSpec(name="a", shape=(1,)).dtype == "F32"
