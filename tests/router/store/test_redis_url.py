"""The addresses of Redis, as they are written and shown."""

import pytest

from router.store.redis_url import read_address


def test_one_server() -> None:
    address = read_address("redis://ann:s%40cret@redis.example:7000/3?timeout_ms=50")

    assert (address.hosts, address.db, address.is_tls) == ((("redis.example", 7000),), 3, False)
    assert (address.username, address.password, address.timeout_s) == ("ann", "s@cret", 0.05)
    assert address.shown == "redis://redis.example:7000/3"


def test_what_is_left_out_has_defaults() -> None:
    address = read_address("rediss://[::1]")

    assert (address.hosts, address.db, address.is_tls) == ((("::1", 6379),), 0, True)
    assert (address.username, address.password, address.timeout_s) == (None, None, 0.2)


def test_sentinels_and_their_master() -> None:
    address = read_address("redis+sentinel://:pw@a:26380,b/main/2?tls=true&sentinel_password=x")

    assert address.hosts == (("a", 26380), ("b", 26379))
    assert (address.master, address.db, address.is_tls, address.password) == ("main", 2, True, "pw")
    assert address.shown == "redis+sentinel://a:26380,b:26379/main/2"


def test_cluster() -> None:
    address = read_address("redis+cluster://a:7000,b:7001")

    assert address.hosts == (("a", 7000), ("b", 7001))


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("redis+unix:///tmp/x", "got the scheme 'redis.unix'"),
        ("redis://:secret@a,b/0", "must name one server"),
        ("redis://:secret@a/zero", "a number for the database"),
        ("redis://:secret@a/0/1", "too many"),
        ("redis://:secret@a:99999", "a port of 1 to 65535"),
        ("redis:///0", "must name a host"),
        ("redis://:secret@a?timeout_ms=1", "a timeout_ms of 10 to 5000"),
        ("redis://:secret@a?timeout_ms=soon", "a timeout_ms of 10 to 5000"),
        ("redis://:secret@a?socket_timeout=1", "knows the options"),
        ("redis+sentinel://:secret@a", "must name the master"),
        ("redis+cluster://:secret@a/3", "too many"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is_shown(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refusal:
        read_address(url)
    assert "secret" not in str(refusal.value)
