"""The environments of the peers: a folder each, with what pip puts there, apart from the project's own."""

import asyncio
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Beside Envoy, which make bench installs.
FOLDER: Final = Path(__file__).parents[3] / ".bench-venv" / "peers"
_INSTALL_S: Final = 600.0
# What pip says last is why it gave up.
_LINES: Final = 3


class NotInstalled(Exception):
    """A peer can't be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What pip installs, and a module that has to be importable afterwards.

    `pythons`: programs that are tried first, in this order; else it is the Python of the bench.
    """

    name: str
    requirements: tuple[str, ...]
    module: str
    pythons: tuple[str, ...] = ()


async def installed(environment: Environment, folder: Path = FOLDER) -> Path:
    """Return the folder of an environment's programs, having made it where it is not there; NotInstalled says why not."""
    place = folder / environment.name
    stamp, wanted = place / "installed", "\n".join(environment.requirements)
    if not stamp.exists() or stamp.read_text() != wanted:
        sys.stderr.write(f"installing {', '.join(environment.requirements)} into {place.name}\n")
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        await _run(await _python(environment.pythons), "-m", "venv", str(place))
        pip = (str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        await _run(*pip, *environment.requirements)
        await _run(str(place / "bin" / "python"), "-c", f"import {environment.module}")
        stamp.write_text(wanted)
    return place / "bin"


async def version(environment: Environment, programs: Path) -> str:
    """Return what was installed, and for which Python."""
    said = await _run(
        str(programs / "python"),
        *("-c", "import importlib.metadata as m, platform, sys; print(*map(m.version, sys.argv[1:]), end=' ')"),
        environment.requirements[0].partition("==")[0].partition("[")[0],
    )
    python = await _run(str(programs / "python"), "-c", "import platform; print(platform.python_version())")
    return f"{environment.requirements[0].partition('==')[0]} {said.strip()}, Python {python.strip()}"


async def _python(wanted: tuple[str, ...]) -> str:
    """Return the first of these programs that runs, else the Python of the bench."""
    for name in wanted:
        if path := shutil.which(name):
            try:
                await _run(path, "-c", "import ensurepip, venv")
            except NotInstalled:
                # A name for a version that is not chosen here, as version managers leave them.
                continue
            return path
    return sys.executable


async def _run(*command: str) -> str:
    """Return what a program prints; NotInstalled with its last complaints if it fails."""
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_INSTALL_S):
            said, complaints = await child.communicate()
    except TimeoutError as error:
        child.kill()
        await child.wait()
        raise NotInstalled(f"{' '.join(command[1:4])} took longer than {_INSTALL_S:.0f} s") from error
    if child.returncode:
        why = " / ".join(complaints.decode(errors="replace").strip().splitlines()[-_LINES:])
        raise NotInstalled(why or f"{command[0]} ended with {child.returncode}")
    return said.decode()
