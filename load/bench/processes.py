"""What a process and those it started have used: processor time and memory, from /proc."""

import os
from pathlib import Path

# What a file of a process that has just ended raises.
_GONE = (FileNotFoundError, ProcessLookupError)


def tree(pid: int) -> list[int]:
    """Return a process and all below it; OSError where it is not there."""
    found = [pid]
    for one in found:
        for task in _tasks(one, pid):
            found += [int(child) for child in _text(f"{one}/task/{task}/children", pid).split()]
    return found


def cpu_s(pid: int) -> float:
    """Return the processor time of a process and of those below it, in seconds, those included that they waited for.

    Without these the difference of two looks would be too small, or negative, where one below has ended in between.
    """
    ticks = 0
    for one in tree(pid):
        # utime, stime, and those of its children that have ended and were waited for (proc(5)).
        ticks += sum(map(int, _text(f"{one}/stat", pid).rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Return what a process and those below it hold, in MB."""
    pages = sum(int((_text(f"{one}/statm", pid).split() or ["0", "0"])[1]) for one in tree(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def pin(pid: int, cores: set[int]) -> None:
    """Keep all threads of a process, and of those below it, on these cores."""
    for one in tree(pid):
        for task in _tasks(one, pid):
            try:
                os.sched_setaffinity(task, cores)
            except ProcessLookupError:
                # A thread that has ended.
                continue


def _tasks(pid: int, root: int) -> list[int]:
    try:
        return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    except _GONE:
        if pid == root:
            raise
        return []


def _text(name: str, root: int) -> str:
    """Return a file below /proc; nothing where its process, if it is not the root, has ended."""
    try:
        return Path(f"/proc/{name}").read_text()
    except _GONE:
        if int(name.partition("/")[0]) == root and "/task/" not in name:
            raise
        return ""
