import dataclasses

from app.domain.study import MAXIMUM_SEED, StudyTerms

TERMS = StudyTerms(
    name="n", purpose="p", contact="c", channel_names=("MRI",), labels={"background": 0, "a": 1},
    rounds=7, epochs_per_round=3,
)  # fmt: skip


def test_epochs_over_the_study():
    assert (TERMS.fold_epochs, TERMS.total_epochs, TERMS.total_rounds) == (21, 21, 7)


def test_a_study_of_five_folds_is_five_times_as_long_with_a_schedule_for_each():
    terms = dataclasses.replace(TERMS, fold="0-4")
    assert (terms.fold_epochs, terms.total_epochs, terms.total_rounds) == (21, 105, 35)
    assert [terms.training_at(number).fold for number in (1, 7, 8, 35)] == ["0", "0", "1", "4"]
    assert terms.place_of(8).begins


def test_folds_begin_from_different_seeds_and_the_first_from_the_studys():
    terms = dataclasses.replace(TERMS, fold="1-3", seed=MAXIMUM_SEED)
    assert [terms.seed_of(fold) for fold in range(3)] == [MAXIMUM_SEED, 0, 1]


def test_a_cascade_trains_every_fold_of_its_coarse_network_and_then_of_its_fine_one():
    terms = dataclasses.replace(TERMS, fold="0-4", configuration="3d_cascade_fullres")
    assert terms.passes == ("3d_lowres", "3d_cascade_fullres")
    assert [(one.stage, one.configuration, one.fold) for one in terms.trainings] == [
        *((0, "3d_lowres", str(fold)) for fold in range(5)),
        *((1, "3d_cascade_fullres", str(fold)) for fold in range(5)),
    ]
    assert (terms.total_rounds, terms.fold_epochs, terms.total_epochs) == (70, 21, 210)
    assert terms.training_at(35) == terms.trainings[4]
    assert terms.training_at(36) == terms.trainings[5]
    # Ten networks begin from ten first models.
    assert len({terms.seed_of(index) for index in range(10)}) == 10
