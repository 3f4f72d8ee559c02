"""Where something was measured, and of which code: it stands in every result."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Say where and what was measured: processors, load, Python, and the commit where there is git."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    load = [round(one, 2) for one in os.getloadavg()]
    return {"cpus": os.cpu_count(), "load": load, "python": platform.python_version(), "commit": commit}
