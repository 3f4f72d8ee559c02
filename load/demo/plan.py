"""What the demo is about: its three models, its money and its ports; plain values, cheap to import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MODEL = "digits"
EXPERIMENT = "digits"
INPUT = "pixels"
OUTPUT = "probabilities"
PIXELS = 64
DIGITS = 10

# $1 per million digits read right, on a machine of AWS's g4dn.xlarge price: ordinary numbers for a small model, under
# which accuracy and cost both matter (a wide network costs several per cent of what it earns).
VALUE_USD = 1e-6
PRICE_USD_PER_HOUR = 0.526

# 40 % of scikit-learn's 1,797 images: 719 to draw the traffic from, 1,078 to learn from.
HELD_OUT = 0.4
BATCH_ROWS = 32

# People fill in forms, not digits: this many images come at once, each a request of its own. What comes at once can be
# merged; evenly spaced, 300 requests a second would hardly ever meet.
FORM_DIGITS = 32

# One client process on one core can't send more; a larger figure would promise what it can't keep.
RATE_MAX = 10_000


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """One version of the model: what it is and how long it learns."""

    version: int
    title: str
    epochs: int
    learning_rate: float
    network: Literal["linear", "small", "wide"]

    @property
    def arm(self) -> str:
        """The arm's name in the experiment."""
        return f"v{self.version}"


# Epochs and rates are where the held-out accuracy stops growing, but for the linear model, whose training is short.
# Held-out accuracy over seeds 1, 2, 3: .918 .901 .924 | .983 .976 .986 | .978 .981 .989.
PLANS = (
    ModelPlan(1, "linear softmax", epochs=13, learning_rate=0.003, network="linear"),
    ModelPlan(2, "small CNN", epochs=10, learning_rate=0.002, network="small"),
    ModelPlan(3, "wide CNN", epochs=5, learning_rate=0.001, network="wide"),
)
ARMS = tuple(plan.arm for plan in PLANS)
CONTROL = ARMS[0]


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a demo, counted from the first: five, and two for each further model server."""

    base: int
    model_servers: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.base <= 65536 - len(self.all):
            most, count = 65536 - len(self.all), len(self.all)
            raise ValueError(f"--port-base must be in 1..{most} ({count} ports in a row), got {self.base}")

    @property
    def grpc(self) -> int:
        """The gateway's gRPC port."""
        return self.base

    @property
    def http(self) -> int:
        """The gateway's HTTP port: REST and rewards."""
        return self.base + 1

    @property
    def admin(self) -> int:
        """The gateway's admin port."""
        return self.base + 2

    @property
    def model_grpc(self) -> int:
        """The model server's own gRPC port."""
        return self.base + 3

    @property
    def model_rest(self) -> int:
        """The model server's own REST port."""
        return self.base + 4

    @property
    def all(self) -> tuple[int, ...]:
        """All of them, in order."""
        return tuple(range(self.base, self.base + 3 + 2 * self.model_servers))

    def of_server(self, number: int) -> tuple[int, int]:
        """Return the gRPC and the REST port of a model server, counted from 0."""
        return self.model_grpc + 2 * number, self.model_rest + 2 * number


@dataclass(frozen=True, slots=True)
class Folder:
    """Where everything of one run lies; a later run replaces what an earlier one left."""

    root: Path

    @property
    def marker(self) -> Path:
        """Says that this folder is a demo's, so that the next run may empty it."""
        return self.root / ".turpin-demo"

    @property
    def models(self) -> Path:
        """SavedModels, one numbered folder per version: TF Serving's base path."""
        return self.root / "models" / MODEL

    @property
    def held_out(self) -> Path:
        """The images and labels that only the traffic sees."""
        return self.root / "held-out.npz"

    @property
    def logs(self) -> Path:
        """What the child processes say."""
        return self.root / "logs"

    @property
    def store(self) -> Path:
        """The gateway's SQLite file and what it keeps beside it."""
        return self.root / "store"

    @property
    def config(self) -> Path:
        """The gateway's configuration."""
        return self.root / "turpin.yaml"

    @property
    def experiment(self) -> Path:
        """The experiment's own file."""
        return self.root / "experiments" / f"{EXPERIMENT}.yaml"

    @property
    def model_config(self) -> Path:
        """The model server's configuration, a text proto."""
        return self.root / "models.config"

    @property
    def prices(self) -> Path:
        """The price feed of stories in which prices move."""
        return self.root / "prices.json"

    @property
    def mood(self) -> Path:
        """How many milliseconds a moody model takes."""
        return self.root / "mood"

    @property
    def aside(self) -> Path:
        """Versions that no model server has seen yet, one numbered folder each."""
        return self.root / "new"

    def models_of(self, backend: str) -> Path:
        """The model configuration of one of several model servers."""
        return self.root / f"{backend}.config"

    @property
    def report(self) -> Path:
        """The JSON object of the run."""
        return self.root / "report.json"

    @property
    def svg(self) -> Path:
        """The shares over time, for pages."""
        return self.root / "report.svg"

    @property
    def png(self) -> Path:
        """The shares over time, for everything else."""
        return self.root / "report.png"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    ports: Ports
    folder: Folder
    seed: int = 0
    rate: float = 300.0
    max_seconds: float = 240.0
    is_kept: bool = False
    json_path: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= RATE_MAX:
            raise ValueError(f"--rate must be 0 (as fast as it goes) or up to {RATE_MAX} requests/s, got {self.rate:g}")
        if not self.max_seconds > 0:
            raise ValueError(f"--max-seconds must be more than 0, got {self.max_seconds:g}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must be in 0..{2**32 - 1}, got {self.seed}")
