"""What people write: `turpin.yaml`, experiments, environment; read strictly and checked whole."""

from router.config.document import BadInput
from router.config.experiment import Experiment
from router.config.gateway import Config, load_config

__all__ = ["BadInput", "Config", "Experiment", "load_config"]
