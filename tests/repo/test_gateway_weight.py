"""The gateway's processes stay light: what importing them loads, and what that weighs."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.repo.tree import ROOT

# Memory of a worker that has imported everything and holds no request (issue 2, point 4).
WORKER_MIB_MAX = 120

WEIGH = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"modules": sorted(sys.modules), "rss_mib": int(status["VmRSS"].split()[0]) / 1024}))
"""


def weigh(module: str) -> dict[str, Any]:
    """Import `module` in a new process; return the `modules` loaded then, and `rss_mib`."""
    command = [sys.executable, "-c", WEIGH, module]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert result.returncode == 0, result.stderr
    weight: dict[str, Any] = json.loads(result.stdout)
    return weight


@pytest.mark.timeout(60)
@pytest.mark.parametrize("module", ["router.worker", "router.control_plane", "router.app", "router.cli"])
def test_gateway_loads_no_tensorflow_and_no_scipy_stats(module: str) -> None:
    heavy = {"tensorflow", "tensorflow_serving", "keras", "scipy.stats", "sklearn", "matplotlib", "pandas"}

    weight = weigh(module)

    sys.stdout.write(f"{module}: {weight['rss_mib']:.0f} MiB, {len(weight['modules'])} modules\n")
    assert not heavy & set(weight["modules"])
    assert weight["rss_mib"] < WORKER_MIB_MAX


@pytest.mark.timeout(60)
def test_worker_loads_no_arithmetic_of_the_learner() -> None:
    # Workers draw arms from weights that others computed; scipy would cost each of them 20 MiB and 0.2 s.
    weight = weigh("router.worker")

    assert not [name for name in weight["modules"] if name.split(".")[0] == "scipy"]
