"""What a worker's process runs first, as `python -P -m router.worker_start FD`.

Signals meant for the process group are the control process's to handle, also in the second that a worker takes to load:
Ctrl-C would leave a traceback of each.
"""

import os
import signal
import sys


def start() -> int:
    """Ignore them, load the worker, and run it; return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    from router.worker import main

    return main()


if __name__ == "__main__":
    code = start()
    # grpc's own threads may outlive the loop by seconds; everything of ours is closed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
