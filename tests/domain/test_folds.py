import pytest

from app.domain.folds import folds_of, passes_of, place_of


@pytest.mark.parametrize(
    ("text", "folds"),
    [
        ("0", ("0",)),
        ("4", ("4",)),
        ("all", ("all",)),
        ("0-4", ("0", "1", "2", "3", "4")),
        ("1-2", ("1", "2")),
    ],
)
def test_a_study_file_names_one_fold_or_a_range(text, folds):
    assert folds_of(text) == folds


@pytest.mark.parametrize(
    "text", ["", "5", "-", "0-", "-4", "0-5", "4-0", "2-2", "0-4-4", "all-4", "00"]
)
def test_what_is_no_fold_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - it carries the text and nothing else
        folds_of(text)


def test_every_round_of_a_study_is_one_round_of_one_fold():
    places = [place_of(number, rounds=6, folds=3) for number in range(1, 7)]
    assert [(one.number, one.round) for one in places] == [
        (1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2),
    ]  # fmt: skip
    assert [one.index for one in places] == [0, 0, 1, 1, 2, 2]
    assert [one.begins for one in places] == [True, False] * 3
    assert [one.ends for one in places] == [False, True] * 3


def test_before_and_after_the_study_it_is_where_that_begins_or_ends():
    assert place_of(0, rounds=6, folds=3) == place_of(1, rounds=6, folds=3)
    assert place_of(7, rounds=6, folds=3) == place_of(6, rounds=6, folds=3)
    assert place_of(1, rounds=0, folds=1).round == 1


def test_a_cascade_trains_all_folds_twice():
    places = [place_of(number, rounds=8, folds=2, stages=2) for number in range(1, 9)]
    assert [(one.stage, one.number, one.round) for one in places] == [
        (1, 1, 1), (1, 1, 2), (1, 2, 1), (1, 2, 2), (2, 1, 1), (2, 1, 2), (2, 2, 1), (2, 2, 2),
    ]  # fmt: skip
    assert [one.index for one in places] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [one.fold for one in places] == [0, 0, 1, 1] * 2
    assert place_of(9, rounds=8, folds=2, stages=2) == places[-1]


@pytest.mark.parametrize(
    ("configuration", "passes"),
    [
        ("2d", ("2d",)),
        ("3d_lowres", ("3d_lowres",)),
        ("3d_cascade_fullres", ("3d_lowres", "3d_cascade_fullres")),
    ],
)
def test_only_a_cascade_has_two_passes(configuration, passes):
    assert passes_of(configuration) == passes


def test_a_place_is_told_with_its_pass_in_a_cascade():
    place = place_of(73, rounds=100, folds=5, stages=2)
    assert place.title == "Second pass, fold 3 of 5, round 3 of 10"
    assert place.fold_words == "second pass, fold 3 of 5"
    assert place.short == "3 (pass 2, fold 3)"
    assert str(place_of(1, rounds=20, folds=1, stages=2)) == "first pass, round 1 of 10"
    assert place_of(13, rounds=50, folds=5).short == "3 (fold 2)"
    assert place_of(13, rounds=50, folds=1).short == "13"


def test_a_place_is_told_with_its_fold_only_where_there_are_several():
    assert str(place_of(13, rounds=50, folds=5)) == "fold 2 of 5, round 3 of 10"
    assert place_of(13, rounds=50, folds=5).title == "Fold 2 of 5, round 3 of 10"
    assert place_of(13, rounds=50, folds=1).title == "Round 13 of 50"
