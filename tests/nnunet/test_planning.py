"""The plan from merged statistics against the plan stock nnU-Net makes from all cases together."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from fractions import Fraction
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings, strategies as st

from app.domain.errors import DataProblem, ErrorCode
from app.domain.fingerprint import CaseFingerprint, Fingerprint
from app.domain.ids import digest_of
from app.domain.shared import intensity_bin, length_bin, length_of
from app.domain.study import Aggregation, Policy, StudyTerms
from app.federation import study_file
from app.federation.merging import merge
from app.federation.plan_rules import check_plan, network_of, summarise, unpack
from app.federation.shared_codec import decode, encode
from app.nnunet.fingerprint import channel_statistics
from app.nnunet.planning import PLANNERS, plan, resampled_median
from app.site.disclosure import share

pytestmark = pytest.mark.nnunet


def _terms(**changes):
    values = {
        "name": "Liver",
        "purpose": "test",
        "contact": "nobody",
        "channel_names": ("CT",),
        "labels": {"background": 0, "organ": 1, "lesion": 2},
    }
    return StudyTerms(**(values | changes))


_INTENSITIES = channel_statistics(np.random.default_rng(0).integers(-100, 400, 500))


def _case(name, spacing_bins, shape, relative_size=1.0, channels=(_INTENSITIES,)):
    return CaseFingerprint(
        case=name,
        spacing_mm=tuple(length_of(number) for number in spacing_bins),
        shape=shape,
        relative_size=relative_size,
        channels=channels,
    )


def _merge(sites, policy=Policy.MINIMAL, rule=Aggregation.CASES, channel_names=("CT",)):
    """Go the whole way: each site's values, the bytes that leave, the merge."""
    shared = [
        share(
            Fingerprint(content_digest="", channel_names=channel_names, cases=tuple(cases)), policy
        )
        for cases in sites
    ]
    return merge([decode(encode(one)) for one in shared], rule=rule)


def _stock_plans(terms, cases, merged, folder, device="cpu"):
    """Run the stock planner on the pooled per-case fingerprint, as nnU-Net itself would have it.

    On the "meta" device it is many times faster; the tests of single datasets use "cpu".
    """
    name = "Dataset900_Pooled"
    raw, preprocessed = folder / "raw" / name, folder / "preprocessed" / name
    raw.mkdir(parents=True)
    preprocessed.mkdir(parents=True)
    labels = {k: list(v) if isinstance(v, tuple) else v for k, v in terms.labels.items()}
    dataset = {
        "channel_names": {str(number): one for number, one in enumerate(terms.channel_names)},
        "labels": labels,
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        "regions_class_order": list(terms.regions_class_order),
        "dataset": {"x": {"images": ["x.nii.gz"], "label": "x.nii.gz"}},
    }
    (raw / "dataset.json").write_text(json.dumps(dataset))
    fingerprint = {
        "spacings": [list(case.spacing_mm) for case in cases],
        "shapes_after_crop": [list(case.shape) for case in cases],
        "median_relative_size_after_cropping": float(np.median([c.relative_size for c in cases])),
        "foreground_intensity_properties_per_channel": {
            str(number): {"mean": channel.mean} for number, channel in enumerate(merged.channels)
        },
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_raw", str(folder / "raw"))
        patch.setenv("nnUNet_preprocessed", str(folder / "preprocessed"))
        patch.setenv("nnUNet_results", str(folder / "results"))
        patch.setenv("nnUNet_n_proc_DA", "1")
        planner_class = getattr(import_module(PLANNERS[terms.planner]), terms.planner)
        planner = planner_class(name)
        with torch.device(device):
            planner.plan_experiment()
        written = (preprocessed / f"{planner.plans_identifier}.json").read_text()
    return json.loads(written)


def _same_but_for_intensities(plans):
    """Everything in the plans but the dataset's name and the intensity figures."""
    return {
        key: value
        for key, value in plans.items()
        if key not in ("dataset_name", "foreground_intensity_properties_per_channel")
    }


def _assert_planned_as_pooled(terms, sites, folder, device="cpu"):
    cases = [case for site in sites for case in site]
    merged = _merge(sites, channel_names=terms.channel_names)
    package = plan(terms, merged, folder / "merged")
    plans, dataset, _, _ = unpack(package.document)
    stock = _stock_plans(terms, cases, merged, folder / "stock", device)
    assert _same_but_for_intensities(plans) == _same_but_for_intensities(stock)
    assert dataset["numTraining"] == len(cases)
    return plans, package


# Families of images

_AXIS = st.sampled_from([0, 1, 2])


def _jittered(low, high):
    """Spacings of 0.1 micrometre steps between two lengths in mm."""
    return st.integers(length_bin(low), length_bin(high))


@st.composite
def _family(draw):
    """Cases that share an acquisition: MR-like, CT-like or anisotropic, with a thick axis anywhere.

    Protocols repeat, as they do in hospitals: most cases take one of a few spacings.
    """
    kind = draw(st.sampled_from(["mr", "ct", "anisotropic"]))
    in_plane, through, wide, deep = {
        "mr": (_jittered(0.5, 1.6), _jittered(0.5, 2.0), (40, 260), (30, 220)),
        "ct": (_jittered(0.5, 1.0), _jittered(0.5, 5.0), (180, 512), (30, 400)),
        "anisotropic": (_jittered(0.3, 1.6), _jittered(3.0, 12.0), (90, 360), (6, 30)),
    }[kind]
    thick = draw(_AXIS)
    protocols = draw(st.lists(st.tuples(in_plane, through), min_size=1, max_size=4))
    cases = []
    for number in range(draw(st.integers(2, 24))):
        plane, slices = draw(st.sampled_from(protocols))
        if draw(st.booleans()):
            slices = draw(through)
        spacing = tuple(slices if axis == thick else plane for axis in range(3))
        shape = tuple(draw(st.integers(*(deep if axis == thick else wide))) for axis in range(3))
        kept = draw(st.integers(400, 1000)) / 1000
        cases.append(_case(f"{kind}{number}", spacing, shape, kept))
    return cases


@st.composite
def _split(draw):
    cases = draw(_family())
    count = draw(st.integers(1, min(5, len(cases))))
    homes = [draw(st.integers(0, count - 1)) for _ in cases]
    sites = [[c for c, home in zip(cases, homes, strict=True) if home == s] for s in range(count)]
    return cases, [site for site in sites if site]


def _no_size_lies_on_a_border(cases):
    """False where nnU-Net's own floating point decides between two sizes, or the mask's use."""
    bins = np.array([[length_bin(length) for length in case.spacing_mm] for case in cases])
    middle = np.percentile(bins, 50, 0)
    tenth = np.percentile(bins, 10, 0)
    for case in cases:
        for axis in range(3):
            for target in (middle[axis], tenth[axis]):
                extent = length_bin(case.spacing_mm[axis]) * case.shape[axis]
                if (
                    Fraction(extent) / Fraction(float(target)).limit_denominator(100)
                ) % 1 == Fraction(1, 2):
                    return False
    return abs(np.median([case.relative_size for case in cases]) - 0.75) > 0.001


def _check_split(split, planner, folder):
    cases, sites = split
    assume(_no_size_lies_on_a_border(cases))
    _assert_planned_as_pooled(_terms(planner=planner), sites, folder, "meta")


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(split=_split(), planner=st.sampled_from(["ExperimentPlanner", "nnUNetPlannerResEncM"]))
def test_any_split_plans_as_all_cases_together(split, planner, tmp_path_factory):
    _check_split(split, planner, tmp_path_factory.mktemp("plan"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(split=_split(), planner=st.sampled_from(sorted(PLANNERS)))
def test_any_split_plans_as_all_cases_together_at_length(split, planner, tmp_path_factory):
    _check_split(split, planner, tmp_path_factory.mktemp("plan"))


def test_sizes_linked_to_spacings_need_the_extents(tmp_path):
    """Why extents leave the site: sorted apart, sizes and spacings give other sizes in mm."""
    cases = [_case(f"thick{n}", (20000, 9000, 9000), (100, 200, 200)) for n in range(2)]
    cases += [_case(f"middle{n}", (15000, 9000, 9000), (200, 200, 200)) for n in range(2)]
    cases += [_case(f"thin{n}", (10000, 9000, 9000), (90, 200, 200)) for n in range(3)]
    plans, _ = _assert_planned_as_pooled(_terms(), [cases[:3], cases[3:]], tmp_path)
    # Sorted apart, the middle pair would be 1.5 mm and 100 voxels, thus 100 voxels.
    assert plans["configurations"]["3d_fullres"]["median_image_size_in_voxels"][0] == 133


def test_an_even_number_of_cases_keeps_half_voxels(tmp_path):
    cases = [_case("a", (10000,) * 3, (41, 60, 60)), _case("b", (10000,) * 3, (44, 61, 60))]
    plans, _ = _assert_planned_as_pooled(_terms(), [cases[:1], cases[1:]], tmp_path)
    size = plans["configurations"]["3d_fullres"]["median_image_size_in_voxels"]
    assert size == [42.5, 60.5, 60.0]


def test_two_dimensional_images_get_a_2d_plan_only(tmp_path):
    cases = [_case(f"c{n}", (999 * 5000, 5000, 5000), (1, 300 + n, 280)) for n in range(5)]
    terms = _terms(configuration="2d")
    plans, _ = _assert_planned_as_pooled(terms, [cases[:2], cases[2:]], tmp_path)
    assert list(plans["configurations"]) == ["2d"]
    with pytest.raises(
        DataProblem, match="nnU-Net plans no '3d_fullres' for these images, but 2d"
    ) as e:
        plan(_terms(), _merge([cases]), tmp_path / "again")
    assert e.value.code is ErrorCode.STUDY_FILE


def test_a_cascade_of_images_that_need_no_first_pass_is_refused_naming_what_there_is(tmp_path):
    cases = [_case(f"c{n}", (10000, 10000, 10000), (40, 40 + n, 40)) for n in range(5)]
    terms = _terms(configuration="3d_cascade_fullres", fold="0-4")
    with pytest.raises(
        DataProblem,
        match="plans no '3d_cascade_fullres' for these images, but 2d, 3d_fullres; they are too small",
    ) as caught:
        plan(terms, _merge([cases]), tmp_path)
    assert caught.value.code is ErrorCode.STUDY_FILE


def test_images_that_are_large_for_the_memory_get_a_plan_with_both_passes(tmp_path):
    cases = [_case(f"c{n}", (10000, 10000, 10000), (64, 64, 64)) for n in range(5)]
    terms = _terms(configuration="3d_cascade_fullres", fold="0-4", gpu_memory_target_gb=0.1)
    package = plan(terms, _merge([cases]), tmp_path)
    check_plan(package.document, terms)
    coarse, fine = (network_of(package.document, one) for one in terms.passes)
    assert fine.input_names == (
        *coarse.input_names, *(f"first pass: {name}" for name in terms.labels if name != "background")
    )  # fmt: skip
    assert summarise(package.document, "3d_lowres").spacing_mm > (1.0, 1.0, 1.0)


def test_regions_channels_and_mask_use(tmp_path):
    terms = _terms(
        channel_names=("T1", "FLAIR"),
        labels={"background": 0, "whole": (1, 2), "core": 2},
        regions_class_order=(1, 2),
    )
    cases = [
        _case(f"c{n}", (10000,) * 3, (120 + n, 130, 140), 0.5, (_INTENSITIES,) * 2)
        for n in range(5)
    ]
    plans, package = _assert_planned_as_pooled(terms, [cases[:2], cases[2:]], tmp_path)
    configuration = plans["configurations"]["3d_fullres"]
    assert configuration["use_mask_for_norm"] == [True, True]
    assert configuration["normalization_schemes"] == ["ZScoreNormalization"] * 2
    _, dataset, _, _ = unpack(package.document)
    assert dataset["regions_class_order"] == [1, 2]
    assert dataset["labels"]["whole"] == [1, 2]


def test_the_papers_policy_plans_from_single_cases(tmp_path):
    cases = [_case(f"c{n}", (30000, 9000, 8000), (20 + n, 200, 180), 0.9) for n in range(6)]
    merged = _merge([cases[:2], cases[2:]], policy=Policy.PAPER)
    plans, *_ = unpack(plan(_terms(), merged, tmp_path / "merged").document)
    stock = _stock_plans(_terms(), cases, merged, tmp_path / "stock")
    assert _same_but_for_intensities(plans) == _same_but_for_intensities(stock)


def _nnunet_environment():
    return {name: value for name, value in os.environ.items() if name.startswith("nnUNet")}


def test_the_package_is_canonical_repeatable_and_allowed(tmp_path):
    cases = [_case(f"c{n}", (12000, 9000, 8000), (60 + n, 70, 80)) for n in range(5)]
    merged = _merge([cases])
    environment = _nnunet_environment()
    first = plan(_terms(), merged, tmp_path / "one")
    assert _nnunet_environment() == environment
    again = plan(_terms(), merged, tmp_path / "one")
    other = plan(_terms(), _merge([cases[3:], cases[:3]]), tmp_path / "two")
    assert first == again == other
    assert first.digest == digest_of(first.document)
    check_plan(first.document, _terms())
    assert str(tmp_path) not in first.document.decode()


def test_the_memory_target_reaches_the_planner(tmp_path):
    cases = [_case(f"c{n}", (10000,) * 3, (200, 200, 200)) for n in range(5)]
    merged = _merge([cases])
    patches = []
    for number, target in enumerate((None, 2.0)):
        terms = _terms(gpu_memory_target_gb=target, planner="nnUNetPlannerResEncM")
        plans, *_ = unpack(plan(terms, merged, tmp_path / str(number)).document)
        patches.append(math.prod(plans["configurations"]["3d_fullres"]["patch_size"]))
    assert patches[1] < patches[0] / 2


def test_a_planner_that_is_not_allowed_is_refused(tmp_path):
    with pytest.raises(DataProblem, match=r"planner 'os.system' is not one of") as caught:
        plan(_terms(planner="os.system"), _merge([[_case("a", (1,) * 3, (9, 9, 9))]]), tmp_path)
    assert caught.value.code is ErrorCode.STUDY_FILE


@pytest.mark.parametrize("planner", sorted(PLANNERS))
def test_every_planner_of_the_study_file_plans(planner, tmp_path):
    cases = [_case(f"c{n}", (12000, 9000, 8000), (60 + n, 70, 80)) for n in range(5)]
    terms = _terms(planner=planner)
    plans, package = _assert_planned_as_pooled(terms, [cases[:2], cases[2:]], tmp_path, "meta")
    assert plans["experiment_planner_used"] == planner
    check_plan(package.document, terms)


def test_the_study_file_offers_the_planners_there_are():
    assert set(PLANNERS) == set(study_file.PLANNERS)


@given(
    st.lists(st.tuples(st.integers(2000, 90000), st.integers(1, 600)), min_size=1, max_size=30),
    st.integers(2000, 90000),
)
def test_resampled_median_is_that_of_compute_new_shape(cases, target):
    from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

    assume(all((Fraction(a * n, target) % 1) != Fraction(1, 2) for a, n in cases))
    stock = [
        compute_new_shape((size,), (length_of(spacing),), (length_of(target),))[0]
        for spacing, size in cases
    ]
    extents = Counter(length_bin(length_of(spacing) * size) for spacing, size in cases)
    assert resampled_median(dict(extents), length_of(target)) == np.median(stock)


# Intensities


def _mr_site(name, cases, level, spread, rng):
    """Cases of a scanner with its own scale, of very different sizes."""
    made = []
    for number in range(cases):
        count = int(rng.integers(200, 4000))
        values = np.abs(rng.normal(level, spread, count)).round()
        made.append((f"{name}{number}", values))
    return made


def _mr_family():
    rng = np.random.default_rng(7)
    return [
        _mr_site("a", 10, 900, 250, rng),
        _mr_site("b", 12, 3200, 500, rng),
        _mr_site("c", 8, 240, 70, rng),
    ]


def _mr_merged(policy, rule):
    sites = [
        [
            _case(name, (10000,) * 3, (50, 60, 70), channels=(channel_statistics(values),))
            for name, values in site
        ]
        for site in _mr_family()
    ]
    return _merge(sites, policy, rule).channels[0]


def _exact():
    """Mean, std and quantiles of all voxels where every case weighs the same."""
    samples = [values for site in _mr_family() for _, values in site]
    weights = np.concatenate([np.full(len(v), 1 / (len(v) * len(samples))) for v in samples])
    values = np.concatenate(samples)
    mean = float(np.sum(values * weights))
    std = math.sqrt(float(np.sum((values - mean) ** 2 * weights)))
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    quantiles = [float(values[order][np.searchsorted(reached, q)]) for q in (0.005, 0.5, 0.995)]
    return mean, std, quantiles, np.unique(values)


def test_merged_intensities_are_those_of_all_cases_together():
    found = _mr_merged(Policy.MINIMAL, Aggregation.CASES)
    mean, std, quantiles, occupied = _exact()
    assert found.mean == pytest.approx(mean, rel=1e-6)
    assert found.std == pytest.approx(std, rel=1e-6)
    bins = sorted({intensity_bin(float(value)) for value in occupied})
    for value, exact in zip(
        (found.percentile_00_5, found.median, found.percentile_99_5), quantiles, strict=True
    ):
        # One occupied bin to either side: rounding masses to integers may tip a quantile over.
        assert abs(bins.index(intensity_bin(value)) - bins.index(intensity_bin(exact))) <= 1


def test_why_the_papers_rule_is_not_enough():
    """Case-weighted means of std and percentiles are far off where scanners differ."""
    mean, std, (low, middle, _), _ = _exact()
    paper = _mr_merged(Policy.PAPER, Aggregation.PAPER)
    assert paper.mean == pytest.approx(mean, rel=1e-6)
    assert abs(paper.std - std) / std > 0.3
    assert abs(paper.percentile_00_5 - low) / low > 1.0
    assert abs(paper.median - middle) / middle > 0.3
