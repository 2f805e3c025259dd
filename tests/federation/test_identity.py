from dataclasses import replace

import pytest
from helpers.plans import document_of, stock_plan, terms_of

from app.federation.identity import difference, expected, found
from app.federation.plan_rules import pack, unpack

ENTRY = stock_plan("ExperimentPlanner", "prostate")
TERMS = terms_of(ENTRY)
INSTALLED = {"nnunetv2": "2.8.1", "torch": "2.13"}


def document(**versions: str) -> bytes:
    plans, dataset, fingerprint, _ = unpack(document_of(ENTRY))
    return pack(plans, dataset, fingerprint, {"format": "1", **INSTALLED, **versions}).document


PLAN = document()


def here(plan: bytes = PLAN, **changes):
    facts = {
        "channel_names": TERMS.channel_names, "labels": TERMS.labels, "installed": INSTALLED,
    }  # fmt: skip
    return found(plan, **(facts | changes))


def test_a_site_with_the_same_of_everything_has_the_same_digest():
    assert here() == expected(PLAN, TERMS)
    assert here().digest == expected(PLAN, TERMS).digest
    assert difference(here(), expected(PLAN, TERMS)) == ""
    # The order in which a site's file lists its labels means nothing.
    backwards = dict(reversed(TERMS.labels.items()))
    assert here(labels=backwards).digest == here().digest


OTHERS = {
    "nnU-Net 2.8.0": {"installed": INSTALLED | {"nnunetv2": "2.8.0"}},
    "PyTorch 2.12": {"installed": INSTALLED | {"torch": "2.12"}},
    "of an unknown version": {"installed": {"torch": "2.13"}},
    "the channels T2": {"channel_names": ("T2",)},
    "'peripheral'": {"labels": TERMS.labels | {"peripheral": (1,)}},
    "is not the study's plan": {"plan": document(format="2")},
}


@pytest.mark.parametrize("words", OTHERS)
def test_every_difference_gives_another_digest_and_is_said(words):
    changed = here(**OTHERS[words])
    assert changed.digest != expected(PLAN, TERMS).digest
    assert words in difference(changed, expected(PLAN, TERMS))


def test_the_sentence_names_both_versions():
    sentence = difference(here(**OTHERS["nnU-Net 2.8.0"]), expected(PLAN, TERMS))
    assert sentence == (
        "this site runs nnU-Net 2.8.0, the study's plan was made with 2.8.1; its rounds would not "
        "be comparable"
    )


def test_only_libraries_that_the_plan_names_count():
    old = document_of(ENTRY)  # names nnU-Net alone
    assert here(old, installed=INSTALLED | {"torch": "1.0"}) == expected(old, TERMS)
    assert replace(TERMS, rounds=7) != TERMS
    assert expected(old, replace(TERMS, rounds=7)) == expected(old, TERMS)
