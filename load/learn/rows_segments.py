"""Rows about segments: what they cost where arms do not interact, and what they save where the winner flips."""

from collections.abc import Sequence
from typing import Final

from load.learn.cell import Answer, Part, Row, simulated
from load.learn.judge import Demand, mean_at_most, ratio_at_most
from load.learn.rows_regret import regrets

Answers = Sequence[Sequence[Answer]]


def _alike(answers: Answers) -> list[Demand]:
    told, untold = (regrets(runs) for runs in answers)
    return [ratio_at_most("regret / without segments", told, untold, 1.6)]


def _flipped(answers: Answers) -> list[Demand]:
    [runs] = answers
    return [mean_at_most("regret", regrets(runs), 300)]


SEGMENTS: Final = Part(
    "Segments",
    (
        Row(
            "4 segments alike, +10 %, 300k",
            "<= 1.6 x the regret without segments",
            (simulated("segments-alike", 12, 40), simulated("segments-alike", 24, 40, segments_told=False)),
            _alike,
        ),
        Row(
            "the winner flips in the segment of 40 %, 300k",
            "regret <= 300",
            (simulated("segments-flip-40", 12, 40),),
            _flipped,
        ),
    ),
)
