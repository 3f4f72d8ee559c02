"""Pages of long lists: the newest first, each with an opaque cursor to what came before it."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from router.admin.answers import Refused
from router.problems import Problem
from router.store import Store

# A page of the longest rows is a few megabytes.
LIMIT_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which page: how many entries, and before which number (None: the newest)."""

    limit: int
    before: int | None


async def page_of(store: Store, whose: str, request: web.Request, key: str) -> dict[str, Any]:
    """Return the page that a request asks for as JSON: the entries under `key`, oldest first, and `next` if there are
    older ones."""
    wanted = read(request, whose)
    entries, before = await store.page(whose, wanted.limit, wanted.before)
    body: dict[str, Any] = {key: [msgspec.Raw(entry) for entry in entries]}
    return body | ({} if before is None else {"next": _cursor(whose, before)})


def read(request: web.Request, whose: str) -> Wanted:
    """Return which page is asked for; Refused for a limit or a cursor that is none."""
    text = request.query.get("limit", str(LIMIT_MAX))
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= LIMIT_MAX):
        raise Refused(Problem.INVALID, f"limit must be a number from 1 to {LIMIT_MAX}; got {text[:40]!r}")
    cursor = request.query.get("cursor")
    return Wanted(int(text), None if cursor is None else _number(cursor, whose))


def _cursor(whose: str, number: int) -> str:
    # The name goes along, so that a cursor of one list is not taken for another's.
    return base64.urlsafe_b64encode(f"{number}:{whose}".encode()).decode().rstrip("=")


def _number(cursor: str, whose: str) -> int:
    try:
        text = base64.b64decode(cursor.encode() + b"==", altchars=b"-_", validate=False).decode()
    except (binascii.Error, UnicodeError, ValueError):
        text = ""
    number, _, name = text.partition(":")
    if name != whose or not (number.isascii() and number.isdecimal()) or len(number) > 18:
        raise Refused(Problem.INVALID, "cursor must be the `next` of an earlier page of this list, as it was")
    return int(number)
