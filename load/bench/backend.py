"""The backend of the bench: a model server in C that costs almost nothing (`native/`), compiled where it is not yet."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from load.bench.settings import CannotRun
from load.generate.rig import reporting
from load.generate.stand_in import signatures, states
from serving import wire

_SOURCES: Final = Path(__file__).parent / "native"
# Beside Envoy: programs that only a bench runs.
_PROGRAM: Final = Path(__file__).parents[2] / ".bench-venv" / "backend"
_FLAGS: Final = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
_COMPILE_S: Final = 60.0


def compiled(program: Path = _PROGRAM, flags: tuple[str, ...] = _FLAGS) -> Path:
    """Return the program, compiled when it is older than its sources; CannotRun where it can't be."""
    sources = sorted(_SOURCES.iterdir())
    if program.exists() and program.stat().st_mtime >= max(one.stat().st_mtime for one in sources):
        return program
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotRun("not in the PATH: cc (gcc in Debian)")
    program.parent.mkdir(parents=True, exist_ok=True)
    parts = [str(one) for one in sources if one.suffix == ".c"]
    command = [compiler, *flags, "-o", str(program), *parts, "-lnghttp2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_COMPILE_S)
    if done.returncode:
        raise CannotRun(f"the backend can't be compiled (libnghttp2-dev in Debian has its header):\n{done.stderr}")
    return program


@contextlib.asynccontextmanager
async def backend(
    *, versions: int = 2, columns: int = 0, program: Path | None = None
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Run it with so many versions of every model; yield its address, and what it saw once it has ended.

    Each row is answered with its first `columns` numbers, 0 for all.
    """
    with tempfile.TemporaryDirectory() as folder:
        metadata = wire.GetModelMetadataResponse()
        metadata.metadata["signature_def"].Pack(signatures())
        answers = {wire.GET_MODEL_STATUS: states(versions), wire.GET_MODEL_METADATA: metadata}
        command = [str(program or compiled()), str(columns), str(versions)]
        for number, (path, answer) in enumerate(answers.items()):
            file = Path(folder) / f"answer-{number}"
            file.write_bytes(answer.SerializeToString())
            command += [path, str(file)]
        async with reporting(command) as (address, seen):
            yield address, seen
