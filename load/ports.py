"""Ports of this machine for what is started here."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on; all different, and nobody's until they are listened on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
