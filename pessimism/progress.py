"""Progress bars: on a terminal only, of several steps, and once they have taken two seconds."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], desc: str, *, total: int | None = None) -> Iterable[T]:
    """Pass items on, with a bar on stderr that disappears at the end.

    Parameters
    ----------
    items : iterable
        What a loop goes over.
    desc : str
        What the loop does, shown before the bar.
    total : int, optional
        Number of items; defaults to their length.

    Returns
    -------
    iterable
        The same items.

    Examples
    --------
    >>> list(progress("ab", "letters"))
    ['a', 'b']
    """
    total = operator.length_hint(items) if total is None else total
    if total <= 1:
        return items
    from tqdm import tqdm

    shown: Iterable[T] = tqdm(items, desc=desc, total=total, delay=2, disable=None, leave=False)
    return shown
