"""A gateway opens as many files as it may: connections of clients are files, and 1,024 is what systemd lets it begin with."""

import resource
from pathlib import Path

from tests.system.gateway import configuration, serving


async def test_gateway_and_its_workers_raise_the_limit_they_were_started_with(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        async with serving(tmp_path, configuration(tmp_path, "127.0.0.1:1", experiments=[])) as gateway:
            pids = [gateway.process.pid, *gateway.workers()]
            allowed = [resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in pids]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert (len(pids), set(allowed)) == (2, {hard})
