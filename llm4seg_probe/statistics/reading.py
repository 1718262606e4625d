"""Results as others store them: CSV files of any dialect, and nnU-Net's summary.json."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe.errors import TableError

EMPTY = ("", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "-", "–", "null", "None")


def read_results(paths: Sequence[Path]) -> pd.DataFrame:
    """One table from one CSV file, or from nnU-Net summaries, one per arm or fold.

    Numbers become numbers, everything else stays text as it stands. Raises TableError for files
    that are neither, or that are mixed.
    """
    if not paths:
        raise TableError("name at least one file: a CSV table, or nnU-Net's summary.json")
    files = [Path(path) for path in paths]
    for file in files:
        if not file.is_file():
            raise TableError(f"no such file: {file}")
    summaries = [file for file in files if file.suffix == ".json"]
    if len(summaries) == len(files):
        return _summaries(files)
    if summaries or len(files) > 1:
        raise TableError("give one CSV table, or any number of summary.json files, not a mixture")
    return numbers_as_numbers(read_text(files[0]))


def read_text(path: Path) -> pd.DataFrame:
    """A CSV table with every cell as text, so that printed digits can be counted.

    The separator (comma, semicolon or tab) is found by itself, decimal commas included.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            head = stream.read(20_000)
        separator = csv.Sniffer().sniff(head.split("\n", 1)[0], ",;\t").delimiter
        table = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path} is not a readable CSV table: {reason}") from error
    table.columns = table.columns.str.strip()
    if separator == ";":
        table = table.apply(
            lambda column: column.str.replace(r"^(-?\d+),(\d+)$", r"\1.\2", regex=True)
        )
    return table


def numbers_as_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns of nothing but numbers (and empty cells) as numbers."""
    return table.apply(_number_if_all)


def _number_if_all(column: pd.Series) -> pd.Series:
    if not pd.api.types.is_string_dtype(column.dtype):
        return column
    bare = column.astype("str").str.strip()
    missing = bare.isin(EMPTY) | bare.isna()
    numbers = pd.to_numeric(bare.where(~missing), errors="coerce")
    if missing.all() or numbers[~missing].isna().any():
        return column.where(~missing)
    return numbers


def _summaries(files: Sequence[Path]) -> pd.DataFrame:
    arms = _arms(files)
    rows = [
        {"arm": arm, **place, **scores}
        for file, arm in zip(files, arms, strict=True)
        for place, scores in [(_place(file), row) for row in _cases(file)]
    ]
    table = pd.DataFrame(rows)
    return table.dropna(axis="columns", how="all")


def _cases(file: Path) -> list[dict[str, Any]]:
    """One row per case and label. nnU-Net v2 writes metric_per_case, v1 results.all."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if "metric_per_case" in content:
            return [
                _row(case["reference_file"], label, metrics)
                for case in content["metric_per_case"]
                for label, metrics in case["metrics"].items()
            ]
        return [
            _row(case["reference"], label, metrics)
            for case in content["results"]["all"]
            for label, metrics in case.items()
            if isinstance(metrics, dict) and label != "0"
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(
            f"{file} is not nnU-Net's summary.json: metric_per_case (or results.all) is expected"
        ) from error


def _row(reference: str, label: str, metrics: dict[str, Any]) -> dict[str, Any]:
    case = Path(reference).name.split(".", 1)[0]
    scores = {
        name.lower().replace(" ", "_"): float("nan") if value in (None, "NaN") else float(value)
        for name, value in metrics.items()
        if name.lower() in ("dice", "iou", "jaccard", "precision", "recall")
    }
    return {"image": case, "class": label, **scores}


def _place(file: Path) -> dict[str, Any]:
    fold = next(
        (re.fullmatch(r"fold_(\d+)", part) for part in file.parts if part.startswith("fold_")), None
    )
    dataset = next((part for part in file.parts if re.match(r"(Dataset|Task)\d{3}_", part)), None)
    return {"dataset": dataset, "fold": int(fold[1]) if fold else None}


def _arms(files: Sequence[Path]) -> list[str]:
    """What tells the files apart: the folders that differ, folds left out."""
    trails = [
        [part for part in file.resolve().parts[:-1] if not re.fullmatch(r"fold_.+", part)]
        for file in files
    ]
    places = [re.match(r"(Dataset|Task)\d{3}_", part) is None for part in trails[0]]
    depth = max(map(len, trails))
    padded = [trail + [""] * (depth - len(trail)) for trail in trails]
    differing = [
        index
        for index in range(depth)
        if len({trail[index] for trail in padded}) > 1 and (index >= len(places) or places[index])
    ]
    if not differing:
        return [files[0].resolve().parent.name] * len(files)
    return ["/".join(trail[index] for index in differing if trail[index]) for trail in padded]
