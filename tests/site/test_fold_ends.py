from app.site.fold_ends import best_of, ends_of, name_of
from app.wire.messages import Blob, Directive, FoldEnd, Step

A, B, C = (Blob(sha256=letter * 64, size=5) for letter in "abc")


def finished(**fields):
    return Directive(
        serial=1,
        step=Step.FINISH,
        study_state="finished",
        sentence="",
        sites=(),
        closed_rounds=(),
        **fields,
    )


def test_a_study_of_one_fold_leaves_one_end_and_several_folds_theirs():
    one = finished(model=A, best=B, best_round=3, score_wanted=True, merged=C)
    assert ends_of(one) == (
        FoldEnd(fold="", model=A, best=B, best_round=3, score_wanted=True, merged=C),
    )
    folds = (FoldEnd(fold="0", model=A), FoldEnd(fold="1", model=B))
    assert ends_of(finished(model=B, folds=folds)) == folds
    assert ends_of(finished()) == ()


def test_one_average_is_named_by_its_digest_and_several_by_one_of_all():
    assert name_of([A]) == A.sha256
    several = {name_of(blobs) for blobs in ([A, B], [B, A], [A, B, C], [A])}
    assert len(several) == 4
    assert all(len(name) == 64 for name in several)


def test_the_best_model_is_of_all_folds_or_of_none():
    first, second = FoldEnd(fold="0", model=A, best=C), FoldEnd(fold="1", model=B, best=B)
    assert best_of([first, second]) == (C, B)
    assert best_of([first, FoldEnd(fold="1", model=B)]) == ()
    assert best_of([second]) == ()
    assert best_of([]) == ()
