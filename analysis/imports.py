"""Which module of this repository imports which, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path


def modules(root: Path, *packages: str) -> dict[str, Path]:
    """Find every module of some packages.

    Parameters
    ----------
    root : Path
        Folder that the packages are in.
    *packages : str
        Names of the packages; subfolders are searched, too.

    Returns
    -------
    dict of str to Path
        File of each module by its dotted name; a package has the name of its folder and the file ``__init__.py``.
    """
    found = {}
    for path in (path for package in packages for path in sorted((root / package).rglob("*.py"))):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str, path: Path, known: Mapping[str, Path], *, lazy: bool) -> set[str]:
    """Read the names of the modules that a module imports.

    Parameters
    ----------
    name : str
        Dotted name of the module, which relative imports start from.
    path : Path
        Its file.
    known : mapping of str to Path
        Modules as `modules` finds them: `from p import m` counts as `p.m` where that is one of them, else as `p`.
    lazy : bool
        Whether imports count that do not run when the module is imported: those in functions and those for type
        checkers alone.

    Returns
    -------
    set of str
        Dotted names, of other distributions too.
    """
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in _statements(ast.parse(path.read_text(encoding="utf-8")).body, lazy=lazy):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, base]).rstrip(".")
        found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
    return found


def _statements(body: list[ast.stmt], *, lazy: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
            continue
        elif isinstance(node, ast.If) and not lazy and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _statements(node.orelse, lazy=lazy)
        else:
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from _statements(getattr(node, field, []), lazy=lazy)


def reached(name: str, path: Path, known: Mapping[str, Path]) -> set[str]:
    """Follow the imports of a module, lazy ones included, through the modules that are known.

    Parameters
    ----------
    name : str
        Dotted name of the module.
    path : Path
        Its file.
    known : mapping of str to Path
        Modules as `modules` finds them.

    Returns
    -------
    set of str
        Names of the known modules that may run when the module does: those that it imports, directly or through
        others, and their packages, whose ``__init__.py`` runs first.
    """
    found: set[str] = set()
    waiting = [(name, path)]
    while waiting:
        at, file = waiting.pop()
        wanted = {part for one in (at, *imported(at, file, known, lazy=True)) for part in with_packages(one)}
        new = (wanted & known.keys()) - found
        found |= new
        waiting += [(one, known[one]) for one in new - {at}]
    return found


def with_packages(name: str) -> Iterator[str]:
    """Name of a module and of each package that it is in."""
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))
