"""Compute the threshold tables of common designs: llm4seg_probe/statistics/thresholds.json.

Usage: python analyses/benchmarks/threshold_tables.py [--out FILE]

Whatever looks are not in it are computed when they are first asked for, and kept in the user's
cache folder. Run it again when VERSION in ``statistics/looks.py`` is raised. Half a minute.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

import numpy as np

from llm4seg_probe.statistics.looks import Design, Spending, table_key, tabulate
from llm4seg_probe.storage import write_text

DOUBLING = (5, 10, 20, 40, 80, 160, 320)
COMMON = (
    *(DOUBLING[:count] for count in range(2, len(DOUBLING) + 1)),
    (3, 5, 10),
    (3, 5, 10, 20),
    (5, 10, 15, 20),
    (10, 20, 40),
    (10, 20, 40, 80),
)
DIGITS = 10


def main() -> None:
    """Read the command line, compute, write."""
    parser = argparse.ArgumentParser(description="Compute thresholds of common designs.")
    parser.add_argument(
        "--out", type=Path, default=Path("llm4seg_probe/statistics/thresholds.json")
    )
    arguments = parser.parse_args()
    tables = []
    for looks in COMMON:
        for spending in get_args(Spending):
            can_stop = Design(looks, spending=spending).can_stop
            for sides in (1, 2):
                key = table_key(looks, spending, sides, can_stop)
                values = tabulate(looks, spending, sides, can_stop)
                short = np.array([f"{each:.{DIGITS}g}" for each in values.flat], dtype=float)
                rows = json.dumps(short.reshape(values.shape).tolist(), separators=(",", ":"))
                tables.append(f'"{key}":{rows}')
    write_text(arguments.out, "{\n" + ",\n".join(tables) + "\n}\n")


if __name__ == "__main__":
    main()
