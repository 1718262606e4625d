"""The tables between the stages: columns, declared once, and how they are read and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from llm4seg_probe.errors import TableError
from llm4seg_probe.storage import atomically

Kind = Literal["text", "integer", "number"]


@dataclass(frozen=True)
class Schema:
    """Columns of one table: keys identify a row, values are what was measured.

    Further columns may follow; they are read as pandas infers them.
    """

    name: str
    keys: dict[str, Kind]
    values: dict[str, Kind]

    @property
    def columns(self) -> dict[str, Kind]:
        """Keys, then values, with their kinds."""
        return {**self.keys, **self.values}


def _numbers(names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), "number")


_RUN: dict[str, Kind] = {"run": "text", "dataset": "text", "arm": "text", "seed": "integer"}
_IMAGE: dict[str, Kind] = {"image": "text", "group": "text"}

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
    _numbers("learning_rate train_loss train_iou val_loss val_iou"),
)
CURVES = Schema(
    "curves.csv",
    {**_RUN, **METRICS.keys},
    {**METRICS.values, **_numbers("iou_gap loss_gap")},
)
SCORES = Schema(
    "scores.csv",
    {**_RUN, "checkpoint": "text", "split": "text", **_IMAGE, "class": "text"},
    {
        **_numbers("iou dice precision recall hd95 nsd area"),
        "empty": "text",
        "iou_reference": "number",
    },
)
RANK = Schema(
    "rank.csv",
    {**_RUN, "site": "text", "part": "text", "null": "text", **_IMAGE},
    {
        "tokens": "integer",
        "channels": "integer",
        **_numbers(
            "entropy effective_rank lsvr sigma1_share stable_rank participation_ratio "
            "largest_token_share"
        ),
    },
)
MAPS = Schema(
    "maps.csv",
    {
        **_RUN,
        "site": "text",
        "class": "text",
        "reduction": "text",
        "threshold": "text",
        "null": "text",
        **_IMAGE,
    },
    _numbers("iou auroc contrast noise sharpness"),
)
ATTRIBUTE = Schema(
    "attribute.csv",
    {
        **_RUN,
        "site": "text",
        "method": "text",
        "target": "text",
        "baseline": "text",
        "class": "text",
        "null": "text",
        **_IMAGE,
    },
    _numbers(
        "score baseline_score completeness_gap foreground_share mask_share infidelity unexplained "
        "sensitivity"
    ),
)
FIELD = Schema(
    "field.csv",
    {
        **_RUN,
        "site": "text",
        "wrt": "text",
        "layer": "text",
        "null": "text",
        **_IMAGE,
    },
    _numbers("mass radius_50 radius_90 before after asymmetry"),
)
ROBUSTNESS = Schema(
    "robustness.csv",
    {**_RUN, "corruption": "text", "strength": "integer", **_IMAGE, "class": "text"},
    {**_numbers("iou dice parameter"), "unit": "text"},
)
DECODE = Schema(
    "decode.csv",
    {
        **_RUN,
        "site": "text",
        "input": "text",
        "training_images": "integer",
        "null": "text",
        **_IMAGE,
    },
    {
        "penalty": "number",
        "tokens": "integer",
        "foreground": "integer",
        **_numbers("auroc average_precision dice"),
    },
)
LENS = Schema(
    "lens.csv",
    {**_RUN, "site": "text", "null": "text", "draw": "integer", **_IMAGE},
    {
        "tokens": "integer",
        "foreground": "integer",
        **_numbers("distance entropy entropy_foreground entropy_background top_share"),
    },
)
LENS_WORDS = Schema(
    "lens-words.csv",
    {**_RUN, "site": "text", "null": "text", "part": "text", "place": "integer"},
    {
        "word_id": "integer",
        "word": "text",
        **_numbers("share other_share exchanged_share probability"),
    },
)
COMPARISON = Schema(
    "comparison.csv",
    {"dataset": "text", "score": "text", "a": "text", "b": "text"},
    {
        "n_seeds": "integer",
        "n_cases": "integer",
        **_numbers(
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
        **_numbers("difference ci_low ci_high p_adjusted"),
        "verdict": "text",
        "seeds_needed": "number",
    },
)
ASSOCIATION = Schema(
    "association.csv",
    {"claim": "text", "dataset": "text", "arm": "text", "seed": "integer"},
    {**_numbers("x y fitted"), "x_score": "text", "y_score": "text"},
)
LADDER = Schema(
    "ladder.csv",
    {"dataset": "text", "score": "text", "from": "text", "to": "text"},
    {
        "step": "integer",
        "what": "text",
        "n_seeds": "integer",
        **_numbers("difference ci_low ci_high p gain gain_low gain_high"),
        "note": "text",
    },
)
SELECTION = Schema(
    "selection.csv",
    {"dataset": "text", "score": "text", "arm": "text", "against": "text"},
    {
        "n_seeds": "integer",
        **_numbers("optimism ci_low ci_high p"),
        "sentence": "text",
    },
)
ATTENTION = Schema(
    "attention.csv",
    {**_RUN, "place": "integer", "layer": "integer", "head": "integer", "null": "text", **_IMAGE},
    {
        "tokens": "integer",
        "foreground_tokens": "integer",
        **_numbers(
            "distance distance_uniform distance_ratio entropy entropy_uniform entropy_ratio "
            "foreground_share foreground_share_uniform foreground_share_ratio "
            "first_share first_share_uniform first_share_ratio "
            "sink_share sink_share_uniform sink_share_ratio "
            "locality locality_uniform locality_ratio"
        ),
    },
)
SIMILARITY = Schema(
    "similarity.csv",
    {
        **_RUN,
        "site": "text",
        "other_run": "text",
        "other_arm": "text",
        "other_seed": "integer",
        "other_site": "text",
        "null": "text",
    },
    {
        "between": "text",
        "images": "integer",
        "tokens": "integer",
        "channels": "integer",
        "other_channels": "integer",
        **_numbers("cka procrustes cosine"),
    },
)
CHECK = Schema(
    "check.csv",
    {"severity": "text", "kind": "text", "images": "text", "what": "text"},
    {"advice": "text"},
)
_OVERLAPS = _numbers("iou dice iou_change dice_change")
_EFFECT: dict[str, Kind] = {
    "n_seeds": "integer",
    "n_cases": "integer",
    "n_groups": "integer",
    **_numbers("mean change ci_low ci_high boot_low boot_high case_low case_high"),
    "note": "text",
}
INTERVENE = Schema(
    "intervene.csv",
    {**_RUN, "intervention": "text", "setting": "text", **_IMAGE, "class": "text"},
    _OVERLAPS,
)
INTERVENE_EFFECTS = Schema(
    "intervene-effects.csv",
    {
        "dataset": "text",
        "arm": "text",
        "intervention": "text",
        "setting": "text",
        "score": "text",
    },
    _EFFECT,
)
SWAP = Schema(
    "swap.csv",
    {**_RUN, "site": "text", "donor": "text", "donor_run": "text", **_IMAGE, "class": "text"},
    {**_OVERLAPS, "explained": "number"},
)
SWAP_EFFECTS = Schema(
    "swap-effects.csv",
    {"dataset": "text", "arm": "text", "site": "text", "donor": "text", "score": "text"},
    {
        **_EFFECT,
        **_numbers("gap gap_low gap_high gap_share explained"),
    },
)
SCHEMAS = {
    schema.name: schema
    for schema in (
        RUNS,
        METRICS,
        CURVES,
        SCORES,
        RANK,
        MAPS,
        COMPARISON,
        CLAIMS,
        ASSOCIATION,
        LADDER,
        SELECTION,
        ATTRIBUTE,
        FIELD,
        ROBUSTNESS,
        ATTENTION,
        SIMILARITY,
        DECODE,
        LENS,
        LENS_WORDS,
        INTERVENE,
        INTERVENE_EFFECTS,
        SWAP,
        SWAP_EFFECTS,
    )
}


def _as_kind(column: pd.Series, kind: Kind) -> pd.Series:
    if kind == "text":
        return column.astype("object").fillna("").astype("str")
    if kind == "integer":
        return column.replace("", None).astype("Int64")
    return column.replace("", None).astype("float64")


def conform(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The frame with the schema's columns first, each of its kind.

    Raises TableError when a column is missing, cannot be converted, or two rows share all keys.
    """
    missing = [name for name in schema.columns if name not in frame.columns]
    if missing:
        raise TableError(
            f"{schema.name} lacks the columns {', '.join(missing)}; "
            f"it has {', '.join(frame.columns)}"
        )
    further = [name for name in frame.columns if name not in schema.columns]
    frame = frame[[*schema.columns, *further]].copy()
    for name, kind in schema.columns.items():
        try:
            frame[name] = _as_kind(frame[name], kind)
        except (ValueError, TypeError) as error:
            raise TableError(f"{schema.name}: column {name} is not {kind}: {error}") from error
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

    Text is kept as it stands: a case named ``NA`` or ``007`` stays one. Raises TableError when
    the file is missing, unreadable or does not fit the schema.
    """
    path = Path(path)
    try:
        header = pd.read_csv(path, nrows=0, encoding="utf-8")
        texts = {name: "str" for name in header.columns if schema.columns.get(name) == "text"}
        frame = pd.read_csv(
            path,
            encoding="utf-8",
            dtype=texts,
            keep_default_na=False,
            na_values={name: [""] for name in header.columns if name not in texts},
        )
    except FileNotFoundError as error:
        raise TableError(f"no such table: {path}") from error
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TableError(f"{path} is not a readable CSV table: {error}") from error
    return conform(frame, schema)
