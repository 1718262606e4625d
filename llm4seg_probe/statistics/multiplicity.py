"""Holm's adjustment of several comparisons in one family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values for one family of tests, so that its error rate is kept (Holm).

    A comparison that could not be made (NaN) stays in the family's size, as one that failed: the
    family was fixed before the data. Its own adjusted p is NaN.

    Parameters
    ----------
    p : sequence of float
        One p-value per comparison.

    Returns
    -------
    list of float
        Adjusted p-values, in the order given.

    References
    ----------
    Holm, Scandinavian Journal of Statistics 6, 1979.

    Examples
    --------
    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    values = np.asarray(p, dtype=np.float64)
    missing = np.isnan(values)
    order = np.argsort(np.where(missing, 1.0, values), kind="stable")
    # statsmodels' multipletests gives the same, and collects garbage at every call.
    steps = np.where(missing, 1.0, values)[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in np.where(missing, np.nan, adjusted)]


def holm_at(p: Sequence[float], index: int, value: float) -> float:
    """Adjusted p that one member of a family would have if its own p were ``value``."""
    family = list(p)
    family[index] = value
    return holm(family)[index]


@dataclass(frozen=True)
class Adjust:
    """The adjusted p that a member of a family would have if its own p were the one given.

    p: among the members' p-values; within: among their p-values of equivalence.
    """

    p: Callable[[float], float]
    within: Callable[[float], float]


DECIDED = ("supported", "contradicted", "equivalent")


def by_chance(claims: pd.DataFrame, alpha: float = 0.05) -> str:
    """One sentence on the families of a ``claims.csv``; empty where no claim was tested.

    Claims of one family share one error rate. Families do not: it is said how often at least one
    would hold a false verdict, if they had nothing in common.

    Examples
    --------
    >>> told = by_chance(pd.DataFrame({"claim": ["a", "b"], "verdict": ["supported"] * 2}))
    >>> told[:59]
    '2 claims in 2 families, each with an error rate of 5 %: if '
    """
    tested = claims[claims["verdict"] != "not run"]
    if tested.empty:
        return ""
    named = tested["family"] if "family" in tested.columns else tested["claim"]
    families = int(named.astype("str").where(named.notna(), tested["claim"]).nunique())
    decided = int(tested["verdict"].isin(DECIDED).sum())
    any_of_them = 1 - (1 - alpha) ** families
    told = "claim is" if decided == 1 else "claims are"
    count = len(tested)
    return (
        f"{count} claim{'s' if count > 1 else ''} in {families} "
        f"famil{'ies' if families > 1 else 'y'}, {'each ' if families > 1 else ''}with an error "
        f"rate of {100 * alpha:g} %: if nothing had an effect, chance alone would put a false "
        f"verdict on about {100 * any_of_them:.0f} % of such pages; {decided} {told} decided here."
    )
