from __future__ import annotations

import pytest
from PySide6.QtGui import QFontMetrics

from app.ui import text
from app.ui.widgets.empty_state import EmptyState

HINTS = [
    text.EMPTY_DATA_HINT,
    text.EMPTY_FINGERPRINT_HINT,
    text.EMPTY_FEDERATION_HINT,
    text.EMPTY_TRAINING_HINT,
    text.EMPTY_REVIEW_HINT,
    text.NO_MODELS,
]


@pytest.mark.parametrize("hint", HINTS)
def test_the_hint_is_never_cut(qtbot, look, hint):
    state = EmptyState("data", text.EMPTY_DATA, hint)
    qtbot.addWidget(state)
    state.resize(850, 500)
    state.show()
    needed = state.hint.heightForWidth(state.hint.width())
    assert state.hint.height() >= needed
    assert needed >= 2 * QFontMetrics(state.hint.font()).height() - 2
