"""Settings in the name of something made here, such as ``addition:digits=2,steps=true``."""

from __future__ import annotations

from collections.abc import Collection, Iterator


def settings_in(source: str, known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Names and values, as text, of what follows the colon.

    Raises
    ------
    ValueError
        If a name is not known.

    Examples
    --------
    >>> list(settings_in("addition:digits=2, steps=true", ("digits", "steps")))
    [('digits', '2'), ('steps', 'true')]
    """
    for pair in filter(None, source.partition(":")[2].split(",")):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name not in known:
            raise ValueError(f"{source}: unknown setting {name!r}; known are {', '.join(known)}")
        yield name, value
