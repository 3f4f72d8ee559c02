"""Renewed certificates for Envoy, which reads its files again when something is moved in a folder that it watches."""

import asyncio
from pathlib import Path
from typing import Final

from serving.tls import CertificateFiles, Current

# The old certificate is good for days yet; a look takes three calls of `stat`.
_LOOK_S: Final = 1.0


async def follow(files: CertificateFiles, watched: Path) -> None:
    """Look for new files for ever, and have Envoy take over those that fit one another; OSError when none do now."""
    current = Current(files)
    while True:
        await asyncio.sleep(_LOOK_S)
        if current.renew():
            beside = watched.with_name("moved")
            beside.touch()
            beside.rename(watched / "moved")
