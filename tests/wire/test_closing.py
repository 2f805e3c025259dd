from __future__ import annotations

import pytest

from app.domain.errors import ErrorCode
from app.wire.closing import Closing, closing_of, code_of, named


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_has_a_close_code_and_a_name(code):
    closing = closing_of(code)
    assert 4000 <= closing < 5000
    assert named(code.value) is code
    if closing.final:
        assert code_of(closing) in ErrorCode


def test_only_what_a_person_must_mend_is_final():
    assert {closing for closing in Closing if closing.final} == {
        Closing.NOT_AUTHENTICATED,
        Closing.REVOKED,
        Closing.CONFLICT,
        Closing.VERSION,
    }
    assert closing_of(ErrorCode.PROTOCOL) is Closing.PROTOCOL
    assert [code_of(c) for c in (4401, 4403, 4409, 4426)] == [
        ErrorCode.REFUSED,
        ErrorCode.REVOKED,
        ErrorCode.STUDY_STATE,
        ErrorCode.VERSION,
    ]
    assert named("rm -rf") is ErrorCode.PROTOCOL
