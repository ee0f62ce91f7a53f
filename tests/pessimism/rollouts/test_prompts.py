"""The last turn of the user, of conversations and of what only looks like them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import pessimism as ps
from pessimism.rollouts.prompts import last_user_turn

SYSTEM, ASKED, SAID = ({"role": role, "content": role} for role in ("system", "user", "assistant"))


@pytest.mark.parametrize(
    ("messages", "turn"),
    [
        ([SYSTEM, ASKED], "user"),
        ([ASKED, SAID, {"role": "user", "content": "and then?"}, SAID], "and then?"),
        (
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what"}, {"text": "is it"}]}],
            "what is it",
        ),
    ],
)
def test_the_last_user_turn_of_a_conversation(messages: list[dict[str, object]], turn: str) -> None:
    log = ps.read_rollouts(pd.DataFrame({"prompt": [messages], "reward": [1.0]}))
    assert last_user_turn(log["prompt"].iloc[0]) == turn


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "1+1=",
        "[1, 2] sorted is",
        "[1, 2]",
        "[" * 100_000,
        json.dumps([SYSTEM, SAID]),
        json.dumps([{"role": "user"}]),
        json.dumps([{"role": "user", "content": [{"type": "image"}]}]),
    ],
)
def test_other_prompts_are_left_as_they_are(prompt: str) -> None:
    assert last_user_turn(prompt) == prompt
