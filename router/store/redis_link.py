"""The way to Redis: scripts with deadlines, a bound on calls under way, a breaker, and errors that say what would help."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Literal, TypeVar, cast

from redis import exceptions as redis_errors

from router.store.breaker import Breaker
from router.store.contract import CALL_TIMEOUT_S, StoreError, StoreUnavailable, StoreUnopenable
from router.store.redis_client import Client, Greeting, OtherStore, client_of
from router.store.redis_scripts import Script
from router.store.redis_url import RedisAddress

log = logging.getLogger(__name__)

Answer = list[Any]
Result = TypeVar("Result")
# Whose connections a call takes: those for small answers, for large ones, or for what counts.
Way = Literal["quick", "bulk", "counting"]

# Calls under way at once: more gain nothing from one server, and each takes a connection.
_CALLS_MAX: Final = 16
# Who waits behind them; a call takes about a millisecond. More is better told to come again.
_WAITING_MAX: Final = 1024
# Histories and all sums of a long experiment are megabytes.
_BULK_TIMEOUT_S: Final = 2.0
# Once more at once: a server that was restarted drops connections, and the next one is good.
_TRIES: Final = 2
# AttributeError: a Cluster's client that learns its nodes anew closes connections under the calls that use them.
# RuntimeError: what uvloop says of a connection that was reset while it was idle, where asyncio has an OSError.
_NO_ANSWER: Final = (redis_errors.RedisError, OSError, AttributeError, RuntimeError)
# redis-py counts some answers among broken connections.
_ANSWERS: Final = (
    redis_errors.ResponseError,
    redis_errors.AuthenticationError,
    redis_errors.AuthorizationError,
    redis_errors.BusyLoadingError,
)
# What a server answers that can't do it now; all else it refuses is a fault of ours.
_NOT_NOW: Final = {
    "OOM": "its memory is full: raise maxmemory, or use a larger server",
    "MISCONF": "it can't write to its disk: free some space",
    "READONLY": "it is a replica now: a failover is under way, or the address names the wrong server",
    "LOADING": "it is reading its files",
    "MASTERDOWN": "its master is away",
    "CLUSTERDOWN": "a part of the cluster is away",
    "TRYAGAIN": "its slots are being moved",
    "NOREPLICAS": "too few of its replicas are there",
    "BUSY": "a script keeps it busy",
}
_NOT_US: Final = ("NOAUTH", "WRONGPASS", "NOPERM")


class RedisLink:
    """Connections to one Redis. Mutable: the clients, the breaker, how many calls wait, how many had no answer so far."""

    def __init__(self, address: RedisAddress, greeting: Greeting | None = None) -> None:
        """`greeting` is held on each new connection over which anything is counted (`run_counting`)."""
        self._address = address
        self._greeting = greeting
        self._clients: dict[Way, Client] = {}
        self._breaker = Breaker()
        self._waiting = 0
        self.unanswered = 0
        self._places = asyncio.Semaphore(_CALLS_MAX)

    @property
    def shown(self) -> str:
        """The address, without what may be secret in it."""
        return self._address.shown

    async def open(self) -> None:
        """Make the clients; one of a Cluster learns its nodes. Raises StoreUnavailable."""
        self._clients = {
            "quick": client_of(self._address),
            "bulk": client_of(self._address, max(_BULK_TIMEOUT_S, self._address.timeout_s)),
            "counting": client_of(self._address, greeting=self._greeting),
        }
        # By the first of many calls at once it would learn them several times, and close connections in use.
        for way in self._clients:
            await self._call(lambda client: client.initialize(), True, way)

    async def close(self) -> None:
        """Close all connections. Calls that come later raise StoreUnavailable."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Answer:
        """Run a script and return what it answered; StoreUnavailable, and then it may or may not have been done."""
        found = await self._call(lambda client: self._evaluate(client, script, keys, arguments), script.is_repeatable)
        return cast("Answer", found)

    async def run_counting(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Answer:
        """Run a script that counts, on connections that were greeted; not again on another one, whatever it is."""
        found = await self._call(lambda client: self._evaluate(client, script, keys, arguments), False, "counting")
        return cast("Answer", found)

    async def run_bulk(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Answer:
        """Run a script that only reads, and whose answer may be large."""
        found = await self._call(lambda client: self._evaluate(client, script, keys, arguments), True, "bulk")
        return cast("Answer", found)

    async def read(self, *command: str, is_bulk: bool = False) -> Any:
        """Send a command that only reads."""
        return await self._call(lambda client: client.execute_command(*command), True, "bulk" if is_bulk else "quick")

    async def info(self, section: str) -> list[dict[str, Any]]:
        """Return a section of INFO, of each server that takes writes."""
        found = await self._call(lambda client: _info(client, section), True)
        return cast("list[dict[str, Any]]", found)

    async def _evaluate(
        self, client: Client, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]
    ) -> Answer:
        try:
            found = await _awaited(client.evalsha(script.sha, len(keys), *keys, *arguments))
        except redis_errors.NoScriptError:
            # A server that was restarted has forgotten it. Nothing was done, so it is sent in full.
            found = await _awaited(client.eval(script.text, len(keys), *keys, *arguments))
        return cast("Answer", found)

    async def _call(self, call: Any, is_repeatable: bool, way: Way = "quick") -> Any:
        if self._waiting >= _WAITING_MAX:
            raise StoreUnavailable(f"{self.shown} is busy: {self._waiting} calls wait")
        self._waiting += 1
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S), self._places:
                return await self._try(call, _TRIES if is_repeatable else 1, way)
        except TimeoutError:
            raise StoreUnavailable(f"{self.shown} did not answer within {CALL_TIMEOUT_S} s") from None
        finally:
            self._waiting -= 1

    async def _try(self, call: Any, tries: int, way: Way) -> Any:
        loop = asyncio.get_running_loop()
        while True:
            client = self._clients.get(way)
            if client is None:
                raise StoreUnavailable(f"{self.shown} is not open")
            if not self._breaker.admits(loop.time()):
                raise StoreUnavailable(f"{self.shown} does not answer: it is asked again within a second")
            tries -= 1
            try:
                found = await _awaited(call(client))
            except _ANSWERS as error:
                self._breaker.succeeded()
                raise named(error, self.shown) from None
            except OtherStore as error:
                # It answers, but calls of before may have been lost with what it has lost.
                self.unanswered += 1
                self._breaker.succeeded()
                raise StoreUnavailable(f"{self.shown}: {_words(error)}") from None
            except _NO_ANSWER as error:
                self.unanswered += 1
                self._breaker.failed(loop.time())
                if tries == 0 or self._breaker.is_open:
                    raise StoreUnavailable(f"{self.shown} does not answer ({_words(error)})") from None
            except BaseException:
                self._breaker.abandoned()
                raise
            else:
                self._breaker.succeeded()
                return found


async def _awaited(pending: Awaitable[Result] | Result) -> Result:
    """Wait for what redis-py types as either of both."""
    return await cast("Awaitable[Result]", pending)


async def _info(client: Client, section: str) -> list[dict[str, Any]]:
    found: Any = await client.info(section)
    # A cluster's client answers by node, unless it has one only.
    is_by_node = bool(found) and all(isinstance(value, dict) for value in found.values())
    return list(found.values()) if is_by_node else [found]


def named(error: redis_errors.RedisError, shown: str) -> StoreError:
    """Return the error of ours that says what an answer of Redis means, and what would help."""
    # redis-py makes classes of some answers and drops their first word.
    word = {
        redis_errors.OutOfMemoryError: "OOM",
        redis_errors.BusyLoadingError: "LOADING",
        redis_errors.ReadOnlyError: "READONLY",
        redis_errors.ClusterDownError: "CLUSTERDOWN",
        redis_errors.MasterDownError: "MASTERDOWN",
        redis_errors.TryAgainError: "TRYAGAIN",
        redis_errors.AuthenticationError: _NOT_US[0],
        redis_errors.NoPermissionError: _NOT_US[0],
        redis_errors.AuthorizationError: _NOT_US[0],
    }.get(type(error), str(error).partition(" ")[0])
    if word in _NOT_NOW:
        return StoreUnavailable(f"{shown} can't be used now: {_NOT_NOW[word]} ({_words(error)})")
    if word in _NOT_US:
        return StoreUnopenable(f"{shown} refuses us ({_words(error)}): check user, password and their permissions")
    return StoreError(f"{shown}: {_words(error)}")


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
