from __future__ import annotations

import msgspec
import pytest
from helpers.strategies import any_message
from hypothesis import given

from app.domain.errors import ErrorCode, OurMistake, PeerMistake
from app.wire import messages
from app.wire.codec import MAX_MESSAGE, decode, encode
from app.wire.messages import (
    AnyMessage,
    Authenticate,
    Directive,
    Report,
    SitePhase,
    SiteSummary,
    Step,
    UpdateOffered,
)

OFFER = UpdateOffered(
    round=1,
    attempt=2,
    base="a" * 64,
    weights=messages.Blob(sha256="b" * 64, size=3),
    cases=3,
    train_loss=0.25,
    validation_loss=None,
    pseudo_dice=(0.5, None),
    epoch_seconds=1.5,
)


@given(any_message())
def test_every_message_comes_back_as_it_was(message: AnyMessage):
    assert decode(encode(message)) == message


def test_the_largest_directive_of_fifty_sites_fits():
    sites = tuple(
        SiteSummary(
            name=f"site-{n:03}-{'x' * 30}", state="training" * 3, connected=True, cases=999_999,
            round=9999, epoch=999_999, step=999_999, steps=999_999, silent_s=1 << 31,
        )
        for n in range(50)
    )  # fmt: skip
    directive = Directive(
        serial=1 << 40, step=Step.TRAIN, study_state="x" * 300, sentence="y" * 300, sites=sites,
        closed_rounds=(), plan=OFFER.weights, base=OFFER.weights,
    )  # fmt: skip
    assert len(encode(directive)) < MAX_MESSAGE / 4


def test_what_is_too_large_is_our_mistake_or_the_peers():
    summaries = [
        messages.RoundSummary(
            number=n,
            contributors=(),
            train_loss=0.1,
            validation_loss=None,
            pseudo_dice=(0.1,) * 512,
        )
        for n in range(50)
    ]
    directive = Directive(
        serial=1,
        step=Step.WAIT,
        study_state="",
        sentence="",
        sites=(),
        closed_rounds=tuple(summaries),
    )
    with pytest.raises(OurMistake, match="larger than 65536"):
        encode(directive)
    with pytest.raises(PeerMistake) as caught:
        decode(msgspec.msgpack.encode(directive))
    assert caught.value.code is ErrorCode.TOO_LARGE


def broken(**changes: object) -> bytes:
    document = msgspec.to_builtins(OFFER)
    document.update(changes)
    return msgspec.msgpack.encode(
        {key: value for key, value in document.items() if value != "gone"}
    )


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "a message cannot be read: Input data was truncated"),
        (b"\xc1", "a message cannot be read: MessagePack data is malformed: invalid opcode '\\xc1' (byte 0)"),
        (encode(OFFER) + b"x", "a message cannot be read: MessagePack data is malformed: trailing characters (byte 294)"),
        (broken(t="Exec"), "a message cannot be read: Invalid value 'Exec' - at `$.t`"),
        (broken(extra=1), "a message cannot be read: Object contains unknown field `extra`"),
        (broken(cases="gone"), "a message cannot be read: Object missing required field `cases`"),
        (broken(cases=0), "a message cannot be read: Expected `int` >= 1 - at `$.cases`"),
        (broken(cases="3"), "a message cannot be read: Expected `int`, got `str` - at `$.cases`"),
        (broken(base="A" * 64), "a message cannot be read: Expected `str` matching regex '^[0-9a-f]{64}\\\\Z' - at `$.base`"),
        (broken(train_loss=float("nan")), "a UpdateOffered message holds a number that is not finite"),
        (broken(pseudo_dice=[float("inf")]), "a UpdateOffered message holds a number that is not finite"),
        (b"\x91" * 60_000, "a message cannot be read: Expected `object`, got `array`"),
    ],
)  # fmt: skip
def test_a_hostile_message_is_refused_with_a_sentence(data, sentence):
    with pytest.raises(PeerMistake) as caught:
        decode(data)
    assert str(caught.value) == sentence


def test_a_digest_with_a_line_break_is_refused():
    # Python's `$` also matches before a last line break.
    with pytest.raises(PeerMistake):
        decode(broken(base="a" * 64 + "\n"))


def test_names_and_phases_are_bounded():
    report = msgspec.to_builtins(Report(phase=SitePhase.TRAINING))
    with pytest.raises(PeerMistake):
        decode(msgspec.msgpack.encode({**report, "phase": "dancing"}))
    answer = Authenticate(site="alpha", client_nonce=bytes(32), signature=bytes(64), version="1")
    document = msgspec.to_builtins(answer, builtin_types=(bytes,))
    for site in ("", "../x", "a" * 41, "Alpha", "-a"):
        with pytest.raises(PeerMistake):
            decode(msgspec.msgpack.encode({**document, "site": site}))
