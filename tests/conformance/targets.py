"""What the suite is run against: addresses, and how the configuration behind them is changed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving import wire
from tests.conformance.models import ModelFolders

# A call to loopback that takes longer than this hangs.
TIMEOUT_S: Final = 20


@dataclass(frozen=True, slots=True)
class Target:
    """One server under test. `reload` changes what the model server behind it serves, and returns when it is so."""

    name: str
    grpc: str
    rest: str
    folders: ModelFolders
    takes_reloads: bool
    reload: Callable[[wire.Message], None]
    log: Path | None = None
