from __future__ import annotations

import os

import pytest

from app.domain.errors import ErrorCode, SetupProblem
from app.system.settings import Settings, load_settings, save_settings


def test_settings_come_back(tmp_path):
    assert load_settings(tmp_path) == Settings()
    wanted = Settings(
        threads=3, device="cuda:1", loader_processes=2, low_priority=False, proxy="none"
    )
    save_settings(tmp_path, wanted)
    assert load_settings(tmp_path) == wanted


def test_threads_default_to_the_processors():
    assert Settings().worker_threads == os.cpu_count()
    assert Settings(threads=2).worker_threads == 2


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{", ErrorCode.WORKSPACE),
        (b'{"thread": 3}', ErrorCode.WORKSPACE),
        (b'{"threads": 0}', ErrorCode.SETTING),
        (b'{"version": 99}', ErrorCode.VERSION),
        (b" " * 70_000, ErrorCode.WORKSPACE),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, data, code):
    (tmp_path / "settings.json").write_bytes(data)
    with pytest.raises(SetupProblem, match=r"settings\.json") as problem:
        load_settings(tmp_path)
    assert problem.value.code is code
