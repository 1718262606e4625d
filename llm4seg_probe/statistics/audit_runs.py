"""Audit of a table with a row per run, or per run and case."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from llm4seg_probe.errors import ConfigError, TableError, unknown
from llm4seg_probe.statistics.audited import Audit, Design, Test
from llm4seg_probe.statistics.bootstrap import FEWEST_GROUPS
from llm4seg_probe.statistics.compare import compare
from llm4seg_probe.statistics.recognising import SCORES, Match, Role, plain
from llm4seg_probe.statistics.scales import FRACTIONS, PERCENT_FROM
from llm4seg_probe.statistics.suspicions import Finding, Inspected, inspect

OUR_NAMES: dict[Role, str] = {
    "arm": "arm", "seed": "seed", "case": "image", "group": "group", "dataset": "dataset",
    "fold": "fold", "split": "split", "class": "class", "epoch": "epoch",
}  # fmt: skip
BASELINES = ("baseline", "cnn", "unet", "u_net", "vanilla", "control", "plain", "base")


def audited(
    table: pd.DataFrame,
    matches: Mapping[Role, Match],
    *,
    baseline: str | None,
    test_share: float | None,
    margin: float | None,
    alpha: float,
    bootstrap: int,
) -> Audit:
    """Audit a table whose columns are recognised; see :func:`audit.audit`."""
    rows, score = _renamed(table, matches)
    base, how = chosen_baseline(list(rows["arm"].drop_duplicates()), baseline)
    size = half_a_point(score, float(rows["value"].max()), margin)
    design = _design(rows)
    findings = [*_guesses(matches), *inspect(Inspected(rows, score, size)), Finding("note", how)]
    share = _test_share(rows, test_share) if design.kind == "per fold" else None
    try:
        comparison = _compared(rows, score, base, size, alpha, bootstrap, design, share)
    except TableError as error:
        comparison = pd.DataFrame()
        findings.insert(0, Finding("fault", f"not comparable: {error}"))
    return Audit(
        design, score, base, size, tuple(matches.values()), tuple(findings), _tests(design),
        comparison, pd.DataFrame(),
    )  # fmt: skip


def _guesses(matches: Mapping[Role, Match]) -> list[Finding]:
    """A seed that no name gave away may be anything that was counted."""
    seed = matches.get("seed")
    if seed is None or seed.how != "content":
        return []
    return [
        Finding(
            "doubt", f"column {seed.column} was taken for the seed by what it holds: is it one?"
        )
    ]


def chosen_baseline(arms: list[str], named: str | None) -> tuple[str, str]:
    """The arm that the others are compared with, and how it was found.

    Raises TableError where the one named is none, or there is only one arm.
    """
    if len(arms) < 2:
        raise TableError(f"only one arm ({', '.join(arms)}): there is nothing to compare it with")
    if named is not None:
        if named not in arms:
            raise TableError(unknown("arm", named, arms))
        return named, f"baseline: {named}, as given"
    for arm in arms:
        if plain(arm) in BASELINES:
            return arm, f"baseline: {arm}, by its name"
    return arms[0], f"baseline: {arms[0]}, the first in the table; name another if it is not"


def half_a_point(score: str, largest: float, margin: float | None) -> float:
    """The margin as given, else half a point in the score's own unit.

    Raises ConfigError where the score is no fraction: half a point means nothing there.
    """
    if margin is not None:
        return margin
    if score not in FRACTIONS:
        raise ConfigError(f"{score} is no fraction: name the margin, in its own unit")
    return 0.5 if largest > PERCENT_FROM else 0.005


def _renamed(table: pd.DataFrame, matches: Mapping[Role, Match]) -> tuple[pd.DataFrame, str]:
    """The table under our names, with what it lacks filled by one value, and the score's name."""
    rows = pd.DataFrame(
        {
            OUR_NAMES[role]: table[match.column]
            for role, match in matches.items()
            if role in OUR_NAMES
        }
    )
    column = matches["score"].column
    rows["value"] = pd.to_numeric(table[column], errors="coerce")
    for name in ("dataset", "seed"):
        if name not in rows:
            rows[name] = "" if name == "dataset" else 0
    for name in ("arm", "dataset"):
        rows[name] = rows[name].astype(object).where(rows[name].notna(), "").astype(str)
    return rows, SCORES.get(plain(column), plain(column))


def _design(rows: pd.DataFrame) -> Design:
    by_arm = [set(own["seed"]) for _, own in rows.groupby("arm")]
    seeds = max(map(len, by_arm))
    shared = set.intersection(*by_arm)
    arms, datasets = rows["arm"].nunique(), rows["dataset"].nunique()
    has_folds = "fold" in rows and rows["fold"].nunique() > 1
    cases = rows["image"].nunique() if "image" in rows else None
    paired = (["fold"] if has_folds else []) + (["seed"] if shared and seeds > 1 else [])
    if cases is not None:
        paired.append("case")
    return Design(
        kind="per fold" if has_folds else "per seed" if cases is None else "per case",
        paired_by=tuple(paired),
        arms=arms,
        seeds=rows["fold"].nunique() * seeds if has_folds else seeds,
        cases=cases,
        groups=rows["group"].nunique() if "group" in rows else None,
        datasets=datasets,
        comparisons=(arms - 1) * datasets,
    )


def _test_share(rows: pd.DataFrame, given: float | None) -> float:
    """Part of the data in a test fold: as given, else one over the number of folds."""
    return given if given is not None else 1 / rows["fold"].nunique()


def _compared(
    rows: pd.DataFrame,
    score: str,
    baseline: str,
    margin: float,
    alpha: float,
    bootstrap: int,
    design: Design,
    test_share: float | None,
) -> pd.DataFrame:
    table = rows.drop(columns=["epoch"], errors="ignore").rename(columns={"value": score})
    unpaired = design.kind != "per fold" and design.seeds > 1 and "seed" not in design.paired_by
    return compare(
        table, score=score, baseline=baseline, margin=margin, alpha=alpha, bootstrap=bootstrap,
        average_over=["class"] if "class" in rows else [],
        fold="fold" if test_share is not None else None, test_share=test_share,
        drop_unpaired=True, unpaired=unpaired,
    )  # fmt: skip


def _tests(design: Design) -> tuple[Test, ...]:
    many = design.seeds > 1
    folds = design.kind == "per fold"
    paired = many and "seed" in design.paired_by and not folds
    alone = many and not paired and not folds
    one_run = "one run per arm has no spread between runs"
    units = design.groups if design.groups is not None else design.cases
    seeds_why = "the arms share their seeds" if paired else (
        "folds share training data" if folds else one_run if not many else "no seeds are shared"
    )  # fmt: skip
    return (
        Test("paired t-test over seeds", paired, seeds_why),
        Test("exact sign-flip test over seeds", paired, seeds_why),
        Test(
            "Welch's t-test over runs", alone,
            "the runs share nothing" if alone else
            "it throws the pairing away" if paired else seeds_why,
        ),
        Test(
            "corrected resampled t-test over folds", folds,
            "folds share training data" if folds else "there are no folds",
        ),
        Test(
            "equivalence within the margin (TOST)", many,
            "there is a spread between runs" if many else one_run,
        ),
        Test(
            "interval over patients", not folds and not alone and (units or 0) >= FEWEST_GROUPS,
            f"{units} patients" if units is not None else "the table has no cases",
        ),
        Test(
            "test over the cases of one run, as evidence for a method", False,
            "cases tell two trained models apart; another training run is another model",
        ),
    )  # fmt: skip
