"""Scores against SimpleITK's own filters and against plain arithmetic over all voxel pairs."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
import SimpleITK
from helpers.image_folders import shared_data
from hypothesis import given, settings, strategies as st

from app.datasets.images import read_volume
from app.domain.errors import ErrorCode, JobFailed
from app.domain.segmentation import CaseScore, LabelScore
from app.review.label_maps import GridsDiffer
from app.review.scores import (
    count_components,
    decode_scores,
    encode_scores,
    mean_foreground_dice,
    score_case,
    score_masks,
    score_pairs,
    surface_distances_mm,
    surface_of,
)

SPACING = (3.1, 0.7, 1.3)
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass
class Map:
    """A label map that no file was needed for."""

    array: np.ndarray
    spacing_mm: tuple = SPACING
    origin_mm: tuple = (0.0, 0.0, 0.0)
    direction: tuple = IDENTITY


def blob(shape, seed: int) -> np.ndarray:
    """A smooth random shape of one or more parts."""
    noise = SimpleITK.GetImageFromArray(np.random.default_rng(seed).normal(size=shape))
    return SimpleITK.GetArrayFromImage(SimpleITK.SmoothingRecursiveGaussian(noise, 2.0)) > 0.05


def as_image(mask: np.ndarray, spacing=SPACING) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    return image


# An independent reference: all pairs of surface voxels, neighbours looked up one by one.


def brute_surface(mask: np.ndarray) -> np.ndarray:
    found = []
    for z, y, x in np.argwhere(mask):
        for axis, step in ((a, s) for a in range(3) for s in (-1, 1)):
            neighbour = [z, y, x]
            neighbour[axis] += step
            inside = all(0 <= n < length for n, length in zip(neighbour, mask.shape, strict=True))
            if not inside or not mask[tuple(neighbour)]:
                found.append((z, y, x))
                break
    return np.asarray(found, dtype=float).reshape(-1, 3)


def brute_distances(first: np.ndarray, second: np.ndarray, spacing) -> np.ndarray:
    a, b = (brute_surface(mask) * np.asarray(spacing) for mask in (first, second))
    pairs = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=-1))
    return np.concatenate([pairs.min(axis=1), pairs.min(axis=0)])


def brute_components(mask: np.ndarray) -> int:
    waiting, count = {tuple(v) for v in np.argwhere(mask).tolist()}, 0
    while waiting:
        count += 1
        edge = [waiting.pop()]
        while edge:
            z, y, x = edge.pop()
            near = {
                (z + i, y + j, x + k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)
            } & waiting
            waiting -= near
            edge.extend(near)
    return count


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spacing", [SPACING, (1.0, 1.0, 1.0), (0.3, 2.5, 0.8)])
def test_every_score_equals_plain_arithmetic(seed, spacing):
    first, second = blob((9, 14, 12), seed), blob((9, 14, 12), seed + 100)
    score = score_masks("liver", first, second, spacing, tolerance_mm=1.5)
    distances = brute_distances(first, second, spacing)
    assert all(type(value) in {float, int} for value in astuple(score)[1:])
    assert score == LabelScore(
        label="liver",
        dice=pytest.approx(2 * (first & second).sum() / (first.sum() + second.sum()), rel=1e-12),
        hausdorff95_mm=pytest.approx(np.percentile(distances, 95), abs=1e-6),
        surface_dice=pytest.approx((distances <= 1.5).mean(), abs=1e-12),
        reference_ml=pytest.approx(first.sum() * np.prod(spacing) / 1000),
        prediction_ml=pytest.approx(second.sum() * np.prod(spacing) / 1000),
        reference_components=brute_components(first),
        prediction_components=brute_components(second),
    )


@settings(deadline=None, max_examples=60)
@given(
    first=st.binary(min_size=60, max_size=60),
    second=st.binary(min_size=60, max_size=60),
    spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
)
def test_distances_of_any_two_masks_equal_plain_arithmetic(first, second, spacing):
    masks = [(np.frombuffer(raw, np.uint8).reshape(3, 4, 5) % 3 == 0) for raw in (first, second)]
    if not all(mask.any() for mask in masks):
        return
    surfaces = [surface_of(mask) for mask in masks]
    expected = brute_distances(*masks, spacing)
    np.testing.assert_allclose(surface_distances_mm(*surfaces, spacing), expected, rtol=1e-6)
    exact = score_masks("any", *masks, spacing, tolerance_mm=1.0).hausdorff95_mm
    assert exact == pytest.approx(np.percentile(expected, 95), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_dice_and_hausdorff_agree_with_simpleitks_filters(seed):
    first, second = blob((12, 30, 25), seed), blob((12, 30, 25), seed + 50)
    score = score_masks("liver", first, second, SPACING, tolerance_mm=1.0)
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(as_image(first), as_image(second))
    assert score.dice == pytest.approx(overlap.GetDiceCoefficient(1), abs=1e-6)
    # SimpleITK's Hausdorff filter measures from masks, not surfaces: the farthest voxel of either
    # mask from the other one. The farthest lies on a surface, so the maximum is comparable
    # where no hole of one mask swallows a part of the other.
    reach = SimpleITK.HausdorffDistanceImageFilter()
    reach.Execute(as_image(first), as_image(second))
    outside = np.concatenate(
        [
            _from_mask(second)[surface_of(first)],
            _from_mask(first)[surface_of(second)],
        ]
    )
    assert outside.max() == pytest.approx(reach.GetHausdorffDistance(), rel=1e-5)


def _from_mask(mask: np.ndarray) -> np.ndarray:
    """Distance of each voxel to a mask, by SimpleITK: 0 inside."""
    signed = SimpleITK.SignedMaurerDistanceMap(
        as_image(mask), squaredDistance=False, useImageSpacing=True
    )
    return np.maximum(SimpleITK.GetArrayFromImage(signed), 0)


@pytest.mark.parametrize("seed", range(3))
def test_surface_distances_agree_with_simpleitks_distance_map(seed):
    # The recipe of SimpleITK's own notebooks: contours and an absolute distance map of them.
    first, second = blob((12, 30, 25), seed), blob((12, 30, 25), seed + 50)
    expected = []
    for own, other in ((first, second), (second, first)):
        contour = SimpleITK.LabelContour(SimpleITK.ConstantPad(as_image(other), [1] * 3, [1] * 3))
        far = SimpleITK.Abs(
            SimpleITK.SignedMaurerDistanceMap(contour, squaredDistance=False, useImageSpacing=True)
        )
        inside = SimpleITK.GetArrayFromImage(far)[1:-1, 1:-1, 1:-1]
        edge = SimpleITK.LabelContour(SimpleITK.ConstantPad(as_image(own), [1] * 3, [1] * 3))
        own_surface = SimpleITK.GetArrayFromImage(edge)[1:-1, 1:-1, 1:-1] > 0
        expected.append(inside[own_surface])
    np.testing.assert_allclose(
        surface_distances_mm(surface_of(first), surface_of(second), SPACING),
        np.concatenate(expected),
        atol=1e-5,
    )


def test_a_shift_of_one_voxel_is_known_by_hand():
    first = np.zeros((9, 9, 9), bool)
    first[3:6, 3:6, 3:6] = True
    second = np.roll(first, 1, axis=2)
    score = score_masks("cube", first, second, (2.0, 1.0, 0.5), tolerance_mm=0.4)
    # 26 of 27 voxels of each cube are surface; each one's nearest is at most 0.5 mm away.
    assert score.dice == pytest.approx(2 * 18 / 54)
    assert score.hausdorff95_mm == pytest.approx(0.5)
    assert score.surface_dice == pytest.approx(32 / 52)
    assert score_masks("cube", first, second, (2.0, 1.0, 0.5), 0.5).surface_dice == 1.0


def test_the_tolerance_includes_its_own_distance():
    first = np.zeros((1, 1, 40), bool)
    first[0, 0, 0] = True
    second = np.roll(first, 30, axis=2)
    score = score_masks("dot", first, second, (1.0, 1.0, 0.1), tolerance_mm=3.0)
    assert score.hausdorff95_mm == pytest.approx(3.0, abs=1e-6)
    assert score.surface_dice == 1.0


def test_the_edge_of_the_image_is_surface():
    full = np.ones((3, 4, 5), bool)
    assert np.count_nonzero(surface_of(full)) == 60 - 1 * 2 * 3


def test_in_a_single_slice_only_its_outline_is_surface():
    disc = np.zeros((1, 7, 7), bool)
    disc[0, 1:6, 1:6] = True
    dot = np.zeros_like(disc)
    dot[0, 3, 3] = True
    score = score_masks("disc", disc, dot, (1.0, 1.0, 1.0), tolerance_mm=1.0)
    # Were all 25 voxels surface, the inner ones would lie within 1 mm of the dot.
    outline = [np.hypot(y - 3, x - 3) for y in range(1, 6) for x in range(1, 6)]
    outline = [d for d in outline if d >= 2]
    assert score.hausdorff95_mm == pytest.approx(np.percentile([*outline, 2.0], 95))


def test_both_empty_has_no_score():
    empty = np.zeros((3, 4, 5), bool)
    assert score_masks("liver", empty, empty, SPACING, 1.0) == LabelScore(
        label="liver",
        dice=None,
        hausdorff95_mm=None,
        surface_dice=None,
        reference_ml=0.0,
        prediction_ml=0.0,
        reference_components=0,
        prediction_components=0,
    )


@pytest.mark.parametrize("only_predicted", [True, False])
def test_one_empty_has_zero_dice_and_no_distance(only_predicted):
    empty, some = np.zeros((3, 4, 5), bool), np.zeros((3, 4, 5), bool)
    some[1, 1, 1:3] = True
    pair = (empty, some) if only_predicted else (some, empty)
    score = score_masks("liver", *pair, (1.0, 1.0, 1.0), 1.0)
    assert (score.dice, score.hausdorff95_mm, score.surface_dice) == (0.0, None, 0.0)
    assert score.only_predicted is only_predicted
    assert {score.reference_components, score.prediction_components} == {0, 1}


def test_equal_masks_are_perfect():
    mask = blob((9, 14, 12), 3)
    score = score_masks("liver", mask, mask.copy(), SPACING, 0.0)
    assert (score.dice, score.hausdorff95_mm, score.surface_dice) == (1.0, 0.0, 1.0)


def test_large_distances_keep_their_digits():
    first = np.zeros((1, 400, 400), bool)
    second = first.copy()
    first[0, 0, 0] = second[0, 399, 397] = True
    score = score_masks("dots", first, second, (1.0, 0.7, 0.93), tolerance_mm=1.0)
    assert score.hausdorff95_mm == pytest.approx(np.hypot(399 * 0.7, 397 * 0.93), abs=1e-9)


def test_cropping_does_not_change_a_score():
    inside = blob((6, 8, 8), 1), blob((6, 8, 8), 2)
    around = [np.pad(mask, ((20, 3), (0, 30), (7, 7))) for mask in inside]
    assert score_masks("a", *around, SPACING, 1.0) == score_masks("a", *inside, SPACING, 1.0)


@pytest.mark.parametrize(
    ("voxels", "parts"),
    [([], 0), ([(0, 0, 0)], 1), ([(0, 0, 0), (1, 1, 1)], 1), ([(0, 0, 0), (2, 2, 2)], 2)],
)
def test_components_touch_at_corners(voxels, parts):
    mask = np.zeros((3, 3, 3), bool)
    for voxel in voxels:
        mask[voxel] = True
    assert count_components(mask) == parts


def test_all_labels_of_a_case_are_scored_regions_too():
    reference, prediction = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    reference[1, 1, 1:5], prediction[1, 1, 2:5] = [1, 1, 2, 2], [1, 2, 2]
    labels = {"background": 0, "whole": (1, 2), "core": 2, "absent": 3}
    case = score_case("a", Map(reference), Map(prediction), labels)
    assert case.case == "a"
    assert {label.label: label.dice for label in case.labels} == {
        "whole": pytest.approx(6 / 7),
        "core": 1.0,
        "absent": None,
    }
    assert case.mean_dice == pytest.approx((6 / 7 + 1) / 2)


def test_ignored_voxels_count_for_nothing():
    reference = np.array([[[1, 1, 2, 0]]], np.uint8)
    prediction = np.array([[[1, 1, 1, 0]]], np.uint8)
    labels = {"background": 0, "liver": 1, "ignore": 2}
    (label,) = score_case("a", Map(reference), Map(prediction), labels).labels
    assert (label.label, label.dice) == ("liver", 1.0)


@pytest.mark.parametrize(
    ("changes", "aspect"),
    [
        ({"array": np.zeros((2, 3, 5), np.uint8)}, "shape"),
        ({"spacing_mm": (3.1, 0.7, 1.4)}, "spacing"),
        ({"origin_mm": (0.0, 0.5, 0.0)}, "origin"),
        ({"direction": ((-1.0, 0, 0), (0, -1.0, 0), (0, 0, 1.0))}, "direction"),
    ],
)
def test_a_pair_on_two_grids_is_refused_with_the_cases_name(changes, aspect):
    array = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises(GridsDiffer) as problem:
        score_case("p7", Map(array), Map(**{"array": array, **changes}), {"background": 0, "a": 1})
    assert problem.value.code is ErrorCode.GEOMETRY_DIFFERS
    assert (problem.value.case, problem.value.aspect) == ("p7", aspect)
    assert str(problem.value).startswith(f"case p7: the {aspect} of the prediction (")


def test_rounding_of_a_header_is_no_difference():
    array = np.zeros((2, 3, 4), np.uint8)
    moved = Map(array, spacing_mm=(3.1 + 1e-6, 0.7, 1.3), origin_mm=(1e-4, 0, 0))
    assert score_case("a", Map(array), moved, {"background": 0, "a": 1}).mean_dice is None


def make_score(case: str, **dice: float | None) -> CaseScore:
    return CaseScore(
        case=case,
        labels=tuple(
            LabelScore(
                label=label,
                dice=value,
                hausdorff95_mm=None,
                surface_dice=None,
                reference_ml=0.0,
                prediction_ml=0.0,
                reference_components=0,
                prediction_components=0,
            )
            for label, value in dice.items()
        ),
    )


@pytest.mark.parametrize(
    ("scores", "mean"),
    [
        ([], None),
        ([make_score("a", liver=None)], None),
        ([make_score("a", liver=0.5, core=1.0)], 0.75),
        # Labels weigh the same however often they are defined, as in nnU-Net's summary.json.
        ([make_score("a", liver=0.2, core=None), make_score("b", liver=0.4, core=0.9)], 0.6),
    ],
)
def test_mean_foreground_dice(scores, mean):
    assert mean_foreground_dice(scores) == (None if mean is None else pytest.approx(mean))


def test_scores_survive_their_json():
    scores = (make_score("a", liver=0.25, core=None), make_score("b", liver=1.0, core=0.0))
    assert decode_scores(encode_scores(scores)) == scores
    with pytest.raises(msgspec.ValidationError):
        decode_scores(b'[{"case": 3}]')


def test_pairs_are_scored_in_order_with_progress():
    arrays = {
        "/r/a": np.array([[[1, 1, 0]]]),
        "/p/a": np.array([[[1, 0, 0]]]),
        "/r/b": np.array([[[0, 1, 0]]]),
        "/p/b": np.array([[[0, 1, 0]]]),
    }
    told = []
    scores = score_pairs(
        [("a", "/r/a", "/p/a"), ("b", "/r/b", "/p/b")],
        {"background": 0, "liver": 1},
        read=lambda path: Map(arrays[path.as_posix()]),
        progress=lambda *now: told.append(now),
    )
    assert [(s.case, s.mean_dice) for s in scores] == [("a", pytest.approx(2 / 3)), ("b", 1.0)]
    assert told == [(0, 2, "scoring"), (1, 2, "scoring"), (2, 2, "scoring")]


def test_scoring_stops_between_cases():
    read: list[Path] = []

    def reader(path: Path) -> Map:
        read.append(path)
        return Map(np.zeros((1, 2, 3)))

    with pytest.raises(JobFailed) as stopped:
        score_pairs(
            [("a", "/a", "/a"), ("b", "/b", "/b")],
            {"background": 0, "liver": 1},
            read=reader,
            stopped=lambda: bool(read),
        )
    assert stopped.value.code is ErrorCode.JOB_STOPPED
    assert len(read) == 2


def test_a_real_label_against_itself_eroded():
    path = shared_data("formats", "brain1_label.nrrd")
    true = read_volume(path)
    smaller = SimpleITK.BinaryErode(SimpleITK.ReadImage(str(path), SimpleITK.sitkUInt8), [1, 1, 0])
    worse = Map(
        SimpleITK.GetArrayFromImage(smaller),
        spacing_mm=true.spacing_mm,
        origin_mm=true.origin_mm,
        direction=true.direction,
    )
    (label,) = score_case("brain1", true, worse, {"background": 0, "tumour": 1}).labels
    distances = brute_distances(true.array == 1, worse.array == 1, true.spacing_mm)
    assert label.hausdorff95_mm == pytest.approx(np.percentile(distances, 95), abs=1e-6)
    assert 0.5 < label.dice < 1
    assert label.prediction_ml < label.reference_ml
