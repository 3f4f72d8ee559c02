"""The choice of gRPC's loops is made before gRPC is loaded, in every process of ours, and theirs who made one holds."""

import os
import subprocess
import sys

import pytest

ASK = "import sys, router; loaded = 'grpc' in sys.modules; import os; print(loaded, os.environ['GRPC_EXPERIMENTS'])"


@pytest.mark.parametrize(
    ("set_before", "seen"),
    [({}, "-event_engine_listener,-event_engine_client"), ({"GRPC_EXPERIMENTS": "pollset_alternative"}, "pollset_alternative")],
)  # fmt: skip
def test_loops_are_chosen_before_grpc_is_loaded(set_before: dict[str, str], seen: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", ASK], env=environment | set_before, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", seen]
