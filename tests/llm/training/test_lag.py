"""The order of prompts, entered at any place, and how old data are when they are handed out."""

from __future__ import annotations

from itertools import count

import pytest

from llm.training.lag import Delay, PromptOrder


class Epochs:
    """Indices of an epoch of three batches of two, each given twice in a row; other ones in each epoch."""

    def __init__(self) -> None:
        self.epoch = 0

    def __iter__(self):
        start, self.epoch = 100 * self.epoch, self.epoch + 1
        return iter([start + i for batch in ((0, 1), (2, 3), (4, 5)) for _ in range(2) for i in batch])


def order(size: int = 2, process: int = 0, processes: int = 1) -> PromptOrder:
    return PromptOrder(Epochs(), size=size, repeats=2, process=process, processes=processes)


def test_batches_come_once_and_epochs_follow_each_other() -> None:
    one = order()
    assert [one.next() for _ in range(5)] == [[0, 1], [2, 3], [4, 5], [100, 101], [102, 103]]
    assert one.drawn == 5


def test_processes_share_a_batch() -> None:
    shares = [order(size=1, process=process, processes=2) for process in (0, 1)]
    assert [[share.next() for _ in range(4)] for share in shares] == [[[0], [2], [4], [100]], [[1], [3], [5], [101]]]


def test_skipped_batches_are_those_that_would_have_come() -> None:
    one, other = order(), order()
    for _ in range(4):
        one.next()
    other.skip(4)
    assert one.next() == other.next()
    assert one.drawn == other.drawn


def test_what_does_not_fill_a_batch_is_left_out_or_refused() -> None:
    four = PromptOrder(range(10), size=4, repeats=1, process=0, processes=1)
    assert [four.next() for _ in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]]
    with pytest.raises(ValueError, match="too few prompts for a generation batch of 11 completions"):
        PromptOrder(range(10), size=11, repeats=1, process=0, processes=1).next()


@pytest.mark.parametrize("lag", [0, 1, 3, 9])
def test_data_are_as_old_as_the_lag_and_none_is_made_in_vain(lag: int) -> None:
    steps, made = 6, count()
    delay, seen = Delay(lag), []
    for step in range(steps):
        seen.append(delay.next(lambda step=step: {"made": next(made), "policy": step}, left=steps - step))
    assert [one["policy"] for one in seen] == [max(step - lag, 0) for step in range(steps)]
    assert [one["made"] for one in seen] == list(range(steps))
    assert next(made) == steps
    assert not delay.waiting


def test_a_delay_goes_on_with_what_waited() -> None:
    whole, made = Delay(2), count()
    for left in (6, 5, 4):
        whole.next(lambda: {"made": next(made)}, left=left)
    resumed, again = Delay(2, list(whole.waiting)), count(len(whole.waiting) + 3)
    rest = [
        [delay.next(lambda n=n: {"made": next(n)}, left=left) for left in (3, 2, 1)]
        for delay, n in ((whole, made), (resumed, again))
    ]
    assert rest[0] == rest[1]
