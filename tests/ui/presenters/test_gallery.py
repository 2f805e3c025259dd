from __future__ import annotations

import numpy as np
import pytest
from helpers import snapshots

from app.domain.errors import DataProblem
from app.ui.models.pictures import PictureWish
from app.ui.presenters.data import gallery_items
from app.ui.presenters.gallery import read_picture
from app.ui.text import Tone
from app.ui.widgets.rendering import label_colour

CASE = snapshots.dataset().training[0]


def wish(**changes: object) -> PictureWish:
    fields = {"case": CASE.name, "image": CASE.channels[0], "label": CASE.label}
    return PictureWish(**{**fields, **changes})


def test_both_structures_are_outlined_on_a_square():
    picture = read_picture(wish(), 112)
    assert picture.remark == ""
    assert picture.pixels is not None
    assert picture.pixels.shape == (112, 112)
    colours = picture.pixels & 0xFFFFFF
    outline = np.isin(colours, [label_colour(1), label_colour(2)])
    # A line, not a filled structure.
    assert 20 < outline.sum() < 800
    grey = colours[~outline]
    assert (grey % 0x010101 == 0).all()


def test_a_missing_or_foreign_label_is_said():
    assert read_picture(wish(label=None), 64).remark == "This case has no label."
    other = next(
        case
        for case in snapshots.dataset().training
        if read_picture(wish(label=case.label), 64).remark
    )
    assert "another size" in read_picture(wish(label=other.label), 64).remark


def test_an_unreadable_image_raises_with_its_name(tmp_path):
    with pytest.raises(DataProblem, match=r"gone\.nii\.gz"):
        read_picture(wish(image=str(tmp_path / "gone.nii.gz")), 64)


def test_items_carry_the_worst_finding_and_change_with_the_folder():
    data = snapshots.blocked().data
    items = {item.wish.case: item for item in gallery_items(data.dataset, data.report)}
    assert len(items) == len(data.dataset.training) + len(data.dataset.held_out)
    assert items["hippocampus_024"].tone is Tone.DANGER
    assert "value 4 in 17 voxels" in items["hippocampus_024"].hint
    assert items["hippocampus_007"].tone is None
    assert {item.wish.version for item in items.values()} == {"5f" * 32}
    assert gallery_items(None, None) == ()
