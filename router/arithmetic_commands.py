"""`turpin decide` and `turpin evidence`: the learner's arithmetic on numbers of one's own, JSON in, JSON out (design §13).

For checking Turpin against another computation, and for scripts. Importing this module must stay cheap.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

EXIT_BAD_INPUT: Final = 2

File = Annotated[str, typer.Argument(metavar="FILE", help="JSON: one case, or a list of cases; - is stdin.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]


def decide(file: File, as_json: AsJson = False) -> None:
    """Compare arms of given posteriors and costs: P(best), what dropping an arm loses, value remaining."""
    from router.arithmetic_cases import decide_case

    _run("decide", file, decide_case, as_json=as_json)


def evidence(file: File, as_json: AsJson = False) -> None:
    """Fit the posterior of binary rewards over blocks, and test one arm against another: log E."""
    from router.arithmetic_cases import evidence_case

    _run("evidence", file, evidence_case, as_json=as_json)


def _run(command: str, file: str, answer: Callable[[object], dict[str, Any]], *, as_json: bool) -> None:
    """Answer every case of the file, in order; all that is wrong with any of them is told together."""
    cases = _read(command, file)
    is_list = isinstance(cases, list)
    answers = _answers(command, cases if is_list else [cases], answer, is_list=is_list)
    if as_json:
        sys.stdout.write(json.dumps(answers if is_list else answers[0], indent=2, allow_nan=False) + "\n")
        return
    for number, one in enumerate(answers):
        sys.stdout.write(("\n" if number else "") + _table(one))


def _read(command: str, file: str) -> Any:
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return json.loads(text)
    except OSError as error:
        _leave(command, f"can't read '{file}': {error.strerror}")
    except (ValueError, RecursionError) as error:
        _leave(command, f"'{file}' is not JSON: {error}")


def _answers(
    command: str, cases: Sequence[object], answer: Callable[[object], dict[str, Any]], *, is_list: bool
) -> list[dict[str, Any]]:
    from router.config.document import BadInput, Problem

    answers: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for number, case in enumerate(cases):
        try:
            answers.append(_finite(answer(case)))
        except BadInput as error:
            place = (number,) if is_list else ()
            problems += [Problem((*place, *problem.place), problem.message) for problem in error.problems]
    if problems:
        _leave(command, *map(str, problems))
    return answers


def _finite(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer; BadInput when numbers beyond every use have made it infinite or nothing at all."""
    from router.config.document import BadInput, Problem

    for name, value in answer.items():
        if not all(math.isfinite(number) for number in (value if isinstance(value, list) else [value])):
            raise BadInput([Problem((), f"{name} has no finite value with numbers of these sizes")])
    return answer


def _leave(command: str, *messages: str) -> NoReturn:
    for message in messages:
        sys.stderr.write(f"turpin {command}: {message}\n")
    raise typer.Exit(EXIT_BAD_INPUT)


def _table(answer: Mapping[str, Any]) -> str:
    """Write an answer as lines: a row per arm of what is per arm, then the rest."""
    per_arm = {name: numbers for name, numbers in answer.items() if isinstance(numbers, list)}
    rows = [["arm", *per_arm]]
    rows += [[str(arm), *(f"{n:.6g}" for n in row)] for arm, row in enumerate(zip(*per_arm.values(), strict=True))]
    lines = ["  ".join(cell.rjust(12) for cell in row) for row in rows]
    lines += [f"{name}: {number:.6g}" for name, number in answer.items() if name not in per_arm]
    return "\n".join(lines) + "\n"
