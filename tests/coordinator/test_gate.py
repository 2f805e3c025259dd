from __future__ import annotations

import socket

import pytest
from helpers.clock import HandClock

from app.coordinator.gate import Gate, GatedConnection, GateLimits, listen

LIMITS = GateLimits(strangers=4, strangers_per_address=2, connections=3, failures=3)


class Connection:
    """Stands for an accepted socket."""

    def __init__(self) -> None:
        self.ended = False

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_RDWR
        self.ended = True


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def gate(clock):
    return Gate(LIMITS, clock)


def enter(gate, address: str, port: int) -> Connection:
    connection = Connection()
    assert gate.enter((address, port), connection)
    return connection


def test_the_stranger_who_waits_longest_makes_room(gate):
    first, second = enter(gate, "10.0.0.1", 1), enter(gate, "10.0.0.1", 2)
    third = enter(gate, "10.0.0.1", 3)
    assert (first.ended, second.ended, third.ended) == (True, False, False), "two per address"
    others = [enter(gate, f"10.0.1.{n}", 1) for n in range(3)]
    assert second.ended, "four in all"
    assert not any(other.ended for other in others)
    assert gate.strangers == 4


def test_who_has_proved_itself_is_never_sent_away(gate):
    member = enter(gate, "10.0.0.1", 1)
    gate.proved(("10.0.0.1", 1))
    for port in range(2, 30):
        enter(gate, f"10.0.0.{port}", port)
    assert not member.ended
    assert (gate.connections, gate.strangers) == (5, 4)


def test_members_are_bounded_too(gate):
    for n in range(3):
        enter(gate, "10.0.0.1", n)
        gate.proved(("10.0.0.1", n))
    assert not gate.enter(("10.0.0.2", 1))
    gate.left(("10.0.0.1", 0))
    assert gate.enter(("10.0.0.2", 1))


def test_an_address_that_keeps_failing_is_turned_away_for_a_minute(gate, clock):
    for port in range(3):
        assert gate.enter(("10.0.0.1", port))
        gate.left(("10.0.0.1", port))
    assert not gate.enter(("10.0.0.1", 9))
    assert gate.enter(("10.0.0.2", 9))
    clock.advance(61)
    assert gate.enter(("10.0.0.1", 9))


def test_a_proof_forgives_earlier_failures(gate):
    for port in range(2):
        gate.enter(("10.0.0.1", port))
        gate.left(("10.0.0.1", port))
    gate.enter(("10.0.0.1", 5))
    gate.proved(("10.0.0.1", 5))
    gate.left(("10.0.0.1", 5))
    for port in range(10, 13):
        assert gate.enter(("10.0.0.1", port))
        gate.left(("10.0.0.1", port))


def test_its_memory_is_bounded(clock):
    gate = Gate(GateLimits(failures=2), clock)
    for n in range(10_500):
        gate.enter((f"address {n}", 1))
        gate.left((f"address {n}", 1))
    assert len(gate._failures) == 10_000


def test_sockets_are_counted_from_accept_to_close(clock):
    gate = Gate(GateLimits(strangers_per_address=1), clock)
    (listening,) = listen("127.0.0.1", 0, gate)
    listening.listen()
    listening.setblocking(True)
    near = socket.create_connection(listening.getsockname())
    far, address = listening.accept()
    assert isinstance(far, GatedConnection)
    assert (gate.strangers, address) == (1, near.getsockname())
    second = socket.create_connection(listening.getsockname())
    other, _ = listening.accept()
    near.settimeout(5)
    assert near.recv(1) == b"", "the older one was shut down"
    assert gate.strangers == 1
    gate.proved(second.getsockname())
    assert (gate.strangers, gate.connections) == (0, 1)
    other.close()
    assert gate.connections == 0
    far.close()
    failing = Gate(GateLimits(failures=0), clock)
    listening.gate = failing
    third = socket.create_connection(listening.getsockname())
    with pytest.raises(ConnectionAbortedError):
        listening.accept()
    for connection in (near, second, third, listening):
        connection.close()


def test_a_port_in_use_is_an_error_and_leaves_no_socket_open(gate):
    (listening,) = listen("127.0.0.1", 0, gate)
    listening.listen()
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", listening.getsockname()[1], gate)
    listening.close()
