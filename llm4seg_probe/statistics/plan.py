"""What a pilot says about the study to come: smallest effect, seeds that it takes, power."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.statistics import power as powers
from llm4seg_probe.statistics.components import Components, components
from llm4seg_probe.statistics.estimates import paired
from llm4seg_probe.statistics.pairing import Paired
from llm4seg_probe.statistics.pairs import Selection, pairs_in
from llm4seg_probe.statistics.scales import refuse_margin_of_another_scale
from llm4seg_probe.statistics.selecting import Columns

FEWEST_SEEDS = 3
SEEDS = (2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100)


@dataclass(frozen=True)
class Plan:
    """What ``plan`` found.

    summary: one row per data set and pair: ``dataset, score, a, b, pilot_seeds, units, unit``
    (group, case or empty), ``sd_difference, sd_low, sd_high, sd_seeds, sd_cells, margin,
    n_seeds, smallest_detectable, smallest_detectable_low, smallest_detectable_high,
    seeds_needed, seeds_needed_low, seeds_needed_high, sentence``.
    curve: power to find the margin, one row per pair, number of seeds and of units: ``dataset,
    a, b, n_seeds, n_units, effect, power, power_low, power_high, power_simulated``. ``low`` and
    ``high`` come from the 95 % interval of the pilot's SD.
    """

    summary: pd.DataFrame
    curve: pd.DataFrame


def plan(
    table: pd.DataFrame,
    *,
    score: str = "iou",
    baseline: str = "cnn",
    pairs: Sequence[tuple[str, str]] | None = None,
    arm: str = "arm",
    seed: str = "seed",
    case: str | None = "image",
    group: str | None = "group",
    dataset: str | None = "dataset",
    where: Mapping[str, object] | None = None,
    average_over: Sequence[str] = (),
    margin: float = 0.005,
    alpha: float = 0.05,
    power: float = 0.8,
    seeds: int = 5,
    drop_unpaired: bool = False,
    simulations: int = 4000,
    simulation_seed: int = 0,
) -> Plan:
    """Plan a comparison from a pilot of at least two arms and three paired seeds.

    The arguments select as in :func:`compare`. seeds: the number that the smallest effect is for.
    simulations: studies drawn for each point of the curve, 0 for none.

    Three seeds know their SD only to a factor of 0.5 to 6, so every answer has a range. Raises
    TableError for fewer than three paired seeds or a pilot whose differences do not vary,
    ConfigError for a margin in another unit or an impossible power.
    """
    if not alpha < power < 1:
        raise ConfigError(f"power is {power}: give a number between alpha and 1, such as 0.8")
    if seeds < 2:
        raise ConfigError(f"seeds is {seeds}: give at least 2")
    if not margin > 0:
        raise ConfigError(f"margin is {margin}: give a number above 0")
    wanted = Selection(
        score, baseline, Columns(arm, seed, case, group, dataset), where or {},
        tuple(average_over), pairs, None, drop_unpaired,
    )  # fmt: skip
    aims = _Aims(margin, alpha, power, seeds, simulations, simulation_seed)
    summary: list[dict[str, Any]] = []
    curve: list[dict[str, Any]] = []
    for pair in pairs_in(table, wanted):
        found = _pilot(pair, aims)
        unit = "" if pair.groups is None else "group" if group in table.columns else "case"
        summary.append(_summary(pair, found, unit, aims))
        curve += _curve(pair, found, aims)
    return Plan(pd.DataFrame(summary), pd.DataFrame(curve))


@dataclass(frozen=True)
class _Aims:
    margin: float
    alpha: float
    power: float
    seeds: int
    simulations: int
    simulation_seed: int


def _pilot(pair: Paired, aims: _Aims) -> Components:
    largest = float(max(np.abs(pair.values_a).max(), np.abs(pair.values_b).max()))
    refuse_margin_of_another_scale(pair.score, largest, aims.margin)
    n = len(pair.values_a)
    if n < FEWEST_SEEDS:
        raise TableError(
            f"a pilot takes at least {FEWEST_SEEDS} paired seeds; {pair.a} against {pair.b} has {n}"
        )
    if not paired(pair.values_a.mean(axis=1), pair.values_b.mean(axis=1)).has_spread:
        raise TableError(
            f"{pair.a} against {pair.b}: the differences do not vary between seeds, so nothing "
            "can be planned from them"
        )
    return components(pair)


def _summary(pair: Paired, found: Components, unit: str, aims: _Aims) -> dict[str, Any]:
    n = len(pair.values_a)
    sd = float((pair.values_a - pair.values_b).mean(axis=1).std(ddof=1))
    row: dict[str, Any] = {
        "dataset": pair.dataset, "score": pair.score, "a": pair.a, "b": pair.b,
        "pilot_seeds": n, "units": found.units if unit else None, "unit": unit,
        "sd_difference": sd, "sd_seeds": np.sqrt(found.seeds), "sd_cells": np.sqrt(found.cells),
        "margin": aims.margin, "n_seeds": aims.seeds,
    }  # fmt: skip
    low, high = powers.sd_interval(sd, n)
    row |= {"sd_low": low, "sd_high": high}
    for name, spread in (("", sd), ("_low", low), ("_high", high)):
        error, df = powers.paired_spread(spread)(aims.seeds)
        row[f"smallest_detectable{name}"] = powers.smallest_detectable(
            error, df, aims.alpha, aims.power
        )
        row[f"seeds_needed{name}"] = powers.seeds_needed(
            aims.margin, powers.paired_spread(spread), aims.alpha, aims.power
        )
    row["sentence"] = _sentence(row, aims)
    return row


def _sentence(row: dict[str, Any], aims: _Aims) -> str:
    place = f"On {row['dataset']}, " if row["dataset"] else ""
    small, needed = "smallest_detectable", "seeds_needed"
    return (
        f"{place}{aims.seeds} seeds of {row['a']} and {row['b']} can show a difference of "
        f"{row[small]:.2g} in {row['score']} at {100 * aims.power:g} % power (between "
        f"{row[f'{small}_low']:.2g} and {row[f'{small}_high']:.2g}: {row['pilot_seeds']} pilot "
        f"seeds know their spread no better), and the margin of {aims.margin:g} takes "
        f"{row[needed]:g} (between {row[f'{needed}_low']:g} and {row[f'{needed}_high']:g})."
    )


def _curve(pair: Paired, found: Components, aims: _Aims) -> Iterator[dict[str, Any]]:
    """Power at the margin over numbers of seeds, with half to four times the pilot's units."""
    n = len(pair.values_a)
    times = (0.5, 1, 2, 4) if found.units > 1 else (1,)
    for units in sorted({max(2, round(found.units * factor)) for factor in times}):
        sd = found.sd(units) if found.units > 1 else found.sd(1)
        low, high = powers.sd_interval(sd, n)
        for seeds in SEEDS:
            yield {
                "dataset": pair.dataset, "a": pair.a, "b": pair.b, "n_seeds": seeds,
                "n_units": units if found.units > 1 else None, "effect": aims.margin,
                "power": _power(sd, seeds, aims),
                "power_low": _power(high, seeds, aims),
                "power_high": _power(low, seeds, aims),
                "power_simulated": simulated_power(
                    found, units if found.units > 1 else 1, seeds, aims.margin,
                    alpha=aims.alpha, studies=aims.simulations, seed=aims.simulation_seed,
                ),
            }  # fmt: skip


def _power(sd: float, seeds: int, aims: _Aims) -> float:
    error, df = powers.paired_spread(sd)(seeds)
    return powers.t_power(aims.margin / error, df, aims.alpha)


def simulated_power(
    found: Components,
    units: int,
    seeds: int,
    effect: float,
    *,
    alpha: float = 0.05,
    studies: int = 4000,
    seed: int = 0,
) -> float:
    """Share of simulated studies whose paired t-test finds the effect; NaN for no studies.

    Seeds and cells are drawn from normal distributions with the pilot's variances.
    """
    if studies == 0:
        return np.nan
    generator = np.random.default_rng(seed)
    per_seed = generator.normal(effect, np.sqrt(found.seeds), (studies, seeds))
    per_seed += generator.normal(0, np.sqrt(found.cells / units), (studies, seeds))
    error = per_seed.std(axis=1, ddof=1) / np.sqrt(seeds)
    t = per_seed.mean(axis=1) / error
    return float((np.abs(t) > stdtrit(seeds - 1, 1 - alpha / 2)).mean())
