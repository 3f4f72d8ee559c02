"""Memory and SQLite side by side with a model: the same calls have the same results, whatever their order."""

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.store import Cell, CounterOverflow, Fenced, RevisionConflict, Reward, RewardResult, Store, open_store
from router.store.contract import INT64_MAX, INT64_MIN
from tests.router.store.samples import NOW, reward

EPOCHS = (7, 2**64 - 7)
CELLS = st.builds(Cell, st.sampled_from(EPOCHS), st.integers(0, 1), st.integers(0, 1))
NUMBERS = st.sampled_from([1, 3, 65_536**2, 2**62, -5, 0])
ADDITIONS = st.dictionaries(st.sampled_from(["rewards", "reward_q2", "rows"]), NUMBERS, max_size=2)
REWARDS = st.builds(
    lambda number, event, value, cell, fields: reward(number, value, event=event, cell=cell, fields=fields),
    st.integers(0, 5),
    st.sampled_from(["default", "sale"]),
    st.sampled_from([0.0, 0.1, 1.0]),
    CELLS,
    ADDITIONS,
)
NAMES = st.sampled_from(["a", "b"])
FENCES = st.integers(0, 3)


class Stores(RuleBasedStateMachine):
    """Sends each call to both stores; sums and dedupe are compared with dictionaries as well, which share no code."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.stores: list[Store] = [open_store("memory:"), open_store(f"sqlite://{self.folder}/turpin.db")]
        for store in self.stores:
            self.runner.run(store.open())
        self.values: dict[tuple[bytes, str], float] = {}
        self.sums: Counter[tuple[Cell, str]] = Counter()
        self.sequences: dict[str, int] = {}
        self.now = NOW

    def teardown(self) -> None:
        for store in self.stores:
            self.runner.run(store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def both(self, method: str, *arguments: object) -> object:
        """Make the same call on both stores and return what came of it, which is to be the same."""
        outcomes = []
        for store in self.stores:
            try:
                outcomes.append(self.runner.run(getattr(store, method)(*arguments)))
            except (CounterOverflow, Fenced, RevisionConflict) as refusal:
                outcomes.append((type(refusal), str(refusal)))
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    def fits(self, additions: list[tuple[Cell, dict[str, int]]]) -> bool:
        """Add to the model's sums, if all of them stay 64-bit integers."""
        sums = self.sums.copy()
        for cell, fields in additions:
            for name, number in fields.items():
                sums[cell, name] += number
        if not all(INT64_MIN <= number <= INT64_MAX for number in sums.values()):
            return False
        self.sums = sums
        return True

    @rule(rewards=st.lists(REWARDS, max_size=6))
    def add_rewards(self, rewards: list[Reward]) -> None:
        outcome = self.both("add_rewards", rewards)

        values, expected = dict(self.values), []
        additions: list[tuple[Cell, dict[str, int]]] = []
        for item in rewards:
            first = values.setdefault((item.nonce, item.event), item.value)
            if len(values) > len(self.values) + len(additions):
                additions.append((item.cell, dict(item.fields)))
                expected.append(RewardResult.RECORDED)
            else:
                expected.append(RewardResult.DUPLICATE if first == item.value else RewardResult.CONFLICT)
        if self.fits(additions):
            self.values = values
            assert outcome == expected
        else:
            assert isinstance(outcome, tuple)
            assert outcome[0] is CounterOverflow

    @rule(gateway=NAMES, sequence=st.integers(0, 6), deltas=st.dictionaries(CELLS, ADDITIONS, max_size=3))
    def flush(self, gateway: str, sequence: int, deltas: dict[Cell, dict[str, int]]) -> None:
        outcome = self.both("flush", gateway, sequence, deltas, b"%d" % sequence, self.now)

        if sequence <= self.sequences.get(gateway, -1):
            assert outcome is None
        elif self.fits(list(deltas.items())):
            assert outcome is None
            self.sequences[gateway] = sequence
        else:
            assert isinstance(outcome, tuple)
            assert outcome[0] is CounterOverflow

    @rule(name=NAMES, revision=st.integers(0, 3), fence=FENCES, document=st.binary(max_size=3))
    def save(self, name: str, revision: int, fence: int, document: bytes) -> None:
        self.both("save_experiment", name, document, revision, fence)

    @rule(name=NAMES, version=st.integers(0, 3), fence=FENCES, snapshot=st.binary(max_size=3))
    def publish(self, name: str, version: int, fence: int, snapshot: bytes) -> None:
        self.both("publish", name, version, snapshot, fence)

    @rule(name=NAMES, fence=FENCES, entry=st.binary(max_size=3))
    def append_history(self, name: str, fence: int, entry: bytes) -> None:
        self.both("append_history", name, entry, fence)

    @rule(owner=NAMES, ttl_s=st.sampled_from([1.0, 5.0]))
    def lease(self, owner: str, ttl_s: float) -> None:
        self.both("lease", owner, self.now, ttl_s)

    @rule(owner=NAMES)
    def release(self, owner: str) -> None:
        self.both("release", owner)

    @rule(seconds=st.sampled_from([0.5, 2.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(which=st.integers(0, 1))
    def close_and_open(self, which: int) -> None:
        self.runner.run(self.stores[which].close())
        self.runner.run(self.stores[which].open())

    @invariant()
    def reads_agree(self) -> None:
        for epoch in EPOCHS:
            sums = self.both("sums", epoch)
            assert isinstance(sums, dict)
            found = {((epoch, *place), name): n for place, row in sums.items() for name, n in row.items() if n}
            assert found == {key: n for key, n in self.sums.items() if n and key[0].epoch == epoch}
        self.both("heartbeats", self.now, 10.0)
        self.both("experiments")
        self.both("snapshots")
        for name in ("a", "b"):
            self.both("history", name, 3)


# Each step is a commit on a real disk: 15 runs of 25 steps take 5 s, and 300 found nothing more.
Stores.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
test_memory_and_sqlite_agree_with_the_model = Stores.TestCase
