"""Bring names to one way of writing: of columns, arms, seeds, cases and patients."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

from llm4seg_probe.column_words import plain, words
from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.cells import EMPTY
from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.nnunet_summary import case_name, without_ending
from llm4seg_probe.statistics.roles import NAMES, Recognised
from llm4seg_probe.statistics.rows import as_text

_OF_NAMES = {
    *NAMES["dataset"], *NAMES["fold"], *NAMES["stratum"], *NAMES["class"], "site", "center",
    "centre", "hospital", "clinic", "client", "scanner", "institution", "version",
}  # fmt: skip
"""Columns whose cells are names, whatever they look like."""
_LONGEST = 1000
"""Letters of a column's name."""
_LARGEST_EXACT = 2.0**53
"""Larger whole numbers are not told apart as they are stored here."""
_ODD = dict.fromkeys(map(ord, "‐‑‒–−﹣－"), "-") | dict.fromkeys(map(ord, "\ufeff\u200b"), "")
"""Hyphens that only look like one, and marks that nobody sees."""
_BOLD = re.compile(
    r"\*\*(.+)\*\*|\\(?:textbf|mathbf|emph)\{(.+)\}|<(?:b|strong)>(.+)</(?:b|strong)>"
)
_SEED = re.compile(
    r"(?:(?:random_?)?(?:seed|run|rep|repeat|repetition|trial|fold|cv|s|r|f)[\s_.=:#-]*|#\s*)?0*(-?\d+)"
    r"(?:\.0+)?",
    re.IGNORECASE,
)


_MEAN_OF_ARMS = re.compile(
    r"(?:mean|average|avg|median|std|sd|ø|mittelwert|durchschnitt|moyenne|promedio|média)"
    r"(?:_(?:of|over|across|all|the|methods?|models?|arms|networks?|rows|column))*"
)
"""A whole name, in words, of a row that sums the arms up: "Mean Teacher" is one of them."""
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
    >>> [is_no_arm(name) for name in ("Average", "Mean of all methods")]
    [True, True]
    >>> [is_no_arm(name) for name in ("DeltaNet", "Rank-1 LoRA", "P-Net", "Mean Teacher", "ours")]
    [False, False, False, False, False]
    """
    text = unicodedata.normalize("NFKC", unmarked(name)).replace("$", "").replace("\\", "")
    text = re.sub("[Δ∆δ]", " delta ", text)
    return any(
        pattern.fullmatch(way(text)) is not None
        for way in (words, plain)
        for pattern in (_NO_ARM, _MEAN_OF_ARMS)
    )


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its columns' names stripped and normalised.

    Raises TableError where two of them are then the same, or one is a text of its own.
    """
    long = next((str(name) for name in table.columns if len(str(name)) > _LONGEST), None)
    if long is not None:
        raise TableError(
            f"a column's name of {len(long)} letters ('{long[:40]}…') is none: is it a header?"
        )
    names = [stripped(name) or f"unnamed {place + 1}" for place, name in enumerate(table.columns)]
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise TableError(f"two columns are called '{doubled[0]}': rename one of them")
    return table.set_axis(names, axis=1)


def typed(table: pd.DataFrame, arm: str | None = None) -> pd.DataFrame:
    """The table with columns of nothing but numbers (and empty cells) as numbers.

    The column of the arms stays as it is, for versions 1.1 and 1.10 are two: the one named, else
    the likeliest by its name. So does one of names of which two would be the same number.
    """
    by_name = {words(name): str(name) for name in reversed(table.columns)}
    likely = (by_name[name] for name in NAMES["arm"] if name in by_name)
    kept = by_name.get(words(arm)) if arm else next(likely, None)
    return pd.DataFrame(
        {
            name: table[name] if name == kept else number_if_apart(name, table[name])
            for name in table
        }
    )


def number_if_apart(name: object, column: pd.Series) -> pd.Series:
    """A column as :func:`number_if_all`, but for names such as 01 and 1, or 1.1 and 1.10."""
    numbers = number_if_all(column)
    if numbers is column or not {words(name), plain(name)} & _OF_NAMES:
        return numbers
    filled = column[numbers.notna()]
    return column if filled.nunique() > numbers.nunique() else numbers


def number_if_all(column: pd.Series) -> pd.Series:
    """A column as numbers where all of its filled cells are; another as it is."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if not (pd.api.types.is_string_dtype(column.dtype) or column.dtype == object):
        return column
    if not all(isinstance(value, str) for value in column.head(100)):
        return column
    # Most columns are all numbers or none: the first cells tell, and spare the reading of the rest.
    first = [cell for cell in column.head(50) if cell.strip().lower() not in EMPTY]
    if pd.to_numeric(pd.Series(first, dtype=object), errors="coerce").isna().any():
        return column
    numbers = pd.to_numeric(column, errors="coerce")
    rest = column[numbers.isna()].unique()
    if len(rest) == column.nunique() or any(cell.strip().lower() not in EMPTY for cell in rest):
        return column
    if (numbers.abs() > _LARGEST_EXACT).any():
        return column  # seeds of 128 bits: as numbers, two of them would be one
    return numbers


def unmarked(value: object) -> str:
    """A name without the marks of a best row: bold in Markdown, LaTeX or HTML."""
    text = stripped(value)
    marked = _BOLD.fullmatch(text)
    return next(filter(None, marked.groups())).strip() if marked else text


def stripped(value: object) -> str:
    """A name without odd spaces and marks that nobody sees, its letters composed."""
    text = unicodedata.normalize("NFC", str(value)).translate(_ODD)
    return " ".join(text.split())


def clean(table: pd.DataFrame, found: Recognised, findings: list[Finding]) -> pd.DataFrame:
    """Names of arms, cases and patients without odd spaces; seeds brought to one way of writing."""
    table = table.copy()
    for role in ("arm", "case", "group", "dataset", "stratum", "class", "split", "fold", "seed"):
        column = found.column(role)
        if column is None or pd.api.types.is_numeric_dtype(table[column].dtype):
            continue
        plainly = unmarked if role == "arm" else stripped
        names = {name: plainly(name) for name in table[column].dropna().unique()}
        if all(name == clean for name, clean in names.items()):
            continue
        if len(set(names.values())) < len(names):
            findings.append(
                Finding(
                    "note", f"{column}: names that differ in spaces or marks only are taken for one"
                )
            )
        table[column] = table[column].map(names)
    arm, seed = found.column("arm"), found.column("seed")
    if arm is not None:
        table[arm] = _one_case(table, arm, found, findings)
        _fill_patients(table, found, findings)
        _match_cases(table, arm, found, findings)
    for column in (seed, found.column("fold")):
        if column is not None and arm is not None:
            table[column] = _numbered(table, arm, column, findings)
    return table


def _one_case(
    table: pd.DataFrame, arm: str, found: Recognised, findings: list[Finding]
) -> pd.Series:
    """Arms that differ in capitals only are one, where no row of the one is one of the other."""
    names = table[arm]
    if pd.api.types.is_numeric_dtype(names.dtype):
        return names
    filled = names[names.notna()].astype(str)
    spelled: dict[str, list[str]] = {}
    for name in filled.drop_duplicates():
        spelled.setdefault(name.casefold(), []).append(name)
    keys = found.columns(
        ("seed", "fold", "case", "group", "dataset", "stratum", "class", "split", "epoch")
    )
    merged: dict[str, str] = {}
    for several in (alike for alike in spelled.values() if len(alike) > 1):
        rows = table[names.isin(several)]
        if keys and not rows.duplicated(keys).any():
            usual = max(several, key=lambda name: int((names == name).sum()))
            merged |= dict.fromkeys(several, usual)
            findings.append(
                Finding(
                    "doubt",
                    f"{' and '.join(several)} are taken for one arm, '{usual}': they share no run",
                )
            )
    return names.replace(merged) if merged else names


def _fill_patients(table: pd.DataFrame, found: Recognised, findings: list[Finding]) -> None:
    """The patient of a case that is empty in some rows, from the case's other rows."""
    group, case = found.column("group"), found.column("case")
    if group is None or case is None or pd.api.types.is_numeric_dtype(table[group].dtype):
        return
    empty = as_text(table[group]).str.strip() == ""
    if not empty.any() or empty.all():
        return
    keys = [*found.columns(("dataset",)), case]
    several = table[~empty].groupby(keys, observed=True)[group].agg(["first", "nunique"])
    known = several.loc[several["nunique"] == 1, "first"]
    places = pd.MultiIndex.from_frame(table.loc[empty, keys])
    filled = known.reindex(places if len(keys) > 1 else places.get_level_values(0)).to_numpy()
    table.loc[empty, group] = pd.Series(filled, index=table.index[empty]).fillna("")
    count = int(pd.notna(filled).sum())
    if count:
        findings.append(
            Finding(
                "doubt",
                f"{group} is empty in {int(empty.sum())} rows: {count} are filled from other rows "
                f"of the same {case}",
            )
        )


def _match_cases(table: pd.DataFrame, arm: str, found: Recognised, findings: list[Finding]) -> None:
    """Cases that arms write with other folders, endings or capitals as one, where that fits."""
    for role in ("group", "case"):
        column = found.column(role)
        if column is None or pd.api.types.is_numeric_dtype(table[column].dtype):
            continue
        keys = found.columns(("arm", "seed", "fold", "dataset", "stratum", "class", "split",
                              "epoch", *(("group", "case") if role == "case" else ())))  # fmt: skip
        for alike, told in (
            (without_ending, "endings of files"),
            (case_name, "folders and endings of files"),
            (str.casefold, "capitals"),
            (lambda name: case_name(name).casefold(), "folders, endings of files and capitals"),
        ):
            names = table[column].map({name: alike(str(name)) for name in table[column].unique()})
            if role == "case":
                more = _in_several(names, table[arm]) > _in_several(table[column], table[arm])
                doubled = table.assign(**{column: names}).duplicated(keys).sum()
                fits = more and doubled <= table.duplicated(keys).sum()
            else:
                fits = alike is str.casefold and names.nunique() < table[column].nunique()
            if fits:
                findings.append(
                    Finding(
                        "doubt", f"{column}: names that differ in {told} only are taken for one"
                    )
                )
                table[column] = names
                break


def _in_several(cases: pd.Series, arms: pd.Series) -> int:
    return int((arms.groupby(cases, observed=True).nunique() > 1).sum())


def _numbered(table: pd.DataFrame, arm: str, seed: str, findings: list[Finding]) -> pd.Series:
    """Seeds or folds written in two ways (``seed_3`` and ``3``, ``01`` and ``1``) as numbers."""
    values = table[seed]
    if (
        pd.api.types.is_float_dtype(values.dtype)
        and values.notna().all()
        and (values % 1 == 0).all()
    ):
        return values.astype("int64")
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values
    text = as_text(values)
    found = {value: _SEED.fullmatch(value) for value in text.unique()}
    if not all(found.values()):
        return values
    numbers = text.map({value: int(match[1]) for value, match in found.items() if match})
    arms = as_text(table[arm])
    if (numbers.groupby(arms).nunique() < text.groupby(arms).nunique()).any():
        return values
    shared, after = (
        len(set.intersection(*(set(own) for _, own in series.groupby(arms))))
        for series in (text, numbers)
    )
    if after <= shared:
        return values
    findings.append(
        Finding(
            "note",
            f"{seed}: '{text.iloc[0]}' and the like are read as the number, {numbers.iloc[0]}",
        )
    )
    return numbers
