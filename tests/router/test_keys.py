"""The keys that sign decisions outlive a restart, and nobody else can read the file."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from router.config import Config
from router.config.document import validate
from router.decisions import Keyring
from router.keys import decision_keys


def config(store: str, **changes: Any) -> Config:
    backends = {"tfs-a": {"target": "127.0.0.1:1", "price_usd_per_hour": 1.0}}
    return validate(Config, {"store": store, "backends": backends, **changes})


def test_written_keys_are_used_in_their_order_and_no_file_is_made(tmp_path: Path) -> None:
    keys = decision_keys(config(f"sqlite://{tmp_path}/t.db", decision_keys=["k2:" + "b" * 16, "k1:" + "a" * 16]))

    assert keys == (("k2", b"b" * 16), ("k1", b"a" * 16))
    assert list(tmp_path.iterdir()) == []


def test_key_is_made_once_beside_the_store_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    here = config(f"sqlite://{tmp_path}/folder/t.db")
    before = os.umask(0)
    try:
        first = decision_keys(here)
    finally:
        os.umask(before)

    file = tmp_path / "folder" / "t.db.key"
    assert decision_keys(here) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (len(first), file.read_bytes()) == (1, first[0][1])
    assert [entry.name for entry in file.parent.iterdir()] == ["t.db.key"]
    Keyring(first)


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    here = config(f"sqlite://{tmp_path}/t.db")

    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda _: decision_keys(here), range(32)))

    assert len(made) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.db.key"]


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_damaged_key_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "t.db.key"
    file.write_bytes(content)

    with pytest.raises(OSError, match=f"must hold a key of 32 bytes, it has {len(content)}"):
        decision_keys(config(f"sqlite://{tmp_path}/t.db"))

    assert file.read_bytes() == content


def test_folder_that_can_not_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError, match="file"):
        decision_keys(config(f"sqlite://{tmp_path}/file/t.db"))


def test_without_a_file_every_process_has_a_key_of_its_own() -> None:
    assert decision_keys(config("memory:")) != decision_keys(config("memory:"))
