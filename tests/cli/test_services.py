import asyncio
import socket

import pytest

from app.cli.services import free_port, start_service
from app.domain.errors import SetupProblem


def test_a_free_port_can_be_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))


def test_a_service_that_does_not_start_names_its_log(tmp_path):
    log = tmp_path / "service.log"
    words = ("coordinator", "serve", "--home", str(tmp_path))
    with pytest.raises(SetupProblem, match=r"coordinator serve .* did not start; .*service\.log"):
        asyncio.run(start_service(words, home=tmp_path, log=log))
    assert "there is no study" in log.read_text(encoding="utf-8")
