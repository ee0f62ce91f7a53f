"""What objectives are called in figures, tables and sentences; code and commands use registry names."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import pessimism as ps


def display_name(objective: Hashable) -> str:
    """Short name of an objective for people.

    Parameters
    ----------
    objective : str
        Registry name, as an index or a group of a frame holds it.

    Returns
    -------
    str
        A short form of the title, or the title itself; the name given where no such objective is registered.

    Examples
    --------
    >>> display_name("a_star_po"), display_name("shifted_mean"), display_name("mine")
    ('A*-PO', 'shifted mean', 'mine')
    """
    registered = ps.objectives().get(str(objective))
    return str(objective) if registered is None else registered.short or registered.title


def display_names(objectives: Iterable[Hashable]) -> str:
    """Short names of several objectives, joined by commas.

    Parameters
    ----------
    objectives : iterable of str
        Registry names.

    Returns
    -------
    str
        The names in the order given.

    Examples
    --------
    >>> display_names(["kimi", "oapl"])
    'Kimi, OAPL'
    """
    return ", ".join(map(display_name, objectives))
