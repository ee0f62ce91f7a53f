"""Progress bars: seen on a terminal after a while, and nowhere else; what is computed does not depend on them."""

import io
import sys
from typing import Any

import numpy as np
import pytest
import tqdm as bars

import pessimism as ps
from pessimism.cli.main import main
from pessimism.progress import progress

REWARD = [[0.0, 1.0], [0.5, 1.0]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in place of stderr, and bars that do not wait two seconds."""
    shown, bar = Terminal(), bars.tqdm

    def at_once(*args: Any, **options: Any) -> Any:
        assert options.pop("delay") == 2
        return bar(*args, file=shown, **options)

    monkeypatch.setattr(bars, "tqdm", at_once)
    return shown


def test_the_items_are_the_same_with_and_without_a_terminal(terminal: Terminal) -> None:
    assert list(progress(range(3), "steps")) == [0, 1, 2]
    assert "steps:   0%|" in terminal.getvalue()
    assert list(progress(iter(range(3)), "others", total=3)) == [0, 1, 2]
    assert "others:   0%|" in terminal.getvalue()


@pytest.mark.parametrize("items", [[], [0]])
def test_one_step_has_no_bar(items: list[int], terminal: Terminal) -> None:
    assert progress(items, "steps") is items


@pytest.mark.parametrize("draws", [64, 2**12])
def test_finite_groups_show_their_problems(draws: int, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["pessimism.groups.expected_advantage"], "_CHUNK", 2**17)
    values = np.linspace(0.0, 1.0, 5)
    law = [[0.2] * 5, [0.1, 0.2, 0.3, 0.2, 0.2]]
    group = ps.finite_group("std_normalized", 200, law, values, draws=draws)
    assert group.method.tolist() == ["monte_carlo"] * 2
    assert "problems:   0%|" in terminal.getvalue()
    assert ("drawing groups:   0%|" in terminal.getvalue()) == (draws > 64)
    monkeypatch.undo()
    np.testing.assert_array_equal(ps.finite_group("std_normalized", 200, law, values, draws=draws).log_z, group.log_z)


def test_shares_show_their_problems(terminal: Terminal) -> None:
    group = ps.finite_group("kimi", 4, None, REWARD)
    before = len(terminal.getvalue())
    assert len(group.regime_shares) == 2
    assert "problems:   0%|" in terminal.getvalue()[before:]


def test_verify_shows_its_rows(terminal: Terminal) -> None:
    assert ps.verify(ps.induced_target(None, REWARD, "kimi"))["agrees"].all()
    assert "verifying:   0%|" in terminal.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "--behavior", "0.5,0.5", "--reward", "0,1", "--objectives", "kimi", "nominal"),
        ("compare", "--input", "{}", "--objectives", "kimi"),
        ("target", "--input", "{}", "--objective", "kimi"),
    ],
)
def test_commands_show_their_problems(
    arguments: tuple[str, ...], terminal: Terminal, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bandits.csv"
    path.write_text('behavior,reward\n"0.5,0.5","0,1"\n"0.2,0.8","0,1"\n')
    assert main([text.format(path) for text in arguments]) == 0
    assert "solving:   0%|" in terminal.getvalue()
    assert "solving" not in capsys.readouterr().out


def test_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    ps.verify(ps.induced_target(None, REWARD, "kimi"))
    assert len(ps.finite_group("kimi", 4, None, REWARD).regime_shares) == 2
    assert capsys.readouterr() == ("", "")
