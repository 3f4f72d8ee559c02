"""The SQLite file: how it is made, and what is said when it can't be opened."""

import asyncio
import os
import re
import sqlite3
from pathlib import Path

import pytest

from router.store import FIELDS, SchemaTooNew, Store, StoreCorrupt, StoreUnavailable, StoreUnopenable, open_store
from router.store.sqlite_file import SCHEMA_VERSION, WriterLock, connect, named, named_at_open
from tests.router.store.samples import CELL, NOW, reward


def sqlite_store(path: Path) -> Store:
    return open_store(f"sqlite://{path}")


def make(path: Path) -> None:
    """Make a store with something in it, and close it."""

    async def fill(store: Store) -> None:
        await store.open()
        await store.add_rewards([reward(number) for number in range(2000)])
        await store.flush("g", 1, {CELL: {"rows": 1}}, b"", NOW)
        await store.close()

    asyncio.run(fill(sqlite_store(path)))


def opening(path: Path) -> None:
    """Open the store, which is to fail."""
    asyncio.run(sqlite_store(path).open())


async def test_the_file_and_its_folder_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "turpin.db"
    store = sqlite_store(path)
    await store.open()
    await store.add_rewards([reward(1)])
    modes = {name: os.stat(path.parent / name).st_mode & 0o777 for name in os.listdir(path.parent)}
    await store.close()

    assert os.stat(path.parent).st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(["turpin.db", "turpin.db-wal", "turpin.db-shm", "turpin.db-writer"], 0o600)
    assert sorted(os.listdir(path.parent)) == ["turpin.db", "turpin.db-writer"]


def test_a_path_with_odd_characters_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a b?mode=memory#%20é.db"
    make(path)

    assert path.stat().st_size > 0


def test_the_settings_are_those_that_make_an_acknowledgement_durable(path: Path) -> None:
    make(path)

    connection = connect(str(path))
    settings = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    check = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()

    assert settings == {"journal_mode": "wal", "synchronous": 2}  # 2 is FULL.
    assert check == "ok"


def test_the_tables_refuse_what_is_no_64_bit_integer(path: Path) -> None:
    make(path)

    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match=r"cannot store REAL value in INTEGER column sums\.rows"):
        connection.execute("UPDATE sums SET rows = 9223372036854775807 + 1")
    connection.close()


def test_a_folder_in_the_file_s_place_is_refused(path: Path) -> None:
    path.mkdir()

    with pytest.raises(StoreUnopenable, match=re.escape(f"{path} is not a file")):
        opening(path)


def test_a_folder_that_can_t_be_made_is_refused(path: Path) -> None:
    path.write_bytes(b"a file, where the path wants a folder")

    with pytest.raises(StoreUnopenable, match=re.escape(f"can't create {path}/turpin.db (File exists: {path})")):
        opening(path / "turpin.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(StoreUnopenable, match="let this user write to its folder"):
        opening(tmp_path / "turpin.db")
    tmp_path.chmod(0o700)


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"dear diary " * 1000)

    with pytest.raises(StoreCorrupt, match=f"{re.escape(str(path))} is damaged or no database"):
        opening(path)
    assert path.read_bytes() == b"dear diary " * 1000


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()

    with pytest.raises(StoreUnopenable, match="the database of another program"):
        opening(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    make(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(SchemaTooNew, match=f"has schema {SCHEMA_VERSION + 1}, this version of Turpin knows up to"):
        opening(path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    make(path)

    assert path.stat().st_size > 0


def test_a_damaged_file_is_named_when_its_damage_is_met(path: Path) -> None:
    make(path)
    with path.open("r+b") as file:  # All but the first page, which holds the schema.
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))

    async def use(store: Store) -> None:
        await store.open()
        with pytest.raises(StoreCorrupt, match="restore a backup"):
            await store.add_rewards([reward(5000)])
        with pytest.raises(StoreCorrupt, match="restore a backup"):
            await store.sums(CELL.epoch)
        await store.close()

    asyncio.run(use(sqlite_store(path)))


async def test_a_torn_end_of_the_log_loses_nothing_that_was_acknowledged(path: Path) -> None:
    store = sqlite_store(path)
    await store.open()
    await store.flush("g", 1, {CELL: {"rows": 1}}, b"", NOW)
    copy = copy_with_torn_log(path)
    await store.close()

    restored = sqlite_store(copy)
    await restored.open()
    assert (await restored.sums(CELL.epoch))[CELL.arm, CELL.block]["rows"] == 1
    await restored.close()


def copy_with_torn_log(path: Path) -> Path:
    """Copy an open store as a crash would leave it, with the beginning of one more write in its log."""
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    copy.with_name("copy.db-wal").write_bytes(path.with_name("turpin.db-wal").read_bytes() + b"\xa5" * 5000)
    return copy


async def test_a_writer_that_holds_the_lock_for_long_makes_the_store_unavailable(path: Path) -> None:
    store = sqlite_store(path)
    await store.open()
    other = WriterLock(str(path))

    with other.held(), pytest.raises(StoreUnavailable, match="was locked by another process for over"):
        await store.add_rewards([reward(1)])

    assert len(await store.add_rewards([reward(1)])) == 1
    other.close()
    await store.close()


async def test_a_foreign_writer_in_the_file_makes_the_store_unavailable_and_no_longer(path: Path) -> None:
    store = sqlite_store(path)
    await store.open()
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match="was locked by another process for over"):
        await store.add_rewards([reward(1)])
    foreign.execute("ROLLBACK")
    foreign.close()

    assert len(await store.add_rewards([reward(1)])) == 1
    await store.close()


def test_a_full_disk_is_told_as_such(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA max_page_count = 2")

    with pytest.raises(sqlite3.OperationalError) as full:
        connection.execute("CREATE TABLE big AS SELECT zeroblob(100000)")
    error = named(full.value, str(path))
    connection.close()

    assert isinstance(error, StoreUnavailable)
    assert str(error).startswith(f"the disk that holds {path} is full: free some space")


def test_a_file_that_can_t_be_written_is_unavailable_in_use_and_unopenable_at_the_start(path: Path) -> None:
    make(path)
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    with pytest.raises(sqlite3.OperationalError) as refused:
        connection.execute("DELETE FROM sums")
    connection.close()

    assert type(named(refused.value, str(path))) is StoreUnavailable
    assert type(named_at_open(refused.value, str(path))) is StoreUnopenable
    assert "permissions" in str(named(refused.value, str(path)))


def test_a_file_of_an_older_version_gets_the_fields_it_lacks_and_keeps_its_sums(path: Path) -> None:
    make(path)
    connection = sqlite3.connect(path)
    connection.execute("DROP INDEX sums_changed")
    for column in ("changed", *FIELDS[-7:]):
        connection.execute(f"ALTER TABLE sums DROP COLUMN {column}")
    connection.execute("DROP TABLE backends")
    connection.execute("DROP TABLE deployments")
    connection.execute("DROP TABLE prices")
    connection.execute("DROP TABLE bills")
    connection.execute("PRAGMA user_version = 1")
    connection.close()

    async def add_to(store: Store) -> dict[str, int]:
        await store.open()
        stamp, before = await store.sums_since(CELL.epoch, 0)
        assert (before[CELL.arm, CELL.block]["rows"], (await store.sums_since(CELL.epoch, stamp)).cells) == (1, {})
        await store.flush("h", 1, {CELL: {"log_moment": -3, "rows": 1}}, b"", NOW)
        sums = await store.sums(CELL.epoch)
        assert (await store.sums_since(CELL.epoch, stamp)).cells == sums
        assert [await of() for of in (store.backends, store.deployments, store.prices, store.bills)] == [[]] * 4
        await store.close()
        return sums[CELL.arm, CELL.block]

    sums = asyncio.run(add_to(sqlite_store(path)))

    assert (sums["rows"], sums["log_moment"], sums["assigned"]) == (2, -3, 0)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    connection.close()
