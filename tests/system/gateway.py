"""`turpin serve` as a process of its own, for one test: started, watched, and ended by its process id."""

import asyncio
import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from tests.system.model_server import CONFIG, MODEL

COMMAND: Final = Path(sys.executable).with_name("turpin")
# What gateways with a Redis must be given.
KEYS: Final = ["k1:not-a-secret-not-a-secret"]
# What takes longer than this hangs, however busy the machine is.
PATIENCE_S: Final = 40.0
_POLL_S: Final = 0.02
# Cheap enough that a machine that is busy with other things, and answers milliseconds late, decides nothing.
_PRICE_USD_PER_HOUR: Final = 0.02


async def until(what: str, is_so: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Poll until `is_so` returns (or resolves to) something true, and return it; AssertionError when it never does."""
    give_up_at = time.monotonic() + patience_s
    while True:
        found = is_so()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < give_up_at, f"not within {patience_s:g} s: {what}"
        await asyncio.sleep(_POLL_S)


def experiment(**changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment that can be over within seconds; `changes` are put into its sections."""
    document: dict[str, Any] = {
        "name": MODEL,
        "model": MODEL,
        "control": "v1",
        "arms": [{"name": f"v{n}", "backend": "tfs-a", "version": n} for n in (1, 2, 3)],
        "objective": {"value_usd": 1e-6, "reward": {"window": "10s"}},
        "policy": {"block": "1s", "refresh": "0.2s"},
        "stop": {"cycle": None, "min_age": "0s"},
        "on_stop": {"grace": "0s"},
        # Arms are calibrated up to the first batch that takes longer than this.
        "batching": {"latency_ms": 8, "max_rows": 16},
    }
    for section, values in changes.items():
        document[section] = {**document[section], **values}
    return document


def endless() -> dict[str, Any]:
    """Return an experiment whose weights stay equal: none of its arms ever has enough rewards."""
    return experiment(stop={"min_per_arm": 10**9})


@dataclass(slots=True)
class Gateway:
    """One running `turpin serve`. Mutable: the process and what it listens on change when it is started again."""

    config_file: Path
    log_file: Path
    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes]
    grpc: int = 0
    http: int = 0
    admin: int = 0
    environ: Mapping[str, str] = field(default_factory=dict)

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Return the log lines of all its processes so far, of one event or all; lines that are no JSON are left out."""
        found = []
        for line in self.log_file.read_text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                facts: dict[str, Any] = json.loads(line)
                if name in ("", facts["event"]):
                    found.append(facts)
        return found

    async def ready(self) -> None:
        """Wait until it says where it listens, and both /readyz say 200."""
        seen = len(self.events("ready"))

        def listening() -> dict[str, Any] | None:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log_file.read_text()}"
            found = self.events("ready")
            return found[-1] if found else None

        facts = await until(f"a ready line (there are {seen})", listening)
        self.grpc, self.http, self.admin = facts["grpc"], facts["http"], facts["admin"]
        for port in (self.http, self.admin):
            await until(f"/readyz of {port}", functools.partial(self._is_ready, port))

    @staticmethod
    async def _is_ready(port: int) -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                return answer.status == 200
        return False

    async def state(self) -> dict[str, Any]:
        """Return the experiment's state as the admin API shows it."""
        url = f"http://127.0.0.1:{self.admin}/admin/v1/experiments/{MODEL}/state"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            found: dict[str, Any] = await answer.json()
            return found if answer.status == 200 else {}

    async def in_phase(self, *phases: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until the experiment is in one of these phases, and return its state."""

        async def there() -> dict[str, Any] | None:
            state = await self.state()
            return state if state and state["phase"] in phases else None

        found: dict[str, Any] = await until(f"phase {phases}", there, patience_s)
        return found

    async def scrape(self) -> dict[str, float]:
        """Return every sample of /metrics by its name with labels, as it is written there."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.admin}/metrics") as answer,
        ):
            text = await answer.text()
        samples = re.findall(r"^([a-z][^ ]*(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in samples}

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        return [
            pid
            for pid, parent, command in _processes()
            if parent == self.process.pid and ("router.worker" in command or "/envoy.json" in command)
        ]

    async def stop(self) -> str:
        """End it with SIGTERM; it must leave with exit code 0, and without a traceback in its log, which is returned."""
        self.process.send_signal(signal.SIGTERM)
        code = await self.ended()
        log = self.log_file.read_text()
        assert code == 0, f"SIGTERM: exit code {code}, expected 0\n{log}"
        assert "Traceback" not in log, log
        return log

    async def ended(self) -> int:
        """Wait for the end of the process and return its exit code."""
        await until("the end of the gateway", lambda: self.process.poll() is not None)
        return int(self.process.returncode)

    async def start_again(self) -> None:
        """Start it once more, after its end, with the same configuration, store and ports."""
        document = yaml.safe_load(self.config_file.read_text())
        document["listen"] = _listen(self.grpc, self.http, self.admin)
        self.config_file.write_text(yaml.safe_dump(document))
        self.log_file = self.log_file.with_name(f"again-{self.log_file.name}")
        self.process = _spawn(self.config_file, self.log_file, self.arguments, self.environ)
        await self.ready()


def configuration(folder: Path, target: str, **settings: Any) -> dict[str, Any]:
    """Return a `turpin.yaml` for one model server at `target`, on free ports of loopback, with a store in `folder`."""
    return {
        "listen": _listen(0, 0, 0),
        "store": f"sqlite:///{folder}/turpin.db",
        "backends": {
            "tfs-a": {
                "target": target,
                "price_usd_per_hour": _PRICE_USD_PER_HOUR,
                "control": "managed",
                "models": {name: dict(files) for name, files in CONFIG.items()},
            }
        },
        "experiments": [experiment()],
        **settings,
    }


@contextlib.asynccontextmanager
async def serving(
    folder: Path, document: Mapping[str, Any], *arguments: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Gateway]:
    """Start the gateway and wait until it is ready; afterwards end what is left of it, whatever happened."""
    gateway = launched(folder, document, *arguments, environ=environ)
    try:
        await gateway.ready()
        yield gateway
    finally:
        end(gateway)


def launched(
    folder: Path, document: Mapping[str, Any], *arguments: str, environ: Mapping[str, str] | None = None
) -> Gateway:
    """Start the gateway and return at once; the caller ends it."""
    name = f"turpin-{len(list(folder.glob('turpin-*.yaml')))}"
    config, log = folder / f"{name}.yaml", folder / f"{name}.log"
    config.write_text(yaml.safe_dump(dict(document)))
    process = _spawn(config, log, arguments, environ or {})
    return Gateway(config, log, arguments, process, environ=environ or {})


def launched_from(config: Path, log: Path, environ: Mapping[str, str]) -> Gateway:
    """Start the gateway from a file that is there and return at once; the caller ends it."""
    return Gateway(config, log, (), _spawn(config, log, (), environ), environ=environ)


def end(gateway: Gateway) -> None:
    """Kill the process if it is still there; its workers follow by themselves."""
    if gateway.process.poll() is None:
        gateway.process.kill()
    gateway.process.wait(PATIENCE_S)


def _spawn(
    config: Path, log: Path, arguments: tuple[str, ...], environ: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    # What begins with TURPIN_ is a setting of the gateway, and the tester's are not meant for this one.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TURPIN_")}
    with log.open("wb") as out:
        return subprocess.Popen(
            [COMMAND, "serve", "-c", config, *arguments], env=inherited | dict(environ), stdout=out, stderr=out
        )


def _listen(grpc: int, http: int, admin: int) -> dict[str, str]:
    return {name: f"127.0.0.1:{port}" for name, port in (("grpc", grpc), ("http", http), ("admin", admin))}


def is_alive(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    return any(pid == other for other, _, _ in _processes())


def _processes() -> list[tuple[int, int, str]]:
    """Return (pid, parent, command line) of every process that is no zombie."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found.append((int(folder.name), int(parent), (folder / "cmdline").read_text().replace("\0", " ")))
    return found
