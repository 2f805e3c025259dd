"""A baseline means the same by the service and by the command line: plan, seed, epochs, cases."""

from __future__ import annotations

from pathlib import Path

from helpers.site_home import study_terms

from app.site import baseline_jobs

TERMS = study_terms()


def test_it_is_the_study_without_the_others():
    session = baseline_jobs.session(
        TERMS, plan=Path("/plan"), workspace=Path("/w"), checkpoint=Path("/b/c.pth"), device="cpu"
    )
    assert (session.total_epochs, session.seed, session.fold) == (
        TERMS.total_epochs,
        TERMS.seed,
        TERMS.fold,
    )
    assert session.iterations_per_epoch == TERMS.iterations_per_epoch
    command = baseline_jobs.whole_study(TERMS, base=Path("/first"), update=Path("/u"))
    assert (command.epochs, command.start_epoch, command.base) == (TERMS.total_epochs, 0, "/first")


def test_it_prepares_and_begins_as_the_study_does():
    prepared = baseline_jobs.preparation(
        TERMS, plan=Path("/plan"), folder="/d", workspace=Path("/w"), leave_out=("a",)
    )
    assert (prepared.configuration, prepared.leave_out, prepared.seed) == (
        TERMS.configuration,
        ("a",),
        TERMS.seed,
    )
    first = baseline_jobs.first_model(TERMS, plan=Path("/plan"), output=Path("/o"))
    assert (first.seed, first.configuration) == (TERMS.seed, TERMS.configuration)
