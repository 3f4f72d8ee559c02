"""Who published under which fence, read from what a Redis says it does."""

from load.chaos.monitor import Published, published, writers
from router.store.redis_scripts import PUBLISH

SHA = PUBLISH.sha
KEYS = '"3" "{turpin}:store" "{turpin}:lease" "{turpin}:snapshots"'
THROUGH = '+1.5 [0 lua] "HGET" "{turpin}:snapshots" "numbers"\n'
WRITTEN = '+1.5 [0 lua] "HSET" "{turpin}:snapshots" "numbers" "7\\n{\\"a\\": \\"b\\"}"\n'
FENCE = '+1.5 [0 lua] "HGET" "{turpin}:lease" "epoch"\n'


def call(port: int, fence: int, sha: str = SHA) -> str:
    return f'+1.4 [0 127.0.0.1:{port}] "EVALSHA" "{sha}" {KEYS} "gen" "{fence}" "numbers" "7" "{{\\"a\\": \\"b\\"}}"\n'


def test_what_a_script_does_belongs_to_the_call_before_it() -> None:
    lines = ["+OK\n", call(10, 1), FENCE, THROUGH, WRITTEN, call(20, 1), FENCE, call(10, 2), FENCE, THROUGH]

    assert published(lines) == [Published(10, 1, True), Published(20, 1, False), Published(10, 2, True)]


def test_other_scripts_write_no_snapshot() -> None:
    assert published([call(10, 1, sha="0" * 40), THROUGH, WRITTEN, '+1.4 [0 127.0.0.1:10] "PING"\n']) == []


def test_two_writers_in_one_epoch_are_seen() -> None:
    calls = [Published(10, 1, True), Published(20, 1, True), Published(20, 2, True), Published(30, 3, True)]
    calls.append(Published(10, 2, False))

    assert writers(calls, {"a": {10, 11}, "b": {20}}) == {1: {"a", "b"}, 2: {"b"}, 3: {"nobody known"}}
