"""Scores of runs on images with masks, in the hand: ``lp.evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from llm4seg_probe import progress, tables
from llm4seg_probe.results.probes import sources_of
from llm4seg_probe.results.result import Result
from llm4seg_probe.results.runs import Runs, Trained
from llm4seg_probe.scores import PRINTED
from llm4seg_probe.training.evaluation import scores_of
from llm4seg_probe.training.stored_run import Run


class Scored(Result):
    """Scores of runs: one row per run, image and class, as ``scores.csv`` has them."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table

    @property
    def table(self) -> pd.DataFrame:
        """One row per run, image and class."""
        return self._table

    @property
    def summary(self) -> pd.DataFrame:
        """Means over the images, of the scores that were measured, by arm, seed and class."""
        table = self._table
        measured = [name for name in PRINTED if name in table and table[name].notna().any()]
        return table.groupby(["arm", "seed", "class"])[measured].mean().reset_index()

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write ``scores.csv`` into a folder; returns it."""
        path = Path(folder) / tables.SCORES.name
        tables.write_table(self._table, path, tables.SCORES)
        return (path,)


def evaluate(
    runs: str | Path | Run | Trained | Runs | Sequence[str | Path | Run | Trained],
    *,
    data: str | Path | None = None,
    split: str = "test",
    network: str | None = None,
    device: str | None = None,
) -> Scored:
    """Score runs on one side of their split, or on the images of another folder.

    Parameters
    ----------
    runs : run, path, glob, or several
        Runs as :func:`llm4seg_probe.load`, :func:`llm4seg_probe.train` or
        :func:`llm4seg_probe.runs` give them, or by the paths of their ``run.pt``.
    data : str or Path, optional
        A folder of images with masks, instead of the runs' own.
    split : {"test", "val", "train"}
        The side of the run's own split.
    network : str, optional
        For runs whose network is from outside: ``package.module:callable``.
    device : str, optional
        Where they are computed, ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. By default
        ``auto``, and an opened run where it lies.

    Returns
    -------
    Scored
        ``.table`` has a row per run, image and class, ``.summary`` the means.

    Raises
    ------
    CheckpointError
        For a path that names no run, or a run that gives finite numbers for no image.
    DataError
        For images that cannot be read, or lack their masks.
    """
    sources = sources_of(runs, split, data, network, device)
    opened = (source.open().run for source in progress.track(sources, "Scoring"))
    return Scored(scores_of(opened, split=split, data=None if data is None else Path(data)))
