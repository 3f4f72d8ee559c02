"""docker-compose.yml as tests read it: anchors resolved, `!reset` taken for what it does, short forms split."""

import re
from pathlib import Path
from typing import Any, Final

import yaml

from tests.repo.tree import ROOT

BASE: Final = ROOT / "docker-compose.yml"
CPU: Final = ROOT / "docker-compose.cpu.yml"


class _Loader(yaml.SafeLoader):
    """YAML with Compose's own tag."""


_Loader.add_constructor("!reset", lambda loader, node: None)


def read(path: Path) -> dict[str, Any]:
    """Return the content of a Compose file; what `!reset` takes away is None."""
    document: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    return document


def services() -> dict[str, dict[str, Any]]:
    """Return the services of docker-compose.yml."""
    found: dict[str, dict[str, Any]] = read(BASE)["services"]
    return found


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (source, target) of a service's volumes."""
    # A source may hold the colon of ${NAME:-default}.
    parts = (re.fullmatch(r"((?:\$\{[^}]*\}|[^:])+):([^:]+)(?::ro)?", volume) for volume in service.get("volumes", ()))
    return [(part[1], part[2]) for part in parts if part]


def seen_as(service: dict[str, Any], path: str) -> Path:
    """Return the file of this repository that a service finds under `path`; AssertionError if there is none."""
    for source, target in mounts(service):
        if path == target or path.startswith(f"{target}/"):
            file = ROOT / source / path.removeprefix(target).lstrip("/") if path != target else ROOT / source
            assert file.exists(), f"{path} is {file}, which does not exist"
            return file
    raise AssertionError(f"nothing is mounted at {path}: {mounts(service)}")


def variables(path: Path) -> dict[str, str]:
    """Return each variable of a Compose file, with what stands behind its name: `:?words` or `:-default`."""
    # $$ is a dollar for the container.
    text = path.read_text(encoding="utf-8").replace("$$", "")
    return dict(re.findall(r"\$\{?([A-Z_]+)(:[^}]*)?\}?", text))
