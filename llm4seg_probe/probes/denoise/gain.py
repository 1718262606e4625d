"""The gain in signal-to-noise across the layer, in words and as rows."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.style import arm_style, in_order
from llm4seg_probe.drawing.table_rows import apart_by_dataset, told_apart
from llm4seg_probe.probes.denoise import DENOISE

SPOKEN_STRENGTH = 3
"""Strength that the sentences and the rows of the figure are about, as claims are."""


def sentences(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The gain across the layer of each arm, and how many decibels are empty.

    The gain is that which claims are about: the difference in decibels after and before the layer
    at strength 3, all tokens, the mean over images; then the mean of the runs and their range.
    """
    table = apart_by_dataset(told_apart(tables[DENOISE.name]))
    found = table[(table["part"] == "all") & (table["strength"] == SPOKEN_STRENGTH)]
    said = []
    for (noise, after), rows in gains(found).groupby(["noise", "site"], sort=False):
        means = rows.groupby(["null", "arm", "run"])["gain"].mean()
        for arm in in_order(rows["arm"]):
            own = means.get(("", arm), means.head(0))
            if own.notna().any():
                untrained = means.get(("untrained", arm), means.head(0)).mean()
                null = f"; before training {_decibels(untrained)}" * pd.notna(untrained)
                span = f" ({_decibels(own.min())} to {_decibels(own.max())})" * (len(own) > 1)
                said.append(
                    f"{arm_style(arm).label}: signal-to-noise changes by {_decibels(own.mean())}"
                    f"{span} from before to {after}, at {noise} noise of strength "
                    f"{SPOKEN_STRENGTH}{null}."
                )
    own = table[(table["null"] == "") & (table["tokens"] > 0)]
    empty = int(own["snr_db"].isna().sum())
    if empty:
        said.append(
            f"{empty} of {len(own)} measurements have no signal above the noise that is left in "
            "the mean of the draws: their decibels are empty, their snr is 0 or below."
        )
    return said


def gains(rows: pd.DataFrame, value: str = "snr_db") -> pd.DataFrame:
    """Rows at ``after`` sites with the ``gain`` on those at the ``before`` of the same booster."""
    after = rows[rows["site"].str.startswith("after")]
    keys = [name for name in rows.columns if name in DENOISE.keys]
    before = rows[rows["site"].str.startswith("before")]
    before = before.assign(site=before["site"].str.replace("before", "after"))
    both = after.merge(before[[*keys, value]], on=keys, suffixes=("", "_before"))
    return both.assign(gain=both[value] - both[f"{value}_before"])


def chance_gains(rows: pd.DataFrame, value: str = "snr_db") -> pd.DataFrame:
    """The gain of a linear map at random on each ``before`` site's own ratio, as ``gain``."""
    before = rows[rows["site"].str.startswith("before")]
    keys = [name for name in DENOISE.keys if name != "null"]
    own = before.loc[before["null"] == "", [*keys, value]]
    mapped = before[before["null"] == "random-map"].merge(own, on=keys, suffixes=("", "_own"))
    return mapped.assign(gain=mapped[value] - mapped[f"{value}_own"])


def _decibels(value: float) -> str:
    return f"{labels.number(value, 1, signed=True)} dB"
