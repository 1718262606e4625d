"""Comparisons on any table of results: ``lp.compare``, ``lp.plan`` and ``lp.audit``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, cast

import pandas as pd
from pandas.plotting import PlotAccessor

from llm4seg_probe import tables
from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.results.result import Result, save_figures, save_files
from llm4seg_probe.statistics import compare as comparing
from llm4seg_probe.statistics import plan as planning
from llm4seg_probe.statistics.compare import Question, compared
from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.pairs import Wanted
from llm4seg_probe.statistics.plan import Aims
from llm4seg_probe.statistics.remarks import remarks
from llm4seg_probe.statistics.roles import Match, Role
from llm4seg_probe.study.anybody import (
    asked_of,
    compared_table,
    planned_table,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
Table = pd.DataFrame | str | Path | Sequence[str | Path]
"""A table in memory, the path of a CSV of any kind, or those of nnU-Net's summary.json files."""

_SHORT = (
    *("dataset", "score", "a", "b", "n_seeds", "difference", "ci_low", "ci_high"),
    *("p_adjusted", "margin", "verdict"),
)


class Comparison(Result, pd.DataFrame):
    """The table of comparisons, a DataFrame that can also do what every result can.

    ``.plot()`` draws differences with their intervals; ``.plot.bar(…)`` and the like are pandas'.
    What is made of it, a slice or a copy, is a plain DataFrame.
    """

    matches: tuple[Match, ...]
    """What the columns of the table were taken for."""
    findings: tuple[Finding, ...]
    """What is worth saying of the table that was compared."""

    def __init__(
        self,
        rows: pd.DataFrame,
        matches: Sequence[Match] = (),
        findings: Sequence[Finding] = (),
    ) -> None:
        pd.DataFrame.__init__(self, rows)  # type: ignore[call-arg]
        object.__setattr__(self, "matches", tuple(matches))
        object.__setattr__(self, "findings", tuple(findings))

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """The comparisons as a plain DataFrame, as ``comparison.csv`` has them."""
        return pd.DataFrame(self)

    @property
    def summary(self) -> pd.DataFrame:
        """The columns that decide; data set and score only where there are several."""
        table = self.table
        constant = {name for name in ("dataset", "score") if not _varies(table, name)}
        return table[[name for name in _SHORT if name not in constant]]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdicts in words, each with its pair."""
        return tuple(map(str, self["sentence"]))

    @property
    def plot(self) -> Any:
        """Draw differences and intervals when called; pandas' accessor otherwise."""
        return _Plot(self)

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        from llm4seg_probe.report.figures import forest

        scores = [str(name) for name in dict.fromkeys(self["score"])]
        table = self.table
        return {
            "effects" if number == 0 else f"effects-{name}": lambda name=name: forest.figure(  # type: ignore[misc]
                table, name
            )
            for number, name in enumerate(scores)
        }

    @property
    def _name(self) -> str:
        return "comparison"

    def save_table(self, folder: str | Path) -> Path:
        """Write ``comparison.csv`` alone; returns it."""
        path = Path(folder) / tables.COMPARISON.name
        tables.write_table(self.table, path, tables.COMPARISON)
        return path

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write ``comparison.csv`` and the figures into a folder; returns the files."""
        path = self.save_table(folder)
        return (path, *save_figures(self.figures(), path))

    def __repr__(self) -> str:
        return repr(self.table)


def _varies(table: pd.DataFrame, name: str) -> bool:
    return table[name].nunique(dropna=False) > 1


class _Plot(PlotAccessor):
    """pandas' plots of a comparison; called without arguments, ours."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__(comparison.table)
        self._comparison = comparison

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) > 1 or set(kwargs) - {"name"} or (args and not isinstance(args[0], str)):
            return super().__call__(*args, **kwargs)
        return Result.plot(self._comparison, *args, **kwargs)


def _signed_as(
    function: Callable[Concatenate[pd.DataFrame, P], Any], gives: type, text: str
) -> Callable[[Callable[..., Any]], Callable[Concatenate[Table, P], Any]]:
    """Give a call the signature and the words of the function behind it; files come on top."""

    def decorate(call: Callable[..., Any]) -> Callable[Concatenate[Table, P], Any]:
        own = signature(function)
        parameters = list(own.parameters.values())
        parameters[0] = parameters[0].replace(annotation="Table")
        call.__signature__ = own.replace(  # type: ignore[attr-defined]
            parameters=parameters, return_annotation=gives.__name__
        )
        call.__doc__ = _with_files(str(function.__doc__), text)
        return call

    return decorate


def _with_files(doc: str, text: str) -> str:
    head, parameters, rest = doc.partition("\n\n    Parameters\n")
    return f"{head}\n\n    {text}{parameters}{rest}"


_FILES = (
    "``table`` may also be the path of a CSV file of any kind, or those of nnU-Net's\n"
    "    summary.json files; columns that are not named, the score too, are recognised then, and\n"
    "    ``.matches`` and ``.findings`` say what was taken for what. ``case=None`` and\n"
    "    ``group=None`` say that there are none."
)


@_signed_as(comparing.compare, Comparison, _FILES)
def compare(table: Table, **options: Any) -> Comparison:
    """Take its words and its arguments from the function behind it."""
    return _compared(table, options, None)


def compare_without_names(table: Table, shared: Path, **options: Any) -> Comparison:
    """Compare as :func:`compare` does, with numbers for patients and cases.

    Which is which is written beside the folder ``shared``. Raises TableError for a table that is
    no file.
    """
    if isinstance(table, pd.DataFrame):
        raise TableError("names are replaced in files; replace them in a table in memory yourself")
    return _compared(table, options, shared)


def _compared(table: Table, options: Mapping[str, Any], shared: Path | None) -> Comparison:
    given = _arguments(compare, options)
    question = Question(
        Wanted(given["baseline"], given["pairs"], given["drop_unpaired"], given["unpaired"]),
        given["margin"], given["alpha"], given["lower_is_better"], given["bootstrap"],
        given["bootstrap_seed"], given["test_share"],
        None if given["looks"] is None else tuple(given["looks"]), given["spending"],
    )  # fmt: skip
    if isinstance(table, pd.DataFrame):
        reading = comparing.reading_of(table, given)
        found = compared(reading, question)
        findings = [*reading.findings, *remarks(reading, question)]
        return Comparison(found, reading.matches, findings)
    done = compared_table(paths_of(table), _asked(options, given), question, shared)
    return Comparison(done.rows, done.matches, done.findings)


@_signed_as(planning.plan, planning.Plan, _FILES)
def plan(table: Table, **options: Any) -> Planned:
    """Take its words and its arguments from the function behind it."""
    planning.refuse_folds(options.pop("fold", None))
    given = _arguments(plan, options)
    if isinstance(table, pd.DataFrame):
        return Planned(planning.plan(table, **options))
    declared = None if given["looks"] is None else tuple(given["looks"])
    aims = Aims(
        given["margin"], given["alpha"], given["power"], given["seeds"], given["simulations"],
        given["simulation_seed"], declared, given["spending"],
    )  # fmt: skip
    wanted = Wanted(given["baseline"], given["pairs"], given["drop_unpaired"])
    done = planned_table(paths_of(table), _asked(options, given), wanted, aims)
    return Planned(done.plan, done.matches, done.findings)


class Planned(Result):
    """What a pilot says of the study to come: smallest effect, seeds that it takes, power."""

    def __init__(
        self,
        plan: planning.Plan,
        matches: Sequence[Match] = (),
        findings: Sequence[Finding] = (),
    ) -> None:
        self.plan = plan
        self.matches = tuple(matches)
        self.findings = tuple(findings)

    @property
    def table(self) -> pd.DataFrame:
        """One row per data set and pair, as ``plan.csv`` has it."""
        return self.plan.summary

    @property
    def curve(self) -> pd.DataFrame:
        """Power to find the margin by number of seeds, as ``power.csv`` has it."""
        return self.plan.curve

    @property
    def looks(self) -> pd.DataFrame | None:
        """When a study with the declared looks would end; None without."""
        return self.plan.looks

    @property
    def summary(self) -> pd.DataFrame:
        """Smallest effect and seeds needed, with their ranges."""
        shown = [
            *("a", "b", "pilot_seeds", "sd_difference", "margin", "n_seeds"),
            *("smallest_detectable", "seeds_needed", "seeds_needed_low", "seeds_needed_high"),
        ]
        return self.table[shown]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the plan says, one sentence per pair."""
        return tuple(map(str, self.table["sentence"]))

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        from llm4seg_probe.report.figures import power

        return {"power": lambda: power.figure(self.table, self.curve)}

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write ``plan.csv``, ``power.csv``, with looks ``looks.csv``, and the figure."""
        return tuple(self.files(Path(folder)).values())

    def files(self, folder: Path) -> dict[str, Path]:
        """Write as :meth:`save`; returns the files by what they are."""
        found = {"power.csv": self.curve, "plan.csv": self.table}
        if self.looks is not None:
            found["looks.csv"] = self.looks
        written = save_files(found, self.figures(), folder)
        named = {"summary": folder / "plan.csv", "curve": folder / "power.csv"}
        named |= {"looks": folder / "looks.csv"} if self.looks is not None else {}
        figures = [path for path in written if path.parent != folder]
        return named | {f"figure ({path.suffix[1:]})": path for path in figures}


def paths_of(table: Any) -> list[Path]:
    """Paths of the files of a table. Raises TableError for something else."""
    each = [table] if isinstance(table, str | Path) else list(table)
    wrong = [one for one in each if not isinstance(one, str | Path)]
    if wrong:
        raise TableError(
            f"a table is a DataFrame or the path of a file, not a {type(wrong[0]).__name__}"
        )
    return [Path(one) for one in each]


def _arguments(call: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a call by name, those that were not given at their defaults."""
    bound: Any = signature(call).bind(None, **options)
    bound.apply_defaults()
    return dict(bound.arguments)


_ROLES = ("score", "arm", "seed", "case", "group", "dataset", "fold")


def _asked(options: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """What a call says of a file: columns that were named; the others are recognised."""
    off = [role for role in _ROLES if role in options and options[role] is None]
    if set(off) - {"case", "group", "dataset", "fold"}:
        raise ConfigError(f"{off[0]}=None: there is always one; leave it out to have it recognised")
    asked = asked_of(
        no_case="case" in off,
        where=given["where"] or {},
        average_over=given["average_over"],
        decimal=given["decimal"],
        infinite_as=given["infinite_as"],
        absent=options.get("absent"),
        **{role: options.get(role) for role in _ROLES},
    )
    return replace(asked, off=asked.off | frozenset(cast(list[Role], off)))
