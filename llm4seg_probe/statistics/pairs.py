"""Align two conditions on the same seeds and cases; find the pairs of arms that a table holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llm4seg_probe.column_words import plain
from llm4seg_probe.errors import TableError, unknown
from llm4seg_probe.statistics.averages import measurements
from llm4seg_probe.statistics.fold_means import UNIT, by_fold, fold_shares
from llm4seg_probe.statistics.reader import Reading
from llm4seg_probe.statistics.rows import Columns
from llm4seg_probe.statistics.units import (
    refuse_impossible,
    refuse_mixed_cells,
    refuse_mixed_scales,
)

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Scores of two conditions, seeds by cases.

    values_a, values_b: (S, C); the rows are paired unless ``paired`` is False, and then may
    differ in number. groups: (C,), the number of each case's group, or None where the table has
    no cases (C is 1 then). notes: what was left out, and why. seeds: (S,) of the rows of a, in
    their order; of those of b too where the rows are paired. cases: (group, case) of the C
    columns. test_share: part of the cases that a fold tests, where the rows are folds.
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
    seeds: tuple[object, ...] = ()
    cases: tuple[tuple[str, str], ...] = ()
    test_share: float | None = None

    @property
    def n_cases(self) -> int | None:
        """Number of cases, None where the table has none."""
        return None if self.groups is None else len(self.groups)

    @property
    def n_groups(self) -> int | None:
        """Number of groups (patients), None where the table has no cases."""
        return None if self.groups is None else int(self.groups.max()) + 1


def measured(rows: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """One condition's rows of :func:`averages.scored` as seeds (index) by cases (columns).

    Cases are named by (group, case), so that a slice number may come again in another patient.
    Sorted, so that the order of rows does not matter; the index is called what its runs are.
    """
    called = "fold" if columns.seed == UNIT else "seed"
    if columns.case is None:
        wide = rows.set_index(columns.seed)[["value"]]
        wide.columns = pd.MultiIndex.from_tuples([("", "")], names=["group", "case"])
        return wide.sort_index().rename_axis(index=called)
    case = rows[columns.case].astype(str)
    group = rows[columns.group].astype(str) if columns.group else case
    keyed = pd.DataFrame(
        {"seed": rows[columns.seed], "group": group, "case": case, "value": rows["value"]}
    )
    wide = keyed.pivot(index="seed", columns=["group", "case"], values="value")
    return wide.sort_index(axis=1).rename_axis(index=called)


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
    common_cases: bool = False,
) -> Paired:
    """Bring two conditions of :func:`measured` onto the same seeds and cases.

    A case without a value in any run of either is left out and noted. Otherwise a missing seed,
    case or value raises TableError that lists what is missing; with ``drop_unpaired`` it is left
    out on both sides and noted; with ``unpaired`` seeds need no partner, but cases do. With
    ``common_cases`` cases are left out like that, and seeds are not.
    """
    notes: list[str] = []
    if drop_unpaired:
        a, b = (_scored_seeds(own, name, notes) for own, name in zip((a, b), names, strict=True))
    if not unpaired:
        a, b = _same_seeds(a, b, names, drop_unpaired, notes)
    splits = drop_unpaired and len(a) > 1
    a, b = _same_cases(a, b, names, drop_unpaired or common_cases, notes, splits=splits)
    groups = None
    if has_cases:
        groups = pd.factorize(a.columns.get_level_values("group"), sort=True)[0].astype(np.int64)
    return Paired(
        dataset, score, *names,
        a.to_numpy(np.float64), b.to_numpy(np.float64), groups, not unpaired, tuple(notes),
        tuple(a.index.tolist()), tuple(a.columns),  # type: ignore[arg-type]
    )  # fmt: skip


def _scored_seeds(own: pd.DataFrame, name: str, notes: list[str]) -> pd.DataFrame:
    """The runs that have any score; one without would take all cases with it."""
    empty = own.index[own.isna().all(axis=1)]
    if len(empty) and len(empty) < len(own):
        notes.append(f"left out: {own.index.name}s {_listed(empty)} of {name} have no score")
        return own.drop(index=empty)
    return own


def _same_seeds(
    a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str], drop: bool, notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    alone = {
        name: own.index.difference(other.index)
        for name, own, other in ((names[0], a, b), (names[1], b, a))
    }
    told = "; ".join(
        f"{a.index.name}s {_listed(seeds)} of {name} have no partner"
        for name, seeds in alone.items()
        if len(seeds)
    )
    if not told:
        return a, b
    if not drop:
        raise TableError(
            f"{names[0]} against {names[1]}: {told}. Run them, or leave them out "
            "with drop_unpaired (--drop-unpaired)"
        )
    common = a.index.intersection(b.index).sort_values()
    if common.empty:
        raise TableError(f"{names[0]} against {names[1]}: no seed is in both ({told})")
    notes.append(f"left out: {told}")
    return a.loc[common], b.loc[common]


def _same_cases(
    a: pd.DataFrame,
    b: pd.DataFrame,
    names: tuple[str, str],
    drop: bool,
    notes: list[str],
    *,
    splits: bool,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bring two conditions onto one set of cases; ``splits``: few common ones are refused."""
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
    if absent.all() or (splits and 2 * int(absent.sum()) > len(absent)):
        few = (
            "no case has" if absent.all() else f"{int((~absent).sum())} of {len(absent)} cases have"
        )
        raise TableError(
            f"{names[0]} against {names[1]}: {few} a score in all runs. If each {a.index.name} "
            "tests cases of its own, these are folds (--fold)"
        )
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
        "drop_unpaired (--drop-unpaired)"
    )


def _listed(values: pd.Index) -> str:
    return ", ".join(map(str, values[:20])) + (", …" if len(values) > 20 else "")


@dataclass(frozen=True)
class Wanted:
    """The pairs of arms that are wanted, and how their runs belong together.

    baseline: what every other arm is compared with, None for one that is named like one, unless
    ``pairs`` names the comparisons.
    drop_unpaired: leave out what has no partner. unpaired: no run has one. by_pair: see for each
    pair by itself whether its runs are paired, and compare those that can be.
    """

    baseline: str | None = None
    pairs: Sequence[tuple[str, str]] | None = None
    drop_unpaired: bool = False
    unpaired: bool = False
    by_pair: bool = False

    @property
    def drops(self) -> bool:
        """Whether what has no partner is left out."""
        return self.drop_unpaired or self.by_pair


BASELINES = (
    "baseline", "cnn", "unet", "u_net", "vanilla", "control", "plain", "base", "none", "reference",
)  # fmt: skip


def chosen_baseline(arms: Sequence[str], named: str | None) -> tuple[str, str]:
    """The arm that the others are compared with, and how it was found.

    Raises TableError where the one named is none, or there is only one arm.
    """
    if len(arms) < 2:
        raise TableError(f"only one arm ({', '.join(arms)}): there is nothing to compare it with")
    if named is not None:
        if named not in arms:
            raise TableError(unknown("arm", named, arms))
        return named, f"baseline: {named}, as given"
    if "cnn" in arms:
        return "cnn", "baseline: cnn, by its name"
    for arm in arms:
        if plain(arm) in BASELINES:
            return arm, f"baseline: {arm}, by its name"
    return arms[0], (
        f"baseline: {arms[0]}, the first in the table; name another if it is not (--baseline)"
    )


def pairs_in(reading: Reading, wanted: Wanted) -> list[Paired]:
    """Every arm with the baseline, by name, or the pairs named, in each data set.

    Raises TableError where the table does not allow it.
    """
    read = reading
    if read.fold is not None:
        rows, columns, notes = by_fold(
            read.table, read.score, read.columns, read.fold, read.average_over, read.absent,
            wanted.drops,
        )  # fmt: skip
    else:
        refuse_folds_as_seeds(read)
        rows, columns, notes = measurements(
            read.table, read.score, read.columns, read.average_over, read.absent, wanted.drops
        )
    finite = rows["value"].where(np.isfinite(rows["value"]))
    run = [name for name in (columns.dataset, columns.arm, columns.seed) if name]
    runs = [rows[name] for name in run]
    refuse_impossible(read.score, rows["value"], rows[run])
    refuse_mixed_scales(read.score, finite.groupby(runs, observed=True).max())
    case = [name for name in (columns.dataset, columns.group, columns.case) if name]
    refuse_mixed_cells(read.score, finite, rows[run], rows[case if columns.case else []])
    named = _named(reading.arms, wanted)
    _refuse_infinite(rows, columns, read.score, {name for both in named for name in both})
    rows = rows.assign(value=finite)
    datasets = rows[columns.dataset].astype(str) if columns.dataset else pd.Series("", rows.index)
    absent: list[str] = []
    found: list[Paired] = []
    for dataset, part in rows.groupby(datasets):
        found += _in_dataset(str(dataset), part, columns, named, wanted, read.score, absent)
    if not found:
        raise TableError("; ".join(absent))
    if read.fold is not None:
        shares = fold_shares(read.table, read.columns, read.fold)
        found = [replace(each, test_share=shares[each.dataset].value) for each in found]
    notes = [*notes, *(f"{lacking}: it is left out" for lacking in dict.fromkeys(absent))]
    return [replace(each, notes=(*notes, *each.notes)) for each in found]


def refuse_without_runs(reading: Reading) -> None:
    """Raise TableError where no column tells the runs of an arm apart."""
    if reading.columns.seed or reading.fold is not None:
        return
    if not reading.table.duplicated(list(filter(None, reading.columns.keys))).any():
        raise TableError(
            "each arm was measured once: nothing tells a difference from chance. A comparison "
            "takes several seeds or folds of each arm, in a column 'seed' or 'fold'"
        )
    used = {reading.score, *reading.columns.keys, *reading.strata}
    rest = [str(name) for name in reading.table.columns if name not in used]
    of = f" of {', '.join(rest)}" if rest else ": the table has no column for it"
    raise TableError(
        f"which column holds the seeds or folds? Name it, --seed COLUMN or --fold COLUMN{of}"
    )


def refuse_folds_as_seeds(reading: Reading) -> None:
    """Raise TableError where each case was scored under one seed only: those are folds."""
    if reading.seeds_are_folds:
        seed = reading.columns.seed
        raise TableError(
            f"each case is in one value of {seed} only: these are folds and no seeds, --fold "
            f"{seed} (in Python fold={seed!r} with test_share)"
        )


def _refuse_infinite(rows: pd.DataFrame, columns: Columns, score: str, arms: set[str]) -> None:
    """Raise TableError for infinite scores: leaving them out would hide what one arm missed.

    A case that is infinite in all runs tells no arm from another, and counts as empty.
    """
    of_arms = rows[rows[columns.arm].astype(str).isin(arms)]
    infinite = np.isinf(of_arms["value"])
    if not infinite.any():
        return
    case = [name for name in (columns.dataset, columns.group, columns.case) if name]
    if columns.case is not None:
        everywhere = infinite.groupby([of_arms[name] for name in case], observed=True).transform(
            "all"
        )
        if (infinite <= everywhere).all():
            return
    named = of_arms.loc[infinite, columns.arm].astype(str).drop_duplicates().tolist()
    whose = f"all of {named[0]}" if len(named) == 1 else f"of {', '.join(named)}"
    raise TableError(
        f"{int(infinite.sum())} of {len(of_arms)} values of {score} are infinite, {whose}: leaving "
        "them out would hide what was missed there. Say what an infinite value counts as, "
        "--infinite-as VALUE, such as the images' diagonal"
    )


def _named(arms: Sequence[str], wanted: Wanted) -> list[tuple[str, str]]:
    if wanted.pairs is None:
        baseline, _ = chosen_baseline(arms, wanted.baseline)
        return [(name, baseline) for name in sorted(arms) if name != baseline]
    named = [(str(a), str(b)) for a, b in wanted.pairs]
    for name in [name for both in named for name in both]:
        if name not in arms:
            raise TableError(unknown("arm", name, sorted(arms)))
    return named


def _in_dataset(
    dataset: str,
    rows: pd.DataFrame,
    columns: Columns,
    named: Sequence[tuple[str, str]],
    wanted: Wanted,
    score: str,
    absent: list[str],
) -> list[Paired]:
    """The pairs of one data set; those that cannot be compared there are added to ``absent``."""
    arms = rows[columns.arm].astype(str)
    by_arm = {name: measured(own, columns) for name, own in rows.groupby(arms, sort=False)}
    found = []
    for a, b in named:
        missing = [name for name in (a, b) if name not in by_arm]
        if missing:
            absent.append(f"data set '{dataset}' has no rows of arm '{missing[0]}'")
            if not wanted.drops:
                raise TableError(
                    f"{absent[-1]}: leave it out with drop_unpaired (--drop-unpaired), or choose "
                    "another (--where)"
                )
            continue
        # A pair alone that shares nothing is refused, as was promised; among others it must not
        # take the pairing from them.
        each = wanted.by_pair or (wanted.drop_unpaired and len(named) > 1)
        unpaired = wanted.unpaired or (each and not _share_seeds(by_arm[a], by_arm[b]))
        found.append(
            pair(
                by_arm[a], by_arm[b], (a, b), dataset=dataset, score=score,
                has_cases=columns.case is not None, drop_unpaired=wanted.drops, unpaired=unpaired,
            )
        )  # fmt: skip
    return found


def _share_seeds(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Whether two arms can be paired: one seed in common says nothing where each has several."""
    shared = len(a.dropna(how="all").index.intersection(b.dropna(how="all").index))
    return shared >= min(2, len(a), len(b))
