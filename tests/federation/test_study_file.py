import dataclasses

import pytest
from hypothesis import given, strategies as st

from app.domain.errors import DataProblem, ErrorCode, PeerMistake
from app.domain.study import Admission, Aggregation, Method, Policy, StudyTerms
from app.federation.study_file import (
    CONFIGURATIONS,
    EXAMPLE,
    PLANNERS,
    StudyFileProblem,
    parse_study,
    terms_from_json,
    terms_to_json,
)

SMALLEST = """
name = "A study"
purpose = "To learn"
contact = "someone@example.org"
channel_names = ["CT"]
labels = { background = 0, liver = 1 }
"""


def with_line(line: str) -> str:
    return SMALLEST + line + "\n"


def test_the_example_parses_and_names_every_field():
    terms = parse_study(EXAMPLE)
    assert terms.labels == {"background": 0, "anterior": 1, "posterior": 2}
    for field in dataclasses.fields(StudyTerms):
        assert field.name in EXAMPLE


def test_the_example_states_the_defaults_it_claims():
    terms = parse_study(EXAMPLE)
    claimed = [
        line.removeprefix("# ")
        for line in EXAMPLE.splitlines()
        if "(default" in line and "=" in line
    ]
    assert len(claimed) >= 16
    for line in claimed:
        entry = line.split("=")[0].strip()
        default = next(f.default for f in dataclasses.fields(StudyTerms) if f.name == entry)
        if not line.startswith("gpu_"):
            assert getattr(terms, entry) == default, entry
        else:
            assert default is None


def test_the_smallest_file_takes_the_defaults():
    assert parse_study(SMALLEST) == StudyTerms(
        name="A study",
        purpose="To learn",
        contact="someone@example.org",
        channel_names=("CT",),
        labels={"background": 0, "liver": 1},
    )


def test_channels_may_be_spelt_as_in_dataset_json():
    text = SMALLEST.replace('["CT"]', '{ "0" = "T2", "1" = "ADC" }')
    assert parse_study(text).channel_names == ("T2", "ADC")


@pytest.mark.parametrize(
    ("line", "entry", "sentence"),
    [
        ("round = 3", "round", "did you mean 'rounds'"),
        ("colour = 3", "colour", "known are name, purpose"),
        ("rounds = 0", "rounds", "is 0; allowed is a whole number from 1 to 100000"),
        ("rounds = 2.5", "rounds", "is 2.5; allowed is a whole number"),
        ("rounds = true", "rounds", "is True; allowed is a whole number"),
        ('rounds = "3"', "rounds", "is '3'; allowed"),
        ("rounds = 100000\nepochs_per_round = 10000", "rounds", "1000000000 epochs"),
        ("epochs_per_round = 0", "epochs_per_round", "is 0"),
        ("iterations_per_epoch = -1", "iterations_per_epoch", "is -1"),
        ("validation_iterations = 0", "validation_iterations", "is 0"),
        ("seed = -1", "seed", "is -1"),
        ("minimum_sites = 0", "minimum_sites", "is 0"),
        ("minimum_cases = 0", "minimum_cases", "is 0"),
        ("progress_deadline_minutes = 0", "progress_deadline_minutes", "is 0"),
        (
            'method = "fedavg"',
            "method",
            "allowed are 'ffe', 'asymfedavg'; did you mean 'asymfedavg'",
        ),
        ('aggregation = "mean"', "aggregation", "allowed are 'cases', 'paper'"),
        ('policy = "all"', "policy", "allowed are 'minimal', 'paper'"),
        ('admission = "open"', "admission", "allowed are 'invitation', 'approval'"),
        ('configuration = "3d"', "configuration", "'3d_fullres'"),
        ('planner = "nnUNetPlannerResEncS"', "planner", "did you mean 'nnUNetPlannerResEnc"),
        (
            'configuration = "3d_cascade_fullres"',
            "fold",
            "is '0'; with '3d_cascade_fullres' it must be '0-4'",
        ),
        (
            'configuration = "3d_cascade_fullres"\nfold = "0-3"',
            "fold",
            "a fold of the first that was not trained on it",
        ),
        ("proximal_mu = -1", "proximal_mu", "a number from 0 to 100"),
        ('server_optimiser = "adam"', "server_optimiser", "did you mean 'fedadam'"),
        ('server_optimiser = "fedadam"', "server_learning_rate", "0.001 is where to begin"),
        ("server_learning_rate = true", "server_learning_rate", "a number from"),
        ("server_momentum = 1", "server_momentum", "a number from 0 to 0.999"),
        ("fold = 0", "fold", "is 0; allowed are '0' to '4', 'all', and a range"),
        ("gpu_memory_target_gb = 0", "gpu_memory_target_gb", "gigabytes"),
        ("gpu_memory_target_gb = nan", "gpu_memory_target_gb", "gigabytes"),
        (
            "regions_class_order = [1]",
            "regions_class_order",
            "only allowed when labels have regions",
        ),
    ],
)
def test_a_wrong_entry_is_named_with_what_is_allowed(line, entry, sentence):
    with pytest.raises(StudyFileProblem) as caught:
        parse_study(with_line(line))
    assert caught.value.entry == entry
    assert sentence in str(caught.value)
    assert repr(entry) in str(caught.value)
    assert caught.value.code is ErrorCode.STUDY_FILE
    assert caught.value.remedy == "Correct the named entry in the study file."


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ("{ liver = 1 }", "must have background = 0"),
        ("{ background = 1, liver = 0 }", "must have background = 0"),
        ("{ background = 0 }", "at least one structure"),
        ("{ background = 0, ignore = 1 }", "at least one structure"),
        ("{ background = 0, liver = 2 }", "without a gap"),
        ("{ background = 0, a = 1, b = 1 }", "same value"),
        ("{ background = 0, ignore = 1, liver = 2 }", "must be the highest value, 2"),
        ("{ background = 0, a = [] }", "empty region"),
        ("{ background = 0, a = [1, 1] }", "names a value twice"),
        ("{ background = 0, a = [0, 1] }", "holds the background"),
        ("{ background = 0, a = [1, 2] }", "one value for each of the 1 regions"),
        ("{ background = 0, a = 300 }", "is 300"),
        ("[1]", "allowed is a table"),
    ],
)
def test_labels_follow_nnunets_rules(labels, sentence):
    with pytest.raises(StudyFileProblem, match=r"labels|regions") as caught:
        parse_study(SMALLEST.replace("{ background = 0, liver = 1 }", labels))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("[]", "1 to 32 names"),
        ('["CT", "CT"]', "twice"),
        ("[3]", "text"),
        ('{ "1" = "CT" }', "number its channels 0, 1, 2"),
        ('["a\\u202eb"]', "control character"),
    ],
)
def test_channel_names_are_checked(names, sentence):
    with pytest.raises(StudyFileProblem) as caught:
        parse_study(SMALLEST.replace('["CT"]', names))
    assert caught.value.entry == "channel_names"
    assert sentence in str(caught.value)


@pytest.mark.parametrize("entry", ["name", "purpose", "contact", "channel_names", "labels"])
def test_a_missing_entry_is_named(entry):
    lines = [line for line in SMALLEST.splitlines() if not line.startswith(entry)]
    with pytest.raises(StudyFileProblem) as caught:
        parse_study("\n".join(lines))
    assert caught.value.entry == entry
    assert str(caught.value) == f"the study file's entry {entry!r} is missing"


def test_what_is_no_toml_says_where():
    with pytest.raises(DataProblem, match=r"not TOML.*line 2") as caught:
        parse_study("name = 'x'\n=\n")
    assert caught.value.code is ErrorCode.STUDY_FILE


def test_regions_keep_their_order_through_json():
    text = SMALLEST.replace(
        "{ background = 0, liver = 1 }", "{ background = 0, whole = [1, 2], core = 2 }"
    )
    terms = parse_study(text + "regions_class_order = [1, 2]\n")
    back = terms_from_json(terms_to_json(terms))
    assert back == terms
    assert list(back.labels) == ["background", "whole", "core"]


TERMS = st.builds(
    StudyTerms,
    name=st.just("n"),
    purpose=st.just("p"),
    contact=st.just("c"),
    channel_names=st.just(("T1", "T2")),
    labels=st.just({"background": 0, "z": 1, "a": 2, "ignore": 3}),
    method=st.sampled_from(Method),
    aggregation=st.sampled_from(Aggregation),
    configuration=st.sampled_from([one for one in CONFIGURATIONS if "cascade" not in one]),
    planner=st.sampled_from(PLANNERS),
    gpu_memory_target_gb=st.none() | st.floats(0.1, 1000),
    fold=st.sampled_from(["0", "3", "all", "0-4", "1-2"]),
    rounds=st.integers(1, 400),
    epochs_per_round=st.integers(1, 500),
    iterations_per_epoch=st.integers(1, 1000),
    validation_iterations=st.integers(1, 1000),
    seed=st.integers(0, 2**31 - 1),
    minimum_sites=st.integers(1, 200),
    minimum_cases=st.integers(1, 1000),
    policy=st.sampled_from(Policy),
    admission=st.sampled_from(Admission),
    progress_deadline_minutes=st.integers(1, 1000),
)


@given(TERMS)
def test_terms_come_back_from_their_json(terms):
    document = terms_to_json(terms)
    assert terms_from_json(document) == terms
    assert terms_to_json(terms_from_json(document)) == document


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b'"rounds":50', b'"rounds":0', "'rounds' is 0"),
        (b'"rounds":50', b'"rounds": 50', "canonical"),
        (b'"rounds":50', b'"rounds":50,"rounds":50', "not JSON"),
        (b'"rounds":50', b'"extra":1,"rounds":50', "'extra' is not known"),
        (b'["background",0]', b'["background"]', "pairs"),
        (b"{", b"[{", "not JSON"),
    ],
)
def test_terms_from_the_network_are_checked_like_a_file(before, after, reason):
    document = terms_to_json(parse_study(EXAMPLE)).replace(before, after, 1)
    with pytest.raises(PeerMistake, match=reason):
        terms_from_json(document)


@given(st.binary(max_size=300))
def test_any_bytes_give_terms_or_a_documented_error(document):
    with pytest.raises(PeerMistake):
        terms_from_json(document)
