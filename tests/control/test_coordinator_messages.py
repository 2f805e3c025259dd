import msgspec
import pytest

from app.control import coordinator_messages as messages

COMMANDS = [
    messages.GetStatus(),
    messages.BeginStudy(),
    messages.ApproveSite(site="north"),
    messages.RevokeSite(site="north"),
    messages.PauseStudy(),
    messages.ResumeStudy(),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_every_command_survives_the_way(command):
    request = messages.CoordinatorRequest(number=7, command=command)
    data = msgspec.json.encode(request)
    assert msgspec.json.decode(data, type=messages.CoordinatorRequest) == request


def test_unknown_fields_are_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(
            b'{"type":"request","number":1,"command":{"type":"begin","now":true}}',
            type=messages.CoordinatorRequest,
        )
