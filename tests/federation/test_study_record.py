from dataclasses import replace

import pytest
from helpers.studies import (
    FIRST,
    STUDY,
    TERMS,
    Bench,
    first_of,
)

from app.domain.errors import OurMistake
from app.federation.study import Study
from app.federation.study_events import (
    UpdateArrived,
)
from app.federation.study_record import read, write


@pytest.mark.parametrize("document", [b"", b"{}", b"null", b'{"format":1}', b"\xff", b"[" * 10_000])
def test_a_damaged_store_is_named(document):
    with pytest.raises(OurMistake, match="saved study cannot be read"):
        Study.load(document)


def test_a_store_of_another_version_is_named():
    document = Study.new(TERMS, STUDY).save()
    with pytest.raises(OurMistake, match="has format 2, this program reads 1"):
        Study.load(document.replace(b'"format":1', b'"format":2', 1))


def test_the_newest_model_is_the_base():
    bench = Bench()
    assert bench.study.record.base(TERMS) is None
    bench.train("a", "b")
    assert bench.study.record.base(TERMS) == FIRST
    bench.average(bench.deliver("a", "b"))
    assert bench.study.record.base(TERMS) == bench.study.record.closed[0].model.weights


def test_a_fold_begins_from_its_own_first_model_and_the_last_average_stays():
    terms = replace(TERMS, fold="1-2", rounds=2)
    bench = Bench(terms)
    bench.train("a", "b")
    bases = [bench.study.record.base(terms)]
    for _ in range(4):
        bench.average(bench.deliver("a", "b"))
        bases.append(bench.study.record.base(terms))
    models = [one.model.weights for one in bench.study.record.closed]
    assert bases == [FIRST, models[0], first_of(terms, 1), models[2], models[3]]
    record = bench.study.record
    assert record.closed_of_fold(1, terms) == record.closed[2:]
    assert record.last_of_fold("a", 0, terms) == models[1]


def test_a_store_from_before_studies_of_several_folds_is_read():
    bench = Bench()
    bench.train("a", "b")
    document = bench.study.save()
    for field in (b'"later_first_models":[],', b'"fold_shares":[],', b'"fold_cases":[],'):
        assert field in document
        document = document.replace(field, b"")
    assert Study.load(document).record == bench.study.record


def test_a_store_comes_back_byte_for_byte_with_its_labels_in_order():
    labels = {"background": 0, "whole": (1, 2), "core": 2}
    terms = replace(TERMS, labels=labels, regions_class_order=(1, 2))
    bench = Bench(terms)
    bench.train("a", "b")
    bench.tell(UpdateArrived(update=bench.update("a")))
    document = write(terms, bench.study.record)
    back, record = read(document)
    assert (back, record) == (terms, bench.study.record)
    assert list(back.labels) == list(labels)
    assert write(back, record) == document
