from __future__ import annotations

import logging

import pytest

from app.system.logs import (
    FewOfEach,
    LineHandler,
    LoggedLine,
    redact,
    start_logging,
    stop_logging,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot read /data/Smith_John/scan.nii.gz", "cannot read [path]"),
        ("('/data/Smith/scan.nii.gz',)", "('[path]',)"),
        ("C:\\Users\\smith\\x.nii is bad", "[path] is bad"),
        ("\\\\server\\share\\smith.nii is bad", "[path] is bad"),
        ("round 3/50, wss://host/path and 3 mm/s", "round 3/50, wss://host/path and 3 mm/s"),
        ('File "/opt/x/app/site/service.py", line 3', 'File "app/site/service.py", line 3'),
        (
            'File "/v/lib/python3.11/site-packages/torch/a.py", line 3',
            'File "lib/python3.11/site-packages/torch/a.py", line 3',
        ),
        ('File "/data/smith.py", line 1', 'File "[path]", line 1'),
    ],
)
def test_paths_outside_the_code_are_taken_out(text, expected):
    assert redact(text) == expected


def test_the_file_and_the_window_get_the_same_redacted_lines(tmp_path, expected_log):
    lines: list[LoggedLine] = []
    # Not as one word in the source: a traceback shows the line.
    patient = "Smi" + "th"
    file = start_logging(tmp_path / "logs", "site")
    window = LineHandler(lines.append)
    logger = logging.getLogger("app.test")
    logging.getLogger("app").addHandler(window)
    try:
        try:
            (tmp_path / patient / "scan.nii.gz").read_bytes()
        except OSError:
            expected_log("app.test", "round 3")
            logger.exception("round %d failed", 3)
    finally:
        logging.getLogger("app").removeHandler(window)
        stop_logging(file)
    written = (tmp_path / "logs" / "site.log").read_text(encoding="utf-8")
    (line,) = lines
    assert (line.level, line.source) == ("error", "test")
    assert (
        line.text
        == "round 3 failed: FileNotFoundError: [Errno 2] No such file or directory: '[path]'"
    )
    assert "round 3 failed" in written
    assert "test_logs.py" not in written
    assert patient not in written


def test_asyncio_cannot_fill_the_disk_with_one_sentence(tmp_path, expected_log):
    expected_log("asyncio", "socket.send|something else")
    expected_log("app.test", "ours")
    file = start_logging(tmp_path / "logs", "site")
    try:
        for number in range(1000):
            logging.getLogger("asyncio").warning("socket.send() raised exception.")
            logging.getLogger("app.test").warning("ours %d", number)
        logging.getLogger("asyncio").error("something else")
    finally:
        stop_logging(file)
    written = (tmp_path / "logs" / "site.log").read_text(encoding="utf-8")
    assert written.count("socket.send()") == 3
    assert written.count("something else") == 1
    assert written.count("ours") == 1000, "of our own nothing is left out"


def test_what_was_said_is_said_again_after_a_while():
    few = FewOfEach(most=1, window_s=60.0)

    def passes(at: float) -> bool:
        record = logging.makeLogRecord({"msg": "gone", "name": "asyncio"})
        record.created = at
        return few.filter(record)

    assert [passes(at) for at in (0.0, 1.0, 59.0, 61.0, 62.0)] == [True, False, False, True, False]
