"""Are the statistics as sure as they say? Measured on simulated studies whose truth is known.

Usage: python analyses/benchmarks/calibration.py [--studies 10000] [--out reports/statistics]

Writes calibration.csv: one row per quantity, scenario and number of seeds, with the nominal and
the measured rate and the standard error of the measurement. All through the package's own
functions. 10,000 studies take about a minute and a half of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llm4seg_probe.randomness import address
from llm4seg_probe.statistics import bootstrap, exact_tests, paired_tests, power
from llm4seg_probe.statistics.bootstrap import Totals
from llm4seg_probe.statistics.multiplicity import holm
from llm4seg_probe.storage import atomically

GROUPS = 40
RESAMPLES = 2000
SPREADS = {
    "seeds alone, no cases": (1.0, 0.0, 0.0),
    "seeds": (1.0, 0.3, 0.3),
    "seeds and cases": (1.0, 1.0, 0.3),
    "cases": (0.3, 1.0, 0.3),
}
"""Standard errors of the mean due to seeds, cases and single cells, at five seeds."""

Row = dict[str, Any]


def calibrate(studies: int) -> pd.DataFrame:
    """All measurements: ``quantity, scenario, n_seeds, studies, nominal, measured, error``."""
    rows = [
        *t_test(studies),
        *power_of_t(studies),
        *exact_test(studies),
        *family(studies),
        *tost(studies),
        *power_of_tost(studies),
        *resampled_intervals(studies),
    ]
    table = pd.DataFrame(rows)
    table["error"] = np.sqrt(table["measured"] * (1 - table["measured"]) / table["studies"])
    return table


def t_test(studies: int) -> Iterator[Row]:
    """Rejections without an effect, and coverage of the 95 % interval with one."""
    for n in (3, 5, 10):
        found = [paired_tests.paired(*pair) for pair in _pairs("t", studies, n, 0.0)]
        rejected = np.mean([each.p < 0.05 for each in found])
        yield _row("rejections without effect, t-test", "normal", n, studies, 0.05, rejected)
        lows, highs = zip(*(each.interval() for each in found), strict=True)
        covered = np.mean((np.array(lows) <= 0) & (np.array(highs) >= 0))
        yield _row("coverage of ci_*", "normal", n, studies, 0.95, covered)


def power_of_t(studies: int) -> Iterator[Row]:
    """Power against what plan says, at several effects (in SDs of the differences)."""
    for n, effect in ((5, 0.5), (5, 1.0), (5, 1.68), (10, 1.0), (23, 0.62)):
        found = [paired_tests.paired(*pair) for pair in _pairs("power", studies, n, effect)]
        planned = power.t_power(effect * np.sqrt(n), n - 1)
        measured = np.mean([each.p < 0.05 for each in found])
        yield _row("power of the t-test", f"effect {effect} SD", n, studies, planned, measured)


def exact_test(studies: int) -> Iterator[Row]:
    """Rejections of the exact test without an effect: none at five seeds, by its floor."""
    for n in (5, 6, 10):
        p = [exact_tests.sign_flip(a - b) for a, b in _pairs("exact", studies, n, 0.0)]
        rejected = np.mean(np.array(p) < 0.05)
        yield _row("rejections without effect, exact test", "normal", n, studies, 0.05, rejected)


def family(studies: int) -> Iterator[Row]:
    """At least one rejection among three arms against one baseline, none with an effect."""
    generator = np.random.default_rng(address("calibration", "family"))
    arms = generator.normal(size=(studies, 4, 5))
    any_found = [
        min(holm([paired_tests.paired(study[k], study[0]).p for k in (1, 2, 3)])) < 0.05
        for study in arms
    ]
    yield _row(
        "rejections in a family of three, Holm", "normal", 5, studies, 0.05, np.mean(any_found)
    )


def tost(studies: int) -> Iterator[Row]:
    """Equivalence found although the true difference is the margin itself."""
    for margin in (1.0, 3.0):
        found = [
            paired_tests.tost(paired_tests.paired(*pair), margin) < 0.05
            for pair in _pairs("tost", studies, 5, margin)
        ]
        yield _row(
            "errors of TOST at the margin", f"margin {margin} SD", 5, studies, 0.05, np.mean(found)
        )


def power_of_tost(studies: int) -> Iterator[Row]:
    """Equivalence found where there is no difference, against its computed power."""
    for margin in (1.5, 2.5):
        found = [
            paired_tests.tost(paired_tests.paired(*pair), margin) < 0.05
            for pair in _pairs("tost power", studies, 5, 0.0)
        ]
        planned = paired_tests.tost_power(1 / np.sqrt(5), 4, margin)
        yield _row("power of TOST", f"margin {margin} SD", 5, studies, planned, np.mean(found))


def resampled_intervals(studies: int) -> Iterator[Row]:
    """Coverage of boot_* and case_*, plain and expanded, where seeds and cases are crossed."""
    for scenario, spreads in SPREADS.items():
        for n in (2, 3, 4, 5, 6, 8, 10):
            data = _crossed(scenario, spreads, studies, n)
            resampled = bootstrap.resample(data, RESAMPLES, address("calibration", "resamples"))
            plain = [np.quantile(both, [0.025, 0.975]) for both, _ in resampled]
            wide = [
                bootstrap.interval(both, each.df)
                for (both, _), each in zip(resampled, data, strict=True)
            ]
            yield _row(
                "coverage of a plain percentile interval",
                scenario,
                n,
                studies,
                0.95,
                _covers(plain),
            )
            yield _row("coverage of boot_*", scenario, n, studies, 0.95, _covers(wide))
    yield from _over_patients(studies)


def _over_patients(studies: int) -> Iterator[Row]:
    """case_* speaks of other patients and the same runs: without a spread of seeds, truth is 0."""
    for groups in (10, 40):
        generator = np.random.default_rng(address("calibration", "patients", groups))
        data = [
            Totals(sums, np.ones(groups)) for sums in generator.normal(size=(studies, 1, groups))
        ]
        resampled = bootstrap.resample(data, RESAMPLES, address("calibration", "resamples"))
        wide = [bootstrap.interval(alone, groups - 1) for _, alone in resampled]
        yield _row("coverage of case_*", f"{groups} groups", 1, studies, 0.95, _covers(wide))


def _pairs(
    name: str, studies: int, n: int, effect: float
) -> Iterator[tuple[paired_tests.Vector, paired_tests.Vector]]:
    """Studies of n paired seeds whose differences have this mean and an SD of 1."""
    generator = np.random.default_rng(address("calibration", name, n, str(effect)))
    shared = generator.normal(0, 3, (studies, n))
    a, b = generator.normal(0, np.sqrt(0.5), (2, studies, n))
    return zip(shared + a + effect, shared + b, strict=True)


def _crossed(
    scenario: str, spreads: tuple[float, float, float], studies: int, n: int
) -> list[Totals]:
    """Differences that add a seed's, a case's and a cell's own part; the truth is 0."""
    generator = np.random.default_rng(address("calibration", scenario, n))
    seeds, cases, cells = spreads
    groups = GROUPS if cases else 1
    values = generator.normal(0, seeds * np.sqrt(5), (studies, n, 1))
    values = values + generator.normal(0, cases * np.sqrt(groups), (studies, 1, groups))
    values += generator.normal(0, cells * np.sqrt(5 * groups), (studies, n, groups))
    return [Totals(study, np.ones(groups)) for study in values]


def _covers(intervals: list[Any]) -> float:
    low, high = np.array(intervals).T
    return float(((low <= 0) & (high >= 0)).mean())


def _row(quantity: str, scenario: str, n: int, studies: int, nominal: float, measured: Any) -> Row:
    return {
        "quantity": quantity,
        "scenario": scenario,
        "n_seeds": n,
        "studies": studies,
        "nominal": nominal,
        "measured": float(measured),
    }


def main() -> None:
    """Read the command line, calibrate, write, and print the table."""
    parser = argparse.ArgumentParser(description="Calibrate the statistics by simulation.")
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("reports/statistics"))
    arguments = parser.parse_args()
    table = calibrate(arguments.studies)
    with atomically(arguments.out / "calibration.csv") as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))


if __name__ == "__main__":
    main()
