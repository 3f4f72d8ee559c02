"""The console's files, served as they lie in the package: a page, its modules and styles, and what is vendored beside.

No token is asked for: there is nothing in them that is not in the package. All that the page shows it asks the admin API
for, with the token of whoever looks.
"""

import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import hdrs, web

PAGE: Final = "/"
FOLDER: Final = "/console/"
_INDEX: Final = "index.html"
_MEDIA: Final = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
    "json": "application/json",
}
# Nothing from elsewhere, nothing inline; no page may frame this one, and no form leaves it.
_POLICY: Final = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A page that opened this one has no hold on it: it could lead it to a copy that asks for the token.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Asked for again each time, and sent again only when it changed: a new version is there at the next reload.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file as it is sent: plain or compressed, with its entity tag and media type."""

    plain: bytes
    compressed: bytes
    etag: str
    media: str

    @classmethod
    def of(cls, name: str, plain: bytes) -> "File":
        """Read what there is to know of a file."""
        # No time of day inside: the same bytes at every gateway.
        compressed = gzip.compress(plain, compresslevel=9, mtime=0)
        return cls(plain, compressed, hashlib.sha256(plain).hexdigest()[:32], _MEDIA[name.rpartition(".")[2]])


def files() -> dict[str, File]:
    """Return the console's files by their names below its folder, with slashes."""
    return dict(_below(resources.files("router.console").joinpath("page"), ""))


def _below(folder: Traversable, place: str) -> list[tuple[str, File]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        name = place + entry.name
        if entry.is_dir():
            found += _below(entry, f"{name}/")
        elif entry.name.rpartition(".")[2] in _MEDIA:
            found.append((name, File.of(name, entry.read_bytes())))
    return found


def add_console(app: web.Application) -> None:
    """Serve the console at `/`, and what it needs below `/console/`."""
    known = files()

    async def page(request: web.Request) -> web.Response:
        return _sent(request, known[_INDEX])

    async def part(request: web.Request) -> web.Response:
        file = known.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return _sent(request, file)

    app.router.add_get(PAGE, page)
    app.router.add_get(FOLDER + "{name:.+}", part)


def _sent(request: web.Request, file: File) -> web.Response:
    """Answer with a file, or with nothing where the reader has it."""
    wants_compressed = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    # What is compressed is another entity.
    etag = f'"{file.etag}{"-gz" if wants_compressed else ""}"'
    headers = {**HEADERS, "ETag": etag}
    if etag in [one.strip() for one in request.headers.get(hdrs.IF_NONE_MATCH, "").split(",")]:
        return web.Response(status=304, headers=headers)
    if wants_compressed:
        headers["Content-Encoding"] = "gzip"
    body = file.compressed if wants_compressed else file.plain
    return web.Response(body=body, content_type=file.media, charset="utf-8", headers=headers)
