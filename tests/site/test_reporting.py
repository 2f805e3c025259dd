"""A report of a site that knows its cases: none of them gets out."""

from __future__ import annotations

import logging

import pytest

from app.control.messages import PrepareReport, ReportView
from app.site.reporting import report_of_resting_site
from app.system.logs import start_logging, stop_logging
from app.system.stripping import vocabulary


@pytest.mark.asyncio
async def test_the_report_of_a_running_site_names_no_case_and_nobody(site, expected_log):
    await site.to_prepared()
    cases = [case.name for case in site.snapshot.data.dataset.training]
    handler = start_logging(site.home / "logs", "site")
    try:
        for case in cases:
            expected_log("app.test", "cannot be read")
            logging.getLogger("app.test").warning("%s of Jane Doe cannot be read", case)
    finally:
        stop_logging(handler)
    view = await site.service.command(PrepareReport())
    assert isinstance(view, ReportView)
    texts = {file.name: file.text for file in view.files}
    assert {"README.txt", "computer.json", "state.json", "logs/site.log"} <= set(texts)
    assert '"phase": "waiting"' in texts["state.json"]
    assert texts["logs/site.log"].count("cannot be read") == len(cases)
    for text in texts.values():
        words = set(text.replace("[", " ").replace("]", " ").split())
        for private in (*cases, "Jane", "Doe", str(site.folder)):
            assert private not in words
    await site.stop()
    # Without a service the same logs are collected from the home itself.
    resting = {text.name: text.text for text in report_of_resting_site(site.home)}
    assert resting["logs/site.log"] == texts["logs/site.log"]
    assert not set(cases) & vocabulary()
