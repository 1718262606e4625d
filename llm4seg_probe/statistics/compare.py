"""Compare arms beyond the noise of seeds, on any tidy table: ``lp.compare`` and comparison.csv.

Rules for what is not plain in the columns of ``comparison.csv``:

- ``ci_*``, ``p_t``: paired t over per-seed means, two-sided. ``p_exact``: all sign flips,
  up to 40 seeds; of unpaired runs all divisions into two groups, up to 11 against 11.
  ``boot_*``: crossed bootstrap over seeds and groups (cases without groups are each their
  own); over seeds alone in a table without cases. ``case_*``: over groups, the runs as
  they are, from 10 groups on. Both are expanded percentile intervals.
- one seed: ``not run``; what can be said over cases is there.
- differences without spread (all seeds agree, ties included): no t; the exact p decides.
- NaN: a case that has no score in any run of a pair is left out and noted; in some runs
  only, it is an error unless ``drop_unpaired``. Infinite: an error without ``infinite_as``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from llm4seg_probe.arms import by_condition
from llm4seg_probe.errors import ConfigError, TableError, unknown
from llm4seg_probe.score_names import default_margin, direction
from llm4seg_probe.statistics.assessment import Assessment, assess
from llm4seg_probe.statistics.averages import Absent
from llm4seg_probe.statistics.decimal_marks import Decimal
from llm4seg_probe.statistics.kinds import Evidence
from llm4seg_probe.statistics.look_rows import comparison_at_looks, rows_at_looks
from llm4seg_probe.statistics.looks import Design, Spending
from llm4seg_probe.statistics.multiplicity import Adjust, holm_at
from llm4seg_probe.statistics.pairs import Wanted, pairs_in, refuse_without_runs
from llm4seg_probe.statistics.reader import Asked, Reading, named_columns, read
from llm4seg_probe.statistics.robust import with_robust
from llm4seg_probe.statistics.roles import Role
from llm4seg_probe.statistics.rows import Columns
from llm4seg_probe.statistics.table_file import TableFile
from llm4seg_probe.statistics.verdict_sentences import sentence
from llm4seg_probe.statistics.verdicts import Rules, Verdict, verdict
from llm4seg_probe.tables import COMPARISON, conform


def compare(
    table: pd.DataFrame,
    *,
    score: str = "iou",
    baseline: str | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    arm: str = "arm",
    seed: str = "seed",
    case: str | None = "image",
    group: str | None = "group",
    dataset: str | None = "dataset",
    where: Mapping[str, object] | None = None,
    average_over: Sequence[str] = (),
    fold: str | None = None,
    test_share: float | None = None,
    margin: float | None = None,
    alpha: float = 0.05,
    lower_is_better: bool | None = None,
    bootstrap: int = 10_000,
    bootstrap_seed: int = 0,
    drop_unpaired: bool = False,
    unpaired: bool = False,
    absent: Absent = "case",
    infinite_as: float | None = None,
    decimal: Decimal | None = None,
    looks: Sequence[int] | None = None,
    spending: Spending = "pocock",
) -> pd.DataFrame:
    """Compare every arm with the baseline, or the pairs named, and give each a verdict.

    A run's value is the mean over its cases. Data sets are compared one by one, and all comparisons
    of the call are one family (Holm), for differences and for equivalence.

    Parameters
    ----------
    table : DataFrame
        One row per arm, seed and, if there are cases, case. Every other column that tells
        measurements apart must be fixed by ``where`` or named in ``average_over``.
    score : str
        Column to compare.
    baseline, pairs
        The arm that every other is compared with (by default ``cnn``, or what is named like a
        baseline, or the first in the table); or the comparisons, each as (a, b).
    arm, seed, case, group, dataset : str
        Names of the key columns. One of these names that the table does not have is recognised
        by other usual names (``method``, ``patient``, …); ``None`` for what there is not.
    where : mapping
        Column to value: the rows that are compared.
    average_over : sequence of str
        Columns, such as ``fold``, that are averaged over; one of classes is, unasked.
    fold, test_share
        Column of the folds, recognised unless named, and the share of the data in the test part
        of one, as the cases show unless named, else one over their number: the corrected
        resampled t-test over folds (and seeds, if they repeat them).
    margin : float, optional
        Smallest difference that matters, in the score's unit; half a point (0.005 of a fraction,
        0.5 of a percentage) unless named. Without one, for scores that are no fractions, nothing is
        said about equivalence.
    alpha : float
        Error rate of the family.
    lower_is_better : bool, optional
        By the score's name unless named.
    bootstrap, bootstrap_seed : int
        Number of resamples, 0 for none, and the seed of their draws.
    drop_unpaired : bool
        Leave out seeds, cases and scores that have no partner; they are noted.
    unpaired : bool
        Welch's test, for runs that share nothing.
    absent : {"case", "per-case", "per-class"}
        What becomes of classes that a case does not have, where classes are averaged over: the
        case is left out; or the mean is over those that it has; or each class is averaged over the
        cases that have it, and then the classes, as nnU-Net does.
    infinite_as : float, optional
        What an infinite score counts as, such as a Hausdorff distance where nothing was found.
    decimal : {".", ","}, optional
        The decimal mark of cells that are text, where they leave it open.
    looks : sequence of int, optional
        Numbers of seeds, fixed before the data, at which the study is looked at. The first
        boundary crossed decides and stands; see :mod:`look_rows` for the columns.
    spending : {"pocock", "obrien-fleming"}
        The rule by which looks share the error rate.

    Returns
    -------
    DataFrame
        The table ``comparison.csv`` (difference: arm minus baseline), and beside its columns
        ``n_groups``, ``boot_coverage`` (measured, not nominal), ``lower_is_better``,
        ``p_equivalence_adjusted``, ``equivalence_power``, ``seeds_needed_low/high``,
        ``seeds_observed`` with its range, ``note`` and ``sentence``. This module's documentation
        has the rules for what is not plain.

    Raises
    ------
    TableError
        For a table that does not allow it: a missing partner is listed by its seed; percentages
        beside fractions; folds or sides of a split that would be pooled.
    ConfigError
        For an argument that makes no sense: a fraction's margin on percentages; a score of which
        it is not known whether a higher or a lower one is better.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "arm": ["cnn"] * 5 + ["llm"] * 5,
    ...     "seed": [0, 1, 2, 3, 4] * 2,
    ...     "iou": [0.631, 0.640, 0.637, 0.642, 0.640, 0.651, 0.662, 0.653, 0.671, 0.659],
    ... })
    >>> row = compare(scores, bootstrap=0).iloc[0]
    >>> print(f"{row['difference']:.4f}, p = {row['p_t']:.4f}: {row['verdict']}")
    0.0212, p = 0.0006: supported
    """
    question = Question(
        Wanted(baseline, pairs, drop_unpaired, unpaired), margin, alpha, lower_is_better,
        bootstrap, bootstrap_seed, test_share, None if looks is None else tuple(looks), spending,
    )  # fmt: skip
    given = {
        "score": score, "arm": arm, "seed": seed, "case": case, "group": group,
        "dataset": dataset, "fold": fold, "where": where, "average_over": average_over,
        "decimal": decimal, "infinite_as": infinite_as, "absent": absent, "baseline": baseline,
    }  # fmt: skip
    return compared(reading_of(table, given), question)


def reading_of(table: pd.DataFrame, given: Mapping[str, Any]) -> Reading:
    """A table in memory, read as the arguments of :func:`compare` say."""
    roles: tuple[Role, ...] = ("arm", "seed", "case", "group", "dataset")
    named, off = named_columns(table, {role: given[role] for role in roles})
    columns: dict[Role, str] = {"score": given["score"], **named}
    if given["fold"]:
        columns["fold"] = given["fold"]
    asked = Asked(
        columns, off, given["where"] or {}, tuple(given["average_over"]),
        decimal=given["decimal"], infinite_as=given["infinite_as"], absent=given["absent"],
        baseline=given.get("baseline"),
    )  # fmt: skip
    return read(TableFile(table), asked)


@dataclass(frozen=True)
class Question:
    """What is asked of a table of results: which pairs, and the rules decided before the data.

    margin: None takes the usual one of a fraction, and none for other scores. lower_is_better:
    None goes by the score's name. test_share: None takes what the cases show, else one over the
    number of folds.
    """

    wanted: Wanted
    margin: float | None = None
    alpha: float = 0.05
    lower_is_better: bool | None = None
    bootstrap: int = 10_000
    bootstrap_seed: int = 0
    test_share: float | None = None
    looks: tuple[int, ...] | None = None
    spending: Spending = "pocock"

    def __post_init__(self) -> None:
        Rules(
            self.margin, self.alpha, bootstrap=self.bootstrap, test_share=self.test_share
        )  # refuses what makes no sense before a table is read
        if self.design is not None and self.wanted.unpaired:
            raise ConfigError("looks are of paired seeds: leave out --looks, or --unpaired")

    @property
    def design(self) -> Design | None:
        """The declared looks; None for a fixed number of seeds."""
        return None if self.looks is None else Design(self.looks, self.alpha, self.spending)

    def rules(self, reading: Reading) -> Rules:
        """The rules for one score.

        Raises ConfigError where its direction is not known, or a rule makes no sense; TableError
        for a test share where there are no folds.
        """
        margin = self.margin
        if margin is None:
            margin = default_margin(reading.score, reading.largest)
        lower = direction(reading.score, self.lower_is_better).lower_is_better
        return Rules(
            margin, self.alpha, "superiority", lower, self.bootstrap, self.bootstrap_seed,
            self._share(reading),
        )  # fmt: skip

    def _share(self, reading: Reading) -> float | None:
        if reading.fold is None:
            if self.test_share is not None:
                raise TableError("--test-share goes with --fold: name the column of the folds")
            return None
        return self.test_share


def compared(reading: Reading, question: Question) -> pd.DataFrame:
    """Compare the arms of a table that was read; see :func:`compare`."""
    refuse_without_runs(reading)
    rules = question.rules(reading)
    if question.design is None:
        return comparison(assess(pairs_in(reading, question.wanted), rules))
    if reading.fold is not None:
        raise ConfigError(
            f"looks are of paired seeds, and {reading.fold} holds folds, of which there can be no "
            "more: leave out --looks"
        )
    appearance = tuple(reading.table[reading.columns.seed].drop_duplicates())
    found = assess(pairs_in(reading, question.wanted), rules)
    return comparison_at_looks(found, question.design, appearance)


def comparison(assessments: Sequence[Assessment]) -> pd.DataFrame:
    """The table of one family of comparisons: Holm's adjustment, verdicts and sentences."""
    p = [each.evidence.p for each in assessments]
    within = [each.evidence.within_margin for each in assessments]
    rows = [
        row_of(each, Adjust(partial(holm_at, p, index), partial(holm_at, within, index)))
        for index, each in enumerate(assessments)
    ]
    return conform(pd.DataFrame(rows), COMPARISON)


def row_of(assessment: Assessment, adjust: Adjust) -> dict[str, object]:
    """One row of comparison.csv from an assessment and its place in a family."""
    rules, found = assessment.rules, assessment.evidence

    def decided(n_seeds: int, seen: Evidence) -> Verdict:
        return verdict(
            n_seeds, adjust.p(seen.supports), adjust.p(seen.opposes),
            adjust.within(seen.within_margin), rules.alpha,
        )  # fmt: skip

    p_adjusted, within = adjust.p(found.p), adjust.within(found.within_margin)
    given = decided(assessment.estimate.n, found)
    row = {
        **assessment.row,
        "p_adjusted": p_adjusted,
        "p_equivalence_adjusted": within,
        "verdict": given,
        "lower_is_better": rules.lower_is_better,
        "sentence": sentence(assessment, given, p_adjusted, within),
    }
    return with_robust(row, assessment, decided)


def compare_arms(
    scores: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    score: str = "iou",
    baseline: str = "cnn",
    margin: float = 0.005,
    design: Design | None = None,
) -> pd.DataFrame:
    """``comparison.csv`` of a study of several data sets, splits and settings, as one family.

    scores: rows of one split and checkpoint; runs: the ``runs.csv`` that names their deviations.
    A condition is compared with the baseline of the same data set and cases: the plain one, or
    the one that deviates in the data alone, such as ``cnn[data.split=reference]``. Conditions
    without such a baseline are left out. design: declared looks, whose study may have gone on with
    some of the arms; the seeds that two arms share are compared then. Raises TableError where no
    run is the baseline's.
    """
    conditions = by_condition(scores, runs)
    arms = scores["arm"].astype(str)
    if baseline not in set(arms):
        raise TableError(unknown("arm", baseline, arms.drop_duplicates()))
    pairs = []
    for rows, base in _comparable(conditions, baseline):
        if rows["arm"].nunique() > 1:
            reading = Reading(rows, score, Columns().present_in(rows), average_over=_classes(rows))
            pairs += pairs_in(reading, Wanted(base, drop_unpaired=design is not None))
    if not pairs:
        raise TableError(f"no condition was scored on the same cases as the baseline '{baseline}'")
    rules = Rules(margin, lower_is_better=direction(score).lower_is_better)
    found = assess(pairs, rules)
    return comparison(found) if design is None else rows_at_looks(found, design)


def _classes(rows: pd.DataFrame) -> tuple[str, ...]:
    return ("class",) if rows["class"].nunique() > 1 else ()


def _comparable(table: pd.DataFrame, baseline: str) -> Iterator[tuple[pd.DataFrame, str]]:
    """The rows of each data set that were scored on the same cases, and their baseline."""
    for _, rows in table.groupby("dataset", sort=False):
        cases = rows.groupby("arm", sort=False)["image"].agg(frozenset)
        for _, alike in cases.groupby(cases.to_numpy(), sort=False):
            bases = [arm for arm in alike.index if arm.partition("[")[0] == baseline]
            if bases:
                yield rows[rows["arm"].isin(alike.index)], min(bases, key=len)
