"""Two conditions on the same seeds and the same cases: who is whose partner, and who has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.selecting import Columns

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Scores of two conditions, seeds by cases.

    values_a, values_b: (S, C); the rows are paired unless ``paired`` is False, and then may
    differ in number. groups: (C,), the number of each case's group, or None where the table has
    no cases (C is 1 then). notes: what was left out, and why.
    """

    dataset: str
    score: str
    a: str
    b: str
    values_a: Matrix
    values_b: Matrix
    groups: NDArray[np.int64] | None
    paired: bool = True
    notes: tuple[str, ...] = ()

    @property
    def n_cases(self) -> int | None:
        """Number of cases, None where the table has none."""
        return None if self.groups is None else len(self.groups)

    @property
    def n_groups(self) -> int | None:
        """Number of groups (patients), None where the table has no cases."""
        return None if self.groups is None else int(self.groups.max()) + 1


def measured(rows: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """One condition's rows of :func:`selecting.scored` as seeds (index) by cases (columns).

    Cases are named by (group, case), so that a slice number may come again in another patient.
    Sorted, so that the order of rows does not matter.
    """
    if columns.case is None:
        wide = rows.set_index(columns.seed)[["value"]]
        wide.columns = pd.MultiIndex.from_tuples([("", "")], names=["group", "case"])
        return wide.sort_index()
    case = rows[columns.case].astype(str)
    group = rows[columns.group].astype(str) if columns.group else case
    keyed = pd.DataFrame(
        {"seed": rows[columns.seed], "group": group, "case": case, "value": rows["value"]}
    )
    return keyed.pivot(index="seed", columns=["group", "case"], values="value").sort_index(axis=1)


def pair(
    a: pd.DataFrame,
    b: pd.DataFrame,
    names: tuple[str, str],
    *,
    dataset: str,
    score: str,
    has_cases: bool,
    drop_unpaired: bool = False,
    unpaired: bool = False,
) -> Paired:
    """Bring two conditions of :func:`measured` onto the same seeds and cases.

    A case without a value in any run of either is left out and noted. Otherwise a missing seed,
    case or value raises TableError that lists what is missing; with ``drop_unpaired`` it is left
    out on both sides and noted; with ``unpaired`` seeds need no partner, but cases do.
    """
    notes: list[str] = []
    if not unpaired:
        a, b = _same_seeds(a, b, names, drop_unpaired, notes)
    a, b = _same_cases(a, b, names, drop_unpaired, notes)
    groups = None
    if has_cases:
        groups = pd.factorize(a.columns.get_level_values("group"), sort=True)[0].astype(np.int64)
    return Paired(
        dataset, score, *names,
        a.to_numpy(np.float64), b.to_numpy(np.float64), groups, not unpaired, tuple(notes),
    )  # fmt: skip


def _same_seeds(
    a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str], drop: bool, notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    alone = {
        name: own.index.difference(other.index)
        for name, own, other in ((names[0], a, b), (names[1], b, a))
    }
    told = "; ".join(
        f"seeds {_listed(seeds)} of {name} have no partner"
        for name, seeds in alone.items()
        if len(seeds)
    )
    if not told:
        return a, b
    if not drop:
        raise TableError(
            f"{names[0]} against {names[1]}: {told}. Run them, or leave them out with drop_unpaired"
        )
    common = a.index.intersection(b.index).sort_values()
    if common.empty:
        raise TableError(f"{names[0]} against {names[1]}: no seed is in both ({told})")
    notes.append(f"left out: {told}")
    return a.loc[common], b.loc[common]


def _same_cases(
    a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str], drop: bool, notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    cases = a.columns.union(b.columns).sort_values()
    a, b = a.reindex(columns=cases), b.reindex(columns=cases)
    nowhere = a.isna().all() & b.isna().all()
    if nowhere.all():
        raise TableError(f"{names[0]} against {names[1]}: no case has a score in any run")
    if nowhere.any():
        notes.append(f"{int(nowhere.sum())} cases without a score in any run are left out")
        a, b = a.loc[:, ~nowhere], b.loc[:, ~nowhere]
    absent = a.isna().any() | b.isna().any()
    if not absent.any():
        return a, b
    if not drop:
        raise TableError(_missing(a, b, names))
    if absent.all():
        raise TableError(f"{names[0]} against {names[1]}: no case has a score in all runs")
    notes.append(f"{int(absent.sum())} cases without a score in some run are left out of all")
    return a.loc[:, ~absent], b.loc[:, ~absent]


def _missing(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str]) -> str:
    """The sentence for cases that some runs have no value for."""
    places = []
    for name, own in zip(names, (a, b), strict=True):
        for row, column in np.argwhere(own.isna().to_numpy()):
            case = own.columns[column][1]
            places.append(f"{name} seed {own.index[row]}" + (f" case {case}" if case else ""))
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    return (
        f"{names[0]} against {names[1]}: no score (missing, NaN or infinite) for "
        f"{', '.join(places[:5])}{more}. Fill them, or leave those cases out of all runs with "
        "drop_unpaired"
    )


def _listed(values: pd.Index) -> str:
    return ", ".join(map(str, values[:20])) + (", …" if len(values) > 20 else "")
