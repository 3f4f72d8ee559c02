"""How sums and counted pairs lie in Redis: names of keys, and the arguments of the scripts that add to them.

All keys of an epoch carry its hash tag, so that a Cluster keeps them in one place: one script may write to all of them.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from router.store.contract import FIELDS, INT64_MAX, INT64_MIN, Cell, CounterOverflow, Reward
from router.store.ledger import Key

_VALUE: Final = struct.Struct(">d")
# As many bytes of an event stand as they are; of a longer one its digest, behind a byte that no text has.
_EVENT_BYTES_MAX: Final = 16
_DIGEST: Final = b"\xff"
# A hash takes new pairs for an eighth of the time that the last of them lives, at least this long.
_HASHES_PER_LIFE: Final = 8
# Redis keeps a hash by itself for so much longer than it is needed, should nobody come to clear it away.
_KEPT_LONGER_S: Final = 3600
# Rewards that a call of the script carries: it keeps Redis for 2 to 3 ms.
REWARDS_PER_SCRIPT: Final = 1000


class EpochKeys:
    """The names of an epoch's keys."""

    __slots__ = ("_base", "changed", "changes", "mark", "pairs", "scratch", "sequences")

    def __init__(self, epoch: int) -> None:
        self._base = f"{{turpin:{epoch:016x}}}:"
        self.mark = self._base + "mark"
        self.changed = self._base + "changed"
        self.changes = self._base + "changes"
        self.scratch = self._base + "scratch"
        self.pairs = self._base + "pairs"
        self.sequences = self._base + "sequences"

    def cell(self, name: str) -> str:
        """Return the key of a cell, by the name that `cell_name` gives it."""
        return f"{self._base}cell:{name}"


def cell_name(arm: int, block: int) -> str:
    """Return what a cell is called among those of its epoch."""
    return f"{arm}:{block}"


def pair_key(nonce: bytes, event: str) -> bytes:
    """Return what stands for a pair: short, so that a million of them stay below 120 MB."""
    text = event.encode()
    if len(text) > _EVENT_BYTES_MAX:
        text = _DIGEST + hashlib.blake2b(text, digest_size=_EVENT_BYTES_MAX).digest()
    return nonce + text


def value_bytes(value: float) -> bytes:
    """Return a reward's value to the last bit; a zero has no sign."""
    return _VALUE.pack(value + 0.0)


def value_of(kept: bytes) -> float:
    """Return a value as it was kept."""
    found: float = _VALUE.unpack(kept)[0]
    return found


def added(fields_by_cell: Iterable[tuple[Cell, Mapping[str, int]]]) -> dict[Cell, dict[str, int]]:
    """Return what is to be added to each cell, zeros left out. Raises CounterOverflow."""
    sums: dict[Cell, dict[str, int]] = {}
    for cell, fields in fields_by_cell:
        for name, number in fields.items():
            if number:
                cell_sums = sums.setdefault(Cell(*cell), {})
                cell_sums[name] = cell_sums.get(name, 0) + number
    for cell, cell_sums in sums.items():
        for name, number in cell_sums.items():
            if not INT64_MIN <= number <= INT64_MAX:
                raise CounterOverflow(f"{name} of {cell} would grow by {number}, beyond 64 bits; nothing was added")
    return sums


def cell_arguments(sums: Mapping[Cell, Mapping[str, int]], keys: EpochKeys) -> tuple[list[str], list[str | bytes]]:
    """Return the keys of the cells, and what is to be added to each as the scripts read it."""
    names: list[str] = []
    arguments: list[str | bytes] = []
    for cell, fields in sums.items():
        name = cell_name(cell.arm, cell.block)
        names.append(keys.cell(name))
        arguments += (name, str(len(fields)))
        for field, number in fields.items():
            arguments += (field, str(number))
    return names, arguments


def pair_arguments(fresh: Mapping[Key, Reward], now: float) -> list[str | bytes]:
    """Return the pairs as the script reads them: their kinds (by how long they live), then each with its value."""
    kinds: dict[int, list[int]] = {}
    for reward in fresh.values():
        kinds.setdefault(_kind(reward, now), []).append(reward.expires_at)
    numbers = {kind: number for number, kind in enumerate(kinds, 1)}
    arguments: list[str | bytes] = [str(len(fresh)), str(len(kinds))]
    for kind, ends in kinds.items():
        lasts_s = max(1, (1 << kind) // _HASHES_PER_LIFE)
        arguments += (str(kind), str(lasts_s), str(max(ends)), str(_KEPT_LONGER_S))
    for (nonce, event), reward in fresh.items():
        arguments += (pair_key(nonce, event), value_bytes(reward.value), str(numbers[_kind(reward, now)]))
    return arguments


def _kind(reward: Reward, now: float) -> int:
    """Return the power of two of seconds that a pair lives: long ones are not to keep short ones alive."""
    return max(0, int(reward.expires_at - now)).bit_length()


def cell_of(pairs: Sequence[bytes] | Mapping[bytes, bytes]) -> dict[str, int]:
    """Return all fields of a cell from what HGETALL answers to a script; names of a later version are left out."""
    flat = pairs if isinstance(pairs, Sequence) else [part for pair in pairs.items() for part in pair]
    found = dict.fromkeys(FIELDS, 0)
    for name, number in zip(flat[::2], flat[1::2], strict=True):
        if (text := name.decode()) in found:
            found[text] = int(number)
    return found
