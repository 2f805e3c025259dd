from app.domain.segmentation import CaseScore, LabelScore


def score(dice, reference_ml=1.0, prediction_ml=1.0):
    return LabelScore(
        label="a",
        dice=dice,
        hausdorff95_mm=None,
        surface_dice=None,
        reference_ml=reference_ml,
        prediction_ml=prediction_ml,
        reference_components=1,
        prediction_components=1,
    )


def test_the_mean_leaves_out_what_is_not_defined():
    assert CaseScore(case="c", labels=(score(0.5), score(None), score(1.0))).mean_dice == 0.75
    assert CaseScore(case="c", labels=(score(None),)).mean_dice is None


def test_only_predicted_is_told_apart_from_empty():
    assert score(0.0, reference_ml=0.0).only_predicted
    assert not score(None, reference_ml=0.0, prediction_ml=0.0).only_predicted
