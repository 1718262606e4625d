"""The tables between the stages: columns, declared once, and how they are read and written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llm4seg_probe.errors import TableError
from llm4seg_probe.reading.bounds import reason
from llm4seg_probe.reading.names import refuse_other_than_file, shown
from llm4seg_probe.reading.text import table_guard
from llm4seg_probe.scores import CHOSEN_EPOCH, OF_MASKS, OF_PROBABILITIES, OF_SETS
from llm4seg_probe.storage import atomically

if TYPE_CHECKING:
    import pandas as pd

ColumnType = Literal["text", "integer", "number"]
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Schema:
    """Columns of one table: keys identify a row, values are what was measured.

    Further columns may follow; they are read as pandas infers them. ``since`` names value columns
    that earlier versions did not write, with the version that began to: a stored table without
    them is read, and they are empty in it. ``optional`` are value columns that a table has where
    they were measured, as the scores of one task. A table ``on_request`` is only written where it
    was asked for. ``claimed`` are the values of the keys that a claim is about unless it says
    otherwise.
    """

    name: str
    keys: dict[str, ColumnType]
    values: dict[str, ColumnType]
    since: Mapping[str, str] = field(default_factory=dict)
    on_request: bool = False
    optional: Mapping[str, ColumnType] = field(default_factory=dict)
    claimed: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, ColumnType]:
        """Keys, then values, with their kinds; without the optional ones."""
        return {**self.keys, **self.values}

    @property
    def kinds(self) -> dict[str, ColumnType]:
        """All columns that it may have."""
        return {**self.columns, **self.optional}


def numbers(names: str) -> dict[str, ColumnType]:
    """Columns of numbers, from their names between spaces.

    >>> numbers("iou dice")
    {'iou': 'number', 'dice': 'number'}
    """
    return dict.fromkeys(names.split(), "number")


RUN_KEYS: dict[str, ColumnType] = {
    "run": "text",
    "dataset": "text",
    "arm": "text",
    "seed": "integer",
}
IMAGE_KEYS: dict[str, ColumnType] = {"image": "text", "group": "text"}

OVERLAPS = numbers("iou dice iou_change dice_change")
EFFECT: dict[str, ColumnType] = {
    "n_seeds": "integer",
    "n_cases": "integer",
    "n_groups": "integer",
    **numbers("mean change ci_low ci_high boot_low boot_high case_low case_high"),
    "note": "text",
}

RUNS = Schema(
    "runs.csv",
    {"run": "text"},
    {
        "dataset": "text",
        "backbone": "text",
        "arm": "text",
        "llm": "text",
        "layer": "text",
        "seed": "integer",
        "wall_seconds": "number",
        "peak_memory_mb": "number",
    },
)
METRICS = Schema(
    "metrics.csv",
    {"epoch": "integer"},
    numbers("learning_rate train_loss train_iou val_loss val_iou"),
)
GATES = Schema(
    "gates.csv",
    {"epoch": "integer", "layer": "text"},
    numbers("weight gate"),
)
CURVES = Schema(
    "curves.csv",
    {**RUN_KEYS, **METRICS.keys},
    {**METRICS.values, **numbers("iou_gap loss_gap")},
)
SCORES = Schema(
    "scores.csv",
    {**RUN_KEYS, "checkpoint": "text", "split": "text", **IMAGE_KEYS, "class": "text"},
    {
        **numbers(" ".join((*OF_MASKS, "area"))),
        "empty": "text",
        "iou_reference": "number",
        **numbers(" ".join(OF_PROBABILITIES)),
    },
    dict.fromkeys(OF_PROBABILITIES, "0.2.0"),
    optional=numbers(" ".join((*OF_SETS, "probability", "present", "objects"))),
    claimed=CHOSEN_EPOCH,
)
COMPARISON = Schema(
    "comparison.csv",
    {"dataset": "text", "score": "text", "a": "text", "b": "text"},
    {
        "n_seeds": "integer",
        "n_cases": "integer",
        **numbers(
            "mean_a mean_b sd_a sd_b difference sd_difference ci_low ci_high t df p_t p_exact "
            "p_exact_floor p_adjusted boot_low boot_high case_low case_high margin p_equivalence "
            "smallest_detectable seeds_needed"
        ),
        "verdict": "text",
    },
)
CLAIMS = Schema(
    "claims.csv",
    {"claim": "text"},
    {
        "statement": "text",
        "measure": "text",
        "comparison": "text",
        "n_seeds": "integer",
        **numbers("difference ci_low ci_high p_adjusted"),
        "verdict": "text",
        "seeds_needed": "number",
    },
)
LOOKS = Schema(
    "looks.csv",
    {"claim": "text", "look": "integer"},
    {
        "seeds": "integer",
        **numbers("difference ci_low ci_high p threshold"),
        "verdict": "text",
        "decided_by": "text",
    },
)
PAIRS = Schema(
    "pairs.csv",
    {
        "claim": "text",
        "comparison": "integer",
        "seed": "text",
        "group": "text",
        "image": "text",
    },
    {
        "dataset": "text",
        "score": "text",
        "a": "text",
        "b": "text",
        **numbers("value_a value_b"),
    },
)
ASSOCIATION = Schema(
    "association.csv",
    {"claim": "text", "dataset": "text", "arm": "text", "seed": "integer"},
    {**numbers("x y fitted"), "x_score": "text", "y_score": "text"},
)
LADDER = Schema(
    "ladder.csv",
    {"dataset": "text", "score": "text", "from": "text", "to": "text"},
    {
        "step": "integer",
        "what": "text",
        "n_seeds": "integer",
        **numbers("difference ci_low ci_high p gain gain_low gain_high"),
        "note": "text",
    },
)
SELECTION = Schema(
    "selection.csv",
    {"dataset": "text", "score": "text", "arm": "text", "against": "text"},
    {
        "n_seeds": "integer",
        **numbers("optimism ci_low ci_high p"),
        "sentence": "text",
    },
)
SIZES = Schema(
    "sizes.csv",
    {"dataset": "text", "score": "text", "setting": "text", "arm": "text", "size": "text"},
    {
        **numbers("images images_low images_high"),
        "n_seeds": "integer",
        **numbers("mean ci_low ci_high gain gain_low gain_high"),
        "note": "text",
    },
)
CHECK = Schema(
    "check.csv",
    {"severity": "text", "kind": "text", "images": "text", "what": "text"},
    {"advice": "text"},
)
SCHEMAS = {
    schema.name: schema
    for schema in (
        RUNS,
        METRICS,
        GATES,
        CURVES,
        SCORES,
        COMPARISON,
        CLAIMS,
        LOOKS,
        PAIRS,
        ASSOCIATION,
        LADDER,
        SELECTION,
        SIZES,
    )
}


def _as_kind(column: pd.Series, kind: ColumnType) -> pd.Series:
    if kind == "text":
        return column.astype("object").fillna("").astype("str")
    if kind == "integer":
        return column.replace("", None).astype("Int64")
    return column.replace("", None).astype("float64")


def conform(frame: pd.DataFrame, schema: Schema, *, stored: bool = False) -> pd.DataFrame:
    """The frame with the schema's columns first, each of its kind.

    In a ``stored`` table the columns of ``schema.since`` may be missing; they are then empty.
    Raises TableError when a column is missing, cannot be converted, or two rows share all keys.
    """
    if stored:
        frame = frame.assign(**{name: None for name in schema.since if name not in frame.columns})
    missing = [name for name in schema.columns if name not in frame.columns]
    if missing:
        raise TableError(
            f"{schema.name} lacks the columns {', '.join(missing)}; "
            f"it has {', '.join(frame.columns)}"
        )
    optional = [name for name in schema.optional if name in frame.columns]
    further = [name for name in frame.columns if name not in schema.kinds]
    frame = frame[[*schema.columns, *optional, *further]].copy()
    for name in (*schema.columns, *optional):
        kind = schema.kinds[name]
        try:
            frame[name] = _as_kind(frame[name], kind)
        except (ValueError, TypeError, OverflowError) as error:
            why = reason(error)
            raise TableError(f"{schema.name}: column {name} is not {kind}: {why}") from error
    doubled = frame.duplicated(list(schema.keys))
    if doubled.any():
        row = frame.loc[doubled, list(schema.keys)].iloc[0].to_dict()
        raise TableError(f"{schema.name} has more than one row for {row}")
    return frame


def write_table(frame: pd.DataFrame, path: Path, schema: Schema) -> None:
    """Write a table as UTF-8 CSV in full precision, atomically, after :func:`conform`."""
    with atomically(Path(path)) as partial:
        conform(frame, schema).to_csv(partial, index=False, lineterminator="\n")


def read_table(path: Path, schema: Schema) -> pd.DataFrame:
    """Read a table that :func:`write_table` wrote, or one with the same columns.

    Text is kept as it stands: a case named ``NA`` or ``007`` stays one. Value columns that its
    version did not write yet are empty. Raises TableError when the file is missing, unreadable or
    does not fit the schema, or has two columns of one name.
    """
    import pandas as pd

    path = Path(path)
    refuse_other_than_file(path, TableError)
    if not path.exists():
        raise TableError(f"no such table: {path}")
    with table_guard(path, TableError):
        _refuse_doubled(path)
        header = pd.read_csv(path, nrows=0, encoding="utf-8")
        texts = {name: "str" for name in header.columns if schema.columns.get(name) == "text"}
        frame = pd.read_csv(
            path,
            encoding="utf-8",
            dtype=texts,
            keep_default_na=False,
            na_values={name: [""] for name in header.columns if name not in texts},
        )
    _refuse_controls(frame, path, list(texts))
    return conform(frame, schema, stored=True)


def _refuse_doubled(path: Path) -> None:
    """Raise TableError for two columns of one name, which pandas would rename in silence."""
    import pandas as pd

    first = pd.read_csv(
        path, nrows=1, header=None, dtype=str, keep_default_na=False, encoding="utf-8"
    )
    counts = Counter(first.iloc[0])
    doubled = [name for name, count in counts.items() if name and count > 1]
    if doubled:
        raise TableError(
            f"{path}: two columns are called '{shown(doubled[0])}': rename one of them"
        )


def _refuse_controls(frame: pd.DataFrame, path: Path, names: Sequence[str]) -> None:
    """Raise TableError where a cell holds what no font draws and a terminal obeys."""
    for name in names:
        cells = frame[name].fillna("")
        for cell in cells.unique():
            if _CONTROLS.search(cell):
                row = int((cells == cell).to_numpy().argmax()) + 2
                raise TableError(
                    f"{path}: row {row}, column {name}: '{shown(cell)}' holds control "
                    "characters; take them out"
                )
