from __future__ import annotations

import itertools

import numpy as np
import pytest

from llm.data.addition import Addition


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
