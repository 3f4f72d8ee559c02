"""A managed server is brought back to what is wanted, whoever took it away; an observed one is never told anything."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import structlog

from router.config.document import BadInput, validate
from router.config.settings import Backend
from router.control.model_servers import ModelServers
from router.store import RevisionConflict
from router.store.memory import MemoryStore
from serving import model_config, wire
from serving.errors import DeadlineExceeded, FailedPrecondition
from serving.upstream import Servable, Upstream
from tests.router.control.servers import CONFIG, Direct, entries, fake_tfs, versions
from tests.simulated_loop import run_simulated

NAME = "tfs-a"
MODELS = {
    "digits": {"base_path": "/models/digits", "versions": [1, 2, 3], "labels": {"stable": 1}},
    "bystander": {"base_path": "/models/bystander", "versions": [7, 8]},
}
V3 = Servable(NAME, "digits", 3)


def backend(**changes: Any) -> Backend:
    settings = {"target": "tfs:1", "price_usd_per_hour": 2.0, "control": "managed", "models": MODELS}
    return validate(Backend, {**settings, **changes})


class Bench:
    """The servers of one backend and who leads. Mutable: the replicas, and the fence that the store would confirm."""

    def __init__(self, tasks: asyncio.TaskGroup, upstreams: tuple[Upstream, ...], of: Backend) -> None:
        self.tasks, self.settings = tasks, of
        self.replicas = {NAME: upstreams}
        self.store = MemoryStore()
        self.fence: int | None = 1
        self.asked = 0
        self.servers = self.another()

    def another(self) -> ModelServers:
        """The model servers as another control process sees them."""
        return ModelServers(backends={NAME: self.settings}, upstreams=self.replicas, store=self.store, arms=[V3])

    async def confirm(self) -> int | None:
        self.asked += 1
        return self.fence

    async def begin(self) -> None:
        await self.store.open()
        await self.store.lease("the test", 0.0, 1e9)
        await self.servers.desired.take_over(1, (), ())
        self.tasks.create_task(self.servers.run(self.confirm))
        await asyncio.sleep(5.0)


class _Done(Exception):
    """The scenario is over."""


def run(scenario: Callable[[Bench], Awaitable[None]], *upstreams: Upstream, of: Backend | None = None) -> None:
    async def play() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                on = Bench(tasks, upstreams, of or backend())
                await on.begin()
                await scenario(on)
                raise _Done
        except* _Done:
            pass

    run_simulated(play())


def test_restarted_server_is_told_again_what_it_forgot() -> None:
    fake = fake_tfs()

    async def scenario(on: Bench) -> None:
        await on.servers.retire(V3, 1)
        await asyncio.sleep(5.0)
        assert fake.serves("digits") == [1, 2]

        fake.restart()
        assert fake.serves("digits") == [1, 2, 3]
        await asyncio.sleep(2.0)

        assert fake.serves("digits") == [1, 2]

    run(scenario, Direct(fake))


def test_replica_that_joins_is_told_what_the_others_serve() -> None:
    old, new = fake_tfs(), fake_tfs()

    async def scenario(on: Bench) -> None:
        await on.servers.retire(V3, 1)
        await asyncio.sleep(5.0)
        on.replicas[NAME] += (Direct(new, "tfs:2"),)
        await asyncio.sleep(3.0)

        assert new.serves("digits") == [1, 2]
        assert [one["address"] for one in on.servers.view()[0]["replicas"]] == ["tfs:1", "tfs:2"]

    run(scenario, Direct(old))


def test_somebody_elses_reload_is_undone_bystanders_included() -> None:
    fake = fake_tfs()
    foreign = model_config.read_config(
        'model_config_list { config { name: "digits" base_path: "/d" model_platform: "tensorflow" } }'
    )

    async def scenario(on: Bench) -> None:
        await fake._reload(wire.ReloadConfigRequest(config=foreign))
        assert (fake.serves("digits"), fake.serves("bystander")) == ([3], [])
        await asyncio.sleep(3.0)

        assert (fake.serves("digits"), fake.serves("bystander")) == ([1, 2, 3], [7, 8])

    run(scenario, Direct(fake))


def test_server_that_serves_what_is_wanted_is_never_reloaded() -> None:
    fake = fake_tfs(CONFIG.replace("versions: 3 }", 'versions: 3 } } version_labels { key: "stable" value: 1', 1))

    async def scenario(on: Bench) -> None:
        await asyncio.sleep(600.0)

    run(scenario, Direct(fake))

    assert fake.reloads == []


def test_without_the_lease_no_server_is_touched() -> None:
    fake = fake_tfs()

    async def scenario(on: Bench) -> None:
        await on.servers.retire(V3, 1)
        before = len(fake.reloads)
        on.fence = None
        fake.restart()
        await asyncio.sleep(60.0)

        assert len(fake.reloads) == before
        assert fake.serves("digits") == [1, 2, 3]
        on.fence = 1
        await asyncio.sleep(5.0)
        assert fake.serves("digits") == [1, 2]

    run(scenario, Direct(fake))


def test_leader_that_missed_a_change_can_not_write_over_it() -> None:
    async def scenario(on: Bench) -> None:
        other = on.another()
        await other.desired.read()
        await on.servers.retire(V3, 1)

        with pytest.raises(RevisionConflict):
            await other.desired.change(NAME, 1, lambda now: now.loading("digits", 9, available=()))

    run(scenario, Direct(fake_tfs()))


def test_reload_that_hangs_is_bounded_and_said_and_tried_again() -> None:
    upstream = Direct(fake_tfs())

    async def scenario(on: Bench) -> None:
        upstream.fails, upstream.only = DeadlineExceeded("30 s"), wire.RELOAD_CONFIG
        await on.servers.retire(V3, 1)
        await asyncio.sleep(10.0)
        (replica,) = on.servers.view()[0]["replicas"]
        assert replica["problem"] == "a reload did not answer within 30 s, and is sent again"
        assert replica["differs"] == ["digits/3 is loaded, and is not to be"]

        upstream.fails = None
        await asyncio.sleep(60.0)
        assert upstream.fake.serves("digits") == [1, 2]

    run(scenario, upstream)


def test_other_replicas_are_told_while_one_hangs() -> None:
    class Hanging(Direct):
        async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
            if method == wire.RELOAD_CONFIG:
                await asyncio.sleep(timeout_s)
                raise DeadlineExceeded("no answer")
            return await super().call(method, body, timeout_s)

    healthy = fake_tfs()

    async def scenario(on: Bench) -> None:
        await on.servers.retire(V3, 1)
        await asyncio.sleep(3.0)

        assert healthy.serves("digits") == [1, 2]

    run(scenario, Hanging(fake_tfs()), Direct(healthy, "tfs:2"))


def test_version_that_failed_to_load_is_tried_again_when_it_is_mended() -> None:
    broken = {("digits", 9)}
    fake = fake_tfs(broken=broken)
    fake.disk = {**fake.disk, "digits": (1, 2, 3, 9)}

    async def scenario(on: Bench) -> None:
        await on.servers.load(Servable(NAME, "digits", 9))
        await asyncio.sleep(5.0)
        (replica,) = on.servers.view()[0]["replicas"]
        assert replica["differs"] == ["digits/9 could not be loaded: UNKNOWN: bad graph"]

        broken.clear()
        await asyncio.sleep(120.0)

        assert fake.serves("digits") == [1, 2, 3, 9]

    run(scenario, Direct(fake))


def test_observed_server_is_never_told_anything() -> None:
    upstream = Direct(fake_tfs())

    async def scenario(on: Bench) -> None:
        await on.servers.load(Servable(NAME, "digits", 9))
        upstream.fake.restart()
        await asyncio.sleep(60.0)

    run(scenario, upstream, of=backend(control="observed", models={}))

    assert wire.RELOAD_CONFIG not in upstream.methods


def test_bystanders_are_sent_as_they_were_imported(tmp_path: Path) -> None:
    extra = 'config { name: "odd" base_path: "/odd" model_platform: "tensorflow" logging_config { sampling_config { sampling_rate: 0.5 } } }'
    path = tmp_path / "models.config"
    path.write_text(CONFIG.replace("model_config_list {", f"model_config_list {{ {extra}"))
    imported = entries(model_config.read_config(path.read_text()))
    fake = fake_tfs(path.read_text())
    fake.disk = {**fake.disk, "odd": (4, 5)}
    fake.restart()

    async def scenario(on: Bench) -> None:
        await on.servers.retire(V3, 1)
        await asyncio.sleep(3.0)

    run(scenario, Direct(fake), of=backend(model_config_file=str(path), models={}))

    assert (fake.serves("digits"), fake.serves("odd"), fake.serves("bystander")) == ([1, 2], [5], [7, 8])
    for reload in fake.reloads:
        assert {name: raw for name, raw in entries(reload).items() if name != "digits"} == {
            name: raw for name, raw in imported.items() if name != "digits"
        }


def warned(logs: Iterable[Any]) -> list[Any]:
    return [line for line in logs if line["event"].startswith("models.config ignored")]


def test_models_config_that_is_gone_after_the_import_is_said_and_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text(CONFIG)

    async def scenario(on: Bench) -> None:
        path.unlink()
        again = on.another()
        await again.desired.take_over(1, (), ())

        assert again.desired.of(NAME) == on.servers.desired.of(NAME)

    with structlog.testing.capture_logs() as logs:
        run(scenario, Direct(fake_tfs()), of=backend(model_config_file=str(path), models={}))

    assert ["can't read" in one["reason"] for one in warned(logs)] == [True]


def test_models_config_is_imported_once(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text(CONFIG)
    fake = fake_tfs()

    async def scenario(on: Bench) -> None:
        await on.servers.retire(V3, 1)
        same = on.another()
        await same.desired.take_over(1, (), ())
        assert warned(logs) == []

        path.write_text(CONFIG.replace("versions: 7", ""))
        again = on.another()
        await again.desired.take_over(1, (), ())

        desired = again.desired.of(NAME)
        assert desired is not None
        assert (desired.versions("digits"), desired.versions("bystander")) == ((1, 2), (7, 8))

    with structlog.testing.capture_logs() as logs:
        run(scenario, Direct(fake), of=backend(model_config_file=str(path), models={}))

    field = "models.bystander.model_version_policy.specific.versions"
    assert [one["differences"] for one in warned(logs)] == [[f'{field}: ["7","8"] -> ["8"]']]


def test_models_written_in_the_configuration_are_followed_and_what_was_retired_stays_so() -> None:
    fake = fake_tfs()

    async def scenario(on: Bench) -> None:
        await on.servers.retire(V3, 1)
        on.settings = backend(models={**MODELS, "digits": {"base_path": "/models/digits", "versions": [1, 2, 3, 4]}})
        again = on.another()
        # Version 5 is an arm that somebody deployed, and 1 one that the new file does not name any more.
        await again.desired.take_over(1, [Servable(NAME, "digits", 5)], ())

        desired = again.desired.of(NAME)
        assert desired is not None
        assert desired.versions("digits") == (1, 2, 4, 5)

    run(scenario, Direct(fake))


def test_version_behind_a_policy_is_not_touched_before_all_replicas_were_heard(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text('model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" } }')
    silent = Direct(fake_tfs(path.read_text()), "tfs:2")
    silent.fails = DeadlineExceeded("no answer")
    fake = fake_tfs(path.read_text())
    fake.disk = {"m": (4, 5)}
    fake.restart()

    async def scenario(on: Bench) -> None:
        with pytest.raises(FailedPrecondition, match="not every replica of tfs-a answers: nothing is changed there"):
            await on.servers.load(Servable(NAME, "m", 4))

    run(scenario, Direct(fake), silent, of=backend(model_config_file=str(path), models={}))

    assert fake.reloads == []
    assert fake.serves("m") == [5]


def test_models_config_that_can_not_be_used_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text("model_config_list { config { nme: 'x' } }")

    with pytest.raises(BadInput, match="1:30"):
        backend(model_config_file=str(path), models={})
    with pytest.raises(BadInput, match="No such file"):
        backend(model_config_file="/nowhere/models.config", models={})
    with pytest.raises(BadInput, match="for a managed backend only"):
        backend(control="observed", model_config_file=str(path), models={})


def test_last_answers_are_shown_with_what_is_wanted() -> None:
    fake = fake_tfs()

    async def scenario(on: Bench) -> None:
        (view,) = on.servers.view()
        assert (view["name"], view["control"], view["revision"]) == (NAME, "managed", 1)
        assert view["wanted"] == {"digits": (1, 2, 3), "bystander": (7, 8)}
        (replica,) = view["replicas"]
        assert replica["answers"]
        assert replica["differs"] == []
        assert replica["models"]["digits"]["labels"] == {"stable": 1}
        assert replica["models"]["digits"]["versions"][0] == {"version": 1, "state": "AVAILABLE", "error": None}

    run(scenario, Direct(fake))

    assert versions(fake.reloads[-1], "digits") == (1, 2, 3)
