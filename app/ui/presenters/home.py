"""Home: where this site stands and the one thing to do next."""

from __future__ import annotations

import enum

from msgspec import Struct

from app.control.messages import FingerprintView, LinkState, Snapshot
from app.domain.findings import Severity
from app.domain.folds import place_in
from app.ui.presenters.parts import Fact, failure_of, progress_of
from app.ui.text import Page, count, duration, length, listed, sentence_case, site_title

FINISHED = "finished"
"""`FederationView.study_state` of a study that has its last model."""


class Wish(enum.Enum):
    """What the one button of Home does, besides opening its page."""

    OPEN = "open the page"
    CHOOSE_FOLDER = "choose folder"
    OPEN_INVITATION = "open invitation"
    COMPUTE_FINGERPRINT = "compute fingerprint"
    RESUME = "resume"


class NextStep(Struct, frozen=True, kw_only=True):
    """One sentence, one button (none when the operator can only wait)."""

    sentence: str
    detail: str = ""
    button: str = ""
    page: Page | None = None
    wish: Wish = Wish.OPEN
    waiting: bool = False


class StepMark(enum.Enum):
    """How far a step is."""

    DONE = "done"
    CURRENT = "now"
    TODO = "to do"
    PROBLEM = "needs you"


class Step(Struct, frozen=True, kw_only=True):
    """One of the five steps of the work."""

    page: Page
    mark: StepMark
    detail: str


class HomeState(Struct, frozen=True, kw_only=True):
    """What Home draws."""

    step: NextStep
    steps: tuple[Step, ...]
    study: tuple[Fact, ...]
    study_title: str
    study_empty: str
    training_sentence: str
    training_share: float | None
    time_left: str


def next_step(snapshot: Snapshot | None, *, reviewed: int = 0) -> NextStep:
    """Return what the operator should do now, by the first thing that is not done.

    `reviewed` is how many of the segmentations have a verdict.
    """
    if snapshot is None:
        return NextStep(
            sentence="Connecting to the service of this site…",
            detail="It does the work in the background and starts by itself.",
            waiting=True,
        )
    if snapshot.service.problem:
        return NextStep(
            sentence=sentence_case(snapshot.service.problem), detail=snapshot.service.remedy
        )
    return (
        _data_step(snapshot)
        or _membership_step(snapshot)
        or _fingerprint_step(snapshot.fingerprint)
        or _training_step(snapshot, reviewed)
    )


def _data_step(snapshot: Snapshot) -> NextStep | None:
    data = snapshot.data
    if data.folder is None:
        return NextStep(
            sentence="Choose the folder with your images and labels.",
            detail="They are checked on this computer and never changed or sent.",
            button="Choose folder",
            page=Page.DATA,
            wish=Wish.CHOOSE_FOLDER,
        )
    running = progress_of(data.job)
    if running is not None:
        return NextStep(
            sentence="Your folder is being checked.",
            detail=running.sentence,
            button="Watch the check",
            page=Page.DATA,
            waiting=True,
        )
    failure = failure_of(data.job)
    if failure or data.report is None:
        return NextStep(
            sentence=failure or "Your folder has not been checked yet.",
            button="Go to Data",
            page=Page.DATA,
        )
    if data.report.blocks:
        number = sum(f.severity is Severity.BLOCKS for f in data.report.findings)
        what = "1 finding blocks" if number == 1 else f"{number} findings block"
        return NextStep(
            sentence=f"{what} the training. Mend what the list names and check again.",
            button="See the findings",
            page=Page.DATA,
        )
    return None


def _membership_step(snapshot: Snapshot) -> NextStep | None:
    federation = snapshot.federation
    if federation.study is None:
        return NextStep(
            sentence="Open the invitation that the coordinator sent you.",
            detail="You see who invites you and what is shared before you join.",
            button="Open invitation",
            page=Page.FEDERATION,
            wish=Wish.OPEN_INVITATION,
        )
    if federation.link is LinkState.PENDING:
        return NextStep(
            sentence="The coordinator has to approve this site.",
            detail=f"Call {federation.study.contact} and compare the six words: "
            f"{federation.study.words}.",
            button="Go to Federation",
            page=Page.FEDERATION,
            waiting=True,
        )
    if federation.link is LinkState.REFUSED:
        return NextStep(
            sentence=sentence_case(federation.link_sentence)
            or "The coordinator refuses this site.",
            button="Go to Federation",
            page=Page.FEDERATION,
        )
    return None


def _fingerprint_step(fingerprint: FingerprintView) -> NextStep | None:
    if fingerprint.allowance is not None:
        return None
    running = progress_of(fingerprint.job)
    if running is not None:
        return NextStep(
            sentence="The fingerprint of your images is being computed.",
            detail=running.sentence,
            button="Go to Fingerprint",
            page=Page.FINGERPRINT,
            waiting=True,
        )
    failure = failure_of(fingerprint.job)
    if failure:
        return NextStep(sentence=failure, button="Go to Fingerprint", page=Page.FINGERPRINT)
    if fingerprint.blocked:
        return NextStep(
            sentence=sentence_case(fingerprint.blocked),
            button="Go to Fingerprint",
            page=Page.FINGERPRINT,
        )
    if fingerprint.outgoing is None:
        return NextStep(
            sentence="Compute the fingerprint of your images.",
            detail="It stays on this computer until you have seen it and allowed it.",
            button="Compute fingerprint",
            page=Page.FINGERPRINT,
            wish=Wish.COMPUTE_FINGERPRINT,
        )
    return NextStep(
        sentence="Look at what would be shared, and allow it.",
        detail="The study goes on when every site has done so.",
        button="See what leaves",
        page=Page.FINGERPRINT,
    )


def _training_step(snapshot: Snapshot, reviewed: int) -> NextStep:
    federation, training, review = snapshot.federation, snapshot.training, snapshot.review
    if training.paused:
        return NextStep(
            sentence="Training is paused; the other sites go on without you for now.",
            button="Resume training",
            page=Page.TRAINING,
            wish=Wish.RESUME,
        )
    if is_finished(snapshot):
        if review.results and reviewed >= len(review.results):
            return NextStep(
                sentence="All segmentations are reviewed.",
                detail="Segment another folder, or look at them again.",
                button="Review",
                page=Page.REVIEW,
            )
        if review.results:
            return NextStep(
                sentence="The study has its model. Review the segmentations, worst first.",
                detail=f"{sentence_case(count(len(review.results) - reviewed, 'case'))} to look at.",
                button="Review",
                page=Page.REVIEW,
            )
        running = progress_of(review.job)
        if running is not None:
            return NextStep(
                sentence="The model is segmenting your cases.",
                detail=running.sentence,
                button="Watch it",
                page=Page.SEGMENT,
                waiting=True,
            )
        return NextStep(
            sentence="The study has its model. Try it on cases that no site trained on.",
            button="Segment cases",
            page=Page.SEGMENT,
        )
    if training.sentence and (training.epochs or training.steps or training.round):
        return NextStep(
            sentence=sentence_case(training.sentence),
            detail="Nothing to do. You may close this window; training goes on.",
            button="Watch the training",
            page=Page.TRAINING,
            waiting=True,
        )
    return NextStep(
        sentence=sentence_case(federation.sentence or training.sentence)
        or "Waiting for the other sites.",
        detail="Nothing to do now. You may close this window; the work goes on.",
        button="See the sites",
        page=Page.FEDERATION,
        waiting=True,
    )


def is_finished(snapshot: Snapshot) -> bool:
    """Return True when the study has closed its last round."""
    federation = snapshot.federation
    if federation.study is None:
        return False
    closed = max((row.number for row in federation.rounds), default=0)
    return federation.study_state == FINISHED or closed >= federation.study.rounds


def five_steps(snapshot: Snapshot | None, *, reviewed: int = 0) -> tuple[Step, ...]:
    """Return the five steps with their marks; the first one not done is the current one."""
    if snapshot is None:
        return tuple(
            Step(page=page, mark=StepMark.TODO, detail="")
            for page in Page
            if page not in (Page.HOME, Page.SEGMENT)
        )
    data, fingerprint = snapshot.data, snapshot.fingerprint
    federation, training, review = snapshot.federation, snapshot.training, snapshot.review
    checked = data.report is not None and not data.report.blocks
    blocked = data.report is not None and data.report.blocks
    joined = federation.study is not None and federation.link not in (
        LinkState.PENDING,
        LinkState.REFUSED,
    )
    finished = is_finished(snapshot)
    connected = sum(site.connected for site in federation.sites)
    study = federation.study
    closed = max((row.number for row in federation.rounds), default=0)
    if data.report is None:
        data_detail = "Check running" if progress_of(data.job) else "Choose a folder"
    elif data.report.blocks:
        data_detail = "Findings to mend"
    else:
        data_detail = f"{count(data.report.cases, 'case')} checked"
    done = {
        Page.DATA: checked,
        Page.FINGERPRINT: fingerprint.allowance is not None,
        Page.FEDERATION: joined,
        Page.TRAINING: finished,
        Page.REVIEW: finished and 0 < len(review.results) <= reviewed,
    }
    details = {
        Page.DATA: data_detail,
        Page.FINGERPRINT: f"Allowed by {fingerprint.allowance.operator}"
        if fingerprint.allowance
        else ("Ready to look at" if fingerprint.outgoing else "Not computed yet"),
        Page.FEDERATION: (
            f"{connected} of {count(len(federation.sites), 'site')} connected"
            if federation.sites
            else ("Joined" if joined else "Join by invitation")
        ),
        Page.TRAINING: (
            "Finished"
            if finished
            else (
                place_in(study, max(training.round, closed)).title
                if study and training.round
                else "Not begun"
            )
        ),
        Page.REVIEW: f"{reviewed} of {count(len(review.results), 'case')} reviewed"
        if review.results
        else "After training",
    }
    problems = {
        Page.DATA: blocked,
        Page.FINGERPRINT: bool(fingerprint.blocked) and checked and joined,
    }
    # The order of the work: without a study nothing can be shared, so joining may come first.
    steps, current_given = [], False
    for page, is_done in done.items():
        if problems.get(page, False):
            mark = StepMark.PROBLEM
            current_given = True
        elif is_done:
            mark = StepMark.DONE
        elif not current_given and not (page is Page.FINGERPRINT and checked and not joined):
            mark, current_given = StepMark.CURRENT, True
        else:
            mark = StepMark.TODO
        steps.append(Step(page=page, mark=mark, detail=sentence_case(details[page])))
    return tuple(steps)


def present_home(snapshot: Snapshot | None, *, reviewed: int = 0) -> HomeState:
    """Return what Home draws for a snapshot (None: not attached)."""
    facts: tuple[Fact, ...] = ()
    title, empty = "", "The study you join is described here."
    sentence, share, left = "", None, ""
    if snapshot is not None and (study := snapshot.federation.study) is not None:
        title, empty = study.name, ""
        names = tuple(site_title(site.name) for site in snapshot.federation.sites)
        facts = (
            Fact(name="Purpose", value=study.purpose),
            Fact(name="Coordinator", value=study.coordinator),
            Fact(name="This site", value=site_title(study.site)),
            Fact(name="Sites", value=listed(names) or "Not known yet"),
            Fact(
                name="Length",
                value=f"{length(study.rounds, study.folds, study.stages)} of "
                f"{count(study.epochs_per_round, 'epoch')} each",
            ),
        )
        training = snapshot.training
        sentence = sentence_case(training.sentence)
        if training.total_epochs:
            done_epochs = float(len(training.epochs))
            if training.epoch > done_epochs and training.steps_per_epoch:
                done_epochs += training.step / training.steps_per_epoch
            share = min(1.0, done_epochs / training.total_epochs)
        if training.seconds_left is not None and not training.paused:
            left = f"About {duration(training.seconds_left)} left in this round"
    return HomeState(
        step=next_step(snapshot, reviewed=reviewed),
        steps=five_steps(snapshot, reviewed=reviewed),
        study=facts,
        study_title=title,
        study_empty=empty,
        training_sentence=sentence,
        training_share=share,
        time_left=left,
    )
