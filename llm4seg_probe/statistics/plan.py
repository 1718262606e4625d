"""Plan a study from a pilot: smallest effect, seeds that it takes, power."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from llm4seg_probe.errors import ConfigError, TableError, unknown
from llm4seg_probe.score_names import default_margin
from llm4seg_probe.statistics import power as powers
from llm4seg_probe.statistics.averages import Absent
from llm4seg_probe.statistics.decimal_marks import Decimal
from llm4seg_probe.statistics.looks import Design, Spending
from llm4seg_probe.statistics.paired_tests import paired
from llm4seg_probe.statistics.pairs import Paired, Wanted, pairs_in
from llm4seg_probe.statistics.power import Components, components
from llm4seg_probe.statistics.reader import Asked, Reading, named_columns, read
from llm4seg_probe.statistics.roles import Role
from llm4seg_probe.statistics.stopping import expected
from llm4seg_probe.statistics.table_file import TableFile
from llm4seg_probe.statistics.units import refuse_margin_of_another_scale

EFFECTS = {"no difference": 0.0, "the margin": 1.0, "twice the margin": 2.0}
"""True differences that a plan is made for, in margins."""

_SPREADS = {"sd_difference": "as in the pilot", "sd_low": "smallest", "sd_high": "largest"}


def when_it_ends(
    pilot: Mapping[str, Any], design: Design, seconds: float = nan
) -> list[dict[str, Any]]:
    """One row per true difference, spread and look.

    pilot: a row of a plan's summary. seconds: that one seed takes, NaN where not known.

    Columns: ``dataset, a, b, difference`` (in words), ``effect, spread`` (of the pilot's SD, or an
    end of its 95 % interval), ``sd, look, seeds, supported,
    contradicted, equivalent`` (chance to end so at this look), ``undecided`` (chance that the last
    look decides nothing), ``mean_seeds, hours`` (of the mean seeds, one run after another).
    """
    margin, rows = float(pilot["margin"]), []
    for words, times in EFFECTS.items():
        for column, spread in _SPREADS.items():
            effect, sd = times * margin, float(pilot[column])
            found = expected(design, effect, sd=sd, margin=margin)
            for index, seeds in enumerate(design.looks):
                rows.append(
                    {
                        "dataset": pilot["dataset"], "a": pilot["a"], "b": pilot["b"],
                        "difference": words, "effect": effect, "spread": spread, "sd": sd,
                        "look": index + 1, "seeds": seeds,
                        "supported": found.supported[index],
                        "contradicted": found.contradicted[index],
                        "equivalent": found.equivalent[index],
                        "undecided": found.undecided, "mean_seeds": found.mean_seeds,
                        "hours": found.mean_seeds * seconds / 3600,
                    }
                )  # fmt: skip
    return rows


def ends_sentence(rows: Sequence[Mapping[str, Any]], design: Design) -> str:
    """What a reader needs of :func:`when_it_ends`, without a word of its theory."""
    told = "; ".join(_of_effect(rows, words, len(design.looks)) for words in EFFECTS)
    at = ", ".join(map(str, design.looks))
    return f"Looked at after {at} seeds ({design.spending}), with a true difference of {told}."


def _of_effect(rows: Sequence[Mapping[str, Any]], words: str, count: int) -> str:
    by_spread = {
        spread: [row for row in rows if (row["difference"], row["spread"]) == (words, spread)]
        for spread in _SPREADS.values()
    }
    usual = by_spread["as in the pilot"]
    means = sorted(each[0]["mean_seeds"] for each in by_spread.values())
    ends = [row["supported"] + row["contradicted"] + row["equivalent"] for row in usual]
    by_look = ", ".join(f"{100 * chance:.0f}" for chance in ends)
    name = "none" if words == "no difference" else words
    hours = usual[0]["hours"]
    took = "" if hours != hours else f", {hours:.2g} hours,"
    each = "at the one look" if count == 1 else "at each look in turn"
    return (
        f"{name} it takes {usual[0]['mean_seeds']:.0f} seeds{took} on average ({means[0]:.0f} to "
        f"{means[-1]:.0f} by how well the pilot knows the spread) and ends {each} in {by_look} % "
        f"of studies, in {100 * usual[0]['undecided']:.0f} % without a decision"
    )


FEWEST_SEEDS = 3
TIME = "wall_seconds"
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
    ``high`` come from the 95 % interval of the pilot's SD. looks: when a study with the declared
    looks would end (:mod:`look_plan`); None without.
    """

    summary: pd.DataFrame
    curve: pd.DataFrame
    looks: pd.DataFrame | None = None


def plan(
    table: pd.DataFrame,
    *,
    score: str = "iou",
    baseline: str | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    arm: str = "arm",
    seed: str = "seed",
    case: str | None = "image",
    group: str | None = "group",
    dataset: str | None = "dataset",
    where: Mapping[str, object] | None = None,
    average_over: Sequence[str] = (),
    margin: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    seeds: int = 5,
    lower_is_better: bool | None = None,
    drop_unpaired: bool = False,
    absent: Absent = "case",
    infinite_as: float | None = None,
    decimal: Decimal | None = None,
    simulations: int = 4000,
    simulation_seed: int = 0,
    looks: Sequence[int] | None = None,
    spending: Spending = "pocock",
) -> Plan:
    """Plan a comparison from a pilot of at least two arms and three paired seeds.

    Three seeds know their SD only to a factor of 0.5 to 6, so every answer has a range.

    Parameters
    ----------
    table, score, baseline, pairs, arm, seed, case, group, dataset, where, average_over
        As in :func:`compare`.
    margin : float, optional
        Effect that the study is to find, in the score's unit; 0.005 for fractions unless named.
    alpha, power : float
        Error rate of the test, and the wanted probability of finding the margin.
    seeds : int
        Number of seeds that the smallest effect is for.
    lower_is_better : bool, optional
        Taken as in :func:`compare`; a plan is the same in both directions.
    drop_unpaired : bool
        Leave out what has no partner.
    absent, infinite_as, decimal
        As in :func:`compare`.
    simulations, simulation_seed : int
        Studies drawn for each point of the curve, 0 for none.
    looks, spending
        As in :func:`compare`: when the study would end.

    Raises
    ------
    TableError
        For fewer than three paired seeds, folds, or a pilot whose differences do not vary.
    ConfigError
        For a margin that is missing or in another unit, or an impossible power.
    """
    keys: dict[Role, str | None] = {
        "arm": arm, "seed": seed, "case": case, "group": group, "dataset": dataset,
    }  # fmt: skip
    given, off = named_columns(table, keys)
    columns: dict[Role, str] = {"score": score, **given}
    asked = Asked(
        columns, off | {"fold"}, where or {}, tuple(average_over),
        decimal=decimal, infinite_as=infinite_as, absent=absent, baseline=baseline,
    )  # fmt: skip
    declared = None if looks is None else tuple(looks)
    aims = Aims(margin, alpha, power, seeds, simulations, simulation_seed, declared, spending)
    wanted = Wanted(baseline, pairs, drop_unpaired)
    return planned(read(TableFile(table), asked), wanted, aims)


def refuse_folds(name: str | None) -> None:
    """Raise TableError where there is a column of folds."""
    if name is not None:
        raise TableError(
            f"{name} holds folds, which share training data and of which there can be no more: a "
            f"plan is over seeds. With seeds beside them, --average-over {name} takes each seed's "
            "cross-validation as one run"
        )


def planned(reading: Reading, wanted: Wanted, aims: Aims) -> Plan:
    """Plan from a table that was read; see :func:`plan`."""
    refuse_folds(reading.fold)
    if not reading.columns.seed:
        raise TableError(unknown("column (seed)", "seed", map(str, reading.table.columns)))
    if aims.margin is None:
        usual = default_margin(reading.score, reading.largest)
        if usual is None:
            raise ConfigError(
                f"{reading.score} is not known to be a fraction: name the difference that matters, "
                "in its own unit, --margin"
            )
        aims = replace(aims, margin=usual)
    unit = "group" if reading.columns.group is not None else "case"
    summary: list[dict[str, Any]] = []
    curve: list[dict[str, Any]] = []
    ends: list[dict[str, Any]] = []
    for pair in pairs_in(reading, wanted):
        found = _pilot(pair, aims)
        row = _summary(pair, found, "" if pair.groups is None else unit, aims)
        if aims.design is not None:
            rows = when_it_ends(row, aims.design, _seconds(reading, pair))
            row["sentence"] += f" {ends_sentence(rows, aims.design)}"
            ends += rows
        summary.append(row)
        curve += _curve(pair, found, aims)
    looks = pd.DataFrame(ends) if ends else None
    return Plan(pd.DataFrame(summary), pd.DataFrame(curve), looks)


def _seconds(reading: Reading, pair: Paired) -> float:
    """Seconds that one seed of both arms took, where the table says so (``wall_seconds``)."""
    if TIME not in reading.table.columns:
        return np.nan
    taken = pd.to_numeric(reading.table[TIME], errors="coerce")
    arms = reading.table[reading.columns.arm].astype(str)
    return float(sum(taken[arms == name].median() for name in (pair.a, pair.b)))


@dataclass(frozen=True)
class Aims:
    """What a plan is for: the effect to find, error rate and power, seeds, and simulated studies.

    margin: None until the score is known.
    """

    margin: float | None = None
    alpha: float = 0.05
    power: float = 0.8
    seeds: int = 5
    simulations: int = 4000
    simulation_seed: int = 0
    looks: tuple[int, ...] | None = None
    spending: Spending = "pocock"

    def __post_init__(self) -> None:
        if not self.alpha < self.power < 1:
            raise ConfigError(
                f"power is {self.power}: give a number between alpha and 1, such as 0.8"
            )
        if self.seeds < 2:
            raise ConfigError(f"seeds is {self.seeds}: give at least 2")
        if self.margin is not None and not self.margin > 0:
            raise ConfigError(f"margin is {self.margin}: give a number above 0")
        _ = self.design  # refuses looks that are none

    @property
    def design(self) -> Design | None:
        """The declared looks; None for a fixed number of seeds."""
        return None if self.looks is None else Design(self.looks, self.alpha, self.spending)

    @property
    def effect(self) -> float:
        """The effect that is to be found."""
        assert self.margin is not None
        return self.margin


def _pilot(pair: Paired, aims: Aims) -> Components:
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
    return components(pair.values_a - pair.values_b, pair.groups)


def _summary(pair: Paired, found: Components, unit: str, aims: Aims) -> dict[str, Any]:
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
            aims.effect, powers.paired_spread(spread), aims.alpha, aims.power
        )
    row["sentence"] = _sentence(row, aims)
    return row


def _sentence(row: dict[str, Any], aims: Aims) -> str:
    place = f"On {row['dataset']}, " if row["dataset"] else ""
    small, needed = "smallest_detectable", "seeds_needed"
    return (
        f"{place}{aims.seeds} seeds of {row['a']} and {row['b']} can show a difference of "
        f"{row[small]:.2g} in {row['score']} at {100 * aims.power:g} % power (between "
        f"{row[f'{small}_low']:.2g} and {row[f'{small}_high']:.2g}: {row['pilot_seeds']} pilot "
        f"seeds know their spread no better), and the margin of {aims.margin:g} takes "
        f"{row[needed]:g} (between {row[f'{needed}_low']:g} and {row[f'{needed}_high']:g})."
    )


def _curve(pair: Paired, found: Components, aims: Aims) -> Iterator[dict[str, Any]]:
    """Power at the margin over numbers of seeds, with half to four times the pilot's units."""
    n = len(pair.values_a)
    times = (0.5, 1, 2, 4) if found.units > 1 else (1,)
    for units in sorted({max(2, round(found.units * factor)) for factor in times}):
        sd = found.sd(units) if found.units > 1 else found.sd(1)
        low, high = powers.sd_interval(sd, n)
        for seeds in SEEDS:
            yield {
                "dataset": pair.dataset, "a": pair.a, "b": pair.b, "n_seeds": seeds,
                "n_units": units if found.units > 1 else None, "effect": aims.effect,
                "power": _power(sd, seeds, aims),
                "power_low": _power(high, seeds, aims),
                "power_high": _power(low, seeds, aims),
                "power_simulated": simulated_power(
                    found, units if found.units > 1 else 1, seeds, aims.effect,
                    alpha=aims.alpha, studies=aims.simulations, seed=aims.simulation_seed,
                ),
            }  # fmt: skip


def _power(sd: float, seeds: int, aims: Aims) -> float:
    error, df = powers.paired_spread(sd)(seeds)
    return powers.t_power(aims.effect / error, df, aims.alpha)


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
