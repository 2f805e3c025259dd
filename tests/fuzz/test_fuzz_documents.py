"""Documents of a peer become a value or a documented error, nothing else. Long form with --slow.

What a mutation makes is written as the canonical JSON that the readers ask for, or nothing of it would
get past the first check; damaged bytes are tried as well.
"""

from __future__ import annotations

import json

import pytest
from helpers.fingerprints import make_cases, minimal
from helpers.plans import document_of, stock_plan, terms_of
from helpers.strategies import harmed, jsonable
from hypothesis import given, settings, strategies as st

from app.domain.errors import DataProblem, PeerMistake
from app.domain.study import Aggregation
from app.federation import shared_codec
from app.federation.merging import decode_merged, encode_merged, merge
from app.federation.plan_rules import check_plan, network_of, summarise
from app.federation.study_file import EXAMPLE, parse_study, terms_from_json, terms_to_json

ENTRY = stock_plan("ExperimentPlanner", "hippocampus")
TERMS = terms_of(ENTRY)
PLAN = document_of(ENTRY)
SHARED = minimal(make_cases(1, 5))
SHARED_BYTES = shared_codec.encode(SHARED)
MERGED_BYTES = encode_merged(merge([SHARED, minimal(make_cases(2, 7))], rule=Aggregation.CASES))
JSON_TERMS = terms_to_json(parse_study(EXAMPLE))


def canonical(value: object) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=True
    ).encode("utf-8", "surrogatepass")


@st.composite
def mutated(draw, sound: bytes) -> bytes:
    """A sound document in which one to three entries, at any depth, are replaced, added or removed."""
    document = json.loads(sound)
    for _ in range(draw(st.integers(1, 3))):
        target, key = document, None
        while isinstance(target, dict | list) and target:
            keys = sorted(target) if isinstance(target, dict) else list(range(len(target)))
            parent, key = target, draw(st.sampled_from(keys))
            target = parent[key]
            if draw(st.integers(0, 4)) == 0:
                break
        if key is None:
            return canonical(document)
        match draw(st.sampled_from(("replace", "replace", "remove", "add"))):
            case "replace":
                parent[key] = draw(jsonable)
            case "remove":
                del parent[key]
            case _ if isinstance(parent, dict):
                parent[draw(st.text(max_size=9))] = draw(jsonable)
            case _:
                parent.insert(int(key), draw(jsonable))
    return canonical(document)


@given(mutated(PLAN) | harmed(st.just(PLAN)) | jsonable.map(canonical) | st.binary(max_size=300))
def test_plan(data):
    try:
        check_plan(data, TERMS)
    except PeerMistake:
        return
    # What passes the rules can be read by everyone who reads plans afterwards.
    assert summarise(data, TERMS.configuration).network
    assert network_of(data, TERMS.configuration).inputs >= 1


@given(
    mutated(SHARED_BYTES)
    | harmed(st.just(SHARED_BYTES))
    | jsonable.map(canonical)
    | st.binary(max_size=300)
)
def test_shared_fingerprint(data):
    try:
        shared = shared_codec.decode(data)
    except PeerMistake:
        return
    assert shared_codec.encode(shared) == data


@settings(max_examples=max(20, settings().max_examples // 2))
@given(mutated(MERGED_BYTES) | harmed(st.just(MERGED_BYTES)) | jsonable.map(canonical))
def test_merged_fingerprint(data):
    try:
        merged = decode_merged(data)
    except PeerMistake:
        return
    assert encode_merged(merged) == data


@given(mutated(JSON_TERMS) | harmed(st.just(JSON_TERMS)) | jsonable.map(canonical))
def test_terms_of_a_study(data):
    try:
        terms = terms_from_json(data)
    except (PeerMistake, DataProblem):
        return
    assert terms_from_json(terms_to_json(terms)) == terms


@given(
    st.text(max_size=200)
    | harmed(st.just(EXAMPLE.encode())).map(lambda data: data.decode("utf-8", "replace"))
)
def test_study_file(text):
    try:
        terms = parse_study(text)
    except DataProblem:
        return
    assert terms_from_json(terms_to_json(terms)) == terms


pytestmark = pytest.mark.filterwarnings("error")
