"""Conditions whose runs leave nothing to compare: they learned nothing, or make no error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt

import pandas as pd

from llm4seg_probe.scores import CHOSEN_EPOCH
from llm4seg_probe.statistics.rows import as_text

_ONE_IN_TWENTY = 1.645
"""Standard errors that a standard normal lies above in 5 of 100."""


def nothing_to_compare(scores: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """Sentences that name the conditions of runs at the floor or at the ceiling of their score.

    A run of segmentation has learned nothing where every predicted mask is empty, one of detection
    where no object was found at any rate of false alarms. One of classification has where the
    AUROC of every class lies below what guessing exceeds in one of twenty tries: 0.5 and 1.645
    times √((n + m + 1) / (12 n m)), with n images of the class and m without (Mann and Whitney,
    1947). Images of one patient are alike, so that guessing in truth goes higher than this. At
    the ceiling are detection where every object is found without a false alarm, and
    classification where the AUROC of every class is 1.

    Parameters
    ----------
    scores : DataFrame
        Columns of ``scores.csv``. The chosen epoch on the test images counts.
    runs : DataFrame
        Columns of ``runs.csv``, of which ``deviation`` tells the conditions of an arm apart.

    Returns
    -------
    list of str
        A sentence for each kind, without full stop; empty where all runs can differ.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "run": ["a", "b"], "checkpoint": "best", "split": "test", "empty": ["prediction", ""]
    ... })
    >>> runs = pd.DataFrame({
    ...     "run": ["a", "b"], "dataset": "spine", "arm": "cnn", "deviation": "train_images=8"
    ... })
    >>> (told,) = nothing_to_compare(scores, runs)
    >>> told.partition(":")[0]
    'Found nothing at all (every predicted test mask is empty)'
    >>> told.partition(": ")[2].partition(".")[0]
    '1 of 2 runs of cnn with train_images=8'
    """
    chosen = scores
    for name, wanted in CHOSEN_EPOCH.items():
        chosen = chosen[chosen[name] == wanted]
    sentences = []
    for kind, columns, is_nothing in _KINDS:
        if not columns <= set(chosen.columns):
            continue
        nothing: dict[str, bool] = {
            str(run): is_nothing(rows) for run, rows in chosen.groupby("run")
        }
        if any(nothing.values()):
            sentences.append(
                f"{kind}: {'; '.join(_counted(nothing, runs))}. A difference between such "
                "runs says nothing about what the arms learn"
            )
    return sentences


def _marks_nothing(rows: pd.DataFrame) -> bool:
    """Whether every mask of a run is empty, and one should not have been."""
    kinds = set(as_text(rows["empty"]))
    return kinds <= {"prediction", "both"} and "prediction" in kinds


def _finds_no_object(rows: pd.DataFrame) -> bool:
    froc = rows["object_froc"].dropna()
    return len(froc) > 0 and froc.mean() <= 0


def _finds_every_object(rows: pd.DataFrame) -> bool:
    froc = rows["object_froc"].dropna()
    return len(froc) > 0 and froc.min() >= 1


def _tells_all(rows: pd.DataFrame) -> bool:
    auroc = rows["image_auroc"].dropna()
    return len(auroc) > 0 and auroc.min() >= 1


def _guesses(rows: pd.DataFrame) -> bool:
    """Whether the AUROC of every class is one that guessing reaches in one of twenty tries."""
    found = rows[rows["image_auroc"].notna()]
    for _, own in found.groupby(as_text(found["class"])):
        has = float(own["present"].sum())
        has_not = len(own) - has
        spread = sqrt((len(own) + 1) / (12 * has * has_not))
        if own["image_auroc"].mean() > 0.5 + _ONE_IN_TWENTY * spread:
            return False
    return len(found) > 0


_KINDS: tuple[tuple[str, set[str], Callable[[pd.DataFrame], bool]], ...] = (
    ("Found nothing at all (every predicted test mask is empty)", {"empty"}, _marks_nothing),
    ("Found no object in any test image", {"object_froc"}, _finds_no_object),
    (
        "Told test images with a class from those without no better than guessing does in one of "
        "twenty tries (AUROC)", {"image_auroc", "present"}, _guesses,
    ),
    (
        "Found every object of the test images without a false alarm", {"object_froc"},
        _finds_every_object,
    ),
    (
        "Told all test images with a class from all without (AUROC 1)", {"image_auroc"},
        _tells_all,
    ),
)  # fmt: skip
"""Beginning of the sentence, columns of such scores, and whether a run's rows are so."""


def _counted(nothing: dict[str, bool], runs: pd.DataFrame) -> Iterable[str]:
    """Such runs by their arms, those alike in number, deviation and data together."""
    own = runs[runs["run"].isin(nothing)]
    several = own["dataset"].nunique() > 1
    arms: dict[tuple[str, str], list[str]] = {}
    conditions = own.assign(deviation=as_text(own["deviation"]), marked=own["run"].map(nothing))
    keys = ["dataset", "deviation", "arm"]
    for names, rows in conditions.groupby(keys, sort=False):
        dataset, deviation, arm = map(str, names)
        marked = int(rows["marked"].sum())
        if not marked:
            continue
        place = f" with {deviation.replace(',', ', ')}" if deviation else ""
        if several and f"dataset={dataset}" not in deviation:
            place += f" on {dataset}"
        number = "all" if marked == len(rows) else f"{marked} of {len(rows)}"
        arms.setdefault((number, place), []).append(arm)
    for (number, place), (*others, last) in arms.items():
        listed = f"{', '.join(others)} and {last}" if others else last
        yield f"{number} runs of {listed}{place}"
