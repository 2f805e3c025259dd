import dataclasses

import pytest

from app.ui.models.network import NetworkBox, NetworkState


def test_without_a_network_there_is_nothing_to_draw():
    assert NetworkState() == NetworkState(sentence="", stages=())


def test_a_picture_is_compared_as_a_whole_and_never_changes():
    box = NetworkBox(words="stays here", share=0.0, hint="h")
    assert box == dataclasses.replace(box)
    assert box != dataclasses.replace(box, share=1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        box.share = 1.0
