"""Whether programs in C can be compiled here."""

import functools
import os
import shutil
import subprocess

import pytest


@functools.cache
def has_compiler() -> bool:
    """Say whether there is a compiler, and the header of libnghttp2."""
    compiler = shutil.which("cc")
    if compiler is None:
        return False
    wanted = b"#include <nghttp2/nghttp2.h>\n"
    command = [compiler, "-E", "-o", os.devnull, "-xc", "-"]
    return subprocess.run(command, input=wanted, capture_output=True, check=False, timeout=30.0).returncode == 0


def need_compiler() -> None:
    """Skip the test without one, or fail it where TEST_C=required."""
    if has_compiler():
        return
    reason = (
        "no C compiler with libnghttp2 (Debian: apt-get install gcc libnghttp2-dev): the benches' backend is not tested"
    )
    if os.environ.get("TEST_C") == "required":
        pytest.fail(reason)
    pytest.skip(reason)
