"""What holds for the whole suite: which tests get a second try, and what is said at its end."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.chromium import NAMES as CHROMIUM
from tests.compiler import has_compiler

# Here real processes have to be quick enough for each other, and the machine may have other things to do.
_REAL: Final = tuple(Path(__file__).parent / name for name in ("chaos", "conformance", "console", "load", "system"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of real processes a second try; all others are the same at every run."""
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in _REAL):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what took two tries, and what was not tested for want of a program; `-q` hides both."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.write_line(f"A SECOND TRY: {report.nodeid}, a defect of the test or of the code", red=True)
        terminalreporter.write_line(report.longreprtext)
    missing = [name for name in ("redis-server", "redis-sentinel") if shutil.which(name) is None]
    if missing:
        terminalreporter.write_line(
            f"NOT TESTED: the Redis store, for want of {' and '.join(missing)} (Debian: apt-get install redis-server "
            "redis-sentinel)",
            red=True,
        )
    if not any(map(shutil.which, CHROMIUM)):
        terminalreporter.write_line(
            "NOT TESTED: the console in a browser, for want of chromium (Debian: apt-get install chromium)", red=True
        )
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        terminalreporter.write_line(
            "NOT TESTED: metrics, dashboards and rules with a real Prometheus (Debian: apt-get install prometheus)",
            red=True,
        )
    if not has_compiler():
        terminalreporter.write_line(
            "NOT TESTED: the backend of the benches, for want of a C compiler with libnghttp2 (Debian: apt-get install "
            "gcc libnghttp2-dev)",
            red=True,
        )
