"""The files of this repository, for the tests that check the repository itself."""

import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("bandits", "serving", "router", "turpin", "load")


def files() -> list[Path]:
    """Return what git tracks or would add, as paths relative to ROOT: a new file is checked before its first commit."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=10).stdout
    return [Path(name) for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file()]


def texts() -> list[tuple[Path, str]]:
    """Return (path, content) of every file that is UTF-8 text."""
    found = []
    for path in files():
        try:
            found.append((path, (ROOT / path).read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found
