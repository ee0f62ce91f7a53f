"""A command of this repository, to be killed: python -m tests.killable FOLDER MODULE [ARGUMENT ...].

What it would write into the checkout, small models and pages, it writes into the folder.
"""

from __future__ import annotations

import shutil
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from pessimism.console import exit_code


def main(folder: Path, module: str, arguments: list[str]) -> int:
    """Run the command; its exit code."""
    from analysis import studies, verification

    for of, name in ((verification, "PAGE"), (verification, "DATA"), (studies, "PAGE")):
        page = folder / getattr(of, name).name
        if not page.exists():
            shutil.copy(getattr(of, name), page)
        setattr(of, name, page)
    if module == "llm":
        load: Any = import_module("llm.models.load")
        load.model_path.__defaults__ = (folder / "models",)
    found: int = import_module(module if module == "analysis.verification" else f"{module}.__main__").main(arguments)
    return found


if __name__ == "__main__":
    command = partial(main, Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    sys.exit(exit_code(command, "killable", process=True))
