"""The Python client of Turpin: `turpin.Client(url).deploy("digits", path, as_="v7")`.

It needs nothing but Python's standard library (and PyYAML to write a package), and never imports the gateway. What is
named here is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turpin.async_client import AsyncClient as AsyncClient
    from turpin.client import Client as Client
    from turpin.deployment import Deployment as Deployment
    from turpin.deployment import Progress as Progress
    from turpin.errors import DeploymentFailed as DeploymentFailed
    from turpin.errors import TurpinError as TurpinError
    from turpin.package import Package as Package
    from turpin.package import PackageRefused as PackageRefused
    from turpin.package import Runtime as Runtime
    from turpin.packing import ModelRefused as ModelRefused
    from turpin.packing import seal as seal
    from turpin.packing import verify as verify
    from turpin.state import State as State

_HOMES = {
    "AsyncClient": "turpin.async_client",
    "Client": "turpin.client",
    "Deployment": "turpin.deployment",
    "DeploymentFailed": "turpin.errors",
    "ModelRefused": "turpin.packing",
    "Package": "turpin.package",
    "PackageRefused": "turpin.package",
    "Progress": "turpin.deployment",
    "Runtime": "turpin.package",
    "State": "turpin.state",
    "TurpinError": "turpin.errors",
    "seal": "turpin.packing",
    "verify": "turpin.packing",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'turpin' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
