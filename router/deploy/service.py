"""Puts the parts of deploying together: the routes for the admin port, and the driver for the control process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from router.admin.desk import Desk
from router.config import Config
from router.config.settings import Backend
from router.control.desired import seeded
from router.control.leader import Leader
from router.deploy.comparing import Comparing
from router.deploy.driver import Driver
from router.deploy.joining import Joining
from router.deploy.publishing import Publishing
from router.deploy.uploads import Uploads
from router.store import Store
from serving.errors import ServingError
from serving.upstream import Upstream
from turpin.tar import Limits


@dataclass(frozen=True, slots=True)
class Deploying:
    """Both halves: what takes uploads, and what takes them to their end."""

    uploads: Uploads
    driver: Driver


def deploying(
    config: Config,
    *,
    store: Store,
    leader: Leader,
    upstreams: Mapping[str, tuple[Upstream, ...]],
    unix_now: Callable[[], float],
) -> Deploying:
    """Build both over the same store."""
    publishing = Publishing(config.backends, {name: _base_paths(one) for name, one in config.backends.items()})
    joining = Joining(store=store, desk=Desk(store=store, backends=config.backends, unix_now=unix_now))
    limits = Limits(config.limits.version_bytes, config.limits.version_files)
    return Deploying(
        Uploads(store=store, publishing=publishing, joining=joining, limits=limits, unix_now=unix_now),
        Driver(
            store=store,
            servers=leader.servers,
            upstreams=upstreams,
            publishing=publishing,
            experiments=joining,
            comparing=Comparing(book=leader.shadows, experiments=joining, unix_now=unix_now),
            confirm=leader.confirmed,
            unix_now=unix_now,
        ),
    )


def _base_paths(settings: Backend) -> dict[str, str]:
    """Return where the models of a backend lie, as its servers see them."""
    if settings.publish is None:
        return {}
    try:
        config = seeded(settings).config()
    except ServingError:
        # Said where backends are taken over; without its config the backend is not managed, and nothing is published.
        return {}
    return {entry.name: entry.base_path for entry in config.model_config_list.config}
