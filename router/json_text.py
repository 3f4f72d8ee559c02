"""JSON as it is written to a terminal or a log: readable, and without what a terminal would obey."""

import json
import re
from typing import Any, Final

# C0, DEL and C1 control a terminal; json.dumps escapes only the first of these. What else is not printable (marks that turn
# the direction of writing, halves of surrogate pairs) hides what is written, or is no UTF-8.
_OUTSIDE_ASCII: Final = re.compile("[\x7f-\U0010ffff]")


def json_text(value: object, **options: Any) -> str:
    """Return JSON with letters of all languages as they are; `options` are those of json.dumps."""
    return _OUTSIDE_ASCII.sub(_escaped, json.dumps(value, ensure_ascii=False, **options))


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place]:02x}{units[place + 1]:02x}" for place in range(0, len(units), 2))
