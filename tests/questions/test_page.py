"""The page of questions: its lines print what it says, and each question has a test with an answer of its own."""

import ast
import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
TESTS = Path(__file__).with_name("test_tracker_questions.py").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
THREADS = re.findall(r"\[([\w.-]+/[\w.-]+#\d+)\]\(", PAGE)


@pytest.mark.parametrize(("thread", "block"), list(zip(THREADS, BLOCKS[1:], strict=True)))
def test_the_lines_print_what_the_page_says(thread: str, block: str) -> None:
    test = doctest.DocTestParser().get_doctest(BLOCKS[0] + block, {}, thread, "questions.md", 0)
    said: list[str] = []
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)
    assert test.examples[-1].want


def test_each_question_has_a_test_and_a_link() -> None:
    functions = [node for node in ast.parse(TESTS).body if isinstance(node, ast.FunctionDef)]
    asked = [(ast.get_docstring(node) or "").partition(":")[0] for node in functions if node.name.startswith("test_")]
    assert sorted(THREADS) == sorted(asked)
    assert len(set(THREADS)) == len(THREADS) >= 20
    for thread in THREADS:
        repository, _, number = thread.partition("#")
        assert f"[{thread}](https://github.com/{repository}/issues/{number})" in PAGE


def test_a_wrong_line_is_found() -> None:
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", "questions.md", 0)
    assert doctest.DocTestRunner().run(test, out=lambda _: None).failed == 1
