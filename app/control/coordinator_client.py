"""Ask a coordinator service on this computer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import msgspec
import websockets

from app.control.client import open_service
from app.control.coordinator_messages import (
    CoordinatorAnswer,
    CoordinatorCommand,
    CoordinatorRequest,
    CoordinatorServerMessage,
    CoordinatorStatus,
    GetStatus,
)
from app.control.messages import Accepted, Refused
from app.domain.errors import ErrorCode, FednnunetError, LinkProblem, PeerMistake

_ANSWER_TIMEOUT_S: Final = 30.0
_decoder: Final = msgspec.json.Decoder(CoordinatorServerMessage)


async def ask_coordinator(
    home: Path, command: CoordinatorCommand
) -> Accepted | Refused | CoordinatorStatus:
    """Send one command to the coordinator service of `home` and return its answer.

    Raises:
        SetupProblem: no service runs there (SERVICE_NOT_RUNNING).
        LinkProblem: it does not answer.
        PeerMistake: it is of another version.
    """
    connection = await open_service(home)
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            await connection.send(
                msgspec.json.encode(CoordinatorRequest(number=1, command=command)), text=True
            )
            async for frame in connection:
                message = _decoder.decode(frame)
                if isinstance(message, CoordinatorAnswer):
                    return message.answer
    except (TimeoutError, websockets.ConnectionClosed) as exc:
        raise LinkProblem(f"the coordinator service of {home} does not answer") from exc
    except msgspec.DecodeError as exc:
        raise PeerMistake(
            "the running coordinator service is of another version", code=ErrorCode.VERSION
        ) from exc
    finally:
        await connection.close()
    raise LinkProblem(f"the coordinator service of {home} went away")


async def study_status(home: Path) -> CoordinatorStatus:
    """Return the status of the running coordinator service of `home`; raises as `ask_coordinator`."""
    answer = await ask_coordinator(home, GetStatus())
    if isinstance(answer, Refused):
        raise FednnunetError(answer.sentence, code=ErrorCode(answer.code))
    if not isinstance(answer, CoordinatorStatus):
        raise PeerMistake("the coordinator service answered something else")
    return answer
