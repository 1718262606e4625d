"""Whole studies: a folder of results that is read, a sweep that is run or forecast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from llm4seg_probe.drawing.table_rows import by_case, on_test_split
from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.models.outside import refuse_unasked
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.result import StoredResult
from llm4seg_probe.report import answer as answers
from llm4seg_probe.report.conditions import condition_rows
from llm4seg_probe.report.left_out import say_left_out
from llm4seg_probe.report.report import write_report
from llm4seg_probe.report.results import Results, read_results
from llm4seg_probe.report.sections import SECTIONS
from llm4seg_probe.report.verdicts import verdict_rows
from llm4seg_probe.results.courses import Undrawn
from llm4seg_probe.results.probes import Probed
from llm4seg_probe.results.result import Result, write_csv
from llm4seg_probe.results.runs import Overrides, as_texts
from llm4seg_probe.statistics.mechanisms import judge_mechanisms
from llm4seg_probe.study.analysis import Analysis, SizeName, load_analysis, shipped
from llm4seg_probe.study.decided_answer import answer_until_decided, forecast_until_decided
from llm4seg_probe.study.engines.base import Engine
from llm4seg_probe.study.engines.local import LocalEngine
from llm4seg_probe.study.engines.ray import RayEngine
from llm4seg_probe.study.forecast import forecast
from llm4seg_probe.study.pipeline import answer
from llm4seg_probe.study.study_state import Budget
from llm4seg_probe.study.until_decided import Course
from llm4seg_probe.tables import CLAIMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ALIASES = {
    "forest": "effects",
    "paired": "paired-scores",
    "curves": "learning-curves",
    "maps": "activation-iou",
    "rank": "rank-densities",
}
"""Short names of the page's figures."""


class Study(Result):
    """A folder of results: verdicts, conditions, scores, curves, cases, and the page's figures."""

    def __init__(self, results: Results, page: Path | None = None) -> None:
        self.results = results
        self._page = page
        self.signatures: tuple[str, ...] = ()
        """After a sweep: what to try where an arm is no better than the baseline, and which runs
        found nothing."""
        self.rests_on: str = ""
        """What its verdicts rest on, after a sweep."""
        self.course: Course | None = None
        """How a study that went on until it was decided came to its end."""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.results.folder

    @property
    def left_out(self) -> tuple[str, ...]:
        """Files of its folder that are not used, each with the reason."""
        return self.results.left_out

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """All its tables by file name, as they are written."""
        return self.results.written

    @property
    def table(self) -> pd.DataFrame:
        """The claims with their verdicts, or the comparison where no claim was stated."""
        return self.claims if "claims.csv" in self.tables else self._table("comparison.csv")

    @property
    def claims(self) -> pd.DataFrame:
        """One row per claim, as ``claims.csv`` has them; none where none was stated."""
        found = self.tables.get(CLAIMS.name)
        return pd.DataFrame(columns=list(CLAIMS.columns)) if found is None else found

    @property
    def verdicts(self) -> pd.DataFrame:
        """The claims in words: statement, comparison, effect, p, verdict, and a sentence."""
        shown = ["claim", "statement", "pair", "effect", "p", "seeds", "word", "sentence"]
        rows = [asdict(row) for row in verdict_rows(self.claims)]
        table = pd.DataFrame(rows, columns=list(rows[0]) if rows else shown)
        return table[shown].rename(columns={"word": "verdict"})

    @property
    def mechanisms(self) -> pd.DataFrame:
        """One row per mechanism that the analysis names: title, verdict, sentence."""
        found = judge_mechanisms(self.results.context.mechanisms, self.claims)
        rows = [(one.mechanism.id, one.mechanism.title, one.verdict, one.sentence) for one in found]
        return pd.DataFrame(rows, columns=["mechanism", "title", "verdict", "sentence"])

    @property
    def comparison(self) -> pd.DataFrame:
        """Every comparison, as ``comparison.csv`` has them."""
        return self._table("comparison.csv")

    @cached_property
    def conditions(self) -> pd.DataFrame:
        """One row per condition: score, difference to the baseline, rank, activation IoU, time."""
        rows = [asdict(row) for row in condition_rows(self.results)]
        dropped = {"values", "fields", "colour"}
        kept = [{key: value for key, value in row.items() if key not in dropped} for row in rows]
        return pd.DataFrame(kept)

    @property
    def scores(self) -> pd.DataFrame:
        """Scores of all runs, the arms as conditions."""
        return self._table("scores.csv", written=False)

    @property
    def curves(self) -> pd.DataFrame:
        """Training curves of all runs, the arms as conditions."""
        return self._table("curves.csv", written=False)

    def cases(self, score: str | None = None) -> pd.DataFrame:
        """One row per test case, one column per condition: the mean over seeds and classes."""
        name = score or self.results.main_score
        if name not in self.scores.columns:
            raise TableError(f"scores.csv has no column {name}")
        return by_case(on_test_split(self.scores), name).reset_index()

    @property
    def summary(self) -> pd.DataFrame:
        """The verdicts, one row each; the comparison where no claim was stated."""
        if "claims.csv" not in self.tables:
            return self.comparison
        return self.verdicts.drop(columns="sentence")

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer to its question, in one or two sentences."""
        if "claims.csv" not in self.tables:
            return ()
        found = answers.answer(verdict_rows(self.claims))
        return tuple("".join(piece.text for piece in pieces) for pieces in found)

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        found: dict[str, Callable[[], Figure]] = {}
        shown = next(iter(self.results.parts.values())).at_base()
        for section in SECTIONS:
            for drawing in () if section.missing(shown) else section.drawings:
                found[drawing.name] = partial(_drawn, drawing.draw, shown, drawing.name)
        first = "effects" if "effects" in found else next(iter(found), "")
        return {name: found[name] for name in sorted(found, key=lambda name: name != first)}

    def plot(self, name: str | None = None) -> Any:
        """Draw a figure of the page, by its name or ``forest``, ``paired``, ``curves``, ``ladder``.

        See :meth:`Result.plot`.
        """
        return super().plot(None if name is None else _ALIASES.get(name, name))

    def probe(self, name: str) -> Probed:
        """What a probe measured in this study: its table, summary and figures.

        Raises TableError where it was not taken.
        """
        chosen = registry.find(name)
        place = self.folder if chosen.per_run else self.folder / chosen.name
        if not (place / chosen.schema.name).is_file():
            raise TableError(f"{self.folder} has no {chosen.schema.name}: {name} was not taken")
        return Probed(StoredResult.read(chosen, place))

    def page(self) -> Path:
        """Write the page into the folder where it is not there, and say where it is."""
        if self._page is None:
            there = self.folder / "index.html"
            self._page = there if there.is_file() else write_report(self.folder)
        return self._page

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write the page with its tables and figures into another folder."""
        page = write_report(self.folder, Path(folder))
        return (page, *sorted(path for path in Path(folder).rglob("*") if path.is_file()))

    def _table(self, name: str, *, written: bool = True) -> pd.DataFrame:
        found = (self.results.written if written else self.results.tables).get(name)
        if found is None:
            raise TableError(f"{self.folder} has no {name}, or it is empty: it was not run")
        return found


def _drawn(draw: Callable[[Results], Figure | None], results: Results, name: str) -> Figure:
    figure = draw(results)
    if figure is None:
        raise TableError(f"{results.folder}: there is nothing that figure '{name}' could show")
    return figure


def read(folder: str | Path) -> Study:
    """Read a folder of results, as a sweep or the demo leaves it.

    Parameters
    ----------
    folder : str or Path
        With ``analysis.yaml`` and the tables; a table that is not there was not run, and one that
        is there and cannot be used, such as a link, is named on standard error.

    Returns
    -------
    Study
        ``.verdicts``, ``.conditions``, ``.scores``, ``.curves``, ``.cases()``, ``.comparison``.

    Raises
    ------
    ConfigError, TableError
        For a folder that holds no results, and for a table that cannot be read.
    """
    place = Path(folder)
    if not (place / "analysis.yaml").is_file():
        raise ConfigError(f"{place}: is no folder of results; give one that a sweep has written")
    results = read_results(place)
    say_left_out(place, results.left_out)
    return Study(results)


class Forecast(Result):
    """The runs of a sweep, which of them are missing, and what those will take."""

    def __init__(
        self, table: pd.DataFrame, summary: pd.DataFrame, sentence: str, totals: Mapping[str, Any]
    ) -> None:
        self._table, self._summary, self._sentence = table, summary, sentence
        self.totals = dict(totals)
        """Runs planned and there, hours, and memory."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per run: condition, whether it is done, seconds, memory."""
        return self._table

    @property
    def summary(self) -> pd.DataFrame:
        """One row per condition."""
        return self._summary

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it in one sentence."""
        return (self._sentence,)

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write the table."""
        return (write_csv(self.table, Path(folder) / "forecast.csv"),)


def sweep(
    analysis: str | Path | Analysis,
    *,
    size: SizeName = "small",
    out: str | Path | None = None,
    runs: str | Path | None = None,
    engine: Literal["local", "ray"] | Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    overrides: Overrides = (),
    dry_run: bool = False,
    until_decided: bool = False,
    max_seeds: int | None = None,
    hours: float | None = None,
    new_study: bool = False,
    network: str | None = None,
) -> Study | Undrawn | Forecast:
    """Run all of an analysis that is missing, then its probes, its comparison and its page.

    Parameters
    ----------
    analysis : path or str
        An analysis file, or the name of one that comes with the package, such as ``"demo"``.
    size : {"quick", "small", "paper"}
        Scale, as the file defines it.
    out : str or Path
        Folder for results and page. Not needed for a dry run.
    runs : str or Path, optional
        Folder of the runs, which several analyses may share; ``out/runs`` unless given.
    engine, workers, address
        Where runs are made: worker processes here, or a Ray cluster.
    overrides : mapping or sequence of str
        Fields of the analysis to change.
    dry_run : bool
        Only say which runs, how long, how much memory. At size ``paper`` for GPUs, as a range,
        without the data and without the layer.
    until_decided, max_seeds, hours, new_study
        Add seeds until the claims are decided, as ``decide`` in the file says.
    network : str, optional
        A network from outside that the file may name, ``package.module:callable``.

    Returns
    -------
    Study, Forecast, or Undrawn
        The last where all runs of a study until decided lie elsewhere, so that there is no page to
        draw: its course and verdicts.

    Raises
    ------
    ConfigError
        For an analysis that cannot be run as it stands, or without a folder to write to.
    """
    chosen = _analysis(analysis, as_texts(overrides, {}), network).at(size)
    if not until_decided and (max_seeds is not None or hours is not None or new_study):
        raise ConfigError("--max-seeds, --hours and --new-study go with --until-decided")
    made_on = _engine(engine, workers, address)
    budget = Budget(max_seeds, hours) if until_decided else None
    if out is None and not dry_run:
        raise ConfigError(
            "a sweep writes runs, tables and a page: say where to, out='reports/my-study'"
        )
    folder = Path("reports") / chosen.name if out is None else Path(out)
    store = Path(runs) if runs is not None else folder / "runs"
    if dry_run and size == "paper" and budget is None:
        return _on_gpus(chosen)
    if dry_run:
        return _forecast(chosen, folder, store, workers, budget)
    given = None if runs is None else store
    if budget is not None:
        found, course = answer_until_decided(
            chosen, folder, size=size, store=given, engine=made_on, budget=budget,
            new_study=new_study,
        )  # fmt: skip
        if found is None:
            return Undrawn(course, folder, store.resolve())
    else:
        found, course = answer(chosen, folder, size=size, store=given, engine=made_on), None
    study = Study(read_results(folder), found.page)
    study.signatures, study.rests_on, study.course = found.signatures, found.rests_on, course
    return study


def _on_gpus(chosen: Analysis) -> Forecast:
    from llm4seg_probe.study.forecast import SENTENCE, gpu_forecast, totals

    rows = gpu_forecast(chosen.configs())
    summary = totals(rows)
    return Forecast(rows, summary, SENTENCE, {"totals": summary.to_dict("records")})


def _forecast(
    chosen: Analysis, folder: Path, store: Path, workers: int | None, budget: Budget | None
) -> Forecast:
    if budget is not None:
        seeds = forecast_until_decided(chosen, folder, store, budget)
        return Forecast(seeds.rows, seeds.rows, seeds.sentence, {})
    expected = forecast(chosen, store, workers)
    return Forecast(expected.runs, expected.by_condition, expected.sentence, expected.totals)


def _analysis(
    analysis: str | Path | Analysis, texts: tuple[str, ...], network: str | None
) -> Analysis:
    if isinstance(analysis, Analysis):
        return analysis
    path = Path(analysis)
    if not path.suffix and not path.is_file():
        path = shipped(str(analysis))
    chosen = load_analysis(path, texts)
    own = [text.partition("=")[2] for text in texts if "backbone" in text]
    for name in {config.backbone.name for config in chosen.configs()}:
        if not any(name in text for text in own):
            refuse_unasked(name, str(path), ConfigError, network)
    return chosen


def _engine(name: str | Engine, workers: int | None, address: str | None) -> Engine:
    if not isinstance(name, str):
        return name
    if name == "ray":
        return RayEngine(address, workers)
    if name != "local":
        raise ConfigError(f"engine is '{name}': give local or ray")
    if address is not None:
        raise ConfigError("--address is of a Ray cluster: add --engine ray")
    return LocalEngine(workers)
