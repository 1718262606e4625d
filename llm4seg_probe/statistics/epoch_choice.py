"""Choosing the best epoch: how much it flatters the images that chose it, and gaps between curves.

The optimism of a run is (validation best − validation last) − (test best − test last): what the
choice gains where it was made, beyond what it gains elsewhere. Two arms that are reported in the
same way are both flattered: only the difference in optimism can explain a gain between them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.arms import Term
from llm4seg_probe.statistics.conditions import NotThere, run_means, with_runs
from llm4seg_probe.statistics.paired_tests import Estimate, paired
from llm4seg_probe.statistics.rows import as_text

PUBLISHED_GAINS = {"LLaMA, 15th layer": 0.0081, "DeepSeek, 28th layer": 0.0045}
"""Gain in IoU over the plain CNN, read off the paper's layer figure (±0.0002); one run each."""

CORNERS = {("val", "best"): 1, ("val", "last"): -1, ("test", "best"): -1, ("test", "last"): 1}


def selection(
    scores: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    *,
    score: str = "iou",
    baseline: str = "cnn",
    alpha: float = 0.05,
) -> pd.DataFrame:
    """``selection.csv``: the optimism of each arm, and of each against the baseline.

    scores: a ``scores.csv`` with both splits and both checkpoints of each run; runs: its
    ``runs.csv``; runs that deviate from their arm are left out. One row per data set and arm
    (``against`` empty), and one per arm other than the baseline (``against`` the baseline):
    ``optimism`` with its t interval and p over seeds, unadjusted, and a ``sentence`` that says
    what share of the published gains it is. Empty where the scores lack a split or checkpoint.
    """
    joined = with_runs(scores, runs)
    rows: list[dict[str, object]] = []
    if not set(CORNERS) <= set(zip(scores["split"], scores["checkpoint"], strict=True)):
        return _table(rows)
    for dataset in as_text(joined["dataset"]).drop_duplicates():
        by_arm = dict(_by_arm(joined, score, dataset))
        base = by_arm.get(baseline)
        for arm, values in by_arm.items():
            rows.append(_row(dataset, arm, "", values, score, alpha))
        for arm, values in by_arm.items():
            if base is not None and arm != baseline:
                both = (values - base).dropna()
                if len(both):
                    rows.append(_row(dataset, arm, baseline, both, score, alpha))
    return _table(rows)


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(tables.SELECTION.columns))
    return tables.conform(frame, tables.SELECTION)


def _by_arm(
    table: pd.DataFrame, score: str, dataset: str
) -> Iterator[tuple[str, pd.Series[float]]]:
    """Each arm with the optimism of its runs, by seed."""
    for arm in as_text(table["arm"]).drop_duplicates():
        total: pd.Series[float] | None = None
        try:
            for (split, checkpoint), weight in CORNERS.items():
                filters = (("dataset", dataset), ("split", split), ("checkpoint", checkpoint))
                part = weight * run_means(table, score, Term(arm, filters), {}, ("class",))
                total = part if total is None else total + part
        except NotThere:
            continue
        assert total is not None
        yield arm, total.dropna()


def _row(
    dataset: str, arm: str, against: str, values: pd.Series[float], score: str, alpha: float
) -> dict[str, object]:
    numbers = np.asarray(values, np.float64)
    found = paired(numbers, np.zeros(len(numbers)))
    low, high = found.interval(1 - alpha)
    return {
        "dataset": dataset,
        "score": score,
        "arm": arm,
        "against": against,
        "n_seeds": found.n,
        "optimism": found.difference,
        "ci_low": low,
        "ci_high": high,
        "p": found.p,
        "sentence": _sentence(arm, against, score, found, alpha),
    }


def _sentence(arm: str, against: str, score: str, found: Estimate, alpha: float) -> str:
    low, high = found.interval(1 - alpha)
    level = f"{100 * (1 - alpha):g} % interval {low:+.3g} to {high:+.3g}, " if low == low else ""
    size = f"({level}{'one seed' if found.n == 1 else f'{found.n} seeds'})"
    by = f"{abs(found.difference):.3g}"
    if against:
        more = "more" if found.difference > 0 else "less"
        by = f"{by} {more} than {against}" if found.difference else f"nothing more than {against}"
    elif found.difference <= 0:
        by = "nothing" if found.difference == 0 else f"-{by}"
    start = f"Choosing the epoch flatters {arm} by {by} in {score} {size}"
    if score != "iou":
        return f"{start}."
    if found.difference <= 0:
        return f"{start}: none of the published gains."
    shares = " and ".join(
        f"{100 * found.difference / gain:.0f} % of {100 * gain:.2f} points ({name})"
        for name, gain in PUBLISHED_GAINS.items()
    )
    unsure = "" if low > 0 else "; it may as well be none"
    return f"{start}, which is {shares}, the published gains{unsure}."


def with_gaps(curves: pd.DataFrame) -> pd.DataFrame:
    """Training curves with ``iou_gap`` and ``loss_gap``: how much better training looks.

    train_iou − val_iou and val_loss − train_loss: larger is more overfitted for both.
    """
    return curves.assign(
        iou_gap=curves["train_iou"] - curves["val_iou"],
        loss_gap=curves["val_loss"] - curves["train_loss"],
    )


def at_checkpoints(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per run and ``checkpoint``: ``last``, the last epoch, and ``best``, the chosen one.

    Chosen is the first epoch of the highest validation IoU, or of the lowest loss where a task has
    no IoU, as in training. A run whose last epoch
    is its best has that row twice. The epoch itself is no column: it differs between runs.
    """
    if curves.empty:
        return curves
    in_order = curves.sort_values(["run", "epoch"], kind="stable")
    worth = in_order["val_iou"].where(in_order["val_iou"].notna(), -in_order["val_loss"])
    best = in_order.loc[worth.groupby(in_order["run"], sort=False).idxmax()]
    last = in_order.groupby("run", sort=False).tail(1)
    parts = [last.assign(checkpoint="last"), best.assign(checkpoint="best")]
    return pd.concat(parts, ignore_index=True).drop(columns="epoch")
