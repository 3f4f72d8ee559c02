"""What a server has loaded, and whole configs: no bystander is ever unloaded, END is the only proof."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from serving import fleet, model_config, wire
from serving.errors import BackendError, Code, InternalError, ModelNotFound, Unavailable
from serving.fleet import VersionStatus
from serving.upstream import GrpcUpstream
from tests.serving.fake_tfs import MODELS_CONFIG, FakeTfs

TIMEOUT_S = 5.0

DISK = {"digits": (1, 2, 3), "bystander": (7, 8)}


@asynccontextmanager
async def served(fake: FakeTfs) -> AsyncIterator[GrpcUpstream]:
    async with fake:
        upstream = GrpcUpstream(fake.address)
        try:
            yield upstream
        finally:
            await upstream.close()


def without_3() -> wire.Message:
    desired = model_config.seed({}, model_config.read_config(MODELS_CONFIG))
    return desired.retiring("digits", 3, available=(), label_to=None).config()


def statuses(states: Mapping[int, int]) -> dict[int, VersionStatus]:
    return {version: VersionStatus(version, state, "") for version, state in states.items()}


async def test_status_lists_every_version_with_its_state_and_error() -> None:
    fake = FakeTfs(DISK, model_config.read_config(MODELS_CONFIG), broken=[("digits", 3)])
    async with served(fake) as upstream:
        seen = await fleet.status(upstream, "digits", TIMEOUT_S)

    assert seen[1] == VersionStatus(1, wire.AVAILABLE, "")
    assert seen[3] == VersionStatus(3, wire.END, "UNKNOWN: bad graph")
    assert [version for version, status in seen.items() if status.has_failed] == [3]


async def test_a_model_the_server_does_not_know_has_no_versions() -> None:
    async with served(FakeTfs(DISK, model_config.read_config(MODELS_CONFIG))) as upstream:
        assert await fleet.status(upstream, "unheard-of", TIMEOUT_S) == {}


async def test_an_answer_that_can_not_be_read_is_the_servers_fault() -> None:
    fake = FakeTfs(DISK, model_config.read_config(MODELS_CONFIG))
    fake.garbage = b"\xff\xff"
    async with served(fake) as upstream:
        with pytest.raises(InternalError, match=upstream.address):
            await fleet.status(upstream, "digits", TIMEOUT_S)


async def test_metadata_returns_the_signatures_by_name() -> None:
    signature = wire.SignatureDef(method_name="tensorflow/serving/predict")
    signature.inputs["x"].dtype = 1
    fake = FakeTfs(DISK, model_config.read_config(MODELS_CONFIG), signatures={"serving_default": signature})
    async with served(fake) as upstream:
        assert await fleet.metadata(upstream, "digits", 2, TIMEOUT_S) == {"serving_default": signature}
        assert await fleet.metadata(upstream, "digits", None, TIMEOUT_S) == {"serving_default": signature}


async def test_metadata_of_a_version_that_is_not_loaded_is_the_servers_not_found() -> None:
    async with served(FakeTfs(DISK, model_config.read_config(MODELS_CONFIG))) as upstream:
        with pytest.raises(BackendError, match=r"Specific\(digits, 9\)") as raised:
            await fleet.metadata(upstream, "digits", 9, TIMEOUT_S)

    assert raised.value.code is ModelNotFound.code


async def test_retiring_a_version_unloads_it_and_nothing_else() -> None:
    imported = model_config.read_config(MODELS_CONFIG)
    fake = FakeTfs(DISK, imported)
    async with served(fake) as upstream:
        config = without_3()
        await fleet.reload(upstream, config, TIMEOUT_S)
        seen = await fleet.status(upstream, "digits", TIMEOUT_S)

    assert fake.serves("digits") == [1, 2]
    assert fake.serves("bystander") == [7, 8]
    assert fleet.is_gone(seen, 3)
    assert fleet.available(seen) == {1, 2}


async def test_until_the_server_polls_a_retired_version_is_not_gone() -> None:
    imported = model_config.read_config(MODELS_CONFIG)
    fake = FakeTfs(DISK, imported, polls=False)
    async with served(fake) as upstream:
        await fleet.reload(upstream, without_3(), TIMEOUT_S)

        assert not fleet.is_gone(await fleet.status(upstream, "digits", TIMEOUT_S), 3)
        fake.poll()
        assert fleet.is_gone(await fleet.status(upstream, "digits", TIMEOUT_S), 3)


async def test_a_label_of_a_version_that_is_not_ready_is_refused_by_the_server() -> None:
    imported = model_config.read_config(MODELS_CONFIG)
    async with served(FakeTfs({"digits": (1, 2), "bystander": (7,)}, imported)) as upstream:
        with pytest.raises(BackendError, match="label to version 3") as raised:
            await fleet.reload(upstream, imported, TIMEOUT_S)

    assert raised.value.code is Code.FAILED_PRECONDITION


async def test_a_server_that_cannot_be_reached_is_unavailable() -> None:
    async with served(FakeTfs(DISK, model_config.read_config(MODELS_CONFIG))) as upstream:
        pass
    gone = GrpcUpstream(upstream.address)

    with pytest.raises(Unavailable):
        await fleet.status(gone, "digits", TIMEOUT_S)
    await gone.close()


async def test_end_must_be_seen_on_every_replica() -> None:
    imported = model_config.read_config(MODELS_CONFIG)
    fakes = [FakeTfs(DISK, imported) for _ in range(2)]
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(served(fake)) for fake in fakes]
        config = without_3()
        await fleet.reload(upstreams[0], config, TIMEOUT_S)
        half = [await fleet.status(one, "digits", TIMEOUT_S) for one in upstreams]
        await fleet.reload(upstreams[1], config, TIMEOUT_S)
        whole = [await fleet.status(one, "digits", TIMEOUT_S) for one in upstreams]

    assert not fleet.everywhere(half, fleet.is_gone, 3)
    assert fleet.everywhere(whole, fleet.is_gone, 3)
    assert fleet.everywhere(whole, fleet.is_available, 2)


async def test_a_replica_without_an_answer_proves_nothing() -> None:
    async with served(FakeTfs(DISK, model_config.read_config(MODELS_CONFIG))) as upstream:
        here = await fleet.status(upstream, "digits", TIMEOUT_S)

    assert fleet.everywhere([here], fleet.is_available, 1)
    assert not fleet.everywhere([here, None], fleet.is_available, 1)
    assert not fleet.everywhere([], fleet.is_gone, 1)


async def test_a_restarted_server_has_forgotten_the_reload() -> None:
    imported = model_config.read_config(MODELS_CONFIG)
    fake = FakeTfs(DISK, imported)
    async with served(fake) as upstream:
        await fleet.reload(upstream, without_3(), TIMEOUT_S)
        fake.restart()

        assert not fleet.is_gone(await fleet.status(upstream, "digits", TIMEOUT_S), 3)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({3: wire.END, 1: wire.AVAILABLE}, True),
        ({3: wire.END}, True),
        ({3: wire.UNLOADING, 1: wire.AVAILABLE}, False),
        ({3: wire.AVAILABLE}, False),
        ({3: wire.START}, False),
        ({1: wire.AVAILABLE}, True),
        ({1: wire.LOADING}, False),
        ({1: wire.END}, False),
        ({}, False),
    ],
)
def test_gone_is_end_or_absent_beside_a_version_that_serves(states: dict[int, int], expected: bool) -> None:
    assert fleet.is_gone(statuses(states), 3) is expected


def test_only_available_is_available() -> None:
    seen = statuses({1: wire.AVAILABLE, 2: wire.LOADING, 3: wire.UNLOADING, 4: wire.END})

    assert [version for version in range(6) if fleet.is_available(seen, version)] == [1]


@pytest.mark.parametrize(
    "text",
    ["model_config_list {}", "model_config_list { config { name: 'digits' model_version_policy { specific {} } } }"],
)
async def test_a_config_that_would_unload_everything_is_never_sent(text: str) -> None:
    fake = FakeTfs(DISK, model_config.read_config(MODELS_CONFIG))
    async with served(fake) as upstream:
        with pytest.raises(ValueError, match="unload"):
            await fleet.reload(upstream, model_config.read_config(text), TIMEOUT_S)

    assert fake.reloads == []
