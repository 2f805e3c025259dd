from dataclasses import replace

import pytest
from helpers.studies import (
    FIRST,
    STUDY,
    TERMS,
    Bench,
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
    assert bench.study.record.base is None
    bench.train("a", "b")
    assert bench.study.record.base == FIRST
    bench.average(bench.deliver("a", "b"))
    assert bench.study.record.base == bench.study.record.closed[0].model.weights


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
