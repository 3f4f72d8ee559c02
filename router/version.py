"""Which version of Turpin this is."""

import importlib.metadata


def installed_version() -> str:
    """Return the version of the installed distribution; "unknown" when run from a bare folder."""
    try:
        return importlib.metadata.version("turpin")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
