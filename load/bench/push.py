"""One run of h2load against a gateway: so many requests, pinned to a core, and how long each took."""

import asyncio
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving import wire

# Over these connections. HTTP/1.1 has one request at a time.
_GRPC_CONNECTIONS, _REST_CONNECTIONS = 8, 64
# What ends by itself is waited for so much longer than it should take.
_PATIENCE_S: Final = 60.0
_DONE: Final = re.compile(r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it goes over the wire."""

    path: str
    data: bytes
    headers: tuple[str, ...]
    is_grpc: bool

    def options(self, per_second: float | None, in_flight: int) -> list[str]:
        """Return h2load's options for many of it."""
        connections = min(in_flight, _GRPC_CONNECTIONS if self.is_grpc else _REST_CONNECTIONS)
        options = [f"--clients={connections}", f"--max-concurrent-streams={in_flight // connections}"]
        options += [f"--header={header}" for header in self.headers]
        options += [] if self.is_grpc else ["--h1"]
        return options + ([] if per_second is None else [f"--rps={per_second / connections:g}"])


def grpc_of(body: bytes) -> Asked:
    """Return a Predict call."""
    return framed(wire.PREDICT, body)


def framed(path: str, body: bytes) -> Asked:
    """Return a gRPC call: not compressed, its length, its bytes."""
    headers = ("content-type: application/grpc", "te: trailers")
    return Asked(path, b"\0" + struct.pack(">I", len(body)) + body, headers, is_grpc=True)


def rest_of(model: str, body: bytes) -> Asked:
    """Return a predict request in JSON."""
    return Asked(f"/v1/models/{model}:predict", body, ("content-type: application/json",), is_grpc=False)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What h2load says: seconds of each answer, in order of size, and how many requests had none."""

    took_s: list[float]
    seconds: float
    missing: int

    def quantile_s(self, share: float) -> float:
        """Return what this share of the answers did not exceed."""
        return self.took_s[min(len(self.took_s) - 1, int(share * len(self.took_s)))] if self.took_s else float("nan")


async def push(
    folder: Path,
    address: str,
    asked: Asked,
    *,
    requests: int,
    per_second: float | None,
    cores: set[int],
    in_flight: int,
) -> Pushed:
    """Send so many requests, as fast as so many in flight allow or at a rate.

    RuntimeError when h2load fails; what a status in a trailer says it does not know, so ask the servers.
    """
    (folder / "body").write_bytes(asked.data)
    log = folder / "answers.tsv"
    log.unlink(missing_ok=True)
    child = await asyncio.create_subprocess_exec(
        *("taskset", "--cpu-list", ",".join(map(str, sorted(cores)))),
        *("h2load", f"--requests={requests}", f"--data={folder / 'body'}", f"--log-file={log}"),
        *asked.options(per_second, in_flight),
        f"http://{address}{asked.path}",
        stdout=asyncio.subprocess.PIPE,
        # Ctrl-C is for the bench, which ends what it has started in order.
        start_new_session=True,
    )
    expected_s = 0.0 if per_second is None else requests / per_second
    try:
        async with asyncio.timeout(expected_s + _PATIENCE_S):
            said, _ = await child.communicate()
    except TimeoutError as error:
        raise RuntimeError(f"h2load had no answer to some of {requests} requests in {_PATIENCE_S:.0f} s") from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    found = _DONE.search(said.decode())
    if child.returncode or found is None:
        sys.stderr.write(said.decode())
        raise RuntimeError(f"h2load ended with {child.returncode}")
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    began_us = min(int(line[0]) for line in lines)
    ended_us = max(int(line[0]) + int(line[2]) for line in lines)
    took_s = sorted(int(line[2]) * 1e-6 for line in lines if line[1] == "200")
    return Pushed(took_s, (ended_us - began_us) * 1e-6, requests - int(found[3]))
