"""Pushes as much as a server takes: with h2load where it is installed, else with processes of our own."""

import asyncio
import shutil
import struct
import sys
import tempfile
from pathlib import Path
from typing import Final

from serving import wire

# Processes of our own: on two cores more would only take the server's time.
_PROCESSES: Final = 2
# A push that does not end by itself is ended so long after its time.
_PATIENCE_S: Final = 20.0


def generator() -> str:
    """Name what pushes here."""
    return "h2load" if shutil.which("h2load") else f"{_PROCESSES} processes of turpin load"


async def push(address: str, body: bytes, model: str, *, in_flight: int, seconds: float) -> None:
    """Keep so many Predict calls under way for that long; what came through the server's other side says."""
    with tempfile.TemporaryDirectory() as folder:
        await _push(Path(folder), address, body, model, in_flight, seconds)


async def _push(folder: Path, address: str, body: bytes, model: str, in_flight: int, seconds: float) -> None:
    if shutil.which("h2load"):
        # A gRPC message: not compressed, its length, its bytes.
        (folder / "body").write_bytes(b"\0" + struct.pack(">I", len(body)) + body)
        commands = [
            [
                "h2load",
                *("--clients=8", f"--max-concurrent-streams={in_flight // 8}", f"--duration={seconds:g}"),
                f"--data={folder / 'body'}",
                *("--header=content-type: application/grpc", "--header=te: trailers"),
                f"http://{address}{wire.PREDICT}",
            ]
        ]
    else:
        share = in_flight // _PROCESSES
        options = [f"--in-flight={share}", f"--seconds={seconds:g}", "--warm-up=0", "--connections=4", "--json"]
        script = Path(sys.executable).with_name("turpin")
        commands = [[str(script), "load", address, f"--model={model}", *options]] * _PROCESSES
    none = asyncio.subprocess.DEVNULL
    children = [await asyncio.create_subprocess_exec(*one, stdout=none, stderr=none) for one in commands]
    async with asyncio.timeout(seconds + _PATIENCE_S):
        for child in children:
            await child.wait()
