"""A file that can't be read to its end is sent as far as it was, and people are told where to go on."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pytest
from typer.testing import CliRunner

import turpin.client
from router import cli
from router.sending import lines
from router.sending.lines import Line


class Taking:
    """A client of a gateway that takes everything."""

    def __init__(self, **settings: object) -> None:
        """Whatever is set makes no difference."""

    def rewards(self, claims: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Take them."""
        return [{"status": 202, "learned": True}] * len(claims)


def breaking_after(count: int) -> Any:
    """Return what reads so many lines of a file, and then finds that its disk is broken."""

    def read(file: IO[bytes], first: int = 1) -> Iterator[Line]:
        yield from (Line(number, {"decision": "x", "reward": 1}, 10) for number in range(first, first + count))
        raise OSError(errno.EIO, "Input/output error")

    return read


@pytest.fixture
def send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    file = tmp_path / "rewards.jsonl"
    file.write_text("")
    monkeypatch.setattr(turpin.client, "Client", Taking)

    def run(count: int, *words: str) -> Any:
        monkeypatch.setattr(lines, "read", breaking_after(count))
        return CliRunner().invoke(cli.app, ["rewards", "send", "--file", str(file), *words])

    return run


def test_where_to_go_on_is_said_when_the_file_breaks_in_the_middle(send: Any) -> None:
    done = send(5, "--batch", "2", "--from", "11")

    assert done.exit_code == 2
    assert done.stdout.startswith("4 recorded")
    assert "Input/output error" in done.stderr
    assert "--from 15" in done.stderr


def test_nothing_is_counted_of_a_file_that_can_not_be_read_at_all(send: Any) -> None:
    done = send(0)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "can't read" in done.stderr
