"""A process in a worker's place that does what it is told; only the standard library, so that it starts in a moment.

Run with a folder, one program per start (the last one is repeated) and the number of its socket. A program is words
separated by commas: expect=HEX (a frame), send=HEX, stop (wait for any frame, or the end of the line), close, hang,
exit=CODE.
"""

import os
import signal
import socket
import sys


def receive(line: socket.socket) -> bytes:
    """Read a frame without its length; empty at the end of the line."""
    head = line.recv(4, socket.MSG_WAITALL)
    return line.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if head else b""


def start_number(folder: str) -> int:
    """Count the starts in the folder, also of several processes at once."""
    number = 0
    while True:
        try:
            os.mkdir(os.path.join(folder, str(number)))
        except FileExistsError:
            number += 1
        else:
            return number


def main() -> None:
    folder, *programs, number = sys.argv[1:]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    line = socket.socket(fileno=int(number))
    for step in programs[min(start_number(folder), len(programs) - 1)].split(","):
        word, _, argument = step.partition("=")
        if word == "expect" and receive(line).hex() != argument:
            sys.exit(99)
        elif word == "send":
            line.sendall(bytes.fromhex(argument))
        elif word == "stop":
            receive(line)
        elif word == "close":
            line.close()
        elif word == "hang":
            signal.pause()
        elif word == "exit":
            os._exit(int(argument))


main()
