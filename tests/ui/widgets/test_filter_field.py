from __future__ import annotations

from app.ui.widgets.filter_field import filter_field


def test_it_says_what_it_is_for_and_can_be_cleared(qtbot, look):
    field = filter_field("Filter by words", "Filter cases by words")
    qtbot.addWidget(field)
    assert (field.text(), field.placeholderText()) == ("", "Filter by words")
    assert field.accessibleName() == "Filter cases by words"
    assert field.isClearButtonEnabled()
