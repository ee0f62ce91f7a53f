"""What a field of a record must hold to be a question or an answer."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from pessimism.messages import show

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")


def question(value: Any) -> Any:
    """Text, or a conversation (a list of messages with role and content), as it is.

    Raises
    ------
    ValueError
        Saying what it is instead; so do `answer` and `boxed_answer`.
    """
    if (
        isinstance(value, list)
        and value
        and all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in value)
    ):
        return value
    if value is not None and not isinstance(value, str):
        raise ValueError(f"is {show(value)}, neither text nor a list of messages")
    answer(value)
    return value


def answer(value: Any) -> str:
    """Text without blanks at its ends, or a number in digits.

    Examples
    --------
    >>> answer(" 1/2 "), answer("025"), answer(204), answer(204.0), answer(0.5)
    ('1/2', '025', '204', '204', '0.5')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise ValueError("is missing or null")
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"is {show(value)}, neither text nor a number")
    if isinstance(value, float) and value.is_integer():  # an integer that stood beside a null
        value = int(value)
    if not (text := str(value).strip()):
        raise ValueError("is empty")
    return text


def boxed_answer(value: Any) -> str:
    r"""What the last ``\boxed{}`` of a solution holds."""
    found = last_boxed(answer(value))
    if not found:
        raise ValueError(r"has no \boxed{...} with an answer in it, and there is no answer column")
    return found


def last_boxed(text: str) -> str | None:
    r"""What the last ``\boxed{}`` (or ``\fbox{}``) of a text holds, None where there is none or it does not close.

    Examples
    --------
    >>> last_boxed(r"so $x = \boxed{1}$, no, $\boxed{\frac{1}{\sqrt{2}}}$."), last_boxed(r"it is $\boxed 7$ cm")
    ('\\frac{1}{\\sqrt{2}}', '7')
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    rest = text[boxes[-1].end() :]
    if not rest.startswith("{"):  # \boxed 7, up to the end of the formula
        return rest.partition("$")[0].strip()
    depth = 0
    for mark in re.finditer(r"\\.|[{}]", rest, re.DOTALL):  # an escaped brace is no brace
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if depth == 0:
            return rest[1 : mark.start()].strip()
    return None
