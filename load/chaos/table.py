"""All cases, in the order in which they are played."""

from typing import Final

from load.chaos import kills
from load.chaos.case import Case

_EXACT: Final = "0 lost, 0 double"
_KILLS: Final = f"each with ≥ 50 rewards in flight; {_EXACT}"

CASES: Final[tuple[Case, ...]] = (
    Case("a worker on SQLite is killed", "G1, L10, R12", _KILLS, kills.sqlite_worker, is_in_short=True),
    Case("workers that share an SQLite file are killed", "G1, L10, R12", _KILLS, kills.sqlite_workers),
    Case("a worker on Redis is killed", "G1, L10", _KILLS, kills.redis_worker, is_in_short=True),
    Case("a whole gateway is killed", "G1", f"{_KILLS}; ready again ≤ 3 s", kills.whole_gateway),
)
