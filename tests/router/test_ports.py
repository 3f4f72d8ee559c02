"""A port belongs to one gateway and to all its workers."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import Iterator

import pytest

from router.config.fields import split_address
from router.ports import reserve, take
from tests.simulated_loop import run_simulated


@contextlib.contextmanager
def bound(host: str = "127.0.0.1", port: int = 0, *, is_shared: bool = False) -> Iterator[socket.socket]:
    """A socket that listens, as another program's or a worker's does."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
        if is_shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
        listening.listen()
        yield listening


def has_ipv6() -> bool:
    try:
        with bound("::1"):
            return True
    except OSError:
        return False


def test_port_zero_becomes_a_free_one() -> None:
    address, held = reserve("127.0.0.1:0")

    with held:
        assert split_address(address) == held.getsockname()
        assert held.getsockname()[1] > 0


def test_workers_listen_beside_the_one_who_holds_it_and_get_all_connections() -> None:
    address, held = reserve("127.0.0.1:0")

    with held, bound(*split_address(address), is_shared=True) as worker:
        for _ in range(20):
            with socket.create_connection(split_address(address), timeout=5):
                accepted, _ = worker.accept()
                accepted.close()


@pytest.mark.parametrize("is_shared", [False, True], ids=["another program", "another gateway"])
def test_taken_port_is_refused_by_its_address(is_shared: bool) -> None:
    with bound(is_shared=is_shared) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        with pytest.raises(OSError, match=f"can't listen on {address}: Address already in use"):
            reserve(address)


def test_second_gateway_is_refused_even_before_the_first_one_has_workers() -> None:
    address, held = reserve("127.0.0.1:0")

    with held, pytest.raises(OSError, match="already in use"):
        reserve(address)


def test_port_that_is_only_reserved_is_refused_and_no_socket_is_left_behind() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))

        with pytest.raises(OSError, match="already in use"):
            reserve(f"127.0.0.1:{other.getsockname()[1]}")
        gc.collect()


def test_port_is_free_again_after_it_was_let_go() -> None:
    address, held = reserve("127.0.0.1:0")
    held.close()

    again, held = reserve(address)
    held.close()
    assert again == address


def test_host_that_is_not_ours_is_refused() -> None:
    # A documentation address (RFC 5737): no machine has it.
    with pytest.raises(OSError, match=r"can't listen on 192\.0\.2\.1:0"):
        reserve("192.0.2.1:0")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_is_written_with_brackets() -> None:
    address, held = reserve("[::1]:0")

    with held:
        assert address == f"[::1]:{held.getsockname()[1]}"
        assert split_address(address)[0] == "::1"


def test_predecessor_is_given_a_moment_to_let_go() -> None:
    async def scenario() -> tuple[str, float]:
        with bound() as other:
            asyncio.get_running_loop().call_later(1.5, other.close)
            address, held = await take(f"127.0.0.1:{other.getsockname()[1]}")
            held.close()
            return address, asyncio.get_running_loop().time()

    address, waited_s = run_simulated(scenario())

    assert address.startswith("127.0.0.1:")
    assert 1.5 <= waited_s <= 1.7


def test_port_that_stays_taken_is_refused_after_three_seconds() -> None:
    async def scenario() -> float:
        with bound() as other:
            with pytest.raises(OSError, match="can't listen"):
                await take(f"127.0.0.1:{other.getsockname()[1]}")
            return asyncio.get_running_loop().time()

    assert 3.0 <= run_simulated(scenario()) <= 3.2
