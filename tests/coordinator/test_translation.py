import dataclasses

from hypothesis import given, strategies as st

from app.coordinator import translation
from app.domain.ids import SiteName, digest
from app.domain.rounds import BlobRef
from app.federation.study_events import SiteReport
from app.federation.study_views import Instruction, RoundSummary, SiteSummary, Step
from app.wire import codec, messages

BLOB = BlobRef(sha256=digest("ab" * 32), size=7)
INSTRUCTION = Instruction(
    serial=9,
    step=Step.TRAIN,
    study_state="training",
    sentence="Round 2 of 5: waiting for 1 of 2 sites.",
    sites=(
        SiteSummary(
            name=SiteName("north"), state="working", connected=True, cases=19, round=2, epoch=2,
            step=7, steps=20, silent_s=3,
        ),
    ),
    closed_rounds=(
        RoundSummary(
            number=1, contributors=(SiteName("north"),), train_loss=-0.25, validation_loss=None,
            pseudo_dice=(0.5, None),
        ),
    ),
    plan=BLOB,
    merged=BLOB,
    base=BLOB,
    round=2,
    attempt=1,
    start_epoch=1,
    rounds=5,
)  # fmt: skip


def test_every_field_of_an_instruction_is_in_the_directive():
    directive = codec.decode(codec.encode(translation.directive(INSTRUCTION)))
    assert isinstance(directive, messages.Directive)
    for field in dataclasses.fields(Instruction):
        ours, theirs = getattr(INSTRUCTION, field.name), getattr(directive, field.name)
        if isinstance(ours, BlobRef):
            assert (theirs.sha256, theirs.size) == (ours.sha256, ours.size)
        elif isinstance(ours, Step):
            assert theirs.value == ours.value
        elif isinstance(ours, tuple):
            assert len(theirs) == len(ours)
            for one, other in zip(ours, theirs, strict=True):
                for part in dataclasses.fields(one):
                    assert getattr(other, part.name) == getattr(one, part.name)
        else:
            assert theirs == ours


def test_every_step_has_a_name_on_the_wire():
    assert {step.value for step in Step} == {step.value for step in messages.Step}


@given(st.sampled_from(messages.SitePhase), st.integers(0, 1000), st.booleans())
def test_a_report_keeps_what_it_says(phase, number, planned):
    report = messages.Report(
        phase=phase, plan="cd" * 32 if planned else None, training_cases=number, round=1,
        attempt=2, epoch=3, step=4, steps=5, problem="gpu-memory",
    )  # fmt: skip
    assert translation.site_report(report) == SiteReport(
        phase=phase.value, plan=digest("cd" * 32) if planned else None, training_cases=number,
        round=1, attempt=2, epoch=3, step=4, steps=5, problem="gpu-memory",
    )  # fmt: skip


def test_an_update_belongs_to_the_site_whose_session_brought_it():
    offer = messages.UpdateOffered(
        round=1, attempt=1, base="ab" * 32, weights=messages.Blob(sha256="ef" * 32, size=3),
        cases=19, train_loss=0.5, validation_loss=None, pseudo_dice=(None, 0.25), epoch_seconds=2.0,
    )  # fmt: skip
    update = translation.model_update(SiteName("valley"), offer)
    assert (update.site, update.weights) == ("valley", BlobRef(sha256=digest("ef" * 32), size=3))
    assert (update.cases, update.pseudo_dice) == (19, (None, 0.25))
