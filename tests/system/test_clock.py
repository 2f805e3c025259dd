import time

from app.system.clock import SystemClock


def test_the_clocks_are_the_computers():
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 60
    first = clock.monotonic()
    assert clock.monotonic() >= first
