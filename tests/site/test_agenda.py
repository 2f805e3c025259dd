"""What is done next, decided from facts alone."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from app.domain.dataset import DatasetDescription, DatasetFolder
from app.domain.findings import Finding, Severity, ValidationReport
from app.domain.layout_proposal import LayoutProposal
from app.domain.training import HeldOutScore
from app.site.agenda import (
    DataFacts,
    StudyFacts,
    Work,
    WorkKind,
    next_data_work,
    next_study_work,
    phase_of,
)
from app.site.fold_ends import name_of
from app.site.rounds import RoundState, RoundTask
from app.site.state import (
    Allowance,
    AverageScore,
    CheckedFolder,
    FinalModel,
    FingerprintWish,
    Folder,
    LayoutWish,
    LocalFingerprint,
    Outgoing,
    Plan,
)
from app.wire.messages import Blob, Directive, FoldEnd, SitePhase, Step

A, B = "a" * 64, "b" * 64
DATASET = DatasetFolder(
    root="/d",
    layout="nnU-Net",
    description=DatasetDescription(channel_names=("MRI",), labels={}, file_ending=".nii.gz"),
    training=(),
)


def checked(*findings, serial=1, study="s", digest="d", dataset=DATASET):
    report = ValidationReport(folder="/d", cases=9, content_digest=digest, findings=findings)
    return CheckedFolder(serial=serial, study=study, report=report, dataset=dataset)


def local(serial=0, digest="d"):
    return LocalFingerprint(serial=serial, content_digest=digest, leave_out=())


def outgoing(**changes):
    whole = {
        "sha256": A, "size": 1, "cases": 9, "content_digest": "d", "serial": 0,
        "policy": "minimal", "study": "s",
    }  # fmt: skip
    return Outgoing(**(whole | changes))


def allowance(**changes):
    whole = {
        "operator": "o", "allowed_at": 1.0, "digest": A, "study": "s", "receipt": B,
        "standing": False,
    }  # fmt: skip
    return Allowance(**(whole | changes))


def data(**changes):
    nothing = DataFacts(
        study="s", policy="minimal", folder=None, checked=None, wish=None, local=None,
        outgoing=None, blocked="", allowance=None, standing=False,
    )  # fmt: skip
    return dataclasses.replace(nothing, **changes)


BLOCKS = Finding(check="c", severity=Severity.BLOCKS, sentence="s", remedy="r")
HARMS = Finding(check="c", severity=Severity.MAY_HARM, sentence="s", remedy="r")
FOLDER = Folder(path="/d", serial=1)
LAYOUT = LayoutWish(
    serial=1,
    path="/d",
    proposal=LayoutProposal(
        layout="pairs", file_ending=".nii", values_fixed=True, channels=(), structures=(), cases=()
    ),
)
READY = {"folder": FOLDER, "checked": checked(), "local": local(), "outgoing": outgoing()}


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({}, None),
        ({"folder": FOLDER}, WorkKind.CHECK),
        ({"folder": FOLDER, "checked": checked(serial=0)}, WorkKind.CHECK),
        ({"folder": FOLDER, "layout": LAYOUT}, WorkKind.CONVERT),
        (READY | {"layout": LAYOUT}, WorkKind.CONVERT),
        (READY | {"layout": msgspec.structs.replace(LAYOUT, path="/other")}, None),
        ({"folder": FOLDER, "checked": checked(study=None)}, WorkKind.CHECK),
        ({"folder": FOLDER, "checked": checked()}, None),
        ({"folder": FOLDER, "checked": checked(), "standing": True}, WorkKind.FINGERPRINT),
        ({"folder": FOLDER, "checked": checked(HARMS), "standing": True}, WorkKind.FINGERPRINT),
        ({"folder": FOLDER, "checked": checked(BLOCKS), "standing": True}, None),
        ({"folder": FOLDER, "checked": checked(dataset=None), "standing": True}, None),
        (
            {"folder": FOLDER, "checked": checked(), "wish": FingerprintWish(serial=1)},
            WorkKind.FINGERPRINT,
        ),
        (READY | {"wish": FingerprintWish(serial=1)}, WorkKind.FINGERPRINT),
        (READY, None),
        (READY | {"outgoing": None}, WorkKind.SHARE),
        (READY | {"outgoing": outgoing(study=None)}, WorkKind.SHARE),
        (READY | {"outgoing": outgoing(policy="paper")}, WorkKind.SHARE),
        (READY | {"outgoing": outgoing(serial=7)}, WorkKind.SHARE),
        (READY | {"outgoing": outgoing(content_digest="e")}, WorkKind.SHARE),
        # The folder changed after the fingerprint: a person computes it again, or nobody has to.
        (READY | {"checked": checked(digest="e")}, None),
        (READY | {"checked": checked(digest="e"), "standing": True}, WorkKind.FINGERPRINT),
        (READY | {"standing": True}, WorkKind.ALLOW),
        (READY | {"standing": True, "blocked": "too few cases"}, None),
        (READY | {"standing": True, "allowance": allowance()}, None),
    ],
)
def test_the_data_lane(facts, kind):
    work = next_data_work(data(**facts))
    assert (None if work is None else work.kind) is kind


def blob(sha256=A):
    return Blob(sha256=sha256, size=5)


def directive(step, **fields):
    return Directive(
        serial=1, step=step, study_state="", sentence="", sites=(), closed_rounds=(), **fields
    )


def study(**changes):
    nothing = StudyFacts(
        directive=None, allowed=None, fingerprint_unheard=False, plan=None, task=None,
        paused=False, session_alive=False, session_stands=False, model=None, has_update=False,
    )  # fmt: skip
    return dataclasses.replace(nothing, **changes)


def task(state=RoundState.WANTED):
    return RoundTask(round=1, attempt=1, base=B, base_size=5, start_epoch=0, state=state)


SEND = {"directive": directive(Step.SEND_FINGERPRINT)}
PREPARE = {"directive": directive(Step.PREPARE, plan=blob())}
TRAIN = {"directive": directive(Step.TRAIN, plan=blob(), base=blob(B))}
PAUSE = {"directive": directive(Step.PAUSE, plan=blob())}
WAIT = {"directive": directive(Step.WAIT, plan=blob())}
FINISH = {"directive": directive(Step.FINISH, plan=blob(), model=blob(B))}
DONE = FinalModel(sha256=B, round=1, exported=True, personal_exported=True)
SCORE = HeldOutScore(cases=2, dice=(0.5,))
TOLD_SCORE = msgspec.structs.replace(DONE, scores=(AverageScore(sha256=B, score=SCORE),))
PLAN = Plan(sha256=A, merged=None)
PREPARED = {"plan": Plan(sha256=A, merged=None, prepared=True)}
TOLD = {"plan": Plan(sha256=A, merged=None, prepared=True, told=True)}
REFUSED = Plan(sha256=A, merged=None, refused_code="plans-refused")
SCORED = TOLD | {"directive": directive(Step.FINISH, plan=blob(), model=blob(B), score_wanted=True)}
TWO_FOLDS = (
    FoldEnd(fold="0", model=blob(A), score_wanted=True),
    FoldEnd(fold="1", model=blob(B), score_wanted=True),
)
BOTH = name_of([end.model for end in TWO_FOLDS])
FOLDS = TOLD | {"directive": directive(Step.FINISH, plan=blob(), model=blob(B), folds=TWO_FOLDS)}
FOLDS_DONE = FinalModel(sha256=BOTH, round=4, exported=True, personal_exported=True)
ONE_SCORED = msgspec.structs.replace(FOLDS_DONE, scores=(AverageScore(sha256=A, score=SCORE),))
BOTH_SCORED = msgspec.structs.replace(
    FOLDS_DONE, scores=tuple(AverageScore(sha256=one, score=SCORE) for one in (A, B))
)
BEST = TOLD | {"directive": directive(Step.FINISH, plan=blob(), model=blob(B), best=blob(A))}
STANDS = {"session_alive": True, "session_stands": True}
STARTS = {"session_alive": True, "session_stands": False}


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({}, None),
        (STANDS, WorkKind.CLOSE_SESSION),
        (SEND, None),
        (SEND | {"allowed": allowance()}, WorkKind.SEND_FINGERPRINT),
        (SEND | {"allowed": allowance(sent=True)}, None),
        (
            SEND | {"allowed": allowance(sent=True), "fingerprint_unheard": True},
            WorkKind.SEND_FINGERPRINT,
        ),
        ({"directive": directive(Step.WAIT)}, None),
        (PREPARE, WorkKind.TAKE_PLAN),
        (PREPARE | {"plan": Plan(sha256=B, merged=None)}, WorkKind.TAKE_PLAN),
        (PREPARE | {"plan": Plan(sha256=B, merged=None)} | STANDS, WorkKind.CLOSE_SESSION),
        (PREPARE | {"plan": PLAN}, WorkKind.PREPARE),
        (PREPARE | {"plan": REFUSED}, WorkKind.TELL_REFUSED),
        (PREPARE | {"plan": Plan(sha256=A, merged=None, refused_code="x", told=True)}, None),
        (PREPARE | PREPARED, WorkKind.TELL_ACCEPTED),
        (PREPARE | TOLD, WorkKind.OPEN_SESSION),
        (PREPARE | TOLD | STARTS, WorkKind.OPEN_SESSION),
        (PREPARE | TOLD | STANDS, None),
        (WAIT | TOLD, WorkKind.OPEN_SESSION),
        (TRAIN | TOLD | {"task": task()}, WorkKind.TRAIN),
        (TRAIN | TOLD | {"task": task(RoundState.TRAINING)} | STANDS, WorkKind.TRAIN),
        (TRAIN | TOLD | {"task": task(RoundState.TRAINED)} | STANDS, WorkKind.DELIVER),
        (TRAIN | TOLD | {"task": task(RoundState.SPOILT)}, WorkKind.TELL_SPOILT),
        (TRAIN | TOLD | {"task": task(RoundState.DELIVERED)} | STANDS, None),
        (TRAIN | TOLD | {"task": task(RoundState.TOLD)}, WorkKind.OPEN_SESSION),
        # A task of an earlier round is not delivered when nobody asks for it.
        (WAIT | TOLD | {"task": task(RoundState.TRAINED)} | STANDS, None),
        (TRAIN | TOLD | {"task": task(), "paused": True}, None),
        (TRAIN | TOLD | {"task": task(), "paused": True} | STARTS, WorkKind.CLOSE_SESSION),
        (TRAIN | TOLD | {"task": task(RoundState.TRAINED), "paused": True}, WorkKind.DELIVER),
        (PAUSE | TOLD | STANDS, WorkKind.CLOSE_SESSION),
        (PAUSE | TOLD, None),
        (PREPARE | {"plan": PLAN, "paused": True}, None),
        (FINISH | TOLD | STANDS, WorkKind.CLOSE_SESSION),
        (FINISH, WorkKind.TAKE_PLAN),
        (FINISH | TOLD, WorkKind.TAKE_MODEL),
        (FINISH | TOLD | {"model": FinalModel(sha256=A, round=1)}, WorkKind.TAKE_MODEL),
        (FINISH | TOLD | {"model": FinalModel(sha256=B, round=1)}, WorkKind.EXPORT),
        (FINISH | TOLD | {"model": FinalModel(sha256=B, round=1, exported=True)}, None),
        (
            FINISH
            | TOLD
            | {"model": FinalModel(sha256=B, round=1, exported=True), "has_update": True},
            WorkKind.EXPORT_PERSONAL,
        ),
        (
            FINISH
            | TOLD
            | {
                "model": FinalModel(sha256=B, round=1, exported=True, personal_exported=True),
                "has_update": True,
            },
            None,
        ),
        (SCORED | {"model": DONE}, WorkKind.SCORE_MODEL),
        (SCORED | {"model": DONE, "plan": PLAN}, None),
        (SCORED | {"model": TOLD_SCORE}, None),
        (SCORED | {"model": TOLD_SCORE, "score_unheard": True}, WorkKind.TELL_SCORE),
        (FINISH | TOLD | {"model": TOLD_SCORE, "score_unheard": True}, None),
        (BEST | {"model": DONE}, WorkKind.EXPORT_BEST),
        (BEST | {"model": msgspec.structs.replace(DONE, best=A)}, None),
        (BEST | {"model": FinalModel(sha256=B, round=1)}, WorkKind.EXPORT),
        (
            TOLD
            | {"directive": directive(Step.FINISH, plan=blob(), model=blob(B), best=blob(B))}
            | {"model": DONE},
            None,
        ),
        (FOLDS, WorkKind.TAKE_MODEL),
        (FOLDS | {"model": FinalModel(sha256=B, round=4)}, WorkKind.TAKE_MODEL),
        (FOLDS | {"model": FOLDS_DONE}, WorkKind.SCORE_MODEL),
        (FOLDS | {"model": ONE_SCORED}, WorkKind.SCORE_MODEL),
        (FOLDS | {"model": BOTH_SCORED}, None),
        (FOLDS | {"model": BOTH_SCORED, "score_unheard": True}, WorkKind.TELL_SCORE),
        ({"directive": directive(Step.STOP)} | STANDS, WorkKind.CLOSE_SESSION),
        ({"directive": directive(Step.STOP)}, None),
    ],
)
def test_the_study_lane(facts, kind):
    work = next_study_work(study(**facts))
    assert (None if work is None else work.kind) is kind


def test_every_fold_is_scored_on_its_own():
    keys = [next_study_work(study(**FOLDS, model=one)).key for one in (FOLDS_DONE, ONE_SCORED)]
    assert keys == [A, B]


def test_a_session_is_opened_for_each_fold():
    opened = [next_study_work(study(**WAIT, **TOLD, fold=fold)) for fold in (0, 1)]
    assert [work.kind for work in opened] == [WorkKind.OPEN_SESSION] * 2
    assert opened[0] != opened[1]


def test_a_new_attempt_is_the_same_training_but_another_delivery():
    first = task()
    again = RoundTask(round=1, attempt=2, base=B, base_size=5, start_epoch=0)
    trains = [next_study_work(study(**TRAIN, **TOLD, task=one)) for one in (first, again)]
    assert trains[0] == trains[1]
    trained = [
        RoundTask(round=1, attempt=n, base=B, base_size=5, start_epoch=0, state=RoundState.TRAINED)
        for n in (1, 2)
    ]
    delivers = [next_study_work(study(**TRAIN, **TOLD, task=one)) for one in trained]
    assert delivers[0] != delivers[1]


@pytest.mark.parametrize(
    ("data_work", "study_work", "facts", "failed", "phase"),
    [
        (None, WorkKind.TRAIN, TRAIN, True, SitePhase.FAILED),
        (None, WorkKind.TRAIN, TRAIN, False, SitePhase.TRAINING),
        (None, WorkKind.DELIVER, TRAIN | {"paused": True}, False, SitePhase.UPLOADING),
        (None, WorkKind.SEND_FINGERPRINT, SEND, False, SitePhase.UPLOADING),
        (None, WorkKind.PREPARE, PREPARE, False, SitePhase.PREPARING),
        (None, None, TRAIN | {"paused": True}, False, SitePhase.PAUSED),
        (WorkKind.CHECK, None, SEND, False, SitePhase.CHECKING),
        (None, None, SEND, False, SitePhase.AWAITING_CONSENT),
        (None, None, SEND | {"allowed": allowance(sent=True)}, False, SitePhase.WAITING),
        (None, WorkKind.OPEN_SESSION, WAIT, False, SitePhase.WAITING),
        (None, None, {}, False, SitePhase.WAITING),
    ],
)
def test_phases(data_work, study_work, facts, failed, phase):
    named = phase_of(
        data=None if data_work is None else Work(kind=data_work),
        study=None if study_work is None else Work(kind=study_work),
        facts=study(**facts),
        failed=failed,
    )
    assert named is phase
