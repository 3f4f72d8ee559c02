"""`python -P -m load.chaos.page`: writes the table of docs/reference/chaos.md from load/results/chaos.json."""

from pathlib import Path
from typing import Final

import msgspec

from load.chaos.__main__ import Measured
from load.chaos.case import Row

_ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = _ROOT / "load" / "results" / "chaos.json"
PAGE: Final = _ROOT / "docs" / "reference" / "chaos.md"
BEGIN: Final = "<!-- From load/results/chaos.json, by load/chaos/page.py. -->\n"
END: Final = "<!-- The end of it. -->\n"


def table(measured: Measured) -> str:
    """Return the table of all cases, with what all say together above it."""
    rows = measured.cases
    held = sum(row.holds and not row.skipped for row in rows)
    return (
        f"{held} of {len(rows)} cases held, in {measured.took_s:.0f} s, with {measured.kills} SIGKILLs that each had at "
        "least 50 rewards in flight.\n\n"
        "| case | numbers | wanted | found | | commit, load |\n|---|---|---|---|---|---|\n" + "".join(map(_line, rows))
    )


def with_table(page: str, measured: Measured) -> str:
    """Return the page with its table made anew; ValueError when it has no place for one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE.name} has no place for the table: {BEGIN.strip()} … {END.strip()}")
    return f"{before}{begin}\n{table(measured)}\n{end}{after}"


def _line(row: Row) -> str:
    mark = "not played" if row.skipped else "held" if row.holds else "**broken**"
    figures = row.skipped or ", ".join(f"{name} {_figure(value)}" for name, value in row.figures.items())
    where = f"{row.machine['commit']}, {row.machine['load'][0]:g} on {row.machine['cpus']} cores"
    return f"| {row.name} | {row.numbers} | {row.wanted} | {figures} | {mark} | {where} |\n"


def _figure(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    """Write the page."""
    measured = msgspec.json.decode(RESULTS.read_bytes(), type=Measured)
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), measured), encoding="utf-8")


if __name__ == "__main__":
    main()
