"""Prometheus and its tool for tests: a real server on a free port, with the rules of deploy/, asked over HTTP.

Where they are not installed the tests that want them are skipped, unless TEST_PROMETHEUS=required.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml

from tests.redis_server import free_port
from tests.repo.tree import ROOT

DEPLOY: Final = ROOT / "deploy/prometheus"
# What takes longer hangs: it starts within a second where nothing else runs.
PATIENCE_S: Final = 30.0


def program(name: str) -> str:
    """Return the path of prometheus or promtool; skips the test without one, or fails it where it is required."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed (Debian: apt-get install prometheus): the metrics are not tested with it"
        if os.environ.get("TEST_PROMETHEUS") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def promtool(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool and return what it said."""
    command: list[str | Path] = [program("promtool"), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server."""

    port: int

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return the `data` of an answer of its API; AssertionError when it was an error."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        async with aiohttp.ClientSession() as session, session.get(url, params=parameters) as answer:
            document = await answer.json(content_type=None)
        assert document["status"] == "success", document
        return document["data"]

    async def series(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each series that a query has now."""
        found = await self.ask("query", query=query)
        assert found["resultType"] == "vector", query
        return [(one["metric"], float(one["value"][1])) for one in found["result"]]


@contextlib.asynccontextmanager
async def prometheus(folder: Path, targets: dict[str, list[str]]) -> AsyncIterator[Prometheus]:
    """Run one with the configuration of deploy/, but each job's own targets here and two seconds between scrapes."""
    document = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    document["global"] |= {"scrape_interval": "2s", "evaluation_interval": "2s", "scrape_timeout": "2s"}
    document["rule_files"] = [str(DEPLOY / pattern) for pattern in document["rule_files"]]
    for job in document["scrape_configs"]:
        job["static_configs"] = [{"targets": targets.get(job["job_name"], [])}]
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(document))
    server = Prometheus(free_port())
    command = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command.append(f"--web.listen-address=127.0.0.1:{server.port}")
    process = _start(command, folder / "prometheus.log")
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await _is_ready(server):
                assert process.poll() is None, (folder / "prometheus.log").read_text()
                await asyncio.sleep(0.05)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start(command: list[str], log_file: Path) -> "subprocess.Popen[bytes]":
    with log_file.open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


async def _is_ready(server: Prometheus) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{server.port}/-/ready") as answer,
        ):
            return answer.status == 200
    return False
