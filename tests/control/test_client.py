"""A client against a real control server that speaks the site service's words."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import pytest_asyncio
from helpers.recorder import eventually
from helpers.snapshots import empty

from app.control.client import ControlClient
from app.control.messages import (
    Accepted,
    Answer,
    Changed,
    CheckFolder,
    ChooseFolder,
    DataView,
    Refused,
    Request,
    StopService,
)
from app.control.server import ControlServer
from app.domain.errors import ErrorCode, LinkProblem, PeerMistake, SetupProblem

pytestmark = pytest.mark.asyncio


class Desk:
    def __init__(self):
        self.shown = empty()
        self.commands = []

    def snapshot(self):
        return self.shown

    async def answer(self, frame):
        request = msgspec.json.decode(frame, type=Request)
        self.commands.append(request.command)
        match request.command:
            case CheckFolder():
                return Answer(
                    number=request.number, answer=Refused(code="c", sentence="s", remedy="r")
                )
            case StopService():
                await asyncio.Event().wait()
        return Answer(number=request.number, answer=Accepted())


@pytest_asyncio.fixture
async def desk():
    return Desk()


@pytest_asyncio.fixture
async def server(tmp_path, desk):
    server = ControlServer(home=tmp_path, handler=desk)
    await server.start()
    yield server
    await server.stop()


async def test_snapshot_events_and_mirror(server, tmp_path, desk):
    async with await ControlClient.connect(tmp_path) as client:
        assert client.snapshot == desk.shown
        change = Changed(data=DataView(folder="/somewhere"))
        server.broadcast(change)
        async for event in client.events():
            assert event == change
            break
        assert client.snapshot.data.folder == "/somewhere"


async def test_answers_find_their_requests(server, tmp_path, desk):
    async with await ControlClient.connect(tmp_path) as client:
        answers = await asyncio.gather(
            client.request(ChooseFolder(folder="/a")), client.request(CheckFolder())
        )
    assert answers == [Accepted(), Refused(code="c", sentence="s", remedy="r")]
    assert desk.commands == [ChooseFolder(folder="/a"), CheckFolder()]


async def test_a_request_without_an_answer_times_out(server, tmp_path):
    async with await ControlClient.connect(tmp_path) as client:
        with pytest.raises(LinkProblem, match="did not answer within 0 s"):
            await client.request(StopService(), timeout_s=0.05)


async def test_a_service_that_goes_away_ends_events_and_requests(tmp_path, desk, monkeypatch):
    monkeypatch.setattr("app.control.server._ANSWER_GRACE_S", 0.05)
    server = ControlServer(home=tmp_path, handler=desk)
    await server.start()
    client = await ControlClient.connect(tmp_path)
    waiting = asyncio.create_task(client.request(StopService()))
    await eventually(lambda: bool(desk.commands))
    await server.stop()
    with pytest.raises(LinkProblem, match="gone away"):
        await waiting
    assert [event async for event in client.events()] == []
    with pytest.raises(LinkProblem, match="gone away"):
        await client.request(CheckFolder())
    await client.close()


async def test_without_a_service_there_is_a_sentence(tmp_path):
    with pytest.raises(SetupProblem) as problem:
        await ControlClient.connect(tmp_path)
    assert problem.value.code is ErrorCode.SERVICE_NOT_RUNNING


async def test_a_service_of_another_version_is_named_so(tmp_path, desk):
    desk.shown = Accepted()
    server = ControlServer(home=tmp_path, handler=desk)
    await server.start()
    with pytest.raises(PeerMistake) as problem:
        await ControlClient.connect(tmp_path)
    assert problem.value.code is ErrorCode.VERSION
    await server.stop()
