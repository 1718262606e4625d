"""Find the results of our own runs that can stand beside a figure of the paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from llm4seg_probe import progress, tables
from llm4seg_probe.config import read_yaml, validated
from llm4seg_probe.drawing.table_rows import told_apart
from llm4seg_probe.errors import TableError, UserError
from llm4seg_probe.probes.arrays import MapArrays
from llm4seg_probe.report.results import ReportContext, Results, read_results
from llm4seg_probe.study.analysis import load_analysis, shipped
from llm4seg_probe.study.engines.base import Engine
from llm4seg_probe.study.pipeline import answer

REPORTS = "reports"
MADE_HERE = Path("notebooks") / "runs"
"""Where small runs are kept that nobody asked for by name, below the folder of reports."""
_DESCRIPTION = "analysis.yaml"
_OF_MAPS = ("map_run", "map_arm", "map_seed", "map_site", "maps")
_OF_PREDICTIONS = ("prediction_run", "prediction_arm", "prediction_seed", "prediction_bits")
_SIZES = ("quick", "small", "paper")


@dataclass(frozen=True)
class ChosenResults:
    """The results that were chosen, and what else lies here.

    others: folders that would have done. unreadable: what is wrong with those that would, but
    for that. made: whether the runs were made for the occasion.
    """

    results: Results
    others: tuple[Path, ...] = ()
    unreadable: tuple[str, ...] = ()
    made: bool = False

    @property
    def origin(self) -> str:
        """The results used, their scale, and what they rest on, in Markdown."""
        context = self.results.context
        scale = ", ".join(f"{name} {value}" for name, value in context.scale.items())
        origin = "made just now" if self.made else "as they lie here"
        others = ", ".join(f"`{path.name}`" for path in self.others)
        sentences = [
            f"Results used: `{self.results.folder.name}`, {origin} ({context.title}; size "
            f"{context.size or 'not stated'}; {_counted(len(context.arms), 'arm')}, "
            f"{_counted(len(context.seeds), 'seed')}).",
            f"Scale: {scale}." if scale else "",
            f"Data: {context.dataset.name}. {' '.join(context.dataset.caveats)}".strip(),
            f"They rest on: {' '.join(context.rests_on.split())}",
            f"Others here that would have done: {others}." if others else "",
            *(f"Passed over, since it cannot be read: {reason}." for reason in self.unreadable),
        ]
        return "\n\n".join(sentence for sentence in sentences if sentence)

    def plain(self, name: str) -> pd.DataFrame:
        """Rows of a table for the arms as they are, on the analysis' own data set.

        Raises TableError for a table that is not there.
        """
        own = self.results.of_dataset(self.results.context.dataset.name)
        if name not in own.tables:
            raise TableError(f"{self.results.folder}: there is no {name}, or nothing in it")
        table = own.tables[name]
        return table[~table["arm"].str.contains("[", regex=False)]

    def plain_arrays(self) -> MapArrays:
        """The arrays behind the galleries, of the arms as they are.

        Raises TableError where there are none.
        """
        arrays = self.results.of_dataset(self.results.context.dataset.name).arrays
        if arrays is None:
            raise TableError(f"{self.results.folder}: there is no maps.npz, or no map in it")
        kept = {_OF_MAPS: arrays.map_arm, _OF_PREDICTIONS: arrays.prediction_arm}
        return replace(
            arrays,
            **{
                name: getattr(arrays, name)[np.char.find(arms, "[") < 0]
                for names, arms in kept.items()
                for name in names
            },
        )


def results_for(
    analysis: str | Path,
    *,
    reports: Path | None = None,
    needs: Sequence[str] = ("scores.csv",),
    conditions: Sequence[str] = ("cnn", "llm"),
    seeds: int = 2,
    engine: Engine | None = None,
) -> ChosenResults:
    """The best results under ``reports`` that hold what a question needs.

    analysis: a shipped one's name or the path of a file, which is run at size ``quick`` (on
    ``engine``) where no folder will do. needs: files that must be there. conditions: arms, or
    arms with what deviates in them (``llm[layer=10]``), that must have been run, with ``seeds``
    seeds at least. Of several folders the larger size is taken, then the larger number of runs,
    then the first by name.

    Raises ConfigError for an analysis that there is not.
    """
    folder = reports_folder() if reports is None else Path(reports)
    fitting = sorted(
        (_rank(path), path)
        for path in _results_in(folder)
        if _holds(path, needs, conditions, seeds)
    )
    unreadable = []
    for place, (_, path) in enumerate(fitting):
        try:
            results = read_results(path)
        except UserError as reason:  # of another version
            unreadable.append(f"`{path.name}`: {reason}")
        else:
            others = tuple(other for _, other in fitting[place + 1 :])
            return ChosenResults(results, others, tuple(unreadable))
    file = analysis if isinstance(analysis, Path) else shipped(analysis)
    wanted = load_analysis(file).at("quick")
    out = folder / MADE_HERE / f"{wanted.name}-quick"
    progress.say(f"{folder} holds no results for this: {wanted.name} is run at quick, into {out}")
    answer(wanted, out, size="quick", engine=engine)
    return ChosenResults(read_results(out), unreadable=tuple(unreadable), made=True)


def reports_folder(start: Path | None = None) -> Path:
    """The nearest folder ``reports`` beside or above a place; one to be made there if none is."""
    here = Path.cwd() if start is None else Path(start).resolve()
    for parent in (here, *here.parents):
        if (parent / REPORTS).is_dir():
            return parent / REPORTS
    return here / REPORTS


def conditions_in(runs: pd.DataFrame) -> set[str]:
    """The conditions in a ``runs.csv``: each arm, with what deviates in it."""
    return set(told_apart(runs, runs)["arm"])


def _results_in(reports: Path) -> Iterator[Path]:
    for pattern in (f"*/{_DESCRIPTION}", f"{MADE_HERE.as_posix()}/*/{_DESCRIPTION}"):
        for path in sorted(reports.glob(pattern)):
            yield path.parent


def _holds(folder: Path, needs: Sequence[str], conditions: Sequence[str], seeds: int) -> bool:
    if not all((folder / name).is_file() for name in (tables.RUNS.name, *needs)):
        return False
    try:
        enough = len(_context(folder).seeds) >= seeds
        return enough and set(conditions) <= conditions_in(_runs(folder))
    except UserError:
        return False  # of another version, or half written: no results


def _rank(folder: Path) -> tuple[int, int]:
    """Small for what is better."""
    size = _context(folder).size
    return (-_SIZES.index(size) if size in _SIZES else 1, -len(_runs(folder)))


def _runs(folder: Path) -> pd.DataFrame:
    return tables.read_table(folder / tables.RUNS.name, tables.RUNS)


def _context(folder: Path) -> ReportContext:
    description = folder / _DESCRIPTION
    return validated(read_yaml(description), ReportContext, str(description))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
