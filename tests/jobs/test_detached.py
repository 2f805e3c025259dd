import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from app.jobs.detached import fednnunet_command, start_detached, start_foreign, worker_python


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX sessions")
def test_a_detached_process_has_its_own_session_and_writes_to_its_log(tmp_path):
    log = tmp_path / "logs" / "service.log"
    pid = start_detached(
        [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"], log=log
    )
    try:
        wait_for(lambda: log.is_file() and log.read_text() == "up\n")
        assert os.getsid(pid) == pid != os.getsid(0)
    finally:
        os.kill(pid, signal.SIGKILL)
        psutil.Process(pid).wait(10)


def test_the_command_starts_this_program(tmp_path):
    log = tmp_path / "version.log"
    pid = start_detached([*fednnunet_command(), "--version"], log=log)
    wait_for(lambda: log.is_file() and "fednnunet" in log.read_text())
    assert os.waitpid(pid, 0)[1] == 0


def test_a_frozen_program_stands_for_python(monkeypatch):
    assert worker_python() == (sys.executable, "-P")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert worker_python() == (sys.executable,)
    assert fednnunet_command() == (sys.executable,)


def test_a_foreign_program_does_not_find_our_libraries(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("QT_PLUGIN_PATH", "/ours/qt")
    log = tmp_path / "logs" / "editor.log"
    words = "import os; print(sorted({'PYTHONPATH', 'QT_PLUGIN_PATH'} & set(os.environ)))"
    pid = start_foreign([sys.executable, "-c", words], log=log)
    wait_for(lambda: log.is_file() and log.read_text() == "[]\n")
    assert os.waitpid(pid, 0)[1] == 0


def test_a_frozen_program_answers_to_the_words_that_start_a_worker():
    program = (
        "import sys; sys.frozen = True; sys.argv = ['fednnunet', '-m', 'app.worker'];"
        "from app.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "usage: python -m app.worker SPEC\n"
