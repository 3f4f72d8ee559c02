"""For wheel.sh: a stand-in model server in the project's own environment; says its address, then serves until SIGTERM."""

import asyncio
import signal
import sys

from google.protobuf import text_format

from serving import wire
from tests.serving.fake_tfs import MODELS_CONFIG, FakeTfs


async def serve() -> None:
    """Serve the models of the tests on a free port of loopback."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    config = text_format.Parse(MODELS_CONFIG, wire.ModelServerConfig())
    async with FakeTfs({"digits": [1, 2, 3], "bystander": [1]}, config) as server:
        sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve())
