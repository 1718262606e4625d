"""Does one arm differ from another, beyond the noise of seeds? On anybody's tidy table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.assessing import Assessment, assess
from llm4seg_probe.statistics.multiplicity import holm, holm_at
from llm4seg_probe.statistics.pairs import Selection, pairs_in
from llm4seg_probe.statistics.rules import Rules
from llm4seg_probe.statistics.scales import is_lower_better
from llm4seg_probe.statistics.selecting import Columns
from llm4seg_probe.statistics.sentences import sentence
from llm4seg_probe.statistics.verdicts import verdict
from llm4seg_probe.tables import COMPARISON, conform


def compare(
    table: pd.DataFrame,
    *,
    score: str = "iou",
    baseline: str = "cnn",
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
    margin: float = 0.005,
    alpha: float = 0.05,
    lower_is_better: bool | None = None,
    bootstrap: int = 10_000,
    bootstrap_seed: int = 0,
    drop_unpaired: bool = False,
    unpaired: bool = False,
) -> pd.DataFrame:
    """Compare every arm with the baseline, or the pairs named, and give each a verdict.

    table: one row per arm, seed and, if there are cases, case; every other column that tells
    measurements apart must be fixed by ``where`` or named in ``average_over``. A run's value is
    the mean over its cases. Columns ``image``, ``group`` and ``dataset`` may be absent; data
    sets are compared one by one, and all comparisons of the call are one family (Holm).

    Returns the table ``comparison.csv`` (difference: arm minus baseline), and beside its columns
    ``n_groups``, ``boot_coverage`` (measured, not nominal), ``lower_is_better``,
    ``equivalence_power``, ``seeds_needed_low/high``, ``seeds_observed`` with its range, ``note``
    and ``sentence``. The rules for what is not plain:

    - ``ci_*``, ``p_t``: paired t over per-seed means. ``p_exact``: all sign flips, up to 40
      seeds. ``boot_*``: crossed bootstrap over seeds and groups (cases without groups are each
      their own); over seeds alone in a table without cases. ``case_*``: over groups, the runs as
      they are, from 10 groups on. Both are expanded percentile intervals.
    - one seed: ``not run``; what can be said over cases is there.
    - differences without spread (all seeds agree, ties included): no t; the exact p decides.
    - NaN or infinite: a case that has no score in any run of a pair is left out and noted; in
      some runs only, it is an error unless ``drop_unpaired``.
    - percentages beside fractions, or a fraction's margin on percentages: an error.
    - ``unpaired``: Welch's test, for runs that share nothing; ``fold`` with ``test_share``: the
      corrected resampled t-test over folds (and seeds, if they repeat them).

    Raises TableError for a table, ConfigError for an argument that does not allow it; a missing
    partner is listed by its seed.
    """
    if (fold is None) != (test_share is None):
        raise TableError("fold and test_share go together: name the column, and its share of data")
    rules = Rules(
        margin, alpha, "superiority", is_lower_better(score, lower_is_better),
        bootstrap, bootstrap_seed, test_share,
    )  # fmt: skip
    wanted = Selection(
        score, baseline, Columns(arm, seed, case, group, dataset), where or {},
        tuple(average_over), pairs, fold, drop_unpaired, unpaired,
    )  # fmt: skip
    return comparison(assess(pairs_in(table, wanted), rules))


def comparison(assessments: Sequence[Assessment]) -> pd.DataFrame:
    """The table of one family of comparisons: Holm's adjustment, verdicts and sentences."""
    p = [each.evidence.p for each in assessments]
    adjusted = holm(p)
    rows = [
        row_of(
            each,
            adjusted[index],
            holm_at(p, index, each.evidence.supports),
            holm_at(p, index, each.evidence.opposes),
        )
        for index, each in enumerate(assessments)
    ]
    return conform(pd.DataFrame(rows), COMPARISON)


def row_of(
    assessment: Assessment, p_adjusted: float, supports: float, opposes: float
) -> dict[str, object]:
    """One row of comparison.csv from an assessment and its adjusted p-values."""
    within = assessment.evidence.within_margin
    rules = assessment.rules
    decided = verdict(assessment.estimate.n, supports, opposes, within, rules.alpha)
    return {
        **assessment.row,
        "p_adjusted": p_adjusted,
        "verdict": decided,
        "lower_is_better": rules.lower_is_better,
        "sentence": sentence(assessment, decided, p_adjusted),
    }
