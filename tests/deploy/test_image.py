"""The Dockerfile copies what there is, as nobody in particular; tests/repo/wheel.sh builds and weighs what it copies."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.tree import PACKAGES, ROOT

DOCKERFILE = ROOT / "Dockerfile"
# Lines that go on are one instruction.
LINES = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text()).splitlines()
LAST = LINES[max(number for number, line in enumerate(LINES) if line.startswith("FROM")) :]


def hadolint() -> str:
    """Return the linter, which `make setup` installs beside the interpreter."""
    beside = Path(sys.executable).with_name("hadolint")
    found = str(beside) if beside.exists() else shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint is not installed: make setup")
    return found


def test_hadolint_has_nothing_against_it(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nUSER root\n")

    def lint(path: Path) -> str:
        result = subprocess.run([hadolint(), path], capture_output=True, text=True, check=False, timeout=20)
        return result.stdout + result.stderr

    assert lint(DOCKERFILE) == ""
    assert "DL3006" in lint(bad)


def test_it_stands_on_one_version_of_python() -> None:
    (version,) = re.findall(r"^ARG PYTHON=(.+)$", "\n".join(LINES), re.MULTILINE)

    assert re.fullmatch(r"3\.1[123]\.\d+", version)
    assert {line.split()[1] for line in LINES if line.startswith("FROM")} == {"python:${PYTHON}-slim-bookworm"}


def test_it_runs_as_a_numbered_user_that_is_not_root() -> None:
    users = [line.split()[1] for line in LAST if line.startswith("USER")]

    assert users == ["10001:10001"]


def test_the_last_stage_takes_one_tree_and_nothing_else() -> None:
    assert [line for line in LAST if line.startswith(("COPY", "ADD"))] == ["COPY --from=build /opt/turpin /opt/turpin"]


def test_what_it_copies_is_there_and_not_ignored() -> None:
    copied = {
        source for line in LINES if line.startswith("COPY ") and "--from" not in line for source in line.split()[1:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert set(PACKAGES) <= copied
    assert {source for source in copied if not (ROOT / source).exists()} == set()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert ignored[1] == "*"


def test_every_package_is_known_by_its_hash() -> None:
    script = (ROOT / "deploy/install.sh").read_text()
    installs = [line for line in [*LINES, *script.splitlines()] if " install " in line and "pip" in line]

    assert len(installs) == 3
    for line in installs:
        assert "--require-hashes" in line or "--no-index" in line
