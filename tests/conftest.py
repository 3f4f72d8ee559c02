"""What the whole suite says at its end."""

import shutil

import pytest

from tests.chromium import NAMES as CHROMIUM


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested for want of a program; `-q` hides why tests were skipped."""
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
