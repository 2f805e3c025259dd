import pytest

from app.domain.errors import REMEDIES, ErrorCode, FednnunetError, PeerMistake, safe_text


@pytest.mark.parametrize("code", ErrorCode, ids=lambda code: code.value)
def test_every_code_has_a_remedy_in_a_sentence(code):
    assert REMEDIES[code][0].isupper()
    assert REMEDIES[code].endswith(".")


def test_an_error_keeps_its_code_sentence_and_remedy():
    error = FednnunetError("the disk is full", code=ErrorCode.DISK_FULL)
    assert str(error) == "the disk is full"
    assert error.remedy == REMEDIES[ErrorCode.DISK_FULL]
    assert PeerMistake("x").code is ErrorCode.PROTOCOL


def test_a_peers_words_lose_control_and_direction_characters():
    assert safe_text("a\x1b[31m\u202eb\n") == "a�[31m�b�"
    assert safe_text("x" * 500) == "x" * 300 + "…"
