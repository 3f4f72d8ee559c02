"""The page on the admin API lists every route with its role."""

from pathlib import Path

from router.admin.routes import ROUTES
from tests.repo.tree import ROOT


def table() -> str:
    lines = ["| route | role | |", "|---|---|---|"]
    lines += [f"| `{route.method} {route.path}` | {route.role.name.lower()} | {route.about} |" for route in ROUTES]
    return "\n".join(lines)


def test_page_lists_every_route() -> None:
    text = (Path(ROOT) / "docs" / "reference" / "admin-api.md").read_text(encoding="utf-8")

    assert table() in text, f"write this into admin-api.md:\n\n{table()}\n"
