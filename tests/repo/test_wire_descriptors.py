"""`serving/tfs.desc`, which the gateway speaks by, is what the installed tensorflow-serving-api says."""

import subprocess
import sys

import pytest

from tests.repo.tree import ROOT

MAKE = "import sys; from serving import make_descriptors as m; sys.stdout.buffer.write(m.descriptor_set())"


@pytest.mark.timeout(120)
def test_descriptors_are_those_of_tensorflow_serving_api() -> None:
    # A process of its own: making them puts a hollow `tensorflow` into sys.modules.
    made = subprocess.run([sys.executable, "-c", MAKE], cwd=ROOT, capture_output=True, check=False, timeout=110)
    stored = (ROOT / "serving" / "tfs.desc").read_bytes()

    assert made.returncode == 0, made.stderr.decode()
    assert made.stdout == stored, "run `python -P -m serving.make_descriptors`, and read what changed"
