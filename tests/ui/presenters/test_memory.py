from __future__ import annotations

from app.ui.presenters.memory import kept


def test_the_same_objects_are_answered_once():
    asked = []

    @kept
    def doubled(values: tuple[int, ...], by: object = None) -> tuple[int, ...]:
        asked.append(values)
        return tuple(2 * value for value in values)

    values = tuple(range(3))
    first = doubled(values)
    assert doubled(values) is first
    assert len(asked) == 1
    equal = tuple(range(3))
    assert doubled(equal) == first
    assert len(asked) == 2, "an equal object is another object"
    doubled(equal, by=values)
    doubled(equal, by=equal)
    assert len(asked) == 4


def test_two_functions_do_not_share_answers():
    @kept
    def one(value: str) -> str:
        return value + "1"

    @kept
    def two(value: str) -> str:
        return value + "2"

    word = "a"
    assert (one(word), two(word), one(word)) == ("a1", "a2", "a1")
