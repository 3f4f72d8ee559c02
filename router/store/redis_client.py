"""The client of redis-py for each kind of address, without the retries and names that it comes with."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from redis.asyncio import Connection, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection

from router.store.redis_url import RedisAddress

Client: TypeAlias = "Redis | RedisCluster"

Greeting: TypeAlias = Callable[[Connection], Awaitable[None]]
"""What is said on a connection before anything else: it logs in, and may refuse what answers."""


class OtherStore(NoConnection):
    """A new connection was refused by us: behind it is another store than the one that is known, or an older one."""


def client_of(address: RedisAddress, timeout_s: float | None = None, greeting: Greeting | None = None) -> Client:
    """Return a client that has not connected yet: no retries of its own, and `timeout_s` for each answer.

    `greeting` is held on each new connection; a Cluster's connections have none.
    """
    limit_s = address.timeout_s if timeout_s is None else timeout_s
    settings: dict[str, Any] = {
        "socket_timeout": limit_s,
        # A handshake takes several round trips.
        "socket_connect_timeout": max(1.0, address.timeout_s),
        # By default redis-py sends a command up to eleven times, whether or not it may be repeated.
        "retry": Retry(NoBackoff(), 0),
        "username": address.username,
        "password": address.password,
        "ssl": address.is_tls,
        # No round trip before the first command but for a password: HELLO, and names for CLIENT LIST, would be four.
        "protocol": 2,
        "driver_info": None,
    }
    if address.ca_file is not None:
        settings["ssl_ca_certs"] = address.ca_file
    if address.kind == "redis+cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        # Redirections are followed all the same: they are answers to what was not carried out.
        return RedisCluster(startup_nodes=nodes, **settings)
    settings["redis_connect_func"] = greeting
    if address.kind == "redis+sentinel":
        asking = settings | {"username": None, "password": address.sentinel_password, "redis_connect_func": None}
        sentinel = Sentinel(list(address.hosts), sentinel_kwargs=asking, **settings)  # type: ignore[no-untyped-call]  # redis-py
        client: Redis = sentinel.master_for(address.master, db=address.db)
        return client
    ((host, port),) = address.hosts
    return Redis(host=host, port=port, db=address.db, **settings)
