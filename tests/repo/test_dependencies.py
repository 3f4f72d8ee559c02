"""What Turpin depends on is what CONTRIBUTING.md gives reasons for, and what the lock files hold."""

import re
import tomllib

import pytest

from tests.repo.tree import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def names(requirements: list[str]) -> set[str]:
    """Return the bare names: 'redis[hiredis]>=6' is 'redis'."""
    return {re.split(r"[\[<>=!~; ]", requirement)[0] for requirement in requirements}


BASE = names(PROJECT["project"]["dependencies"])
LOCAL = names(PROJECT["project"]["optional-dependencies"]["local"])
ENVOY = names(PROJECT["project"]["optional-dependencies"]["envoy"])
BUILD = names(PROJECT["dependency-groups"]["build"])
DEV = BUILD | names([one for one in PROJECT["dependency-groups"]["dev"] if isinstance(one, str)])


def locked(name: str) -> dict[str, str]:
    """Return the version of each package in a lock file."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)(?:\[[a-z,]+\])?==([^\s;]+)", text, re.MULTILINE))


def test_each_dependency_has_a_reason() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

    assert set(re.findall(r"^\| ([a-z0-9-]+) \|.*\| <?\d+ \|$", text, re.MULTILINE)) == BASE | LOCAL | ENVOY


@pytest.mark.parametrize(
    ("file", "wanted"), [("base.txt", BASE), ("dev.txt", BASE | LOCAL | ENVOY | DEV), ("build.txt", BUILD)]
)
def test_each_dependency_is_locked(file: str, wanted: set[str]) -> None:
    assert wanted <= set(locked(file))


def test_base_lock_brings_nothing_of_the_extras() -> None:
    assert not (LOCAL | ENVOY) & set(locked("base.txt"))


@pytest.mark.parametrize("file", ["base.txt", "build.txt"])
def test_lock_files_agree(file: str) -> None:
    some, dev = locked(file), locked("dev.txt")

    assert {name: version for name, version in some.items() if dev.get(name) != version} == {}
