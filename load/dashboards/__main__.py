"""Writes the dashboards for Grafana: `python -P -m load.dashboards deploy/grafana/dashboards`."""

import json
import sys
from pathlib import Path
from typing import Final

from load.dashboards import experiment, gateway, money
from load.dashboards.panel import Dashboard

ALL: Final[tuple[Dashboard, ...]] = (experiment.DASHBOARD, gateway.DASHBOARD, money.DASHBOARD)


def text(dashboard: Dashboard) -> str:
    """Return the file of a dashboard."""
    return json.dumps(dashboard.to_json(), indent=1, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    """Write all of them, each under its uid."""
    for dashboard in ALL:
        (folder / f"{dashboard.uid}.json").write_text(text(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
