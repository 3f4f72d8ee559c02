"""All cases, in the order in which they are played."""

from typing import Final

from load.chaos import integrity, kills, leaders, lineage, links, outages, partition, refusals, rolling, starved, winner
from load.chaos.case import Case

_EXACT: Final = "0 lost, 0 double"
_KILLS: Final = f"each with ≥ 50 rewards in flight; {_EXACT}"

CASES: Final[tuple[Case, ...]] = (
    Case("a worker on SQLite is killed", "G1, L10, R12", _KILLS, kills.sqlite_worker, is_in_short=True),
    Case("workers that share an SQLite file are killed", "G1, L10, R12", _KILLS, kills.sqlite_workers),
    Case("a worker on Redis is killed", "G1, L10", _KILLS, kills.redis_worker, is_in_short=True),
    Case(
        "a whole gateway is killed",
        "G1",
        f"{_KILLS}; ready again ≤ 3 s (on a busy machine 3 times its first start)",
        kills.whole_gateway,
    ),
    Case(
        "the Redis is stopped for 30 s",
        "R2",
        f"0 predictions failed, p99 ≤ 2 ms more (on a busy machine 100 ms, or as much again), caught up ≤ 5 s; {_EXACT}",
        outages.redis_stopped,
    ),
    Case(
        "the Redis is killed, and back on its log",
        "R1",
        f"0 predictions failed, p99 ≤ 2 ms more (on a busy machine 100 ms, or as much again), caught up ≤ 5 s; {_EXACT}",
        outages.redis_killed,
    ),
    Case(
        "the Redis is full",
        "R3",
        f"0 predictions failed, acknowledged = counted once there is room; {_EXACT}",
        outages.redis_full,
    ),
    Case(
        "the Redis forgets its scripts",
        "R10",
        f"0 errors to clients; {_EXACT}",
        outages.scripts_forgotten,
    ),
    Case(
        "the Redis comes back empty",
        "R9",
        f"noticed within a refresh, frozen, nothing written to it; {_EXACT} when the right one is back",
        lineage.redis_empty,
        is_in_short=True,
    ),
    Case(
        "the Redis comes back older",
        "R9",
        f"noticed within a refresh, frozen, nothing written to it; {_EXACT} when the right one is back",
        lineage.redis_older,
    ),
    Case(
        "the leader is stopped in the middle of a write, and wakes",
        "R8, G3",
        f"one writer in each epoch, its late write refused, equal shares on both gateways, as drawn and as traffic (within 2 points beside chance); {_EXACT}",
        leaders.leader_stopped,
        is_in_short=True,
    ),
    Case(
        "faults on the way to the Redis",
        "R5, R6",
        f"0 predictions failed; {_EXACT}",
        links.store_link,
    ),
    Case(
        "faults on the way to one of two model servers",
        "B1, B2, B6",
        f"≥ 99.9 % answered, no answer of another's request or arm; {_EXACT}",
        links.backend_link,
    ),
    Case(
        "the network to the Redis loses packets",
        "R2",
        f"0 predictions failed; {_EXACT}",
        partition.redis_cut_off,
    ),
    Case(
        "everything is restarted in turn",
        "G2",
        f"0 predictions failed, exit status 0; {_EXACT}",
        rolling.rolling,
    ),
    Case(
        "a worker does not run for 2 s",
        "G5",
        f"no healthy backend ejected, no arm out, nobody late any more 5 s later; {_EXACT}",
        starved.worker_stopped,
    ),
    Case(
        "rewards are sent twice, at once, and after a restart",
        "L1",
        f"each counts once, other values are refused; {_EXACT}",
        integrity.duplicates,
    ),
    Case(
        "one client of twenty floods",
        "L6",
        f"each decision counts once, so that it moves a twentieth at most; {_EXACT}",
        integrity.flood,
    ),
    Case(
        "the demo's experiment on two gateways, one of them killed half-way",
        "G1, G3",
        "the same winner as undisturbed, losers unloaded, every reward counted once",
        winner.same_winner,
        limit_s=400.0,
    ),
    Case(
        "stores that can't keep the promise",
        "R4, R12, R13",
        "refused at the start with the reason; no file changed",
        refusals.unfit_stores,
    ),
    Case("rewards are late", "L2, L3", f"0 accepted; {_EXACT}", integrity.late),
    Case("tokens and values are forged", "L4, L5", f"0 accepted; {_EXACT}", integrity.forgeries),
)
