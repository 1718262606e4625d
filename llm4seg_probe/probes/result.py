"""Take a probe of runs: measure each, join, write, read back, draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm4seg_probe import progress, tables
from llm4seg_probe.errors import SiteError
from llm4seg_probe.probes.arrays import merged, read_arrays, write_arrays
from llm4seg_probe.probes.base import NotMeasurable, Probe
from llm4seg_probe.probes.overflow import refuse_overflow, told_of_no_numbers
from llm4seg_probe.tables import Schema, conform
from llm4seg_probe.tasks import TASKS

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from llm4seg_probe.config import Config
    from llm4seg_probe.probes.probed import Measurement, ProbedRun, Source

FIGURES = "figures"
_COMPACT = 4096


class Rows:
    """Rows as they come, a few thousand at a time turned into columns, which take far less room."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._parts: list[pd.DataFrame] = []
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Add one row of the schema's columns; those that it lacks are empty."""
        self._rows.append(row)
        if len(self._rows) >= _COMPACT:
            self._compact()

    def table(self) -> pd.DataFrame:
        """All rows, in the order in which they came, as the schema has them."""
        self._compact()
        return conform(pd.concat(self._parts, ignore_index=True), self._schema)

    def _compact(self) -> None:
        frame = pd.DataFrame(self._rows).reindex(columns=list(self._schema.columns))
        self._parts.append(conform(frame, self._schema))
        self._rows = []


@dataclass(frozen=True)
class Saved:
    """Where the results of a probe lie."""

    tables: Mapping[str, Path]
    figures: tuple[Path, ...]

    @property
    def table(self) -> Path:
        """The probe's own table."""
        return next(iter(self.tables.values()))


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What a probe measured of some runs, in memory.

    tables: by file name, the probe's own first. arrays: of each run that has some.
    """

    probe: Probe
    tables: Mapping[str, pd.DataFrame]
    arrays: tuple[Mapping[str, np.ndarray], ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """The probe's own table."""
        return self.tables[self.probe.schema.name]

    @property
    def summary(self) -> pd.DataFrame:
        """A few rows that say most."""
        probe = self.probe
        if probe.summarise:
            chosen: pd.DataFrame = probe.resolved(probe.summarise)(self.tables)
            return chosen
        rows = self.table
        for column, value in probe.summary_where.items():
            rows = rows[rows[column] == value]
        return means(rows, probe.summary_by, probe.summary_of or probe.claimable[:3])

    @property
    def sentences(self) -> tuple[str, ...]:
        """What may be said of the table, where the probe says something."""
        probe = self.probe
        return tuple(probe.resolved(probe.sentences)(self.tables)) if probe.sentences else ()

    def figures(self) -> dict[str, Figure]:
        """Its figures by name, as :meth:`save` writes them; nothing of it stays on disk."""
        with TemporaryDirectory() as scratch:
            store(self, Path(scratch))
            return {name: figure for name, (figure, _) in drawn(self.probe, Path(scratch)).items()}

    def save(self, out: Path) -> Saved:
        """Write tables, arrays and figures to a folder."""
        store(self, out)
        figures = draw(self.probe, out)
        return Saved({name: out / name for name in self.tables}, figures)


@dataclass(frozen=True, eq=False)
class StoredResult(ProbeResult):
    """What a probe measured, as it lies in a folder; its figures are drawn from there."""

    folder: Path = Path()

    @classmethod
    def read(cls, probe: Probe, folder: Path) -> StoredResult:
        """Read the tables of a probe from a folder. Raises TableError where there are none."""
        found = _tables_in(folder, probe)
        arrays = folder / probe.arrays_file
        return cls(probe, found, (read_arrays(arrays),) if arrays.is_file() else (), folder)

    def figures(self) -> dict[str, Figure]:
        """Its figures by name."""
        return {name: figure for name, (figure, _) in drawn(self.probe, self.folder).items()}


def take(probe: Probe, sources: Sequence[Source], options: Any = None) -> ProbeResult:
    """Measure runs, opened one at a time and computed as configured.

    Runs that have nothing of what is measured are left out, which is said.

    Raises
    ------
    SiteError
        Where no run is left, and for a site that a network does not have.
    DataError
        For images that cannot be looked at.
    """
    options = probe.options() if options is None else options
    if probe.measure_together:
        for source in sources:
            refuse_task(probe, source.config, source.path.parent.name)
        found = [probe.resolved(probe.measure_together)(sources, options)]
    else:
        found = _one_by_one(probe, sources, options)
    names = [
        schema.name
        for schema in probe.further
        if not schema.on_request or any(schema.name in each.further for each in found)
    ]
    parts = {probe.schema.name: [each.table for each in found]}
    parts |= {name: [each.further[name] for each in found] for name in names}
    known = {schema.name: schema for schema in probe.schemas}
    whole = {
        name: conform(pd.concat(of_runs, ignore_index=True), known[name])
        for name, of_runs in parts.items()
    }
    arrays = tuple(each.arrays for each in found if each.arrays is not None)
    return ProbeResult(probe, with_derived(probe, whole), arrays)


_NAMED = 3
"""Runs that are named where one thing is said of several."""


def _one_by_one(probe: Probe, sources: Sequence[Source], options: Any) -> list[Measurement]:
    found: list[Measurement] = []
    reasons: list[str] = []
    left_out: dict[str, list[str]] = {}
    for source in progress.track(sources, probe.name.capitalize()):
        probed = source.open([other for other in sources if other is not source])
        try:
            with computed(probed):
                found.append(measured(probe, probed, options))
            for what in found[-1].left_out:
                left_out.setdefault(what, []).append(probed.run.name)
        except NotMeasurable as reason:
            reasons.append(str(reason))
            progress.say(f"{probed.run.name} left out: {reason}")
    for what, runs in left_out.items():
        more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
        progress.say(f"{', '.join(runs[:_NAMED])}{more}: left out {what}")
    if not found:
        raise SiteError(f"no run is left to probe: {'; '.join(dict.fromkeys(reasons))}")
    return found


def refuse_task(probe: Probe, config: Config, run: str) -> None:
    """Raise NotMeasurable for a run whose task has nothing of what a probe looks at."""
    needs = "the masks of its images" if probe.without_masks is None else ""
    if config.task == "segmentation" or not (needs or probe.answers):
        return
    if TASKS[config.task].pooled and needs:
        raise NotMeasurable(
            f"{probe.name} needs {needs}, but task of run {run} is '{config.task}', whose answer "
            "is of the whole image"
        )
    if probe.answers:
        raise NotMeasurable(
            f"{probe.name} looks at the masks that a network answers, but task of run {run} is "
            f"'{config.task}'"
        )


def measured(probe: Probe, probed: ProbedRun, options: Any) -> Measurement:
    """What a probe finds in one opened run; the data set is that of the images looked at.

    Raises CheckpointError for a run that gives finite numbers for none of them.
    """
    from dataclasses import replace

    refuse_task(probe, probed.run.config, probed.run.name)
    if probe.without_masks and probed.collection.of_labels:
        usual = {name: getattr(probe.options(), name) for name in probe.without_masks}
        left = {name: value for name, value in probe.without_masks.items()
                if getattr(options, name) == usual[name]}  # fmt: skip
        options = replace(options, **left)
    refuse_overflow(probed, options)
    with told_of_no_numbers(probed.run):
        found: Measurement = probe.resolved(probe.measure)(probed, options)
    if probed.data is None:
        return found
    name = probed.collection.name
    further = {file: table.assign(dataset=name) for file, table in found.further.items()}
    return replace(found, table=found.table.assign(dataset=name), further=further)


def computed(probed: ProbedRun) -> AbstractContextManager[None]:
    """Compute as the run's configuration says, for as long as a block runs."""
    from llm4seg_probe.training.compute import computing

    return computing(probed.run.config.compute)


def with_derived(probe: Probe, whole: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The measured tables, and those computed from them with conditions in the place of arms."""
    if not probe.derive:
        return dict(whole)
    from llm4seg_probe.drawing.table_rows import told_apart

    named = {name: told_apart(table) for name, table in whole.items()}
    found = probe.resolved(probe.derive)(named)
    derived = {schema.name: conform(found[schema.name], schema) for schema in probe.derived}
    return {**whole, **derived}


def store(result: ProbeResult, out: Path) -> None:
    """Write the tables and arrays of a probe, without figures."""
    known = {schema.name: schema for schema in result.probe.schemas}
    joined = None
    if result.arrays and not result.probe.write_arrays:
        joined = merged(result.arrays)  # before anything is written: it may refuse
    for name, table in result.tables.items():
        tables.write_table(table, out / name, known[name])
    if joined is not None:
        write_arrays(joined, out / result.probe.arrays_file)
    elif result.arrays:
        result.probe.resolved(result.probe.write_arrays)(result.arrays, out)


def drawn(probe: Probe, folder: Path) -> dict[str, tuple[Figure, str]]:
    """Figures of what lies in a folder, by name, each with the file that it is drawn from."""
    found = _tables_in(folder, probe)
    stored = folder / probe.arrays_file
    arrays = read_arrays(stored) if stored.is_file() else None
    figures: dict[str, tuple[Figure, str]] = probe.resolved(probe.draw)(found, arrays)
    return figures


def _tables_in(folder: Path, probe: Probe) -> dict[str, pd.DataFrame]:
    """The tables of a probe in a folder; one that is there on request alone may be missing."""
    wanted = [
        schema
        for schema in probe.schemas
        if not schema.on_request or (folder / schema.name).is_file()
    ]
    return {schema.name: tables.read_table(folder / schema.name, schema) for schema in wanted}


def draw(probe: Probe, out: Path) -> tuple[Path, ...]:
    """Draw the figures of a probe from what lies in a folder; returns the paths of the files."""
    from llm4seg_probe.drawing.figure_files import save_figure

    saved = [
        save_figure(figure, out / FIGURES, name, out / file)
        for name, (figure, file) in drawn(probe, out).items()
    ]
    return tuple(path for paths in saved for path in paths.values())


def means(table: pd.DataFrame, keys: Iterable[str], values: Iterable[str]) -> pd.DataFrame:
    """Means of some values by some keys, in the order of the table: what is printed."""
    return table.groupby(list(keys), sort=False)[list(values)].mean().reset_index()
