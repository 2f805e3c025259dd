import dataclasses

import pytest

from app.ui.models.gpu import GpuState, Unpacking


def test_a_state_offers_nothing_by_itself():
    state = GpuState(sentence="Training uses the processor.")
    assert not state.can_install
    assert not state.can_remove
    assert state.running is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.sentence = "changed"


def test_what_runs_can_be_stopped_unless_it_says_otherwise():
    assert Unpacking(sentence="Unpacking", share=0.5).stops == "gpu"
    assert Unpacking(sentence="Computing", share=None, stops="").stops == ""
