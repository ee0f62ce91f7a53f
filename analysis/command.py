"""How a command ends: what the user has to know in one line, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable


def exit_code(command: Callable[[], int]) -> int:
    """Run a command; what a user can mend is one line on stderr and 2, an interruption one and 130.

    That is a wrong value, a file, a package that is missing and numbers that stopped being finite.

    Parameters
    ----------
    command : callable
        Runs the command and returns its exit code.

    Returns
    -------
    int
        The exit code.

    Examples
    --------
    >>> exit_code(lambda: 0)
    0
    """
    try:
        return command()
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: run it again to go on from what was saved", file=sys.stderr)
        return 130
