import asyncio

import msgspec
import pytest

from app.control.coordinator_client import ask_coordinator, study_status
from app.control.coordinator_messages import (
    BeginStudy,
    CoordinatorAnswer,
    CoordinatorRequest,
    CoordinatorStatus,
    PauseStudy,
)
from app.control.messages import Accepted, Refused
from app.control.server import ControlServer
from app.domain.errors import ErrorCode, FednnunetError, SetupProblem

STATUS = CoordinatorStatus(
    study="Sample", study_id="0" * 32, running=True, address="localhost:1", state="enrolling",
    sentence="Sites are joining.", rounds=3, sites=(), invitations=(), closed_rounds=(),
    plan_digest=None, model_digest=None,
)  # fmt: skip


class Handler:
    def __init__(self, answer):
        self.given, self.asked = answer, []

    def snapshot(self):
        return STATUS

    async def answer(self, frame):
        request = msgspec.json.decode(frame, type=CoordinatorRequest)
        self.asked.append(request.command)
        return CoordinatorAnswer(number=request.number, answer=self.given)


async def served(home, answer, ask):
    handler = Handler(answer)
    server = ControlServer(home=home, handler=handler)
    await server.start()
    try:
        return await ask(home), handler.asked
    finally:
        await server.stop()


def test_a_command_is_answered(tmp_path):
    answer, asked = asyncio.run(
        served(tmp_path, Accepted(), lambda home: ask_coordinator(home, BeginStudy()))
    )
    assert (answer, asked) == (Accepted(), [BeginStudy()])


def test_a_refusal_keeps_its_sentence(tmp_path):
    refused = Refused(code="study-state", sentence="not now", remedy="Wait.")
    answer, _ = asyncio.run(
        served(tmp_path, refused, lambda home: ask_coordinator(home, PauseStudy()))
    )
    assert answer == refused
    with pytest.raises(FednnunetError, match="not now") as caught:
        asyncio.run(served(tmp_path, refused, study_status))
    assert caught.value.code is ErrorCode.STUDY_STATE


def test_the_status_is_read(tmp_path):
    status, _ = asyncio.run(served(tmp_path, STATUS, study_status))
    assert status == STATUS


def test_no_service_is_said(tmp_path):
    with pytest.raises(SetupProblem) as caught:
        asyncio.run(study_status(tmp_path))
    assert caught.value.code is ErrorCode.SERVICE_NOT_RUNNING
