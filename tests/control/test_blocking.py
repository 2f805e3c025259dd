"""The window's client against a real control server in another thread."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from helpers import snapshots
from helpers.pretended_service import PretendedService

from app.control import blocking
from app.control.address import ADDRESS_FILE, ForwardedService, read_address
from app.control.blocking import BlockingClient
from app.control.messages import Accepted, Answer, CheckFolder, Logged
from app.domain.errors import ErrorCode, LinkProblem, PeerMistake, SetupProblem


@pytest.fixture
def service(tmp_path):
    made = PretendedService(tmp_path, snapshots.training())
    made.start()
    yield made
    made.stop()


@pytest.fixture
def clients():
    made: list[BlockingClient] = []
    yield made
    for client in made:
        client.close()


def gather(client: BlockingClient, number: int) -> list[object]:
    """Receive until there are this many messages."""
    found: list[object] = []
    ends = time.monotonic() + 10
    while len(found) < number and time.monotonic() < ends:
        found += client.receive(1.0)
    return found


def test_the_snapshot_then_events_then_answers(service, tmp_path, clients):
    client, snapshot = BlockingClient.connect(tmp_path)
    clients.append(client)
    assert snapshot == snapshots.training()
    told = [Logged(line=snapshots.log_line(f"line {number}")) for number in range(5)]
    for event in told:
        service.tell(event)
    assert gather(client, 5) == told
    numbers = [client.send(CheckFolder()), client.send(CheckFolder())]
    assert gather(client, 2) == [Answer(number=number, answer=Accepted()) for number in numbers]
    assert numbers == [1, 2]


def test_a_forwarded_port_is_attached_with_a_copy_of_the_token(service, tmp_path, clients):
    address = read_address(tmp_path)
    copy = tmp_path / "copy.json"
    copy.write_bytes((tmp_path / ADDRESS_FILE).read_bytes())
    client, snapshot = BlockingClient.connect(ForwardedService(port=address.port, token_file=copy))
    clients.append(client)
    assert snapshot == snapshots.training()
    copy.write_text("wrong")
    with pytest.raises(LinkProblem, match="does not answer"):
        BlockingClient.connect(ForwardedService(port=address.port, token_file=copy))


def test_without_an_address_no_service_runs(tmp_path):
    with pytest.raises(SetupProblem) as caught:
        BlockingClient.connect(tmp_path)
    assert caught.value.code is ErrorCode.SERVICE_NOT_RUNNING


def test_an_address_left_by_a_crash_is_no_service_whoever_listens_there_now(tmp_path, service):
    """The port may be free, or another program's by now: the token of the dead is refused there."""
    left = json.loads((tmp_path / ADDRESS_FILE).read_bytes())
    left["holder"] = {"pid": 2**22 + 1, "started": 1.0}
    left["token"] = "of the one that crashed"
    home = tmp_path / "other"
    home.mkdir()
    (home / ADDRESS_FILE).write_text(json.dumps(left))
    with pytest.raises(SetupProblem) as caught:
        BlockingClient.connect(home)
    assert caught.value.code is ErrorCode.SERVICE_NOT_RUNNING
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        left["port"] = free.getsockname()[1]
    (home / ADDRESS_FILE).write_text(json.dumps(left))
    with pytest.raises(SetupProblem) as caught:
        BlockingClient.connect(home)
    assert caught.value.code is ErrorCode.SERVICE_NOT_RUNNING


def test_a_living_service_that_says_nothing_does_not_answer(tmp_path, service, monkeypatch):
    monkeypatch.setattr(blocking, "_OPEN_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = json.loads((tmp_path / ADDRESS_FILE).read_bytes())
        address["port"] = deaf.getsockname()[1]
        (tmp_path / ADDRESS_FILE).write_text(json.dumps(address))
        with pytest.raises(LinkProblem, match="does not answer"):
            BlockingClient.connect(tmp_path)


def test_the_end_of_the_service_is_noticed(service, tmp_path, clients):
    client, _ = BlockingClient.connect(tmp_path)
    clients.append(client)
    stopping = threading.Thread(target=service.stop)
    stopping.start()
    with pytest.raises(LinkProblem, match="has gone away"):
        gather(client, 1000)
    client.close()
    stopping.join()


def test_a_service_that_falls_silent_is_gone(service, tmp_path, clients, monkeypatch):
    client, _ = BlockingClient.connect(tmp_path)
    clients.append(client)
    monkeypatch.setattr(blocking, "_SILENCE_S", 0.05)
    time.sleep(0.1)
    with pytest.raises(LinkProblem, match="has gone away"):
        client.receive(0.05)


def test_another_version_is_told_apart_from_silence(tmp_path, service):
    service.held = Logged(line=snapshots.log_line("no snapshot"))
    with pytest.raises(PeerMistake) as caught:
        BlockingClient.connect(tmp_path)
    assert caught.value.code is ErrorCode.VERSION


def test_waking_ends_a_wait_at_once_and_is_harmless_later(service, tmp_path):
    client, _ = BlockingClient.connect(tmp_path)
    begun = time.monotonic()
    waker = threading.Timer(0.05, client.wake)
    waker.start()
    assert client.receive(30.0) == ()
    assert time.monotonic() - begun < 20
    waker.join()
    client.close()
    client.wake()
