"""What is imported when: nothing that is not used, so that a command answers at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = ("pandas", "pyarrow", "scipy.optimize", "scipy.stats", "scipy.integrate", "torch", "cvxpy", "matplotlib")
BANDIT = ["--behavior", "0.4,0.3,0.2,0.1", "--reward", "0.2,0.4,0.6,0.8"]


def loaded(code: str) -> set[str]:
    """Those of the slow packages that a fresh process has loaded after the code."""
    code = f"import sys\n{code}\nprint(*[name for name in {SLOW!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def ran(*arguments: str) -> set[str]:
    return loaded(f"from pessimism.cli.main import main\nassert main({list(arguments)!r}) == 0")


def test_importing_the_package_loads_neither_numpy_nor_scipy() -> None:
    code = "import sys, pessimism\nassert not {'numpy', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    "code",
    [
        "from pessimism import OAPL, InducedTarget, induced_target",
        "import pessimism as ps; ps.induced_target([0.5, 0.5], [0.0, 1.0], 'kimi', beta=0.1).policy",
        "import pessimism as ps; ps.objectives()",
        "import pessimism as ps; dir(ps)",
    ],
)
def test_what_is_not_used_is_not_loaded(code: str) -> None:
    assert loaded(code) == set()


def test_one_objective_loads_its_family_only() -> None:
    code = "import pessimism as ps; ps.induced_target([0.5, 0.5], [0.0, 1.0], 'kimi')"
    checked = f"{code}\nimport sys\nassert 'pessimism.losses.preferences' not in sys.modules"
    assert loaded(checked) == set()


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("objectives",), ("target", "--help")])
def test_commands_that_only_say_something_load_nothing_slow(arguments: tuple[str, ...]) -> None:
    assert ran(*arguments) == set()


@pytest.mark.parametrize("output", [(), ("--json",), ("--csv",)])
@pytest.mark.parametrize("command", [("target", "--objective", "kimi", "--beta", "0.25"), ("compare",)])
def test_commands_on_a_bandit_load_no_frames(command: tuple[str, ...], output: tuple[str, ...]) -> None:
    assert not {"pandas", "pyarrow"} & ran(command[0], *BANDIT, *command[1:], *output)


def test_the_package_runs_as_a_script() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pessimism", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("pessimism ")
