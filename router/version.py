"""Which version of Turpin this is."""

import functools
import importlib.metadata


@functools.cache
def installed_version() -> str:
    """Return the version of the installed distribution; "unknown" when run from a bare folder.

    Looked up once: it reads the folders of all that is installed.
    """
    try:
        return importlib.metadata.version("turpin")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
