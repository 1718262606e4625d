"""Tables of the page on what a gain is made of: the ladder, and the choice of the epoch."""

from __future__ import annotations

import pandas as pd

from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.listings import Cell, Column, Listing, number_cell, text_cell
from llm4seg_probe.reporting.style import arm_style


def ladder_listing(ladder: pd.DataFrame) -> Listing:
    """The rows of ``ladder.csv``: each step, then the arms beside the ladder."""
    columns = (
        Column("Data", False),
        Column("Step"),
        Column("From", False),
        Column("To", False),
        Column("What it adds", False),
        Column("Difference"),
        Column("95 % interval", True, "paired t interval over seeds: another training run"),
        Column("p", True, "paired t-test over seeds, unadjusted: description, not a test"),
        Column("Gain so far", True, "over the foot of the ladder"),
        Column("Seeds"),
        Column("Note", False),
    )
    rows = []
    for _, row in ladder.iterrows():
        decimals = labels.decimals_for(row["ci_high"] - row["ci_low"])
        rows.append(
            (
                text_cell(row["dataset"]),
                number_cell(row["step"], "" if pd.isna(row["step"]) else f"{row['step']}"),
                text_cell(arm_style(row["from"]).label),
                text_cell(arm_style(row["to"]).label),
                text_cell(row["what"]),
                _signed(row["difference"], decimals),
                _interval(row, decimals),
                number_cell(row["p"], labels.p_value(row["p"])),
                _signed(row["gain"], decimals),
                number_cell(row["n_seeds"], labels.count(row["n_seeds"])),
                text_cell(row["note"]),
            )
        )
    return Listing("The gain step by step, and arms beside the ladder", columns, tuple(rows))


def selection_listing(selection: pd.DataFrame) -> Listing:
    """The rows of ``selection.csv``: the optimism of each arm, and against the baseline."""
    columns = (
        Column("Data", False),
        Column("Arm", False),
        Column("More than", False),
        Column("Optimism", True, "(validation best − last) − (test best − last)"),
        Column("95 % interval", True, "t interval over seeds: another training run"),
        Column("p", True, "t-test over seeds, unadjusted"),
        Column("Seeds"),
        Column("In words", False),
    )
    rows = []
    for _, row in selection.iterrows():
        decimals = labels.decimals_for(row["ci_high"] - row["ci_low"])
        rows.append(
            (
                text_cell(row["dataset"]),
                text_cell(arm_style(row["arm"]).label),
                text_cell(arm_style(row["against"]).label if row["against"] else ""),
                _signed(row["optimism"], decimals),
                _interval(row, decimals),
                number_cell(row["p"], labels.p_value(row["p"])),
                number_cell(row["n_seeds"], labels.count(row["n_seeds"])),
                text_cell(row["sentence"]),
            )
        )
    return Listing("What choosing the epoch flatters, by arm", columns, tuple(rows))


def _signed(value: float, decimals: int) -> Cell:
    return number_cell(value, labels.number(value, decimals, signed=True))


def _interval(row: pd.Series, decimals: int) -> Cell:
    bounds = [labels.number(row[name], decimals, signed=True) for name in ("ci_low", "ci_high")]
    return number_cell(row["ci_low"], f"{bounds[0]} to {bounds[1]}")
