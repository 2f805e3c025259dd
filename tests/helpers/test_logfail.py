from __future__ import annotations

import logging

from helpers.logfail import LogWatch


def watched(logger_name: str, *, level: int, message: str, args: tuple = ()) -> LogWatch:
    watch = LogWatch()
    watch.handle(logging.LogRecord(logger_name, level, __file__, 1, message, args, None))
    return watch


def test_an_unannounced_warning_is_complained_about_with_its_text():
    watch = watched("app.site.link", level=logging.WARNING, message="lost %s", args=("north",))
    assert watch.complaints() == ["unexpected log line: WARNING app.site.link: lost north"]


def test_information_passes():
    watch = LogWatch()
    logger = logging.getLogger("app.apart")
    logger.setLevel(logging.INFO)
    logger.addHandler(watch)
    try:
        logger.info("all is well")
    finally:
        logger.removeHandler(watch)
        logger.setLevel(logging.NOTSET)
    assert watch.complaints() == []


def test_an_announced_warning_is_accepted():
    watch = watched("app.site.link", level=logging.WARNING, message="lost north")
    watch.expect("app.site", "^lost")
    assert watch.complaints() == []


def test_an_announcement_is_for_its_logger_pattern_and_level_only():
    for logger_name, level, message in (
        ("app.sites", logging.WARNING, "lost north"),
        ("app.site", logging.CRITICAL, "lost north"),
        ("app.site", logging.WARNING, "found north"),
    ):
        watch = watched(logger_name, level=level, message=message)
        watch.expect("app.site", "lost")
        unexpected, missing = watch.complaints()
        assert message in unexpected
        assert missing == "announced log line did not come: app.site: 'lost'"


def test_an_optional_announcement_may_be_missing():
    watch = LogWatch()
    watch.expect("app.site", "lost", optional=True)
    assert watch.complaints() == []


def test_a_message_that_does_not_fit_its_arguments_is_a_finding():
    watch = watched("app", level=logging.ERROR, message="%d cases", args=("many",))
    (complaint,) = watch.complaints()
    assert "does not fit its arguments" in complaint


def test_the_fixture_sees_real_log_lines(expected_log):
    expected_log("app.somewhere", "3 cases")
    logging.getLogger("app.somewhere.deep").warning("%d cases are odd", 3)
