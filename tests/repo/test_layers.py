"""The import rules of pyproject.toml hold, and each of them fails when it is broken."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.repo.tree import PACKAGES, ROOT

LAYERS = "load above router above serving and bandits, which do not know each other"
ARITHMETIC = "bandits is arithmetic: no IO, no clock, no randomness of its own"
CORES = "the cores of serving decide, they do not do"
WEIGHT = "the gateway never imports TensorFlow"

# (module to spoil, line to add, contract that must be broken)
BROKEN = [
    ("serving/cost.py", "import bandits.rules", LAYERS),
    ("bandits/rules.py", "import serving.cost", LAYERS),
    ("serving/wire.py", "import router.clock", LAYERS),
    ("router/clock.py", "import load", LAYERS),
    ("bandits/rules.py", "import time", ARITHMETIC),
    ("bandits/sums.py", "from random import random", ARITHMETIC),
    ("serving/batcher.py", "import asyncio", CORES),
    ("serving/cost.py", "from time import monotonic", CORES),
    ("router/clock.py", "import tensorflow", WEIGHT),
    ("router/clock.py", "import serving.local.engine", WEIGHT),
    # Found through another package, too.
    ("serving/wire.py", "import tensorflow_serving.apis", WEIGHT),
]


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages in `folder`, with nothing remembered."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def spoiled(folder: Path, module: str, line: str) -> Path:
    """Copy the packages to `folder` and add `line` to `module`; only the imports in them matter."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    with (folder / module).open("a", encoding="utf-8") as text:
        text.write(f"\n{line}\n")
    return folder


@pytest.mark.timeout(60)
def test_imports_keep_the_layers() -> None:
    result = check(ROOT)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("module", "line", "contract"), BROKEN, ids=lambda value: value.split("/")[-1])
def test_forbidden_import_breaks_its_contract(tmp_path: Path, module: str, line: str, contract: str) -> None:
    result = check(spoiled(tmp_path, module, line))

    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract} BROKEN" in " ".join(result.stdout.split())


def test_every_contract_has_been_seen_broken() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    names = {contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]}

    assert names == {contract for _, _, contract in BROKEN}
