"""HD95 and surface Dice against scipy's exact distance transform, on smooth shapes of real size."""

from __future__ import annotations

import numpy as np
import pytest

from app.review.scores import score_masks

ndimage = pytest.importorskip("scipy.ndimage")


def shapes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A reference and a prediction: one body with a bay, and the same one shifted and rougher."""
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(24, 60, 54)), 4)
    first = noise > 0.01
    second = np.roll(
        ndimage.gaussian_filter(noise + 0.02 * random.normal(size=noise.shape), 1), 2, 1
    )
    return first, second > 0.012


def by_scipy(first, second, spacing, tolerance):
    """The definitions of app.review.scores, with scipy's erosion and Euclidean distances."""
    face = ndimage.generate_binary_structure(3, 1)
    edges = [mask & ~ndimage.binary_erosion(mask, face, border_value=0) for mask in (first, second)]
    distances = np.concatenate(
        [
            ndimage.distance_transform_edt(~edges[1], sampling=spacing)[edges[0]],
            ndimage.distance_transform_edt(~edges[0], sampling=spacing)[edges[1]],
        ]
    )
    near = distances <= tolerance * (1 + 1e-9)
    return np.percentile(distances, 95), near.mean()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 0.7), (0.5, 1.25, 2.1)])
def test_distances_agree_to_a_millionth(seed, spacing):
    first, second = shapes(seed)
    score = score_masks("organ", first, second, spacing, tolerance_mm=1.5)
    hausdorff, surface_dice = by_scipy(first, second, spacing, 1.5)
    assert score.hausdorff95_mm == pytest.approx(hausdorff, abs=1e-6)
    assert score.surface_dice == pytest.approx(surface_dice, abs=1e-6)
    assert score.reference_components == ndimage.label(first, np.ones((3, 3, 3)))[1]
    assert score.prediction_components == ndimage.label(second, np.ones((3, 3, 3)))[1]


def test_cropping_to_the_box_of_both_changes_nothing():
    first, second = shapes(1)
    alone = score_masks("organ", first, second, (3.0, 0.7, 0.7), tolerance_mm=1.0)
    margin = ((4, 9), (30, 2), (1, 40))
    padded = score_masks(
        "organ", np.pad(first, margin), np.pad(second, margin), (3.0, 0.7, 0.7), tolerance_mm=1.0
    )
    assert padded == alone
