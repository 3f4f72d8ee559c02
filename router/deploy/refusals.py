"""Why a version is not taken: each refusal by name, with the problem that the admin API answers."""

from router.problems import Problem


class DeployRefused(Exception):
    """A deployment that is not begun, or not gone on with; `problem` is how the admin API says so."""

    problem = Problem.INVALID


class VersionUnfit(DeployRefused):
    """The archive is not what it must be: its form, its names, its size, its package or its signature."""


class VersionTaken(DeployRefused):
    """The number is in use; versions are never overwritten."""

    problem = Problem.STATE

    def __init__(self, model: str, version: int) -> None:
        super().__init__(f"version {version} of {model} exists already: versions are never overwritten, take another")


class NoPlace(DeployRefused):
    """No backend publishes this model, or several do and none was named."""

    problem = Problem.STATE


class NoRoom(DeployRefused):
    """The publish folder can't take it: full, missing, or not ours to write."""

    problem = Problem.NO_ROOM


class UploadsBusy(DeployRefused):
    """As many uploads as may be are under way."""

    problem = Problem.BUSY
