import os
import subprocess
import sys
import textwrap
import threading

import msgspec
import pytest

from app.jobs.events import Noted
from app.jobs.spec import Finish, TrainRound
from app.worker.streams import EventStream, Inbox

ROUND = TrainRound(round=1, attempt=1, epochs=1, start_epoch=0, base=None, update="u")


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    reader, writer = os.fdopen(reading, "rb"), os.fdopen(writing, "wb")
    yield reader, writer
    for end in (writer, reader):
        if not end.closed:
            end.close()


@pytest.fixture
def inbox(pipe):
    reader, writer = pipe
    made = Inbox(reader, grace_s=5)
    yield made
    made.job_ended()
    writer.close()
    made._thread.join(5)


def put(writer, *lines: bytes) -> None:
    writer.write(b"".join(line + b"\n" for line in lines))
    writer.flush()


def test_commands_come_in_order(pipe, inbox):
    put(pipe[1], msgspec.json.encode(ROUND), msgspec.json.encode(Finish()))
    assert inbox.next_command() == ROUND
    assert inbox.next_command() == Finish()
    assert not inbox.stopped()


def test_the_end_of_the_stream_is_the_request_to_stop(pipe, inbox):
    put(pipe[1], msgspec.json.encode(ROUND))
    pipe[1].close()
    assert inbox.next_command() == ROUND
    assert inbox.next_command() is None
    assert inbox.next_command() is None
    assert inbox.stopped()


def test_a_line_that_is_no_command_is_left_out(pipe, inbox, expected_log):
    expected_log("app.worker.streams", "a command could not be read")
    put(pipe[1], b"hello", msgspec.json.encode(Finish()))
    assert inbox.next_command() == Finish()


def test_a_job_that_goes_on_after_the_stop_is_ended_by_force(pipe, expected_log):
    expected_log("app.worker.streams", "still at work")
    ended = threading.Event()
    inbox = Inbox(pipe[0], grace_s=0.05, end_everything=ended.set)
    pipe[1].close()
    assert ended.wait(5)
    inbox._thread.join(5)


def test_a_job_that_ends_in_time_is_left_alone(pipe):
    ended = threading.Event()
    inbox = Inbox(pipe[0], grace_s=0.5, end_everything=ended.set)
    pipe[1].close()
    assert inbox.next_command() is None
    inbox.job_ended()
    inbox._thread.join(5)
    assert not ended.is_set()


def test_events_are_lines_even_from_several_threads(pipe):
    reader, writer = pipe
    stream = EventStream(writer)
    threads = [
        threading.Thread(target=lambda: [stream.tell(Noted(text="x" * 500)) for _ in range(20)])
        for _ in range(4)
    ]
    got = []
    collecting = threading.Thread(target=lambda: got.extend(reader))
    collecting.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    collecting.join()
    assert len(got) == 80
    assert {msgspec.json.decode(line, type=Noted) for line in got} == {Noted(text="x" * 500)}


def test_telling_a_parent_that_is_gone_is_no_error(pipe):
    reader, writer = pipe
    reader.close()
    stream = EventStream(writer)
    stream.tell(Noted(text="anybody?"))
    stream.tell(Noted(text="nobody"))
    with pytest.raises(BrokenPipeError):
        writer.close()


CLAIM = """
    import os, subprocess, sys
    from app.worker.streams import claim_streams
    commands, events = claim_streams()
    print("python prints")
    sys.stdout.flush()
    os.write(1, b"a library prints\\n")
    subprocess.run([sys.executable, "-c", "print('a grandchild prints')"], check=True)
    assert sys.stdin.read() == ""
    events.write(b"got " + commands.readline())
    events.flush()
"""


def test_only_events_reach_the_event_stream():
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CLAIM)],
        input=b"a command\n",
        capture_output=True,
        check=False,
    )
    assert child.stdout == b"got a command\n"
    assert child.stderr.splitlines() == [
        b"python prints", b"a library prints", b"a grandchild prints",
    ]  # fmt: skip
