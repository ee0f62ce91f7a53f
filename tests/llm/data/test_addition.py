"""Sums: which there are, their solutions column by column, noise, and the source that a command names."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from llm.data.addition import Addition, addition_examples, digits_right
from llm.data.examples import load_examples
from tests.llm.data.files import refused


@pytest.mark.parametrize("digits", [1, 2])
def test_pairs_are_those_whose_sum_fits(digits: int) -> None:
    top = 10**digits
    expected = [(a, b) for a, b in itertools.product(range(top), repeat=2) if a + b < top]
    assert list(map(tuple, Addition(digits=digits).pairs().tolist())) == expected


def test_draws_are_uniform_over_the_pairs() -> None:
    task = Addition(digits=1)
    pairs = [tuple(pair) for pair in task.pairs().tolist()]
    drawn = [tuple(pair) for pair in task.draw(np.random.default_rng(0), 55_000).tolist()]
    counts = np.array([drawn.count(pair) for pair in pairs])
    assert counts.sum() == 55_000
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize("task", [Addition(noise=0.0), Addition(digits=3, steps=True, noise=0.0)])
def test_without_noise_every_answer_is_right(task: Addition) -> None:
    for prompt, completion in next(task.examples(3, 200)):
        a, b = (int(number) for number in prompt[:-1].split("+"))
        assert prompt == task.prompt(a, b)
        assert task.final(completion) == task.answer(a, b)
        assert int(task.answer(a, b)) == a + b
        assert len(completion) == task.completion_length
        assert set(prompt + completion) <= set(task.alphabet)


def test_columns_carry_on() -> None:
    task = Addition(digits=4, steps=True)
    for a, b in task.draw(np.random.default_rng(1), 50).tolist():
        carry = 0
        columns = task.solution(a, b).split(";")[:-1]
        for place, column in enumerate(columns):
            left, total = column.split("=")
            x, y, c = map(int, left.split("+"))
            assert (x, y, c) == (a // 10**place % 10, b // 10**place % 10, carry)
            assert int(total) == x + y + c
            carry = int(total) // 10


@pytest.mark.parametrize("task", [Addition(noise=0.4), Addition(digits=3, steps=True, noise=0.4)])
def test_noise_is_the_share_of_wrong_completions(task: Addition) -> None:
    rows = next(task.examples(0, 20_000))
    wrong = 0
    for prompt, completion in rows:
        a, b = (int(number) for number in prompt[:-1].split("+"))
        wrong += completion != task.solution(a, b)
    assert abs(wrong / len(rows) - 0.4) < 0.015
    assert all(len(completion) == task.completion_length for _, completion in rows)


def test_examples_are_the_same_for_a_seed() -> None:
    first, second, other = (next(Addition().examples(seed, 20)) for seed in (5, 5, 6))
    assert first == second
    assert first != other


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"digits": 0}, "digits must be an integer >= 1, got 0"),
        ({"digits": True}, "digits must be an integer >= 1, got True"),
        ({"noise": 1.5}, r"noise must be in \[0, 1\], got 1.5"),
        ({"noise": "x"}, r"noise must be in \[0, 1\], got 'x'"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Addition(**settings)  # type: ignore[arg-type]


def test_long_tasks_are_not_listed() -> None:
    with pytest.raises(ValueError, match="pairs are listed for up to 2 digits, got digits=3"):
        Addition(digits=3).pairs()


@pytest.mark.parametrize("task", [Addition(digits=1), Addition(digits=2), Addition(digits=3, steps=True)])
def test_sums_are_right_and_distinct(task: Addition) -> None:
    count = 200 if task.digits > 2 else None
    found = addition_examples(task, count, seed=1)[:]
    assert len(set(found["prompt"])) == len(found["prompt"]) == (count or {1: 55, 2: 5050}[task.digits])
    for prompt, answer in zip(found["prompt"], found["answer"], strict=True):
        a, b = (int(number) for number in prompt[:-1].split("+"))
        assert int(answer) == a + b
        assert len(answer) == task.digits
        assert task.final(task.solution(a, b)) == answer


def test_drawn_sums_are_uniform_and_the_same_for_a_seed() -> None:
    task = Addition(digits=1)
    draws = [tuple(addition_examples(task, 11, seed)["prompt"][:]) for seed in range(300)]
    assert draws[3] == tuple(load_examples("addition:digits=1,seed=3", limit=11)["prompt"][:])
    counts = Counter(prompt for draw in draws for prompt in draw)
    assert len(counts) == 55  # each in a fifth of the draws: 60, standard deviation 6.9
    assert max(abs(count - 60) for count in counts.values()) < 4.5 * 6.9
    assert sorted(addition_examples(task, 55, 0)["prompt"]) == addition_examples(task)["prompt"][:]


def test_sums_as_a_source() -> None:
    assert load_examples("addition")[:] == load_examples("addition:digits=2")[:]
    chain = load_examples("addition:digits=3, steps=true", limit=2)
    assert [len(prompt) for prompt in chain["prompt"]] == [8, 8]
    refused(
        "addition:digits=3", "addition:digits=3: limit is required for more than 2 digits, to say how many sums to draw"
    )
    refused("addition:digit=3", "addition:digit=3: unknown setting 'digit'; known are digits, steps, seed")
    refused("addition:digits=x", "addition:digits=x: digits must be an integer")
    refused("addition:steps=1", "addition:steps=1: steps must be true or false")
    refused("addition:digits=0", "addition:digits=0: digits must be an integer >= 1, got 0")
    said = "addition: prompt_column is 'x', which is not a column; its columns are prompt, answer"
    refused("addition", said, prompt_column="x")
    for bad in (0, 56):
        with pytest.raises(ValueError, match=f"^count must be from 1 to 55, the number of sums, got {bad}$"):
            addition_examples(Addition(digits=1), bad)


@pytest.mark.parametrize(
    ("said", "worth"), [("45", 1.0), ("40", 0.5), ("54", 0.0), ("4", 0.0), ("045", 0.0), ("", 0.0)]
)
def test_partial_credit(said: str, worth: float) -> None:
    assert digits_right([said], ["45"]) == [worth]
