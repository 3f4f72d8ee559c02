"""This repository keeps its own rules, and each rule would notice if it did not."""

from pathlib import Path

import pytest

from tests.repo import tidy
from tests.repo.tree import texts

MODULE = Path("router/thing.py")
SENTENCE = '"""Do the thing."""\n'


@pytest.mark.parametrize("check", tidy.CHECKS, ids=lambda check: check.__name__)
def test_repository_keeps_the_rule(check: tidy.Check) -> None:
    complaints = [complaint for path, text in texts() for complaint in check(path, text)]

    assert not complaints, "\n".join(complaints)


# Each breaks one rule; words and paths are put together here for the sake of the rules themselves.
BROKEN = [
    (tidy.module_length, MODULE, SENTENCE + "x = 1\n" * 300, "router/thing.py: 301 lines"),
    (tidy.module_length, Path("tests/test_thing.py"), "x = 1\n" * 501, "501 lines; at most 500"),
    (tidy.function_length, MODULE, "async def long() -> None:\n" + "    x = 1\n" * 50, "thing.py:1: long has 51 lines"),
    (tidy.function_length, MODULE, "class A:\n    def f(self):\n" + "        x = 1\n" * 50, "thing.py:2: f has 51"),
    (tidy.module_docstring, MODULE, "x = 1\n", "no docstring"),
    (tidy.module_docstring, MODULE, '"""Things and"""\n', "no whole sentence"),
    (tidy.module_docstring, MODULE, '"""This module has things."""\n', "say what it is for"),
    (tidy.file_name, Path("router/http_utils.py"), "", "'utils' says nothing"),
    (tidy.file_name, Path("docs/common/x.md"), "", "'common' says nothing"),
    (tidy.unfinished, Path("Makefile"), "a\n# TO" + "DO: b\n", "Makefile:2"),
    (tidy.this_machine, Path("docs/x.md"), "cd " + "/home" + "/ann/turpin", "path of somebody's machine"),
    (tidy.this_machine, Path("Makefile"), "pip install --index-url" + " x", "names a package index"),
    (tidy.this_machine, Path("requirements/a.txt"), "a @ https:" + "//example.org/a.whl", "has an address"),
    (tidy.units, MODULE, "def f(timeout: float | None) -> None: ...", "'timeout_s' would"),
    (tidy.units, MODULE, "class A:\n    wait_s_max: float\n", "thing.py:2: 'wait_s_max': the unit goes last"),
    (tidy.units, MODULE, "def f(*, pause_sec: int) -> None: ...", "'pause_sec': units are written"),
]


@pytest.mark.parametrize(("check", "path", "text", "words"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_broken_rule_is_noticed(check: tidy.Check, path: Path, text: str, words: str) -> None:
    complaints = list(check(path, text))

    assert len(complaints) == 1, complaints
    assert words in complaints[0]


@pytest.mark.parametrize("check", tidy.CHECKS, ids=lambda check: check.__name__)
def test_good_module_is_let_through(check: tidy.Check) -> None:
    text = (
        SENTENCE + "def f(wait_max_s: float, deadline: float, path: str = '/models/a') -> None: ...\n" + "x = 1\n" * 298
    )

    assert list(check(MODULE, text)) == []


def test_generated_code_is_left_alone() -> None:
    text = "x = 1\n" * 1000 + "def f(timeout: float) -> None: ...\n"

    assert not [complaint for check in tidy.CHECKS for complaint in check(Path("router/rewards_pb2.py"), text)]


def test_empty_package_needs_no_docstring() -> None:
    assert list(tidy.module_docstring(Path("router/__init__.py"), "")) == []
