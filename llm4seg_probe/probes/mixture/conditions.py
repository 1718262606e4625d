"""Runs that share their layers and how these are weighted, told apart from others of their arm."""

from __future__ import annotations

import pandas as pd

from llm4seg_probe.arms import ARMS


def by_mixture(table: pd.DataFrame) -> pd.DataFrame:
    """The table with conditions for arms: ``llm-mix[mixture=3+9+15]`` where mixtures differ.

    And ``mix_weights=uniform`` of one whose weights are not learned.
    """
    plain = table["arm"].astype(str).str.partition("[")[0]
    several = table.groupby(plain)["layers"].transform("nunique") > 1
    names = []
    for arm, layers, learned, many in zip(
        plain, table["layers"], table["learned"], several, strict=True
    ):
        field = "mixture" if arm in ARMS and ARMS[arm].mixed else "layer"
        parts = ["mix_weights=uniform"] if learned == "no" else []
        parts += [f"{field}={layers}"] if many else []
        names.append(f"{arm}[{','.join(parts)}]" if parts else arm)
    return table.assign(arm=names)
