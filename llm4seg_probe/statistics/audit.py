"""Results that somebody else made: what can be trusted, what could be shown, and what was.

``compare`` behind a detector of the design. The tests that the design allows are made, the
others are refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from llm4seg_probe.statistics import audit_means, audit_runs
from llm4seg_probe.statistics.audited import Audit
from llm4seg_probe.statistics.reading import numbers_as_numbers, read_results, read_text
from llm4seg_probe.statistics.recognising import recognise


def audit_files(
    paths: Sequence[Path],
    *,
    columns: Mapping[str, str] | None = None,
    baseline: str | None = None,
    n: int | None = None,
    test_share: float | None = None,
    margin: float | None = None,
    alpha: float = 0.05,
    bootstrap: int = 10_000,
) -> Audit:
    """Audit a CSV table, or nnU-Net's summary.json files (one per arm, or per arm and fold).

    See :func:`audit`. Raises TableError for files that are neither.
    """
    files = [Path(path) for path in paths]
    if len(files) == 1 and files[0].is_file() and files[0].suffix != ".json":
        table = read_text(files[0])
    else:
        table = read_results(files)
    return audit(
        table, columns=columns, baseline=baseline, n=n, test_share=test_share, margin=margin,
        alpha=alpha, bootstrap=bootstrap,
    )  # fmt: skip


def audit(
    table: pd.DataFrame,
    *,
    columns: Mapping[str, str] | None = None,
    baseline: str | None = None,
    n: int | None = None,
    test_share: float | None = None,
    margin: float | None = None,
    alpha: float = 0.05,
    bootstrap: int = 10_000,
) -> Audit:
    """Find out how a table of results was made, what is suspicious, and what it shows.

    table: one row per arm and seed (and case), in any order and under any names; or one row per
    arm with means, SDs and n. Cells may be text, so that printed digits count.
    columns: names by role (``arm, seed, case, group, dataset, fold, split, class, score, mean,
    sd, n``) for those that are not recognised. n: runs behind each mean, if the table does not
    say. margin: None takes half a point (0.005 of a fraction, 0.5 of a percentage).

    Raises TableError for a table in which no arm or score can be found, ConfigError for a score
    that is no fraction and needs a margin.
    """
    if audit_means.is_means(table, columns or {}):
        return audit_means.audited(
            table, columns or {}, baseline=baseline, n=n, margin=margin, alpha=alpha
        )
    numbers = numbers_as_numbers(table)
    matches = recognise(numbers, columns)
    return audit_runs.audited(
        numbers, matches, baseline=baseline, test_share=test_share, margin=margin, alpha=alpha,
        bootstrap=bootstrap,
    )  # fmt: skip
