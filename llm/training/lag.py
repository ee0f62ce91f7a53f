"""Which prompts come when, and data that wait until they are as old as they should be; both can be resumed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

Batch = dict[str, Any]


class PromptOrder:
    """Indices of the prompts of this process for each generation batch, in the order of TRL's own dataloader.

    The dataloader cannot be entered in the middle: on resume its sampler begins anew, whatever the epoch.

    Parameters
    ----------
    sampler : iterable of int
        Indices of an epoch for all processes; iterating it again gives the next epoch.
    size : int
        Number of indices in a generation batch of one process.
    repeats : int
        How often in a row the sampler gives each batch.
    process : int
        Number of this process, from 0.
    processes : int
        How many processes there are.

    Examples
    --------
    >>> order = PromptOrder([0, 1, 0, 1, 2, 3, 2, 3], size=1, repeats=2, process=1, processes=2)
    >>> [order.next() for _ in range(3)], order.drawn
    ([[1], [3], [1]], 3)
    """

    def __init__(self, sampler: Iterable[int], *, size: int, repeats: int, process: int, processes: int) -> None:
        self._sampler, self._size, self._repeats = sampler, size, repeats
        self._process, self._processes = process, processes
        self._batches = self._walk()
        self.drawn = 0

    def _walk(self) -> Iterator[list[int]]:
        everyone = self._size * self._processes
        while True:
            indices, some = iter(self._sampler), False
            while len(chunk := list(islice(indices, everyone))) == everyone:
                some = True
                yield chunk[self._process * self._size : (self._process + 1) * self._size]
                next(islice(indices, everyone * (self._repeats - 1), everyone * (self._repeats - 1)), None)
            if not some:
                raise ValueError(f"the data have too few prompts for a generation batch of {everyone} completions")

    def next(self) -> list[int]:
        """Take the indices of the next generation batch."""
        self.drawn += 1
        return next(self._batches)

    def skip(self, count: int) -> None:
        """Pass over `count` batches."""
        for _ in range(count):
            self.next()


class Delay:
    """Batches in the order in which they were made, each handed out a number of calls after the policy that made it.

    Before call `lag` there is no such policy: what is handed out then is all made at the first call, by the initial
    policy.

    Parameters
    ----------
    lag : int
        Number of calls.
    waiting : iterable of dict, optional
        Batches that wait already, of a run that is resumed.

    Examples
    --------
    >>> delay, policy = Delay(2), iter([0, 0, 0, 1, 2])
    >>> [delay.next(lambda: {"policy": next(policy)}, left=left)["policy"] for left in (5, 4, 3, 2, 1)]
    [0, 0, 0, 1, 2]
    """

    def __init__(self, lag: int, waiting: Iterable[Batch] = ()) -> None:
        self.lag = lag
        self.waiting = deque(waiting)

    def next(self, make: Callable[[], Batch], *, left: int) -> Batch:
        """Hand out a batch; `left` calls are to come with this one, so that none is made that nobody will use."""
        while len(self.waiting) < min(self.lag + 1, left):
            self.waiting.append(make())
        return self.waiting.popleft()
