"""The settings that are accepted and do nothing in this version, so that nobody relies on one unawares."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from router.config.document import Document

# (place, why it does nothing); `*` stands for every entry. Each goes when its part is built.
_UNUSED: Final = (
    ("backends.*.rest", "requests are not proxied to a REST port yet"),
    ("backends.*.location", "locations are not used yet"),
)


def unused_settings(config: Document) -> Iterator[str]:
    """Yield a line for each setting of a `Config` that was changed from its default and has no effect."""
    for pattern, why in _UNUSED:
        for place in _changed(config, tuple(pattern.split(".")), ()):
            text = ".".join(place)
            yield f"{text} has no effect in this version: {why}"


def _changed(value: Any, pattern: tuple[str, ...], place: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    head, *rest = pattern
    if head == "*":
        entries = value.items() if isinstance(value, Mapping) else ((item.name, item) for item in value)
        for name, item in entries:
            yield from _changed(item, tuple(rest), (*place, name))
    elif rest:
        inner = getattr(value, head)
        if inner is not None:
            yield from _changed(inner, tuple(rest), (*place, head))
    elif getattr(value, head) != type(value).model_fields[head].get_default(call_default_factory=True):
        yield (*place, head)
