"""The first configuration a newcomer sees runs as it stands: a prediction, its reward, and what the commands say of it."""

import re
from pathlib import Path

import pytest

from tests.repo.tree import ROOT
from tests.system.client import Client
from tests.system.command_line import run
from tests.system.gateway import end, launched_from, until
from tests.system.model_server import MODEL, DigitsServer

pytestmark = pytest.mark.timeout(90)


async def test_dozen_lines_of_the_readme_serve_decide_and_learn(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (Path(ROOT) / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    config = tmp_path / "turpin.yaml"
    config.write_text(text)
    async with DigitsServer() as server:
        # Only where things are differs: addresses, and the file of the store.
        environ = {
            "TURPIN_STORE": f"sqlite:///{tmp_path}/turpin.db",
            "TURPIN_BACKENDS__TFS_A__TARGET": server.address,
            **{f"TURPIN_LISTEN__{name}": "127.0.0.1:0" for name in ("GRPC", "HTTP", "ADMIN")},
        }
        gateway = launched_from(config, tmp_path / "turpin.log", environ)
        try:
            await gateway.ready()
            await gateway.in_phase("running")
            async with Client.to(gateway) as client:
                answers = [await client.predict_rest() for _ in range(20)]
                status = await client.reward(answers[0].decision, 1.0)

            async def is_counted() -> bool:
                return bool(sum(arm["rewards"] for arm in (await gateway.state())["arms"]) == 1)

            await until("the reward", is_counted)
            shown = await run("experiments", "show", MODEL, admin=f"http://127.0.0.1:{gateway.admin}")
            log = await gateway.stop()
        finally:
            end(gateway)

    assert {answer.arm for answer in answers} <= {"v1", "v2"}
    assert status == 202
    assert "phase: running" in shown.stdout
    assert "warning" not in log
