"""Rewards as lines of JSON: read lazily, checked before they are sent, and put into batches that a gateway takes."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

# A token of 94 characters, an event and a value; a value for each of thousands of rows.
LINE_BYTES_MAX: Final = 1 << 20
# A gateway takes 4 MiB in one call.
BATCH_BYTES_MAX: Final = 3 << 20
# A gateway takes 10,000 in one call; a tenth of that is answered within a tenth of a second.
BATCH_MAX: Final = 10_000


class BadLine(Exception):
    """A line that can't be a reward: nothing of it and of what follows was sent."""


@dataclass(frozen=True, slots=True)
class Line:
    """One reward, the number of its line (from 1), and how many bytes of the file end with it."""

    number: int
    claim: Mapping[str, Any]
    size_bytes: int


def read(file: IO[bytes], first: int = 1) -> Iterator[Line]:
    """Yield the rewards of a file from the line `first` on; empty lines are passed over. BadLine names the first bad one."""
    number = 0
    while raw := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(raw) > LINE_BYTES_MAX:
            raise BadLine(f"line {number}: longer than {LINE_BYTES_MAX} bytes")
        if number >= first and raw.strip():
            yield Line(number, _claim(raw, number), len(raw))


def _claim(raw: bytes, number: int) -> Mapping[str, Any]:
    try:
        found: object = json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"line {number}: no JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("decision"), str):
        raise BadLine(f'line {number}: must be an object such as {{"decision": "…", "reward": 1}}')
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"a reward must be a finite number, got {constant}")


def batches(lines: Iterable[Line], size_max: int) -> Iterator[list[Line]]:
    """Yield the lines in lists of at most `size_max`, and of no more bytes than a gateway takes."""
    batch: list[Line] = []
    size_bytes = 0
    for line in lines:
        if batch and (len(batch) >= size_max or size_bytes + line.size_bytes > BATCH_BYTES_MAX):
            yield batch
            batch, size_bytes = [], 0
        batch.append(line)
        size_bytes += line.size_bytes
    if batch:
        yield batch
