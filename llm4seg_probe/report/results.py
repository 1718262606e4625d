"""A folder of results as read once: what was run, the tables that are there, the arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from llm4seg_probe.config import read_yaml, validated
from llm4seg_probe.drawing.table_rows import compared, told_apart
from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.arrays import NAME, MapArrays, array_files
from llm4seg_probe.probes.arrays import read_map_arrays as read_map_arrays
from llm4seg_probe.reading.names import is_own, own_files
from llm4seg_probe.report.context import DatasetContext as DatasetContext
from llm4seg_probe.report.context import ProbeAbout
from llm4seg_probe.report.context import ReportContext as ReportContext
from llm4seg_probe.report.left_out import not_used, without_rows
from llm4seg_probe.statistics.claims import pairs_table
from llm4seg_probe.statistics.judgement import ready
from llm4seg_probe.tables import (
    ASSOCIATION,
    CLAIMS,
    COMPARISON,
    CURVES,
    LADDER,
    LOOKS,
    METRICS,
    PAIRS,
    RUNS,
    SCORES,
    SELECTION,
    SIZES,
    Schema,
    conform,
    read_table,
)

_BESIDE_SCORES = ("rank", "maps")  # probes whose tables have no folder of their own
_PROBED = tuple(registry.find(name).schema for name in _BESIDE_SCORES)
TABLES = (
    *(RUNS, SCORES, *_PROBED, COMPARISON, CLAIMS, PAIRS),
    *(LOOKS, ASSOCIATION, LADDER, SELECTION, SIZES),
)
ABOUT = "about.yaml"
MOST_CONDITIONS = 12
"""More rows than this make a figure that no column holds."""
MOST_COMPARISONS = 24
_MEASURED = ("scores.csv", "rank.csv", "maps.csv", "curves.csv")


@dataclass(frozen=True, eq=False)
class Results:
    """A folder of results. A table or array file that is not there, or is empty, was not run.

    tables: in those of measurements the arms are conditions, see :func:`summaries.told_apart`;
    written: as they stand in the files. galleries: one for each set of images. probes: what is
    said of each folder of a probe. left_out: what lies there and is not used, in sentences.
    """

    folder: Path
    context: ReportContext
    tables: dict[str, pd.DataFrame]
    galleries: tuple[MapArrays, ...] = ()
    written: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    probes: Mapping[str, ProbeAbout] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def arrays(self) -> MapArrays | None:
        """The first gallery, None where there is none."""
        return self.galleries[0] if self.galleries else None

    @property
    def main_score(self) -> str:
        """The segmentation score that was compared first; IoU where none was."""
        comparison = self.tables.get("comparison.csv")
        if comparison is None:
            return "iou"
        rows = compared(comparison, "scores")
        return "iou" if rows.empty else str(rows["score"].iloc[0])

    def has(self, name: str) -> bool:
        """Whether a file of this name was there and held something."""
        return bool(self.galleries) if name == NAME else name in self.tables

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """What the claims compare: ``pairs.csv``, or made here for results that lack it.

        Raises TableError where a table has changed since the claims were judged.
        """
        if PAIRS.name in self.written:
            return self.written[PAIRS.name]
        tables = {name.removesuffix(".csv"): table for name, table in self.written.items()}
        probed = _claimed(self.folder, self.context)
        return pairs_table(self.context.claims, ready(tables) | probed)

    @cached_property
    def dataset_of(self) -> dict[str, str]:
        """The data set of each run."""
        found: dict[str, str] = {}
        for name in ("runs.csv", *_MEASURED):
            if name in self.tables:
                table = self.tables[name]
                found |= dict(zip(table["run"], table["dataset"], strict=True))
        return found

    @cached_property
    def condition_of(self) -> dict[str, str]:
        """The condition of each run, as the tables of measurements name it."""
        found: dict[str, str] = {}
        for name in _MEASURED:
            if name in self.tables:
                table = self.tables[name]
                found |= dict(zip(table["run"], table["arm"], strict=True))
        if not found and "runs.csv" in self.tables:
            runs = self.tables["runs.csv"]
            named = told_apart(runs, runs)
            found = dict(zip(named["run"], named["arm"], strict=True))
        return found

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions that were run or compared."""
        names = dict.fromkeys(self.condition_of.values())
        comparison = self.tables.get("comparison.csv")
        if not names and comparison is not None:
            names = dict.fromkeys([*comparison["a"], *comparison["b"]])
        return list(names)

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets, that of the base configuration first."""
        found = list(dict.fromkeys(self.dataset_of.values()))
        return sorted(found, key=lambda name: name != self.context.dataset.name)

    @property
    def parts(self) -> dict[str, Results]:
        """The results by data set; all of them where there is only one."""
        names = self.datasets
        if len(names) < 2:
            return dict.fromkeys(names or [self.context.dataset.name], self)
        return {name: self.of_dataset(name) for name in names}

    def at_base(self) -> Results:
        """Without the conditions that deviate, where more than a figure can hold were run."""
        tables = dict(self.tables)
        for name in _MEASURED:
            if name in tables:
                deviates = tables[name]["arm"].str.contains("[", regex=False)
                if tables[name]["arm"].nunique() > MOST_CONDITIONS and not deviates.all():
                    tables[name] = tables[name][~deviates]
        comparison = tables.get("comparison.csv")
        if comparison is not None and len(comparison) > MOST_COMPARISONS:
            pairs = comparison["a"] + comparison["b"]
            simple = comparison[~pairs.str.contains(r"[\[( ]")]
            tables["comparison.csv"] = simple if len(simple) else comparison
        galleries = tuple(arrays.at_base(MOST_CONDITIONS) for arrays in self.galleries)
        return replace(self, tables=tables, galleries=galleries)

    def of_dataset(self, dataset: str) -> Results:
        """What was measured on one data set; comparisons across data sets are left out."""
        tables = {
            name: table[table["dataset"] == dataset] if "dataset" in table.columns else table
            for name, table in self.tables.items()
        }
        return replace(
            self,
            tables={name: table for name, table in tables.items() if not table.empty},
            galleries=tuple(
                arrays
                for arrays in self.galleries
                if self.dataset_of.get(str(arrays.map_run[0]), dataset) == dataset
            ),
        )


def read_results(folder: Path) -> Results:
    """Read a folder of results.

    Raises ConfigError when ``analysis.yaml`` is missing or lacks a field, TableError when a table
    or array file is there but cannot be read.
    """
    folder = Path(folder)
    description = folder / "analysis.yaml"
    if description.is_symlink():
        raise ConfigError(f"{description}: is a link, and links in results are not followed")
    context = validated(read_yaml(description), ReportContext, str(description))
    read = _tables(folder, TABLES)
    if is_own(folder / CURVES.name, folder):
        read[CURVES.name] = _curves(folder / CURVES.name, read.get(RUNS.name))
    written = {name: table for name, table in read.items() if not table.empty}
    tables = dict(written)
    conditions: dict[str, str] = {}
    for name in _MEASURED:
        if name in tables:
            tables[name] = told_apart(tables[name], tables.get("runs.csv"))
            conditions |= dict(zip(tables[name]["run"], tables[name]["arm"], strict=True))
    galleries = [read_map_arrays(path) for path in array_files(folder)]
    return Results(
        folder,
        context,
        tables,
        tuple(arrays.told_apart(conditions) for arrays in galleries if arrays is not None),
        written,
        _probes(folder),
        (
            *not_used(folder, (*(schema.name for schema in TABLES), CURVES.name)),
            *(
                without_rows(name)
                for name in read
                if name not in {*written, *_may_lack_rows(context)}
            ),
        ),
    )


def _may_lack_rows(context: ReportContext) -> Iterator[str]:
    """Tables that a sweep writes without rows where nothing was asked that would fill them."""
    if not context.claims:
        yield CLAIMS.name
        if len(context.arms) < 2:
            yield COMPARISON.name


def _claimed(folder: Path, context: ReportContext) -> dict[str, pd.DataFrame]:
    """Tables in the folders of probes on which claims are stated, by name."""
    names = {name for claim in context.claims for name in claim.tables} - set(_BESIDE_SCORES)
    known = registry.probes()
    schemas = {name: known[name].schema for name in sorted(names & known.keys())}
    return {
        name: read_table(folder / name / schema.name, schema)
        for name, schema in schemas.items()
        if is_own(folder / name / schema.name, folder)
    }


def _tables(folder: Path, schemas: Sequence[Schema]) -> dict[str, pd.DataFrame]:
    return {
        schema.name: read_table(folder / schema.name, schema)
        for schema in schemas
        if is_own(folder / schema.name, folder)
    }


def _curves(path: Path, runs: pd.DataFrame | None) -> pd.DataFrame:
    """The training curves; earlier ones named only the run, and its arm stands in runs.csv."""
    bare = Schema(path.name, {"run": "text", **METRICS.keys}, METRICS.values)
    table = read_table(path, bare)
    if "arm" in table.columns:
        return read_table(path, CURVES)
    if runs is None or runs.empty:
        raise TableError(f"{path} does not name the arms, and there is no {RUNS.name} that does")
    named = table.merge(runs[["run", "dataset", "arm", "seed"]], on="run")
    gaps = dict.fromkeys(("iou_gap", "loss_gap"), float("nan"))
    return conform(named.assign(**gaps), CURVES)


def _probes(folder: Path) -> dict[str, ProbeAbout]:
    return {
        path.parent.name: validated(read_yaml(path), ProbeAbout, str(path))
        for path in own_files(folder, f"*/{ABOUT}")
    }
