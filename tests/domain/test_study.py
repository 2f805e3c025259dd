from app.domain.study import StudyTerms


def test_epochs_over_the_study():
    terms = StudyTerms(
        name="n", purpose="p", contact="c", channel_names=("MRI",), labels={"background": 0, "a": 1},
        rounds=7, epochs_per_round=3,
    )  # fmt: skip
    assert terms.total_epochs == 21
