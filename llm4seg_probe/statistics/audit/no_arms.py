"""Rows of a printed table that are no arms: differences, p-values and ranks below the results."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pandas as pd

from llm4seg_probe.column_words import plain, words
from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.key_columns import unmarked
from llm4seg_probe.statistics.roles import NAMES
from llm4seg_probe.statistics.rows import as_text

_NO_ARM = re.compile(
    r"(?:(?:abs|absolute|rel|relative|mean|avg|average|max|overall|total|our|adjusted|corrected"
    r"|paired)_)*"
    r"(?:δ|∆|delta|diff|diffs|difference|differences|improvement|improvements|improv|gain|gains"
    r"|increase|decrease|change|p|ps|p_values?|pvalues?|p_val|pval|sig|significance"
    r"|(?:wilcoxon|t_test|ttest|friedman|anova)(?:_p|_p_values?)?|ranks?|ranking|effect_size"
    r"|cohens?_d|cohen_s_d)"
    r"(?:_(?:over|vs|versus|to|against|of|from|between|wrt|w_r_t|than|by|in|for)(?:_.+)?)?"
)
"""A whole name, in words: "Delta-Net" and "Rank-1 adapter" are arms."""


def is_no_arm(name: object) -> bool:
    """Whether a row of this name tells about others, instead of being a result itself.

    >>> [is_no_arm(name) for name in ("Δ (%)", "p-value", "Gain over U-Net", "Avg. rank")]
    [True, True, True, True]
    >>> [is_no_arm(name) for name in ("DeltaNet", "delta-net", "Rank-1 LoRA", "P-Net", "ours")]
    [False, False, False, False, False]
    """
    text = unicodedata.normalize("NFKC", unmarked(name)).replace("$", "").replace("\\", "")
    text = re.sub("[Δ∆δ]", " delta ", text)
    return any(_NO_ARM.fullmatch(way(text)) is not None for way in (words, plain))


def arm_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are arms, as far as the column tells that is named like one, or the first."""
    names = [
        str(name) for name in table.columns if {words(name), plain(name)} & set(NAMES["arm"])
    ] or [str(name) for name in table.columns[:1]]
    others = table[names[0]].map(is_no_arm).astype(bool) if names else pd.Series(dtype=bool)
    return table if others.all() else table[~others]


def without_others(
    table: pd.DataFrame, column: str, kept: str, findings: list[Finding]
) -> pd.DataFrame:
    """The table without rows that are no arms, which are named.

    kept: an arm that the user named. Raises TableError where less than two arms would be left.
    """
    names = as_text(table[column]).map(unmarked)
    others = names.map(is_no_arm).astype(bool) & (names != kept)
    if not others.any():
        return table
    rows = np.asarray(table.index[others]) + 2
    told = ", ".join(f"{name} (row {row})" for row, name in zip(rows, names[others], strict=True))
    if names[~others].nunique() < 2:
        raise TableError(
            f"{told} of column {column} are taken for differences, p-values or ranks and no arms, "
            "and nothing is left to compare: give the arms other names"
        )
    findings.append(
        Finding(
            "doubt",
            f"{int(others.sum())} of {len(table)} rows are differences, p-values or ranks and no "
            f"arms, by their names: {told}: left out",
        )
    )
    return table[~others]
