"""What differs between two specifications, field by field; arms are compared by name, wherever they stand."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


class Difference(msgspec.Struct, frozen=True):
    """One field: how it was and how it is; None where it is not there."""

    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field}: {_text(self.before)} -> {_text(self.after)}"


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return what differs between two specifications as JSON, defaults included."""
    return tuple(_between("", before, after))


def _between(place: str, before: Any, after: Any) -> Iterator[Difference]:
    before, after = _by_name(before), _by_name(after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            yield from _between(f"{place}.{key}" if place else str(key), before.get(key), after.get(key))
    elif before != after:
        yield Difference(place, before, after)


def _by_name(value: Any) -> Any:
    """Return a list of named things as a mapping."""
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "name" in one for one in value):
        return {one["name"]: one for one in value}
    return value


def _text(value: Any) -> str:
    return "(nothing)" if value is None else msgspec.json.encode(value).decode()
