from app.domain.dataset import DatasetDescription


def test_foreground_leaves_out_background_and_ignore():
    description = DatasetDescription(
        channel_names=("MRI",),
        labels={"background": 0, "whole": (1, 2), "core": 2, "ignore": 3},
        file_ending=".nii.gz",
    )
    assert description.foreground == {"whole": (1, 2), "core": 2}
    assert description.values == {0, 1, 2, 3}
