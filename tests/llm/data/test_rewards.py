"""Rewards by name: what they count as right, and how each way of failing is said."""

from __future__ import annotations

import pickle
import re
import signal
import threading
from typing import Any

import numpy as np
import pytest
import torch
from trl.trainer.utils import get_callable_name, is_async_callable

from llm.data.addition import Addition
from llm.data.rewards import Reward, reward_function, text_of


def counted(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    """What the tests import by name."""
    return [float(len(text) + len(expected)) for text, expected in zip(completions, answer, strict=True)]


async def later(completions: list[str], **_: Any) -> list[float]:
    return [0.0 for _ in completions]


class Holder:
    counted = staticmethod(counted)


NUMBER = 3


def one(name: str, completion: Any, answer: str) -> float:
    (found,) = reward_function(name)(prompts=["p"], completions=[completion], completion_ids=[[1]], answer=[answer])
    return found


@pytest.mark.parametrize(
    ("completion", "answer", "value"),
    [("45", "45", 1.0), (" 45\n", "45", 1.0), ("45", "045", 0.0), ("45;45", "45", 0.0), ("", "45", 0.0)],
)
def test_exact(completion: str, answer: str, value: float) -> None:
    assert one("exact", completion, answer) == value
    assert one("exact", [{"role": "assistant", "content": completion}], answer) == value


def test_final_is_what_the_task_calls_the_answer() -> None:
    task = Addition(digits=3, steps=True, noise=0.5)
    rows = next(task.examples(0, 200))
    right = [task.answer(*(int(number) for number in prompt[:-1].split("+"))) for prompt, _ in rows]
    found = reward_function("final")(completions=[completion for _, completion in rows], answer=right)
    assert found == [float(task.final(c) == a) for (_, c), a in zip(rows, right, strict=True)]
    assert 0.3 < np.mean(found) < 0.7


HALF = ["1/2", "0.5", r"\frac{1}{2}", r"$\frac{1}{2}$", r"\frac12", r"\boxed{\frac{1}{2}}", r"\dfrac{2}{4}", r"50\%"]


@pytest.mark.parametrize("answer", HALF)
def test_one_half_is_one_half(answer: str) -> None:
    said = ["1/2", "0.5", ".50", r"\boxed{\frac12}", r"So $\frac{2}{4}$.", "The answer is 1/2.", r"\boxed{2^{-1}}"]
    wrong = ["1/3", "0.51", "2", r"\boxed{-\frac{1}{2}}", "one half", "", r"\boxed{\frac{1}{", "\\boxed{\x00}"]
    reward = reward_function("math_verify")
    assert reward(completions=said, answer=[answer] * len(said)) == [1.0] * len(said)
    assert reward(completions=wrong, answer=[answer] * len(wrong)) == [0.0] * len(wrong)


@pytest.mark.parametrize(
    ("completion", "answer", "value"),
    [
        (r"$2\sqrt{3}$", r"2\sqrt{3}", 1.0),
        (r"\boxed{\sqrt{12}}", r"2\sqrt{3}", 1.0),
        ("2", r"2\sqrt{3}", 0.0),  # math-verify reads the bare reference as 2
        (r"\boxed{3628800}", "10!", 1.0),
        (r"\boxed{10}", "10!", 0.0),  # and this one as 10
        (r"\boxed{\{2, 0, 1\}}", "0,1,2", 1.0),
        ("0.1", "0,1,2", 0.0),  # and this one as 0.1
        (r"\boxed{25}", "025", 1.0),
        (r"\boxed{3{,}000}", "3000", 1.0),
        (r"\boxed{(1,2)}", r"$(1, 2)$", 1.0),
        (r"\boxed{x^2+2x+1}", "(x+1)^2", 1.0),
        (r"\boxed{\begin{pmatrix}1\\2\end{pmatrix}}", r"\begin{pmatrix}1\\2\end{pmatrix}", 1.0),
        (r"\boxed{\text{(B)}}", r"\text{(B)}", 1.0),
        (r"First $7$, so \boxed{8}, not $9$.", "8", 1.0),
        (r"\boxed{5}", r"\$5", 1.0),
    ],
)
def test_mathematics_is_compared_as_such(completion: str, answer: str, value: float) -> None:
    assert one("math_verify", completion, answer) == value
    assert one("math_verify", [{"role": "assistant", "content": completion}], answer) == value


@pytest.mark.parametrize("answer", [r"\frac{1}{", "", "45°", r"\boxed{"])
def test_a_reference_that_is_no_mathematics_is_an_error(answer: str) -> None:
    reward = reward_function("math_verify")
    said = f"reward math_verify, row 1 (completion '7'): ValueError: the reference answer {answer!r} cannot be read"
    with pytest.raises(ValueError, match=f"^{re.escape(said)} as mathematics$"):
        reward(completions=["6", "7"], answer=["6", answer])


def test_mathematics_in_another_thread() -> None:
    """Where signals, and with them math-verify's limits, do not work: with them it refuses."""
    found: list[float] = []
    reward = reward_function("math_verify")
    thread = threading.Thread(
        target=lambda: found.extend(reward(completions=["0.5", "7"], answer=[r"\frac{1}{2}", r"\frac{1}{2}"]))
    )
    thread.start()
    thread.join()
    assert found == [1.0, 0.0]


def test_what_takes_too_long_counts_as_unequal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("llm.data.rewards.SECONDS", 1)
    before = signal.getsignal(signal.SIGALRM)
    assert one("math_verify", r"\boxed{9^{9^{9^9}}}", "7") == 0.0
    assert "Timeout" in caplog.text
    assert signal.getsignal(signal.SIGALRM) == before
    assert one("math_verify", r"\boxed{7}", "7") == 1.0


def test_as_trl_calls_it() -> None:
    reward = reward_function(f"{__name__}:counted")
    assert get_callable_name(reward) == "counted"
    assert get_callable_name(reward_function("math_verify")) == "math_verify"
    assert not is_async_callable(reward)
    extra: dict[str, Any] = {"trainer_state": object(), "log_extra": print, "log_metric": print, "level": [1, 2]}
    found = reward(
        prompts=["p", "q"], completions=["a", "bb"], completion_ids=[[1], [2, 2]], answer=["1", "2"], **extra
    )
    assert found == [2.0, 3.0]
    assert pickle.loads(pickle.dumps(reward))(completions=["a"], answer=["1"]) == [2.0]
    assert reward_function(f"{__name__}:Holder.counted")(completions=["a"], answer=["1"]) == [2.0]


@pytest.mark.parametrize(
    ("values", "row", "said"),
    [
        ([1.0, None], 1, "returned null"),
        ([float("nan"), 1.0], 0, "returned nan"),
        ([1.0, -float("inf")], 1, "returned -inf"),
        ([1.0, "1"], 1, "returned '1'"),
        ([1.0, [1.0]], 1, "returned [1.0]"),
        ([1.0, 1j], 1, "returned 1j"),
        (torch.tensor([0.0, torch.nan]), 1, "returned tensor(nan)"),
    ],
)
def test_values_that_are_no_rewards(values: Any, row: int, said: str) -> None:
    text = "ab"[row]
    with pytest.raises(
        ValueError, match=f"^{re.escape(f'reward r, row {row} (completion {text!r}): {said}, not a finite number')}$"
    ):
        Reward("r", lambda completions, **_: values)(completions=["a", [{"role": "assistant", "content": "b"}]])


@pytest.mark.parametrize(
    "values", [[1, 0], (True, False), np.array([1.0, 0.0]), torch.tensor([1.0, 0.0]), [np.int64(1), 0]]
)
def test_values_that_are(values: Any) -> None:
    found = Reward("r", lambda completions, **_: values)(completions=["a", "b"])
    assert found == [1.0, 0.0]
    assert all(type(value) is float for value in found)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0], "reward r returned 1 values for 2 completions"),
        ([1.0] * 3, "reward r returned 3 values for 2 completions"),
        (None, "reward r returned null, not a list of numbers"),
        (1.0, "reward r returned 1.0, not a list of numbers"),
    ],
)
def test_another_number_of_values(values: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        Reward("r", lambda completions, **_: values)(completions=["a", "b"])


def test_a_reward_that_raises_is_named_with_its_row() -> None:
    def divide(completions: list[str], answer: list[str], scale: float, **_: Any) -> list[float]:
        return [scale / int(text) for text, _ in zip(completions, answer, strict=True)]

    reward = Reward("m:divide", divide)
    said = "reward m:divide, row 2 (completion '0'): ZeroDivisionError: "
    with pytest.raises(ValueError, match=f"^{re.escape(said)}") as caught:
        reward(completions=["1", "2", "0", "x"], answer=["a"] * 4, scale=1.0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "\n" not in str(caught.value)


def test_a_reward_that_raises_on_the_whole_only() -> None:
    def compare(completions: list[str], **_: Any) -> list[float]:
        if len(set(completions)) < len(completions):
            raise RuntimeError("two\nalike")
        return [0.0 for _ in completions]

    with pytest.raises(ValueError, match="^reward c, 2 completions: RuntimeError: two alike$"):
        Reward("c", compare)(completions=["a", "a"])


def test_interruptions_pass_through() -> None:
    def interrupted(completions: list[str], **_: Any) -> list[float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Reward("i", interrupted)(completions=["a"])


def test_a_column_that_is_not_there() -> None:
    exact = reward_function("exact")
    said = r"^reward exact needs the column 'answer' \(answer_column names it\); there are: solution$"
    with pytest.raises(ValueError, match=said):
        exact(completions=["a"], prompts=["p"], solution=["s"])
    with pytest.raises(ValueError, match=said):
        exact.require_columns(["prompt", "solution"])
    exact.require_columns(["prompt", "answer"])

    def of_prompt(completions: list[str], prompt: list[str]) -> list[float]:
        return [0.0] * len(completions)

    with pytest.raises(ValueError, match="^reward of_prompt needs the column 'prompt'; there are: none$"):
        Reward("of_prompt", of_prompt).require_columns(["prompt"])  # of TRL a reward gets prompts

    def told(completions: list[str], prompts: list[str], trainer_state: Any, **_: Any) -> list[float]:
        return [0.0] * len(completions)

    Reward("told", told).require_columns(["prompt"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exakt", "reward must be one of exact, final, math_verify, or 'package.module:function', got 'exakt'"),
        ("m:", "reward must be one of exact, final, math_verify, or 'package.module:function', got 'm:'"),
        ("no_such_module:f", "reward no_such_module:f: ModuleNotFoundError: No module named 'no_such_module'"),
        ("math:no", "reward math:no: AttributeError: module 'math' has no attribute 'no'"),
        (f"{__name__}:NUMBER", f"reward {__name__}:NUMBER must be a function, or an object that can be called, got 3"),
        (
            f"{__name__}:Holder",
            f"reward {__name__}:Holder must be a function, or an object that can be called, got <cl",
        ),
        (f"{__name__}:later", f"reward {__name__}:later is asynchronous, which is not supported"),
    ],
)
def test_names_that_are_none(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        reward_function(name)


def test_the_last_message_is_the_completion() -> None:
    turns = [
        {"role": "assistant", "content": "3"},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "5"},
    ]
    assert text_of(turns) == "5"
