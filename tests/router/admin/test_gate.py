"""Every route is tried with every role; hosts, origins and content types that will not do are refused."""

import hashlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from router.admin import routes
from router.admin.answers import answer
from router.admin.application import Handler, application
from router.admin.gate import Caller, Gate
from router.admin.routes import ROUTES, Role, Route
from router.admin.token import made_token
from router.config.document import validate
from router.config.settings import Admin
from router.fronts.http import serve_http
from turpin.token import SUFFIX, read_token

TOKENS = {Role.VIEWER: "viewer-token", Role.OPERATOR: "operator-token", Role.ADMIN: "admin-token"}
HEADERS = {
    "none": {},
    "wrong": {"Authorization": "Bearer nobody-knows-this"},
    "basic": {"Authorization": "Basic YWRtaW4tdG9rZW4="},
    **{role.name.lower(): {"Authorization": f"Bearer {token}"} for role, token in TOKENS.items()},
}
MADE = "turpin_" + "x" * 43


def settings(**changes: object) -> Admin:
    tokens = [
        {"name": role.name.lower(), "role": role.name.lower(), "sha256": hashlib.sha256(token.encode()).hexdigest()}
        for role, token in TOKENS.items()
    ]
    return validate(Admin, {"tokens": tokens, **changes})


def echoes() -> dict[str, Handler]:
    """For every route a handler that says who called."""

    async def echo(request: web.Request, caller: Caller) -> web.Response:
        return answer({"caller": caller.name})

    return {route.name: echo for route in ROUTES}


async def session_of(gate: Gate) -> AsyncIterator[aiohttp.ClientSession]:
    runner, port = await serve_http(application(gate, echoes()), "127.0.0.1", 0, is_shared=False)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session
    await runner.cleanup()


@pytest.fixture
async def guarded() -> AsyncIterator[aiohttp.ClientSession]:
    """A port with one token per role."""
    async for session in session_of(Gate(settings())):
        yield session


@pytest.fixture
async def unguarded() -> AsyncIterator[aiohttp.ClientSession]:
    """A port on loopback without configured tokens."""
    async for session in session_of(Gate(Admin(), made_token=MADE)):
        yield session


async def call(session: aiohttp.ClientSession, route: Route, **headers: str) -> tuple[int, str]:
    """Call a route with an empty JSON object, by whatever name it reads; return the status and the problem's label."""
    kind = {} if route.method == "GET" else {"Content-Type": route.media}
    path = route.path.format(name="digits", arm="v1", model="digits", n="1", version="1", backend="tfs-a", capture="c")
    body = None if route.method == "GET" else b"{}"
    async with session.request(route.method, path, data=body, headers={**kind, **headers}) as got:
        return got.status, "" if got.status == 200 else (await got.json())["type"].rpartition(":")[2]


def allowed(route: Route, who: str) -> tuple[int, str]:
    """What the table says of this call."""
    if route.role is Role.ANYBODY:
        return 200, ""
    if who in ("none", "wrong", "basic"):
        return 401, "unauthenticated"
    return (200, "") if Role[who.upper()] >= route.role else (403, "forbidden")


@pytest.mark.parametrize(
    ("route", "who"),
    list(itertools.product(ROUTES, HEADERS)),
    ids=lambda part: part if isinstance(part, str) else f"{part.method} {part.path}",
)
async def test_every_route_answers_the_roles_it_should(guarded: aiohttp.ClientSession, route: Route, who: str) -> None:
    assert await call(guarded, route, **HEADERS[who]) == allowed(route, who)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_on_loopback_without_tokens_reading_is_open_and_writing_wants_the_made_one(
    unguarded: aiohttp.ClientSession, route: Route
) -> None:
    # What people sent is no more open than writing.
    wants_it = route.is_writing or route.name == "show_capture"
    assert (await call(unguarded, route))[0] == (401 if wants_it else 200)
    assert (await call(unguarded, route, Authorization=f"Bearer {MADE}"))[0] == 200
    wrong = (await call(unguarded, route, Authorization=f"Bearer {MADE[:-1]}y"))[0]
    assert wrong == (200 if route.role is Role.ANYBODY else 401)


async def test_without_any_token_nobody_writes() -> None:
    writing = Route("POST", "/write", Role.VIEWER, "list_experiments", "")
    app = application(Gate(Admin()), echoes(), routes=[writing])
    runner, port = await serve_http(app, "127.0.0.1", 0, is_shared=False)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            assert (await call(session, writing))[0] == 401
            assert (await call(session, writing, Authorization="Bearer "))[0] == 401
    finally:
        await runner.cleanup()


def test_table_names_each_route_and_handler_once() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    # Nobody may change anything without a role, and only viewers' calls are without consequence.
    assert all(route.role >= Role.OPERATOR for route in ROUTES if route.is_writing)


def test_route_without_a_handler_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        application(Gate(Admin()), {})


READ = next(route for route in ROUTES if route.name == "list_experiments")


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8502", "127.0.0.1.evil.example", "", "10.1.2.3"]
)
async def test_foreign_host_names_are_refused(unguarded: aiohttp.ClientSession, host: str) -> None:
    assert await call(unguarded, READ, Host=host) == (403, "forbidden")


@pytest.mark.parametrize("host", ["localhost:8502", "LOCALHOST", "127.0.0.1:1", "[::1]:8502"])
async def test_our_own_host_names_are_taken(unguarded: aiohttp.ClientSession, host: str) -> None:
    assert (await call(unguarded, READ, Host=host))[0] == 200


async def test_configured_host_names_are_taken() -> None:
    async for session in session_of(Gate(settings(hosts=["Turpin.internal"]))):
        known = HEADERS["viewer"]
        assert (await call(session, READ, Host="turpin.internal:8502", **known))[0] == 200
        assert (await call(session, READ, Host="turpin.example", **known))[0] == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://localhost:1", "http://127.0.0.1", "http://["]
)
async def test_pages_of_other_origins_are_refused(unguarded: aiohttp.ClientSession, origin: str) -> None:
    assert await call(unguarded, READ, Origin=origin) == (403, "forbidden")


async def test_page_of_our_own_is_taken(unguarded: aiohttp.ClientSession) -> None:
    assert (await call(unguarded, READ, Host="localhost:8502", Origin="http://localhost:8502"))[0] == 200


WRITE = next(route for route in ROUTES if route.is_writing)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("place", ["empty", "iframe", "script"])
async def test_calls_that_a_browser_makes_for_pages_of_others_are_refused(
    unguarded: aiohttp.ClientSession, site: str, place: str
) -> None:
    told = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": place, "Authorization": f"Bearer {MADE}"}

    assert await call(unguarded, READ, **told) == (403, "forbidden")
    assert await call(unguarded, WRITE, **told) == (403, "forbidden")


async def test_link_on_a_page_of_others_may_be_followed_to_what_is_read(unguarded: aiohttp.ClientSession) -> None:
    told = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document", "Authorization": f"Bearer {MADE}"}

    assert (await call(unguarded, READ, **told))[0] == 200
    assert await call(unguarded, WRITE, **told) == (403, "forbidden")


@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_our_own_page_and_its_reader_are_taken(unguarded: aiohttp.ClientSession, site: str) -> None:
    told = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "empty", "Authorization": f"Bearer {MADE}"}

    assert (await call(unguarded, READ, **told))[0] == 200
    assert (await call(unguarded, WRITE, **told))[0] == 200


def test_variables_of_a_path_end_before_a_verb() -> None:
    assert routes.pattern("/a/{name}:start") == "/a/{name:[^{}/:]+}:start"


def test_made_token_is_made_once_beside_the_store_and_read_by_its_owner_alone(tmp_path: Path) -> None:
    store = f"sqlite://{tmp_path}/turpin.db"
    token, path = made_token(store)

    assert path == tmp_path / f"turpin.db{SUFFIX}"
    assert path.stat().st_mode & 0o777 == 0o600
    assert made_token(store) == (token, path)
    assert read_token(path) == token


def test_made_token_of_a_store_in_memory_is_new_at_each_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    (first, path), (second, again) = made_token("memory:"), made_token("memory:")

    assert first != second
    assert path == again
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_folder_that_others_can_read_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    _, path = made_token("memory:")
    path.parent.chmod(0o755)

    with pytest.raises(OSError, match="only this user can read"):
        made_token("memory:")
