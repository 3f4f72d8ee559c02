"""The console's files: what is vendored is what was noted, all of it is small, and it is served with care."""

import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web

from router.console.files import HEADERS, add_console, files
from router.fronts.http import serve_http
from tests.repo.tree import ROOT
from tests.system.gateway import serving

CONSOLE: Final = ROOT / "router" / "console"
PAGE: Final = CONSOLE / "page"
VENDORED: Final[list[dict[str, Any]]] = json.loads((CONSOLE / "vendored.json").read_text())["files"]
OURS: Final = sorted(path for path in PAGE.rglob("*") if path.is_file() and path.parent.name != "vendor")
# Issue 8, and a module is read in one sitting.
GZIPPED_BYTES_MAX: Final = 60_000
LINES_MAX: Final = 300


def test_vendored_files_are_those_that_were_noted() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (PAGE / "vendor").iterdir()}

    assert found == {one["file"]: one["sha256"] for one in VENDORED}


def test_every_licence_is_there() -> None:
    named = {text for one in VENDORED for text in one["texts"]}

    assert named == {path.name for path in (CONSOLE / "licences").iterdir()}
    assert all(one["licence"] and one["version"] for one in VENDORED)


def test_all_of_it_is_small() -> None:
    sizes = {name: len(gzip.compress(file.plain, 9)) for name, file in files().items()}

    assert sum(sizes.values()) <= GZIPPED_BYTES_MAX, sizes


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(PAGE)))
def test_module_is_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()

    assert len(text.splitlines()) <= LINES_MAX
    if path.suffix == ".js":
        assert re.match(r"// [A-Z].+", text)


def test_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    page = (PAGE / "index.html").read_text()

    assert not re.findall(r"<style|\son\w+=|style=|javascript:", page)
    assert all(body == "" for body in re.findall(r"<script[^>]*>([^<]*)</script>", page))
    assert all(link.startswith("/console/") for link in re.findall(r'(?:src|href)="([^"]+)"', page))
    for path in OURS:
        addresses = re.findall(r"https?://[^\s\"'`)]+", path.read_text())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path


def test_token_is_kept_nowhere() -> None:
    words = ("localStorage", "sessionStorage", "indexedDB", "document.cookie", "dangerouslySetInnerHTML", "innerHTML")

    assert {(path.name, word) for path in OURS for word in words if word in path.read_text()} == set()


async def got(path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Ask for a file as it is sent."""
    app = web.Application()
    add_console(app)
    runner, port = await serve_http(app, "127.0.0.1", 0, is_shared=False)
    try:
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}", auto_decompress=False) as session,
            session.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()}) as answer,
        ):
            return answer.status, await answer.read(), {name.lower(): value for name, value in answer.headers.items()}
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("path", "name", "media"),
    [
        ("/", "index.html", "text/html"),
        ("/console/app.js", "app.js", "text/javascript"),
        ("/console/views/traffic.js", "views/traffic.js", "text/javascript"),
        ("/console/vendor/pico.min.css", "vendor/pico.min.css", "text/css"),
        ("/console/icon.svg", "icon.svg", "image/svg+xml"),
    ],
)
async def test_file_is_sent_as_it_is(path: str, name: str, media: str) -> None:
    plain = (PAGE / name).read_bytes()

    status, body, headers = await got(path, Accept_Encoding="identity")
    assert (status, body, headers["content-type"]) == (200, plain, f"{media}; charset=utf-8")
    assert {key: headers[key.lower()] for key in HEADERS} == HEADERS

    _, body, headers = await got(path, Accept_Encoding="gzip, deflate")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == plain


async def test_policy_lets_nothing_in_from_elsewhere() -> None:
    _, _, headers = await got("/")

    rules = dict(rule.split(maxsplit=1) for rule in headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'self'"
    assert not [rule for rule in rules.values() if "unsafe" in rule or "*" in rule or "data:" in rule]


async def test_file_that_the_reader_has_is_not_sent_again() -> None:
    _, _, first = await got("/console/app.js", Accept_Encoding="gzip")

    status, body, headers = await got("/console/app.js", Accept_Encoding="gzip", If_None_Match=first["etag"])
    assert (status, body, headers["etag"]) == (304, b"", first["etag"])
    # Plain it is another entity.
    assert (await got("/console/app.js", Accept_Encoding="identity", If_None_Match=first["etag"]))[0] == 200


@pytest.mark.parametrize(
    "path", ["/console/", "/console/nothing.js", "/console/../files.py", "/console/%2e%2e/files.py"]
)
async def test_what_is_no_file_of_the_console_is_not_found(path: str) -> None:
    assert (await got(path))[0] == 404


async def test_console_that_is_switched_off_is_not_there(tmp_path: Path) -> None:
    document = {
        "store": "memory:",
        "listen": {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "backends": {"only": {"target": "127.0.0.1:1", "price_usd_per_hour": 0.5}},
        "admin": {"console": False},
    }
    async with serving(tmp_path, document) as gateway, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{gateway.admin}"
        statuses = {}
        for path in ("/", "/console/app.js", "/admin/v1/version"):
            async with session.get(url + path) as answer:
                statuses[path] = answer.status

    assert statuses == {"/": 404, "/console/app.js": 404, "/admin/v1/version": 200}
