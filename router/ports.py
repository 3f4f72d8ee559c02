"""Ports that several workers share: taken by the control process before any worker starts."""

import asyncio
import socket
from typing import Final

from router.config.fields import split_address

# A gateway that was killed leaves workers that are still draining; they let go of their ports within moments.
_PREDECESSOR_S: Final = 3.0
_LOOK_S: Final = 0.1


async def take(address: str) -> tuple[str, socket.socket]:
    """Reserve "host:port", waiting a little for a predecessor to let go of it; see `reserve`."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _PREDECESSOR_S
    while True:
        try:
            return reserve(address)
        except OSError:
            if loop.time() > give_up_at:
                raise
        await asyncio.sleep(_LOOK_S)


def reserve(address: str) -> tuple[str, socket.socket]:
    """Take "host:port" for this gateway and return the address with its port number, and the socket that holds it.

    The socket is bound with SO_REUSEPORT and never listens, so that it gets no connections; workers bind beside it.
    Port 0 becomes a free one. OSError when another program, or another gateway, listens there: with SO_REUSEPORT alone
    a second gateway would start in silence and take half the connections.
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        held = socket.socket(family)
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((host, port))
        except OSError:
            held.close()
            raise
    except OSError as error:
        raise OSError(f"can't listen on {address}: {error.strerror}") from error
    number = held.getsockname()[1]
    return (f"[{host}]:{number}" if family == socket.AF_INET6 else f"{host}:{number}"), held
