import dataclasses

import pytest

from app.domain import training


def test_records_are_values():
    record = training.StepRecord(
        round=1, epoch=1, step=1, steps_per_epoch=2, loss=0.5, seconds=0.25
    )
    assert record == dataclasses.replace(record)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.loss = 0.0
