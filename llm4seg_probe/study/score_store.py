"""The scores that a study is judged by, run by run, in one small text file that can be committed.

Weights and run folders may go, and runs come from several machines: what counts is here. One line
of JSON per run (1 to 4 KB), and one per set of cells (which images, classes, splits) that runs
share. Only the rows and columns are kept that the claims and the comparison of arms ask for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe import storage, tables
from llm4seg_probe.errors import TableError
from llm4seg_probe.probes import registry
from llm4seg_probe.scores import CHOSEN_EPOCH
from llm4seg_probe.statistics.claims import Claim
from llm4seg_probe.statistics.rows import matching
from llm4seg_probe.study.runs import PlannedRun
from llm4seg_probe.study.study_state import terms_of
from llm4seg_probe.training import run_folder

NAME = "store.jsonl"
_OF_A_RUN = ("run", "dataset", "arm", "seed")
_NOTED = (
    *("processor", "gpu", "kernels", "wall_seconds", "peak_memory_mb", "commit"),
    "training_images",
)


@dataclass(frozen=True)
class Kept:
    """Columns of one table that are stored, and the rows: those that fit any of the filters."""

    scores: tuple[str, ...]
    filters: tuple[Mapping[str, object], ...]


def kept_for(claims: Sequence[Claim], score: str) -> dict[str, Kept]:
    """What claims and the comparison of arms by ``score`` ask for, by name of the table."""
    wanted: list[tuple[str, str, Mapping[str, object]]] = [("scores", score, CHOSEN_EPOCH)]
    wanted += [
        (
            claim.table,
            claim.score,
            {**registry.usual(claim.table).where, **claim.where, **dict(term.filters)},
        )
        for claim in claims
        for term in terms_of(claim)
    ]
    return {
        table: Kept(
            tuple(dict.fromkeys(column for name, column, _ in wanted if name == table)),
            tuple(where for name, _, where in wanted if name == table),
        )
        for table in dict.fromkeys(name for name, _, _ in wanted)
    }


@dataclass(frozen=True)
class StoredRun:
    """One run's scores by table and column, on the cells of a digest, and where it was made."""

    run: str
    dataset: str
    arm: str
    seed: int
    made: Mapping[str, Any]
    values: Mapping[str, Mapping[str, Any]]

    @property
    def machine(self) -> str:
        """Kind of processor and kernels; empty where the run does not say."""
        named = self.made.get("gpu") or self.made.get("processor")
        parts = [str(part) for part in (named, self.made.get("kernels")) if part]
        return ", ".join(parts)

    def holds(self, kept: Mapping[str, Kept]) -> bool:
        """Whether all that is asked for is stored."""
        return all(
            name in self.values and set(each.scores) <= set(self.values[name])
            for name, each in kept.items()
        )


@dataclass
class ScoreStore:
    """Stored runs by name, and the cells that they share."""

    path: Path
    runs: dict[str, StoredRun] = field(default_factory=dict)
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> ScoreStore:
        """Read a store; one that is not there is empty.

        Raises TableError for a line that is none, or two results of one run that differ.
        """
        found = cls(path)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for number, line in enumerate(lines, start=1):
            if line.strip():
                found._take(line, f"{path}, line {number}")
        return found

    def _take(self, line: str, place: str) -> None:
        try:
            value = json.loads(line)
            if "digest" in value:
                self.cells[value["digest"]] = {"columns": value["columns"], "rows": value["rows"]}
                return
            one = StoredRun(**value)
        except (ValueError, TypeError, KeyError) as error:
            raise TableError(
                f"{place} is no stored run ({error}): remove that line, and the run is taken from "
                "its folder again"
            ) from error
        known = self.runs.get(one.run)
        if known is not None and known.values != one.values:
            raise TableError(
                f"{place}: run {one.run} is stored with other scores too, from {known.machine} and "
                f"{one.machine}: a run counts once, so remove one of the lines"
            )
        self.runs[one.run] = one

    def add(self, run: PlannedRun, kept: Mapping[str, Kept]) -> None:
        """Take a finished run's scores from its folder."""
        values, dataset = {}, ""
        for name, each in kept.items():
            schema = registry.measured_tables()[name]
            table = tables.read_table(run.path / schema.name, schema)
            rows = table[_fits_any(table, each.filters)]
            dataset = dataset or str(table["dataset"].iloc[0])
            cells = rows[[key for key in schema.keys if key not in _OF_A_RUN]]
            values[name] = {
                "cells": self._digest(cells),
                **{score: _plain(rows[score]) for score in each.scores},
            }
        noted = json.loads((run.path / run_folder.ENVIRONMENT).read_text(encoding="utf-8"))
        made = {name: noted[name] for name in _NOTED if noted.get(name) is not None}
        self.runs[run.path.name] = StoredRun(
            run.path.name, dataset, run.config.arm, run.config.seed, made, values
        )

    def _digest(self, cells: pd.DataFrame) -> str:
        content = {
            "columns": list(cells.columns),
            "rows": [_plain(row) for _, row in cells.T.items()],
        }
        text = json.dumps(content, ensure_ascii=False)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.cells.setdefault(digest, content)
        return digest

    def write(self) -> None:
        """Write all lines in one order, so that two stores of the same runs are the same file."""
        ordered = sorted(self.runs.values(), key=lambda one: (one.seed, one.arm, one.run))
        used = {values["cells"] for one in ordered for values in one.values.values()}
        lines = [{"digest": digest, **self.cells[digest]} for digest in sorted(used)]
        lines += [dict(vars(one)) for one in ordered]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        storage.write_text(self.path, text)

    def table(self, name: str, runs: Iterable[str]) -> pd.DataFrame:
        """Rows of one table for these runs, with the columns that are stored."""
        parts = []
        for run in runs:
            one = self.runs[run]
            values = dict(one.values[name])
            cells = self.cells[values.pop("cells")]
            frame = pd.DataFrame(cells["rows"], columns=cells["columns"])
            for place, column in enumerate(_OF_A_RUN):
                frame.insert(place, column, getattr(one, column))
            parts.append(frame.assign(**values))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _fits_any(table: pd.DataFrame, filters: Sequence[Mapping[str, object]]) -> pd.Series[bool]:
    fits = pd.Series(False, index=table.index)
    for where in filters:
        one = pd.Series(True, index=table.index)
        for column, value in where.items():
            if column in table.columns:
                one &= matching(table[column], value)
        fits |= one
    return fits


def _plain(values: pd.Series) -> list[Any]:
    """Values as JSON holds them; what is missing is null."""
    return [None if pd.isna(value) else _scalar(value) for value in values]


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
