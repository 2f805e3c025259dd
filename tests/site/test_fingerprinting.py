from __future__ import annotations

import dataclasses
import json

import pytest
from helpers.fingerprints import make_cases, minimal, paper
from helpers.scripted_runner import case_fingerprint
from helpers.site_home import study_terms

from app.domain.errors import PeerMistake
from app.domain.fingerprint import Fingerprint
from app.domain.plans import PlanSummary
from app.domain.study import Aggregation, Method
from app.federation.merging import merge
from app.federation.shared_codec import encode
from app.site.fingerprinting import (
    case_rows,
    merged_pictures,
    outgoing_fields,
    outliers,
    pictures_of,
    reason_not_to_share,
    show_outgoing,
    what_changes,
)


def named_entries(document, channel_names):
    """Every entry of an outgoing document, by the names that the table gives them."""
    found = set()
    for key, value in document.items():
        if key == "channels":
            for name, channel in zip(channel_names, value, strict=True):
                found |= {f"{name}.{entry}" for entry in channel}
        elif key in ("spacing", "size", "extent"):
            found |= {f"{key}.{axis}" for axis in "zyx"}
        else:
            found.add(key)
    return found


@pytest.mark.parametrize("make", [minimal, paper])
def test_the_table_names_every_entry_that_leaves_and_no_other(make):
    shared = make(make_cases(1, 6))
    rows = outgoing_fields(shared)
    assert {row.field for row in rows} == named_entries(
        json.loads(encode(shared)), shared.channel_names
    )
    assert all(row.value and row.purpose for row in rows)


def test_only_the_papers_fields_point_at_cases_or_voxels():
    risks = {row.field: row.risk for row in outgoing_fields(paper(make_cases(1, 6)))}
    assert risks["spacings"] == risks["shapes"] == "per case"
    assert risks["MRI.minimum"] == risks["MRI.maximum"] == "single voxel"
    assert {row.risk for row in outgoing_fields(minimal(make_cases(1, 6)))} <= {
        "aggregate",
        "count of one",
    }


def test_a_value_that_one_case_alone_has_is_marked():
    same = [dataclasses.replace(case, spacing=(3.0, 1.0, 1.0)) for case in make_cases(1, 6)]
    other = dataclasses.replace(same[0], spacing=(5.0, 1.0, 1.0))
    risks = {row.field: row.risk for row in outgoing_fields(minimal([*same, other]))}
    assert risks["spacing.z"] == "count of one"
    assert risks["spacing.y"] == risks["cases"] == "aggregate"


def test_few_values_are_listed_and_many_are_summed_up():
    same = [dataclasses.replace(case, spacing=(3.0, 1.0, 1.0)) for case in make_cases(1, 6)]
    other = dataclasses.replace(same[0], spacing=(5.0, 1.0, 1.0))
    rows = {row.field: row.value for row in outgoing_fields(minimal([*same, other]))}
    assert rows["spacing.z"] == "3 mm: 6 cases, 5 mm: 1 case"
    assert rows["size.z"].endswith("of them of one case")


@pytest.mark.parametrize(("make", "number"), [(minimal, 7), (paper, 6)])
def test_pictures_hold_every_case(make, number):
    pictures = pictures_of(make(make_cases(1, 6)))
    assert len(pictures) == number
    for picture in pictures:
        assert len(picture.edges) == len(picture.counts) + 1
        assert list(picture.edges) == sorted(picture.edges)
        assert sum(picture.counts) == pytest.approx(6)


def test_voxels_far_out_do_not_squeeze_the_picture():
    cases = make_cases(1, 6)
    far = dataclasses.replace(cases[0], voxels=(1e6, *cases[0].voxels[1:]))
    intensity = pictures_of(minimal([far, *cases[1:]]))[-1]
    assert intensity.edges[-1] < 1e6
    assert sum(intensity.counts) == pytest.approx(6)


def test_what_is_shown_comes_from_the_bytes():
    document = encode(minimal(make_cases(1, 6)))
    assert show_outgoing(document).text.encode() == document
    with pytest.raises(PeerMistake):
        show_outgoing(document.replace(b'"cases":6', b'"cases":7'))


def test_the_merged_pictures_are_those_of_all_cases():
    merged = merge([minimal(make_cases(1, 6)), minimal(make_cases(2, 4))], rule=Aggregation.CASES)
    assert [sum(picture.counts) for picture in merged_pictures(merged)] == [10] * 6


def fingerprint(*cases):
    return Fingerprint(content_digest="d", channel_names=("MRI",), cases=cases)


def usual(number):
    return [case_fingerprint(f"case{n}", mean=100.0 + n) for n in range(number)]


def test_an_outlier_is_named_with_what_is_usual():
    odd = case_fingerprint("odd", (3.0, 1.0, 1.0))
    found = fingerprint(*usual(30), odd)
    assert outliers(found, ()) == (
        "1 case of 31 has 3 mm spacing along z; most have 1 mm spacing along z",
    )
    rows = {row.case: row.note for row in case_rows(found, ())}
    assert rows["odd"] == "3 mm spacing along z"
    assert rows["case1"] == ""


def test_a_case_left_out_is_no_outlier_but_keeps_its_row():
    odd = case_fingerprint("odd", (3.0, 1.0, 1.0))
    found = fingerprint(*usual(30), odd)
    assert outliers(found, ("odd",)) == ()
    assert [row.case for row in case_rows(found, ("odd",)) if row.left_out] == ["odd"]


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (case_fingerprint("odd", shape=(30, 40, 500)), "500 voxels along x"),
        (case_fingerprint("odd", mean=9000.0), "a mean MRI intensity of 9000"),
        (case_fingerprint("odd", (1.0, 0.2, 1.0)), "0.2 mm spacing along y"),
    ],
)
def test_kinds_of_outliers(odd, words):
    (sentence,) = outliers(fingerprint(*usual(10), odd), ())
    assert words in sentence


def test_half_of_the_cases_are_no_outliers_and_three_say_nothing():
    mixed = [case_fingerprint(f"thick{n}", (5.0, 1.0, 1.0), mean=100.0 + n) for n in range(10)]
    assert outliers(fingerprint(*usual(10), *mixed), ()) == ()
    assert outliers(fingerprint(*usual(2), mixed[0]), ()) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"terms": None}, "join a study first"),
        ({"checked_digest": None}, "has not been checked"),
        ({"blocks": True}, "blocks"),
        ({"checked_digest": "e"}, "has changed"),
        ({"channel_names": ("CT",)}, "are CT, the study's are MRI"),
        ({"cases": 4}, "fewer than 5"),
    ],
)
def test_reasons_not_to_share(change, words):
    facts = {
        "terms": study_terms(), "channel_names": ("MRI",), "cases": 5, "content_digest": "d",
        "checked_digest": "d", "blocks": False, "labels": study_terms().labels,
    }  # fmt: skip
    reason = reason_not_to_share(**(facts | change))
    assert words in reason
    assert bool(reason) == bool(change)


def test_where_a_site_plans_for_itself_it_may_have_less_than_the_study_but_nothing_else():
    facts = {
        "terms": study_terms(method=Method.ASYM, channel_names=("T1", "T2")),
        "channel_names": ("T2",), "cases": 5, "content_digest": "d", "checked_digest": "d",
        "blocks": False, "labels": {"background": 0, "posterior": 1},
    }  # fmt: skip
    assert reason_not_to_share(**facts) == ""
    strange = reason_not_to_share(**(facts | {"labels": {"background": 0, "lung": 1}}))
    assert "'lung', which the study does not" in strange
    assert "channel 'CT'" in reason_not_to_share(**(facts | {"channel_names": ("CT",)}))


def summary(**changes):
    whole = {
        "configuration": "3d_fullres", "spacing_mm": (1.0, 1.0, 1.0), "patch": (40, 56, 40),
        "batch_size": 2, "stages": 4, "features": (32, 64), "normalisation": ("Z-score",),
        "network": "PlainConvUNet",
    }  # fmt: skip
    return PlanSummary(**(whole | changes))


def test_what_changes_compares_in_the_plans_order_of_axes():
    local = fingerprint(*(case_fingerprint(f"c{n}", (1.0, 1.0, 3.0)) for n in range(5)))
    kept = what_changes(local, summary(spacing_mm=(3.0, 1.0, 1.0)), axes=(2, 0, 1), merged_cases=50)
    assert "keep their median spacing of 3 x 1 x 1 mm" in kept
    resampled = what_changes(local, summary(), axes=(0, 1, 2), merged_cases=50)
    assert "median spacing of 1 x 1 x 3 mm, are resampled to the study's 1 x 1 x 1 mm" in resampled
    assert "50 cases of all sites" in resampled
    assert "40 x 56 x 40 voxels, 2 at a time" in resampled
    assert "MRI by Z-score" in resampled


def test_a_flat_plan_is_compared_along_its_own_axes():
    local = fingerprint(*(case_fingerprint(f"c{n}", (9.0, 1.0, 1.0)) for n in range(5)))
    flat = summary(spacing_mm=(1.0, 1.0), patch=(64, 64))
    assert "keep their median spacing of 1 x 1 mm" in what_changes(
        local, flat, axes=(0, 1, 2), merged_cases=5
    )
