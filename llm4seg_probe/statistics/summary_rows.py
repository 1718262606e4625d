"""Leave out the rows that sum others up: by their words, and by what they hold.

Words are a list, and no list knows every language; what a row holds is the same in all of them. A
row that no word gives away is left out where it equals what sums the others up (mean, SD, quartile,
number and the like) in every arm.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from llm4seg_probe.column_words import words
from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.cells import read_numbers, undressed
from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.key_columns import is_no_arm, number_if_apart
from llm4seg_probe.statistics.roles import Recognised, Role
from llm4seg_probe.statistics.rows import as_text

_SUMMARIES = frozenset(
    (
        "mean", "average", "avg", "std", "sd", "stdev", "median", "overall", "total", "ensemble",
        "ens", "summary", "all", "macro", "micro", "weighted", "sum", "best", "ø", "μ", "mw",
        "mittel", "mittelwert", "durchschnitt", "gesamt", "summe", "standardabweichung",
        "dev", "stddev", "quantile", "quartile", "percentile", "min", "max", "minimum", "maximum",
        "moyenne", "somme", "media", "mediana", "promedio", "suma", "totale", "somma",
        "média", "médio", "soma", "mediane", "médiane", "平均", "均值", "总计", "合计",
    )
)  # fmt: skip
_SPREADS = frozenset(
    (
        "std", "sd", "stdev", "stddev", "dev", "standardabweichung", "min", "max", "minimum",
        "maximum", "median", "quantile", "quartile", "percentile", "count", "var", "se", "sem",
    )
)  # fmt: skip
_BOUNDS = frozenset(
    ("ci", "low", "high", "lower", "upper", "iqr", "sigma", "σ", "mu", "med", "mad")
)
"""Words for how far runs spread; of classes they may be others."""
_ANATOMY = frozenset(("media",))
"""Words that sum up in some language, and are structures: the media of a vessel's wall."""
_MEAN_OF_CLASSES = re.compile(r"m_?(?:iou|dice|dsc|acc|jaccard)|(?:iou|dice|dsc)_m")
"""Whole names among classes that are none: ``mIoU`` beside polyp and background."""
_LEUKAEMIAS = frozenset(("AML", "CLL", "CML"))
"""Beside these ALL is one too."""
_BESIDE = frozenset(
    (
        "of", "over", "all", "seeds", "folds", "runs", "cases", "classes", "images", "foreground",
        "fg", "dice", "iou", "score", "",
    )
)  # fmt: skip
"""Words beside one that sums up: ``foreground_mean``, ``mean of all folds``."""
_SUMMED: tuple[Role, ...] = ("seed", "fold", "case", "class", "dataset")
"""Columns in which a row may sum others up."""
_FEWEST_DECIMALS = 3
"""With fewer decimals even a number that is odd among the others holds their mean by chance."""
_UNLIKELY, _LIKELY = 0.01, 0.3
"""So many names that are usual would hold a sum of the others by chance: it is one; it may be."""
_USUAL_SEEDS = frozenset(
    (
        "7", "13", "21", "42", "100", "111", "123", "321", "512", "777", "1000", "1111", "1234",
        "1337", "2020", "2021", "2022", "2023", "2024", "2025", "2026", "3407", "12345",
    )
)  # fmt: skip
_FEWEST = 3
"""So many results must be summed up: a seed that equals the mean of two others is no rarity."""
_MOST_ODD = 8
"""As pandas describes a column: no more rows of an arm sum the others up."""
_SUMS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": lambda values: float(values.mean()),
    "median": lambda values: float(np.median(values)),
    "SD": lambda values: float(values.std(ddof=1)),
    "SD (n)": lambda values: float(values.std()),
    "sum": lambda values: float(values.sum()),
    "smallest": lambda values: float(values.min()),
    "largest": lambda values: float(values.max()),
    "number": lambda values: float(len(values)),
    "lower quartile": lambda values: float(np.quantile(values, 0.25)),
    "upper quartile": lambda values: float(np.quantile(values, 0.75)),
    "standard error": lambda values: float(values.std(ddof=1) / np.sqrt(len(values))),
    "variance": lambda values: float(values.var(ddof=1)),
}


def without_summaries(
    table: pd.DataFrame,
    found: Recognised,
    comma: bool,
    findings: list[Finding],
    averaged: Sequence[str] = (),
) -> pd.DataFrame:
    """The table without rows that sum others up: a seed, fold, case or class called "mean".

    comma: whether a comma may be a decimal mark. averaged: further columns that are averaged over.
    A row that only may be one is a doubt, and stays. Raises TableError where a column of seeds,
    folds, cases or classes holds nothing but means and their spreads.
    """
    table = _without_means_of_arms(table, found, findings)
    known = {found.column(role): role for role in _SUMMED}
    places: dict[str, Role] = dict.fromkeys(averaged, "class")
    places |= {column: role for column, role in known.items() if column is not None}
    for column, role in places.items():
        if pd.api.types.is_numeric_dtype(table[column].dtype):
            if role in ("seed", "fold", "case"):
                table = _without_sums(table, role, column, found, comma, findings)
            continue
        name = as_text(table[column])
        sums = {value: _sums_up(value) for value in name.unique()}
        if role == "class":
            sums |= {value: False for value in sums if words(value) in _ANATOMY}
            sums |= {value: True for value in sums if _MEAN_OF_CLASSES.fullmatch(words(value))}
            if set(name) & _LEUKAEMIAS:
                sums |= {"ALL": False}
        summary = name.map(sums).astype(bool)
        if role in ("seed", "fold") and name.map(_sums_or_bounds).all():
            summary |= True
        if summary.all():
            _refuse_means_and_spreads(name, column)
            continue
        told = ", ".join(name[summary].str.strip().str.casefold().drop_duplicates())
        if summary.any():
            findings.append(
                Finding(
                    "doubt", f"{int(summary.sum())} rows sum others up ({column} {told}): left out"
                )
            )
            table, name = table[~summary], name[~summary]
        table = _without_sums(table, role, column, found, comma, findings)
        table = table.assign(**{column: number_if_apart(column, as_text(table[column]))})
    return table


def _refuse_means_and_spreads(name: pd.Series, column: str) -> None:
    """Raise TableError where rows are means and SDs, so that both would be taken for results."""
    told = name.drop_duplicates().tolist()
    spread = any(set(_bare(value)) & (_SPREADS | _BOUNDS) or "%" in value for value in told)
    if spread and len(told) > 1:
        raise TableError(
            f"{column} holds {', '.join(told)} and nothing else: these are means and spreads, and "
            "no results. Write one row for each run, or a column for each of them (mean, sd) for "
            "audit"
        )


def _without_means_of_arms(
    table: pd.DataFrame, found: Recognised, findings: list[Finding]
) -> pd.DataFrame:
    """The table without rows of an arm that is called "Average", or "Δ", beside two others."""
    arm = found.column("arm")
    if arm is None or pd.api.types.is_numeric_dtype(table[arm].dtype):
        return table
    names = as_text(table[arm])
    summed = names.map({name: is_no_arm(name) for name in names.unique()}).astype(bool)
    if not summed.any() or names[~summed].nunique() < 2:
        return table
    told = ", ".join(names[summed].drop_duplicates())
    findings.append(
        Finding(
            "doubt",
            f"{int(summed.sum())} rows of {told} ({arm}) tell of the other arms, by their name, "
            "and are none: left out",
        )
    )
    return table[~summed]


def _sums_up(value: str) -> bool:
    parts = _bare(value)
    return bool(parts & _SUMMARIES) and parts <= _SUMMARIES | _BESIDE


def _sums_or_bounds(value: str) -> bool:
    """Whether a name of a seed or fold sums others up, or tells how far they spread."""
    parts = _bare(value)
    known = _SUMMARIES | _SPREADS | _BOUNDS
    return "%" in value or (bool(parts & known) and parts <= known | _BESIDE | {"n"})


def _bare(value: str) -> set[str]:
    """The words of a name without numbers."""
    return {part.strip("0123456789") for part in words(value).split("_")} - {""}


def _without_sums(
    table: pd.DataFrame,
    role: Role,
    column: str,
    found: Recognised,
    comma: bool,
    findings: list[Finding],
) -> pd.DataFrame:
    """The table without values of a column that hold what sums the others up, in every arm."""
    name = as_text(table[column])
    numbers = pd.api.types.is_numeric_dtype(table[column].dtype)
    odd = (_odd_numbers if numbers else _odd_names)(name.unique().tolist())
    if numbers and not odd and role == "case":
        return table
    if name.nunique() - max(len(odd), 1) < _FEWEST or (role == "class" and not odd):
        return table  # of classes the foreground may well be the mean of the others
    score = found.matches["score"].column
    try:
        values = read_numbers(table[score], None, comma=comma).values
    except TableError:
        return table  # what cannot be read is refused where all cells are
    keys = [
        key
        for key in found.columns(("arm", "dataset", "stratum", *_SUMMED, "group", "split", "epoch"))
        if key != column
    ]
    decimals = _decimals(table[score])
    rows = pd.DataFrame({"name": name, "value": values, **{key: table[key] for key in keys}})
    sums = _sums_among_numbers(rows, keys, odd, decimals) if odd else _means(rows, keys, decimals)
    if role == "case" and not set(sums.values()) & {"mean", "SD"}:
        sums = {}  # a case of Dice 1 is the largest, as others are, and sums nothing up
    chance = _chance(rows, keys, decimals, len(_SUMS) if odd else 1) if sums else 0.0
    usual = not odd or bool({str(value) for value in sums} & _USUAL_SEEDS)
    if sums and usual and chance > _LIKELY:
        return table
    if sums and (
        (usual and chance > _UNLIKELY) or (numbers and odd and decimals < _FEWEST_DECIMALS)
    ):
        told = "; ".join(f"{value}: their {kind}" for value, kind in sums.items())
        findings.append(
            Finding(
                "doubt",
                f"{column} holds what sums the others up, or nearly, in every arm ({told}): if it "
                "does, leave its rows out",
            )
        )
        return table
    if sums:
        told = ", ".join(f"{value}: their {kind}" for value, kind in sums.items())
        summed = name.isin(sums)
        findings.append(
            Finding(
                "doubt",
                f"{int(summed.sum())} rows sum others up, by what they hold ({column} {told}): "
                "left out",
            )
        )
        table = table[~summed]
    left = [value for value in odd if value not in sums]
    if left and role in ("seed", "fold") and not numbers:
        findings.append(
            Finding(
                "doubt",
                f"{column} {', '.join(left)} is no number, as the others are: does it sum them up? "
                "It is taken for one of them; leave its rows out if it is none",
            )
        )
    return table


def _odd_names(names: Sequence[str]) -> list[str]:
    """The few names that are written otherwise than the others, as ``Q1`` is among numbers."""
    written = {name: re.sub(r"\d+(?:\.0+)?", "#", name) for name in names if name.strip()}
    if not written:
        return []
    usual, count = Counter(written.values()).most_common(1)[0]
    odd = [name for name, form in written.items() if form != usual]
    if "#" not in usual or 2 * count <= len(written):
        return []
    return odd if len(odd) <= _MOST_ODD else []


def _odd_numbers(names: Sequence[str]) -> list[str]:
    """The few numbers below 0 or far beyond the others, where these follow one another."""
    numbers = {name: float(name) for name in names if name}
    usual = sorted(number for number in numbers.values() if number >= 0)
    if not usual:
        return []
    end = usual[0]
    while end + 1 in usual:
        end += 1
    odd = [name for name, number in numbers.items() if number < 0 or number > end]
    return odd if len(odd) <= _MOST_ODD and 2 * len(odd) < len(numbers) else []


def _sums_among_numbers(
    rows: pd.DataFrame, keys: Sequence[str], odd: Sequence[str], decimals: int
) -> dict[str, str]:
    """Which of the odd names hold what of the others, in each run that has them."""
    runs = [own for _, own in rows.groupby(list(keys), observed=True)] if keys else [rows]
    near = 1.01 * 10.0**-decimals
    found = {}
    for name in odd:
        kinds = dict(_SUMS)
        for run in runs:
            own = run.loc[run["name"] == name, "value"].to_numpy()
            others = run.loc[~run["name"].isin(odd), "value"].to_numpy()
            others = others[np.isfinite(others)]
            if len(own) == 0:
                continue
            if len(own) > 1 or len(others) < _FEWEST:
                kinds.clear()
            kinds = {
                kind: sum_ for kind, sum_ in kinds.items() if abs(sum_(others) - own[0]) <= near
            }
        if kinds:
            found[name] = next(iter(kinds)).removesuffix(" (n)")
    return found


def _means(rows: pd.DataFrame, keys: Sequence[str], decimals: int) -> dict[str, str]:
    """The one name that holds the mean of the others in each of several runs.

    Where names are of any kind, two or less decimals would be met by chance.
    """
    if decimals < 3 or not keys:
        return {}
    values = rows.groupby(list(keys), observed=True)["value"]
    count, total = values.transform("count"), values.transform("sum")
    off = ((total - rows["value"]) / (count - 1) - rows["value"]).abs()
    is_mean = (off <= 1.01 * 10.0**-decimals) & (count > _FEWEST)
    by_name = is_mean.groupby(rows["name"], observed=True)
    every = by_name.all() & (by_name.size() > 1)
    names = every.index[every].tolist()
    return {names[0]: "mean"} if len(names) == 1 else {}


def _chance(rows: pd.DataFrame, keys: Sequence[str], decimals: int, kinds: int) -> float:
    """How many names would hold one of so many kinds of sums in every run by chance.

    By how far the results of a run spread, and in the further runs by what is left where all of
    them spread alike.
    """
    runs = rows.groupby(list(keys), observed=True).ngroup() if keys else pd.Series(0, rows.index)
    wide = rows.assign(run=runs).pivot_table(index="run", columns="name", values="value")
    own = wide.sub(wide.mean(axis=1), axis=0).to_numpy()
    left = np.nanstd(own - np.nanmean(own, axis=0)) * np.sqrt(len(own) / max(len(own) - 1, 1))
    near = 1.01 * 10.0**-decimals
    first, further = (
        min(1.0, 2 * near / (np.sqrt(2 * np.pi) * float(spread))) if spread > 0 else 1.0
        for spread in (np.nanstd(own), left)
    )
    return wide.shape[1] * kinds * first * further ** (len(own) - 1)


def _decimals(cells: pd.Series) -> int:
    """Decimals of the most exactly printed of some cells."""
    texts = (undressed(str(cell)) for cell in cells.head(50))
    return max((len(text.partition(".")[2] or text.partition(",")[2]) for text in texts), default=0)
