"""Finding a service, also after a crash left its address behind."""

from __future__ import annotations

import msgspec

from app.control.address import ADDRESS_FILE, ServiceAddress, find_service
from app.system.locks import Holder


def test_the_address_of_a_dead_service_counts_for_nothing(tmp_path):
    me = Holder.of_this_process()
    living = ServiceAddress(port=5, token="t", holder=me)
    (tmp_path / ADDRESS_FILE).write_bytes(msgspec.json.encode(living))
    assert find_service(tmp_path) == living
    other = Holder(pid=me.pid, started=me.started - 1000)
    (tmp_path / ADDRESS_FILE).write_bytes(
        msgspec.json.encode(msgspec.structs.replace(living, holder=other))
    )
    assert find_service(tmp_path) is None


def test_a_damaged_address_counts_for_nothing(tmp_path):
    (tmp_path / ADDRESS_FILE).write_bytes(b"{")
    assert find_service(tmp_path) is None
