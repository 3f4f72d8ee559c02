"""What the whole suite says at its end."""

import shutil

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that the Redis store was not tested; `-q` hides why tests were skipped."""
    missing = [name for name in ("redis-server", "redis-sentinel") if shutil.which(name) is None]
    if missing:
        terminalreporter.write_line(
            f"NOT TESTED: the Redis store, for want of {' and '.join(missing)} (Debian: apt-get install redis-server "
            "redis-sentinel)",
            red=True,
        )
