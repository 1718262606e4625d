"""Score changes with their intervals: over another training run, another patient, and both."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from llm4seg_probe import progress
from llm4seg_probe.statistics.compare import compare

SCORES = ("iou", "dice")
_TAKEN = {
    "n_seeds": "n_seeds",
    "n_cases": "n_cases",
    "n_groups": "n_groups",
    "mean": "mean_a",
    "change": "difference",
    "ci_low": "ci_low",
    "ci_high": "ci_high",
    "boot_low": "boot_low",
    "boot_high": "boot_high",
    "case_low": "case_low",
    "case_high": "case_high",
    "note": "note",
}


def effects(table: pd.DataFrame, condition: Sequence[str], baseline: Sequence[str]) -> pd.DataFrame:
    """One row per data set, arm, condition and score: the mean change against the baseline.

    ``condition`` are the columns that tell conditions apart, ``baseline`` their values where
    nothing was changed. Each change is paired by run and image, within an arm; classes are
    averaged. ``ci_*`` are over seeds (paired t), ``case_*`` over groups (from ten on), ``boot_*``
    over both; empty where there are too few, which ``note`` says.
    """
    names = list(condition)
    labels = table[names].agg("\x1f".join, axis=1)
    whole = table["arm"] + "\x1f" + labels
    frame = table[["dataset", "seed", "image", "group", "class", *SCORES]].assign(arm=whole)
    start = "\x1f".join(baseline)
    keyed = table[["arm", *names]].assign(a=whole, b=table["arm"] + "\x1f" + start)
    keyed = keyed[labels != start].drop_duplicates()
    pairs = list(zip(keyed["a"], keyed["b"], strict=True))
    parts = [
        compare(frame, score=score, pairs=pairs, average_over=("class",), drop_unpaired=True)
        for score in SCORES
        if pairs
    ]
    if not parts:
        return pd.DataFrame(columns=["dataset", "arm", *names, "score", *_TAKEN])
    found = pd.concat(parts, ignore_index=True).merge(keyed, on="a", validate="many_to_one")
    taken = {name: found[column] for name, column in _TAKEN.items()}
    return found[["dataset", "arm", *names, "score"]].assign(**taken)


def say_notes(found: pd.DataFrame) -> None:
    """Say on standard error which intervals are missing, and why: each reason once."""
    reasons = "; ".join(found["note"].drop_duplicates()).split("; ")
    for reason in dict.fromkeys(filter(None, reasons)):
        progress.say(f"intervals: {reason}")
