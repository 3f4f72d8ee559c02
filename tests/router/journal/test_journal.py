"""What the journal says of decisions and rewards, what it never says, and that predictions never notice it."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from router.config.document import validate
from router.config.gateway import Config
from router.decisions import Keyring
from router.journal import Journal, journal_folder
from router.journal.files import journal_files
from router.journal.writer import _QUEUE_MAX
from router.ledger import Ledger
from router.metrics import Metrics
from router.predict import Context, Predictor, Reply
from router.reward_calls import RewardCalls
from router.rewards import Claim, RewardDesk
from router.routes import Routes
from router.snapshot import PARTS, Snapshot
from router.store.memory import MemoryStore
from serving import wire
from serving.errors import Unavailable
from serving.upstream import Servable
from tests.router.samples import BACKEND, EPOCH, KEYS, MODEL, NOW, Instant, bench, snapshot

SECRET_INPUT = b"patient 4711"
THIRDS = (PARTS // 8 * 3, PARTS // 8, PARTS // 2)


class Gateway:
    """A predictor and a reward desk that share a journal. Mutable, as they are."""

    def __init__(self, folder: Path, *, sample: float = 1.0, fails: Servable | None = None, **changes: Any) -> None:
        parts = changes.pop("parts", THIRDS)
        made: Snapshot = snapshot(*parts, value_usd=0.25, **changes)
        self.folder = folder
        self.metrics = Metrics()
        self.journal = Journal(
            folder,
            name="gw-1",
            sample=sample,
            max_bytes=2**20,
            keys=Keyring(KEYS),
            metrics=self.metrics,
            unix_now=lambda: NOW,
        )
        instant = Instant({fails: Unavailable("away")} if fails else None)
        built = bench({BACKEND: instant}, [made], journal=self.journal)
        self.predictor: Predictor = built.predictor
        routes = Routes({BACKEND: (MODEL,)})
        routes.update(made)
        self.store = MemoryStore()
        self.desk = RewardDesk(
            keys=Keyring(KEYS),
            routes=routes,
            store=self.store,
            metrics=self.metrics,
            unix_now=lambda: NOW + 2.0,
            ledger=Ledger(),
            calls=RewardCalls(),
            journal=self.journal,
        )

    async def predict(self, **facts: bytes) -> Reply:
        request = wire.PredictRequest(model_spec={"name": MODEL})
        request.inputs["x"].string_val.append(SECRET_INPUT)
        return await self.predictor.predict(request.SerializeToString(), Context(deadline=1.0, **facts))

    def lines(self) -> list[dict[str, Any]]:
        """Write what is queued; return all lines."""
        self.journal.write()
        return [json.loads(text) for path in journal_files(self.folder) for text in path.read_text().splitlines()]

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["kind"] == kind]

    def dropped(self, reason: str) -> float:
        return self.metrics.registry.get_sample_value("turpin_journal_dropped_total", {"reason": reason}) or 0.0


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    made = Gateway(tmp_path)
    asyncio.run(made.store.open())
    return made


def test_a_decision_says_what_another_policy_needs_to_know(gateway: Gateway) -> None:
    reply = asyncio.run(gateway.predict())

    (line,) = gateway.kinds("decision")
    shares = {"v1": 3 / 8, "v2": 1 / 8, "v3": 1 / 2}
    assert len(line.pop("nonce_hash")) == 16
    assert line == {
        "kind": "decision",
        "time": NOW,
        "experiment": "digits-2026",
        "epoch": f"{EPOCH:016x}",
        "weights_version": 7,
        "block": 3,
        "arm": reply.arm,
        "propensity": shares[reply.arm],
        "propensities": shares,
        "mode": "experiment",
        "rows": 2,
        # 5 us at $3.6 an hour.
        "cost_usd": 5e-9,
        "sample": 1.0,
    }


def test_a_file_says_what_a_reward_is_worth(gateway: Gateway) -> None:
    asyncio.run(gateway.predict())

    first = gateway.lines()[0]
    assert first == {
        "kind": "experiment",
        "experiment": "digits-2026",
        "epoch": f"{EPOCH:016x}",
        "value_usd": 0.25,
        "feedback": "explicit",
        "window_s": 1800.0,
        "reward_low": 0.0,
        "reward_high": 1.0,
        "arms": ["v1", "v2", "v3"],
    }


def test_a_reward_is_joined_to_its_decision_by_the_hash(gateway: Gateway) -> None:
    async def play() -> None:
        for reward in (0.0, 1.0):
            reply = await gateway.predict()
            await gateway.desk.record([Claim(reply.decision, reward=reward)])

    asyncio.run(play())

    decisions, rewards = gateway.kinds("decision"), gateway.kinds("reward")
    assert [line["nonce_hash"] for line in rewards] == [line["nonce_hash"] for line in decisions]
    rewards[0].pop("nonce_hash")
    assert rewards[0] == {
        "kind": "reward",
        "time": NOW + 2.0,
        "experiment": "digits-2026",
        "epoch": f"{EPOCH:016x}",
        "event": "default",
        "reward": 0.0,
        "is_learned": True,
        "delay_s": 2.0,
        "sample": 1.0,
    }


def test_duplicates_conflicts_and_refused_rewards_are_not_noted(gateway: Gateway) -> None:
    async def play() -> list[int]:
        token = (await gateway.predict()).decision
        claims = [
            Claim(token, reward=1.0),
            Claim(token, reward=1.0),
            Claim(token, reward=0.0),
            Claim(token, reward=7.0),
            Claim("x" * len(token), reward=1.0),
        ]
        return [outcome.status for outcome in await gateway.desk.record(claims)]

    assert asyncio.run(play()) == [202, 200, 409, 422, 401]
    assert len(gateway.kinds("reward")) == 1


def test_a_fallback_is_noted_with_its_own_propensity(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, fails=Servable(BACKEND, MODEL, 2), parts=(0, PARTS))

    asyncio.run(gateway.predict())

    (line,) = gateway.kinds("decision")
    assert (line["mode"], line["arm"], line["propensity"]) == ("fallback", "v1", 1.0)
    assert line["propensities"] == {"v1": 0.0, "v2": 1.0}


def test_neither_payloads_nor_tokens_nor_units_are_in_the_journal(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, is_sticky=True)

    async def play() -> str:
        await gateway.store.open()
        reply = await gateway.predict(unit=b"anna@example.org", request_id=b"request-17")
        await gateway.desk.record([Claim(reply.decision, reward=1.0)])
        return reply.decision

    token = asyncio.run(play())

    assert len(gateway.lines()) == 3
    text = b"".join(path.read_bytes() for path in journal_files(tmp_path))
    nonce = Keyring(KEYS).verify(token).nonce
    for secret in (SECRET_INPUT, b"anna", b"request-17", token[:20].encode(), nonce.hex().encode()):
        assert secret not in text


def test_decisions_of_one_unit_share_a_hash_only_where_units_are_drawn(tmp_path: Path) -> None:
    sticky, loose = Gateway(tmp_path / "sticky", is_sticky=True), Gateway(tmp_path / "loose")

    async def play() -> None:
        for gateway in (sticky, loose):
            for unit in (b"anna", b"anna", b"ben"):
                await gateway.predict(unit=unit)

    asyncio.run(play())

    anna, again, ben = (line["unit_hash"] for line in sticky.kinds("decision"))
    assert anna == again != ben
    assert not any("unit_hash" in line for line in loose.kinds("decision"))


def test_a_sample_keeps_a_decision_and_its_rewards_together(tmp_path: Path) -> None:
    gateway, count, sample = Gateway(tmp_path, sample=0.3), 2_000, 0.3

    async def play() -> None:
        await gateway.store.open()
        replies = [await gateway.predict() for _ in range(count)]
        await gateway.desk.record([Claim(reply.decision, reward=1.0) for reply in replies])

    asyncio.run(play())

    lines = gateway.lines()
    decided = {line["nonce_hash"] for line in lines if line["kind"] == "decision"}
    rewarded = {line["nonce_hash"] for line in lines if line["kind"] == "reward"}
    assert decided == rewarded
    assert abs(len(decided) - count * sample) < 4 * (count * sample * (1 - sample)) ** 0.5
    assert all(line["sample"] == sample for line in lines if line["kind"] != "experiment")


def test_the_file_head_is_said_anew_when_a_reward_s_worth_changes(gateway: Gateway) -> None:
    asyncio.run(gateway.predict())
    routes = gateway.predictor._routes
    routes.update(snapshot(*THIRDS, version=8, value_usd=0.5))

    asyncio.run(gateway.predict())

    assert [line["value_usd"] for line in gateway.kinds("experiment")][-1] == 0.5


def test_more_lines_than_a_file_holds_go_to_several(gateway: Gateway) -> None:
    async def play() -> None:
        for _ in range(1_000):
            await gateway.predict()

    asyncio.run(play())

    assert len(gateway.kinds("decision")) == 1_000
    heads = [path.read_text().splitlines()[0] for path in journal_files(gateway.folder)]
    assert len(heads) > 3
    assert all('"kind":"experiment"' in head for head in heads)
    assert len(gateway.kinds("experiment")) == len(heads)


def test_a_full_queue_drops_lines_and_counts_them(gateway: Gateway) -> None:
    async def play() -> None:
        for _ in range(_QUEUE_MAX + 5):
            await gateway.predict()

    asyncio.run(play())

    assert gateway.dropped("queue_full") == 5
    assert len(gateway.journal._queue) == _QUEUE_MAX


def test_a_broken_folder_disturbs_no_prediction_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    gateway = Gateway(tmp_path / "journal")

    async def play() -> None:
        for _ in range(100):
            assert (await gateway.predict()).decision

    with caplog.at_level(logging.INFO):
        asyncio.run(play())
        gateway.journal.write()
        asyncio.run(play())
        gateway.journal.write()
        is_dropped = gateway.dropped("not_written")
        (tmp_path / "journal").unlink()
        asyncio.run(play())
        lines = gateway.kinds("decision")

    assert is_dropped == 200
    assert len(lines) == 100
    assert gateway.dropped("not_written") == 200
    assert [record.message for record in caplog.records] == [
        "journal not written: its lines are dropped",
        "journal written again",
    ]


def test_the_thread_writes_and_closing_writes_the_rest(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)

    async def play() -> None:
        gateway.journal.start()
        await gateway.predict()
        await gateway.journal.close()

    asyncio.run(play())

    (path,) = journal_files(tmp_path)
    assert len(path.read_bytes().splitlines()) == 2


def test_a_fault_of_a_line_ends_neither_the_thread_nor_later_lines(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.journal.decided(None, None, 0, b"")  # type: ignore[arg-type]  # a fault of ours
    gateway.journal.write()

    asyncio.run(gateway.predict())

    assert len(gateway.kinds("decision")) == 1
    assert gateway.dropped("not_written") == 1
    assert "journal line dropped" in caplog.text


CONFIG: dict[str, Any] = {"backends": {"tfs": {"target": "localhost:8500", "price_usd_per_hour": 0.5}}}


@pytest.mark.parametrize(
    ("changes", "folder"),
    [
        ({"store": "sqlite:///var/lib/turpin/turpin.db"}, Path("/var/lib/turpin/turpin.db.journal")),
        ({"store": "memory:"}, None),
        ({"store": "memory:", "journal": {"folder": "/var/log/turpin"}}, Path("/var/log/turpin")),
    ],
)
def test_the_journal_lies_beside_the_store_unless_told(changes: dict[str, Any], folder: Path | None) -> None:
    assert journal_folder(validate(Config, {**CONFIG, **changes})) == folder
