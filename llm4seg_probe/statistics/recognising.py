"""Which column of somebody else's table is what: by its name, else by what it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from llm4seg_probe.errors import TableError, unknown
from llm4seg_probe.statistics.scales import FRACTIONS, LOWER_IS_BETTER

Role = Literal[
    "arm", "seed", "case", "group", "dataset", "fold", "split", "class", "epoch",
    "mean", "sd", "n", "score",
]  # fmt: skip

NAMES: dict[Role, tuple[str, ...]] = {
    "arm": (
        "arm", "method", "model", "network", "net", "approach", "algorithm", "architecture",
        "variant", "condition", "configuration", "config", "experiment",
    ),
    "seed": (
        "seed", "random_seed", "rng_seed", "repetition", "repeat", "rep", "trial", "replicate",
        "run", "run_id", "try",
    ),
    "case": (
        "image", "case", "image_id", "case_id", "img", "img_id", "slice", "slice_id", "file",
        "filename", "file_name", "sample", "sample_id", "scan", "scan_id", "identifier", "id",
        "name",
    ),
    "group": ("group", "patient", "patient_id", "subject", "subject_id", "pid", "person", "volume"),
    "dataset": ("dataset", "data_set", "data", "benchmark", "corpus", "task", "cohort"),
    "fold": ("fold", "cv_fold", "fold_id", "k"),
    "split": ("split", "subset", "phase", "partition", "set"),
    "class": ("class", "label", "organ", "structure", "class_id", "class_name"),
    "epoch": ("epoch", "best_epoch", "step", "iteration"),
    "mean": ("mean", "average", "avg", "mean_sd", "result"),
    "sd": ("sd", "std", "stdev", "std_dev", "standard_deviation"),
    "n": ("n", "n_seeds", "n_runs", "seeds", "runs", "num_runs", "num_seeds", "n_splits", "splits"),
}  # fmt: skip
"""Names that columns go by, the likelier first; compared in lower case, units left out."""

SCORES = {
    **{name: name for name in (*FRACTIONS, *LOWER_IS_BETTER)},
    "miou": "iou", "mean_iou": "iou", "mdice": "dice", "dice_score": "dice", "mean_dice": "dice",
    "iou_score": "iou", "dice_coefficient": "dice", "jaccard_index": "jaccard", "f1_score": "f1",
    "hausdorff95": "hd95", "hd_95": "hd95", "95hd": "hd95", "hausdorff_95": "hd95",
    "surface_dice": "nsd",
}  # fmt: skip
"""Names of scores, and the name that says their direction and scale."""

MOST_ARMS = 50
MOST_SEEDS = 100


@dataclass(frozen=True)
class Match:
    """One column, what it was taken for, and why: its ``name``, its ``content``, or ``given``."""

    role: Role
    column: str
    how: Literal["name", "content", "given"]


def plain(name: object) -> str:
    """A column's name in lower case, without units or punctuation.

    >>> plain("IoU (%)"), plain("Patient ID")
    ('iou', 'patient_id')
    """
    without_unit = re.sub(r"[(\[].*?[)\]]|%", "", str(name))
    return re.sub(r"[^a-z0-9]+", "_", without_unit.lower()).strip("_")


def recognise(table: pd.DataFrame, given: Mapping[str, str] | None = None) -> dict[Role, Match]:
    """What each recognised column is, one column per role.

    given: columns by role, for those that are known. By name first; an arm, seed or case that no
    name gives away is looked for by content, and taken if only one column could be it. Raises
    TableError where there is no arm or no score, or several columns could be it.
    """
    found = _given(table, given or {})
    for role, names in NAMES.items():
        if role not in found:
            _by_name(table, role, names, found)
    if "score" not in found and "mean" not in found:
        _score(table, found)
    if "arm" not in found:
        _by_content(table, "arm", _could_be_arms(table, found), found)
    if "mean" in found:
        return found
    if "case" not in found and "group" in found:
        found["case"] = Match("case", found.pop("group").column, "name")
    if "seed" not in found and "fold" not in found:
        _by_content(table, "seed", _could_be_seeds(table, found), found, optional=True)
    if "case" not in found:
        _by_content(table, "case", _could_be_cases(table, found), found, optional=True)
    return found


def _given(table: pd.DataFrame, given: Mapping[str, str]) -> dict[Role, Match]:
    roles = (*NAMES, "score")
    found: dict[Role, Match] = {}
    for role, column in given.items():
        if role not in roles:
            raise TableError(unknown("role", role, roles))
        if column not in table.columns:
            raise TableError(unknown(f"column ({role})", column, map(str, table.columns)))
        found[role] = Match(role, column, "given")
    return found


def _free(table: pd.DataFrame, found: Mapping[Role, Match]) -> list[str]:
    taken = {match.column for match in found.values()}
    return [str(name) for name in table.columns if name not in taken]


def _by_name(
    table: pd.DataFrame, role: Role, names: Sequence[str], found: dict[Role, Match]
) -> None:
    free = {plain(column): column for column in reversed(_free(table, found))}
    for name in names:
        if name in free:
            found[role] = Match(role, free[name], "name")
            return


def _score(table: pd.DataFrame, found: dict[Role, Match]) -> None:
    free = _free(table, found)
    named = [column for column in free if plain(column) in SCORES]
    if named:
        first = min(named, key=lambda column: list(SCORES.values()).index(SCORES[plain(column)]))
        preferred = [column for column in named if SCORES[plain(column)] in ("iou", "dice")]
        found["score"] = Match("score", (preferred or [first])[0], "name")
        return
    floats = [column for column in free if pd.api.types.is_float_dtype(table[column].dtype)]
    _by_content(table, "score", floats, found)


def _by_content(
    table: pd.DataFrame,
    role: Role,
    candidates: Sequence[str],
    found: dict[Role, Match],
    *,
    optional: bool = False,
) -> None:
    if len(candidates) == 1:
        found[role] = Match(role, candidates[0], "content")
    elif candidates or not optional:
        told = f"could be {', '.join(candidates)}" if candidates else "is not among them"
        raise TableError(
            f"which column holds the {role}? Of {', '.join(map(str, table.columns))} it {told}: "
            f"name it, as in columns={{{role!r}: …}}"
        )


def _could_be_arms(table: pd.DataFrame, found: Mapping[Role, Match]) -> list[str]:
    """Text columns of few values; the one with clearly the fewest, where there is such a one."""
    counts = {
        column: table[column].nunique()
        for column in _free(table, found)
        if not pd.api.types.is_numeric_dtype(table[column].dtype)
        and 2 <= table[column].nunique() <= MOST_ARMS
        and table[column].nunique() < len(table) / 2
    }
    ordered = sorted(counts, key=lambda column: counts[column])
    if len(ordered) > 1 and 2 * counts[ordered[0]] <= counts[ordered[1]]:
        return ordered[:1]
    return list(counts)


def _could_be_seeds(table: pd.DataFrame, found: Mapping[Role, Match]) -> list[str]:
    keys = _columns(found, ("arm", "dataset", "class", "split"))
    return [
        column
        for column in _free(table, found)
        if pd.api.types.is_integer_dtype(table[column].dtype)
        and 2 <= table[column].nunique() <= MOST_SEEDS
        and table.groupby(keys)[column].nunique().nunique() == 1
    ]


def _could_be_cases(table: pd.DataFrame, found: Mapping[Role, Match]) -> list[str]:
    keys = _columns(found, ("arm", "seed", "dataset", "class", "split", "fold"))
    if not table.duplicated(keys).any():
        return []
    return [
        column
        for column in _free(table, found)
        if not pd.api.types.is_float_dtype(table[column].dtype)
        and table[column].nunique() > 1
        and not table.duplicated([*keys, column]).any()
    ]


def _columns(found: Mapping[Role, Match], roles: Iterable[Role]) -> list[str]:
    return [found[role].column for role in roles if role in found]
