"""What a Redis server keeps when it is killed, as it is set up: read at the start, told, and in `strict` demanded."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from router.store.contract import StoreUnopenable

log = logging.getLogger(__name__)

# EXPIRE with NX and GT, on which remembered pairs rely.
_VERSION_MIN: Final = (7, 0)


@dataclass(frozen=True, slots=True)
class Durability:
    """How one server is set up; None: it does not say."""

    version: str
    is_aof: bool | None
    fsync: str | None
    policy: str | None

    @classmethod
    def of(cls, sections: Mapping[str, Any], fsync: str | None) -> "Durability":
        """Read INFO; `appendfsync` stands in CONFIG alone, which some providers keep to themselves."""
        aof = sections.get("aof_enabled")
        policy = sections.get("maxmemory_policy")
        version = sections.get("redis_version", "")
        return cls(
            str(version), None if aof is None else bool(int(aof)), fsync, None if policy is None else str(policy)
        )

    @property
    def loses(self) -> str:
        """What is lost when the server is killed, or its machine loses power."""
        if self.is_aof is None:
            return "unknown: it does not say whether it writes a log"
        if not self.is_aof:
            return "all rewards since its last snapshot file"
        return {
            "always": "nothing; a failover loses what had not reached the replica",
            "everysec": "nothing when killed, about 1 s at a power cut; a failover loses what had not reached the replica",
            "no": "nothing when killed, at a power cut what the system had not written",
        }.get(self.fsync or "", "nothing when killed, at a power cut as much as its appendfsync says")

    @property
    def faults(self) -> list[str]:
        """What `durability: strict` does not put up with."""
        found = []
        if not self.is_aof:
            found.append(
                "does not say whether it has appendonly" if self.is_aof is None else "has appendonly no: it must be yes"
            )
        if self.policy != "noeviction":
            found.append(f"has maxmemory-policy {self.policy or 'unknown'}: it must be noeviction, or it drops rewards")
        return found


def judge(shown: str, servers: list[Durability], *, is_strict: bool) -> None:
    """Say how durable the servers are. Raises StoreUnopenable: too old, or `strict` and not durable enough."""
    for server in servers:
        numbers = tuple(int(part) for part in server.version.split(".")[:2] if part.isdigit())
        if numbers and numbers < _VERSION_MIN:
            raise StoreUnopenable(f"{shown} is Redis {server.version}: 7.0 or later is needed")
        faults = "; ".join(server.faults)
        if faults and is_strict:
            raise StoreUnopenable(f"{shown} is not durable enough for `durability: strict`: it {faults}")
        facts = {
            "store": shown,
            "appendonly": {True: "yes", False: "no", None: "unknown"}[server.is_aof],
            "appendfsync": server.fsync or "unknown",
            "maxmemory_policy": server.policy or "unknown",
            "killed_it_loses": server.loses,
        }
        if faults:
            log.warning("the store may lose rewards: it %s", faults, extra=facts)
        else:
            log.info("durability of the store", extra=facts)
