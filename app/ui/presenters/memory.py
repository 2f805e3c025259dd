"""Answers that are kept while the question stays the very same object."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

Question = ParamSpec("Question")
Answer = TypeVar("Answer")


def kept(function: Callable[Question, Answer]) -> Callable[Question, Answer]:
    """Let `function` give its last answer again while all arguments are the same objects.

    For pure functions of immutable values: a snapshot shares with the one before all that did not
    change, so a thousand epochs are turned into curves when an epoch ends, not at every step.
    """
    last: list[tuple[tuple[object, ...], Answer]] = []

    @wraps(function)
    def answer(*args: Question.args, **kwargs: Question.kwargs) -> Answer:
        asked = (*args, *kwargs.values())
        if last:
            before, result = last[0]
            if len(before) == len(asked) and all(
                a is b for a, b in zip(before, asked, strict=True)
            ):
                return result
        result = function(*args, **kwargs)
        last[:] = [(asked, result)]
        return result

    return answer
