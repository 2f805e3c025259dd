"""The control server over real loopback sockets."""

from __future__ import annotations

import asyncio
import json
import stat
import sys

import msgspec
import pytest
import pytest_asyncio
import websockets
from helpers.recorder import eventually
from websockets.asyncio.client import connect

from app.control.address import ADDRESS_FILE, find_service
from app.control.server import LARGEST_COMMAND, ControlServer

pytestmark = pytest.mark.asyncio


class Whole(msgspec.Struct, tag="whole"):
    number: int


class Piece(msgspec.Struct, tag="piece"):
    number: int
    filling: str = ""


class Desk:
    """A handler whose words are not those of the site service: the server must not care."""

    def __init__(self):
        self.number = 1

    def snapshot(self):
        return Whole(number=self.number)

    async def answer(self, frame):
        if frame == b"nonsense":
            return None
        return Piece(number=json.loads(frame)["number"])


@pytest_asyncio.fixture
async def server(tmp_path):
    server = ControlServer(home=tmp_path, handler=Desk(), longest_queue=20)
    await server.start()
    yield server
    await server.stop()


def opened(server, home, **headers):
    address = find_service(home)
    assert address is not None
    return connect(
        f"ws://127.0.0.1:{server.port}/",
        additional_headers={"Authorization": f"Bearer {address.token}"} | headers,
        compression=None,
        proxy=None,
    )


async def test_a_client_gets_the_snapshot_then_changes_then_answers(server, tmp_path):
    async with opened(server, tmp_path) as client:
        assert json.loads(await client.recv()) == {"type": "whole", "number": 1}
        server.broadcast(Piece(number=2))
        await client.send('{"number": 3}')
        assert json.loads(await client.recv())["number"] == 2
        assert json.loads(await client.recv())["number"] == 3


async def test_a_message_that_is_no_request_ends_the_connection(server, tmp_path):
    async with opened(server, tmp_path) as client:
        await client.recv()
        await client.send("nonsense")
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await client.recv()
        assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": ""}, 401),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
    ],
)
async def test_strangers_are_refused(server, tmp_path, headers, status):
    if "Host" in headers:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        token = find_service(tmp_path).token
        writer.write(
            f"GET / HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {token}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert (await reader.readline()).split()[1] == b"403"
        writer.close()
        await writer.wait_closed()
        return
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with opened(server, tmp_path, **headers):
            pass
    assert refused.value.response.status_code == status


async def test_a_huge_command_ends_the_connection(server, tmp_path):
    async with opened(server, tmp_path) as client:
        await client.recv()
        await client.send("x" * (LARGEST_COMMAND + 1))
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await client.recv()
        assert closed.value.rcvd.code == 1009


async def test_a_client_that_does_not_read_is_cut_off_and_the_other_goes_on(server, tmp_path):
    async with opened(server, tmp_path) as stuck, opened(server, tmp_path) as reading:
        await reading.recv()
        await eventually(lambda: server.clients == 2)
        stuck.transport.pause_reading()
        for number in range(400):
            server.broadcast(Piece(number=number, filling="x" * 100_000))
            assert json.loads(await reading.recv())["number"] == number
            if server.clients == 1:
                break
        assert server.clients == 1
        server.broadcast(Piece(number=7))
        assert json.loads(await reading.recv())["number"] == 7
        stuck.transport.abort()


async def test_the_address_is_for_this_user_only_and_goes_away(tmp_path):
    server = ControlServer(home=tmp_path, handler=Desk())
    assert find_service(tmp_path) is None
    await server.start()
    address = find_service(tmp_path)
    assert address.port == server.port
    assert len(address.token) >= 43
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / ADDRESS_FILE).stat().st_mode) == 0o600
    await server.stop()
    assert find_service(tmp_path) is None
