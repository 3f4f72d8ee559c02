"""Real model servers, two replicas with real TensorFlow, under our control: their own status proves every load and unload."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from router.config.document import validate
from router.config.settings import Backend
from router.control.model_servers import ModelServers
from router.store.memory import MemoryStore
from serving import fleet, model_config, wire
from serving.local.versions import Engine
from serving.upstream import GrpcUpstream, Servable
from tests.serving.local.running_server import Running, running
from tests.serving.local.saved_models import SavedModels

NAME = "tfs-a"
V3 = Servable(NAME, "digits", 3)
FENCE = 1
Load = Callable[[str], Engine]


def text_of(models: SavedModels) -> str:
    return f"""
        model_config_list {{
          config {{ name: "digits" base_path: "{models.digits}" model_platform: "tensorflow"
            model_version_policy {{ specific {{ versions: 1 versions: 2 versions: 3 }} }} }}
          config {{ name: "half" base_path: "{models.half}" model_platform: "tensorflow"
            model_version_policy {{ all {{}} }} logging_config {{ sampling_config {{ sampling_rate: 0.1 }} }} }}
          config {{ name: "odd" base_path: "{models.odd}" model_platform: "tensorflow" }}
        }}"""


@contextmanager
def server(load: Load, text: str) -> Iterator[Running]:
    with running(load, model_config.read_config(text)) as one:
        yield one


@asynccontextmanager
async def managed(
    path: Path, *servers: Running
) -> AsyncIterator[tuple[ModelServers, dict[str, tuple[GrpcUpstream, ...]]]]:
    """Look after these servers; what they are to serve was imported from the file."""
    settings = validate(
        Backend,
        {
            "target": [one.grpc for one in servers],
            "price_usd_per_hour": 1.0,
            "control": "managed",
            "model_config_file": str(path),
        },
    )
    store = MemoryStore()
    await store.open()
    await store.lease("the test", 0.0, 1e9)

    async def confirm() -> int | None:
        return FENCE

    async with AsyncExitStack() as stack:
        upstreams = {NAME: tuple(GrpcUpstream(one.grpc) for one in servers)}
        found = ModelServers(backends={NAME: settings}, upstreams=upstreams, store=store, arms=[V3])
        await found.desired.take_over(FENCE, (), ())
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(found.run(confirm))
            try:
                yield found, upstreams
            finally:
                looking.cancel()
                for upstream in upstreams[NAME]:
                    stack.push_async_callback(upstream.close)


async def until_there(found: ModelServers, *versions: int) -> None:
    """Wait until every replica says that exactly these versions of the digits are AVAILABLE."""
    async with asyncio.timeout(30.0), found.closely(NAME) as look:
        while any(one is None or fleet.available(one) != frozenset(versions) for one in found.statuses(NAME, "digits")):
            await look()


async def test_labels_move_first_bystanders_stay_and_a_restarted_server_is_told_again(
    saved_models: SavedModels, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "models.config"
    path.write_text(text_of(saved_models))
    with server(load, path.read_text()) as first, server(load, path.read_text()) as second:
        async with managed(path, first, second) as (found, upstreams):
            await until_there(found, 1, 2, 3)
            # A label of the version that is going to be retired.
            document = found.desired.of(NAME)
            assert document is not None
            await found.desired.change(
                NAME,
                FENCE,
                lambda now: model_config.Desired(now.imported, {"digits": model_config.Changes(labels={"canary": 3})}),
            )
            async with asyncio.timeout(30.0), found.closely(NAME) as look:
                while [one and one.labels for one in found.sights(NAME)] != [{"digits": {"canary": 3}}] * 2:
                    await look()

            await found.retire(V3, 2)
            await until_there(found, 1, 2)
            async with found.closely(NAME) as look:
                await look()
                await look()

            for sight in found.sights(NAME):
                assert sight is not None
                assert sight.of("digits")[3].state == wire.END
                assert sight.labels == {"digits": {"canary": 2}}
                assert fleet.available(sight.of("half")) == {123}
                assert fleet.available(sight.of("odd")) == {1}

            # It comes back on another port, as a replica that joins, with the file it was always started with.
            with server(load, path.read_text()) as third:
                before = upstreams[NAME]
                upstreams[NAME] = (before[0], GrpcUpstream(third.grpc))
                await until_there(found, 1, 2)

                await found.load(V3)
                await until_there(found, 1, 2, 3)
                await before[1].close()


async def test_version_that_is_not_there_is_told_in_words_and_harms_no_other(
    saved_models: SavedModels, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "models.config"
    path.write_text(text_of(saved_models))
    with server(load, path.read_text()) as only:
        async with managed(path, only) as (found, _):
            await until_there(found, 1, 2, 3)
            await found.load(Servable(NAME, "digits", 9))
            async with asyncio.timeout(30.0), found.closely(NAME) as look:
                while not found.view()[0]["replicas"][0]["differs"]:
                    await look()

            assert found.view()[0]["replicas"][0]["differs"] == ["digits/9 is not listed"]
            await until_there(found, 1, 2, 3)


pytestmark = pytest.mark.timeout(90)
