"""Child processes: logged, awaited, and ended by their pid together with what they started."""

import os
import select
import sys
from pathlib import Path

import pytest

from load.demo import processes
from load.demo.processes import ChildFailed


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def said(log: Path, text: str) -> bool:
    return log.exists() and text in log.read_text()


async def wait_for(log: Path, text: str) -> bool:
    return said(log, text)


async def test_child_is_awaited_and_ended(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    child = await processes.start("a child", python("import time; print('here'); time.sleep(60)"), log)

    await processes.until(child, lambda: wait_for(log, "here"), 10.0)
    status = await processes.end(child)

    assert status == -15
    assert not is_alive(child.pid)


async def test_child_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = await processes.start("a child", python("print('the reason'); raise SystemExit(3)"), log)

    with pytest.raises(ChildFailed, match=r"(?s)a child \(pid \d+\) ended with 3 before it was ready.*the reason"):
        await processes.until(child, lambda: wait_for(log, "never"), 10.0)


async def test_child_that_never_gets_ready_is_reported(tmp_path: Path) -> None:
    child = await processes.start("a child", python("import time; time.sleep(60)"), tmp_path / "child.log")

    with pytest.raises(ChildFailed, match="was not ready after 0 s"):
        await processes.until(child, lambda: wait_for(tmp_path / "child.log", "never"), 0.2)

    await processes.end(child)


async def test_what_a_killed_child_leaves_behind_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(p.pid, 'started'); time.sleep(60)"
    )
    child = await processes.start("a child", python(code), log)
    await processes.until(child, lambda: wait_for(log, "started"), 10.0)
    grandchild = int(log.read_text().split()[0])

    grandchild_ended = os.pidfd_open(grandchild)

    os.kill(child.pid, 9)
    status = await processes.end(child)

    assert status == -9
    # The kernel makes the descriptor readable when the process has ended.
    assert select.select([grandchild_ended], [], [], 10.0)[0]
    os.close(grandchild_ended)


def test_turpin_is_this_installation() -> None:
    command = processes.turpin("serve", "-c", "x.yaml")

    assert command[-3:] == ["serve", "-c", "x.yaml"]
    assert Path(command[0]).parent == Path(sys.executable).parent
