import dataclasses

import pytest

from app.domain import plans


def test_a_plan_package_cannot_be_changed():
    package = plans.PlanPackage(document=b"{}", digest="0" * 64)
    with pytest.raises(dataclasses.FrozenInstanceError):
        package.document = b"[]"


def test_a_summary_does_not_have_to_know_the_number_of_parameters():
    summary = plans.PlanSummary(
        configuration="2d", spacing_mm=(1.0, 1.0), patch=(64, 64), batch_size=2, stages=3,
        features=(32,), normalisation=("ZScoreNormalization",), network="PlainConvUNet",
    )  # fmt: skip
    assert summary.parameters is None
