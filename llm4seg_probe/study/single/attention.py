"""Attention of finished runs' decoder layers, head by head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from llm4seg_probe import progress, tables
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.storage import atomically
from llm4seg_probe.study.probes import untrained
from llm4seg_probe.study.single.result import ProbeResult, each_run, means, written

if TYPE_CHECKING:
    from llm4seg_probe.training.run import Run

_SHARED = ("image_names", "images", "masks", "queries", "query_tokens")


def attention_runs(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    query: tuple[int, ...] | None = None,
    split: str = "test",
    data: Path | None = None,
    gallery: int = 4,
) -> ProbeResult:
    """Attention of each run by layer and head: ``attention.csv``, arrays and figures.

    query: row and column (before them depth, in 3D) of the pixel from which the maps look, in
    the image as the network sees it; the centre of the largest foreground region unless given.
    Runs of arms without attention are left out, which is said. Raises SiteError when none has
    any.
    """
    from llm4seg_probe.probing.attending import has_attention
    from llm4seg_probe.probing.attention import attention_table
    from llm4seg_probe.probing.rows import Rows

    galleries: list[dict[str, np.ndarray]] = []

    def measure(run: Run) -> pd.DataFrame:
        if not has_attention(run.network):
            progress.say(f"{run.name} left out: there is no attention in arm '{run.arm}'")
            return Rows(tables.ATTENTION).table()
        table, arrays = attention_table(
            run,
            run.batches(split, data),
            query=query,
            untrained=untrained(run),
            gallery=gallery,
        )
        galleries.append(arrays)
        return table

    found = each_run(checkpoints, measure, doing="Attention", data=data)
    if not galleries:
        raise SiteError(
            "there is no attention in the arms of these checkpoints: give one with a decoder "
            "layer, such as arm 'llm'"
        )
    table, target = written(found, out, tables.ATTENTION)
    _write_arrays(galleries, out / "attention.npz")
    values = [name for name in table.columns if name.endswith("_ratio")]
    summary = means(table, ["arm", "seed", "layer", "null"], values)
    return ProbeResult(table, summary, target, _figures(out))


def _write_arrays(galleries: Sequence[dict[str, np.ndarray]], target: Path) -> None:
    """The runs' arrays as one; raises DataError where they are not of the same images and grid."""
    first = galleries[0]
    for other in galleries[1:]:
        same_images = np.array_equal(first["image_names"], other["image_names"])
        if not same_images or first["maps"].shape[1:] != other["maps"].shape[1:]:
            raise DataError(
                f"runs {first['map_run'][0]} and {other['map_run'][0]} have different test images "
                "or grids of tokens, so their maps cannot stand side by side; give runs of one "
                "split and image size, or --data"
            )
    joined = {
        name: first[name]
        if name in _SHARED
        else np.concatenate([arrays[name] for arrays in galleries])
        for name in first
    }
    with atomically(target) as partial:
        np.savez_compressed(partial, allow_pickle=False, **joined)


def _figures(out: Path) -> tuple[Path, ...]:
    from llm4seg_probe.reporting.figures import attention
    from llm4seg_probe.reporting.saving import save_figure
    from llm4seg_probe.reporting.style import PAGE
    from llm4seg_probe.reporting.summaries import told_apart

    source, stored = out / tables.ATTENTION.name, out / "attention.npz"
    table = told_apart(tables.read_table(source, tables.ATTENTION))
    with np.load(stored, allow_pickle=False) as opened:
        arrays = {name: opened[name] for name in opened.files}
    condition = dict(zip(table["run"], table["arm"], strict=True))
    arrays["map_arm"] = np.array([condition[run] for run in arrays["map_run"].tolist()])
    seed = int(arrays["map_seed"].min())
    heads = range(1, int(arrays["map_head"].max()) + 1)
    drawn = {
        "attention": (attention.figure(table), source),
        "attention-maps": (attention.maps_figure(arrays, seed), stored),
        "attention-heads": (attention.maps_figure(arrays, seed, (0,), heads, width=PAGE), stored),
    }
    folder = out / "figures"
    saved = [save_figure(figure, folder, name, path) for name, (figure, path) in drawn.items()]
    return tuple(path for paths in saved for path in paths.values())
