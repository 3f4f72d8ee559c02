"""What can carry gRPC, for tests that want it from each; without pyvoy Envoy is left out, and says so."""

from typing import Final

import pytest

from router.fronts.envoy.start import missing

NO_ENVOY: Final = pytest.mark.skipif(missing() is not None, reason=str(missing()))
FRONTS: Final = ("grpc", pytest.param("envoy", marks=NO_ENVOY))
