"""Attributions of finished runs, against the masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.storage import atomically
from llm4seg_probe.study.gallery import merged
from llm4seg_probe.study.probes import untrained
from llm4seg_probe.study.single.result import ProbeResult, each_run, means, written

if TYPE_CHECKING:
    from llm4seg_probe.probing.explanations import Options
    from llm4seg_probe.training.run import Run


def attribute_runs(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    sites: tuple[str, ...],
    methods: tuple[str, ...],
    options: Options | None = None,
    split: str = "test",
    data: Path | None = None,
    images: int = 6,
    gallery: int = 4,
) -> ProbeResult:
    """Attributions of each run by site and method: ``attribute.csv``, arrays and figures."""
    from llm4seg_probe.probing.attribution import attribution_table

    galleries: list[dict[str, np.ndarray]] = []

    def measure(run: Run) -> pd.DataFrame:
        table, arrays = attribution_table(
            run,
            run.batches(split, data),
            sites,
            methods,
            options=options,
            untrained=untrained(run),
            images=images,
            gallery=gallery,
        )
        galleries.append(arrays)
        return table

    found = each_run(checkpoints, measure, doing="Attribution", data=data)
    table, target = written(found, out, tables.ATTRIBUTE)
    with atomically(out / "attribute.npz") as partial:
        np.savez_compressed(partial, allow_pickle=False, **merged(galleries))
    values = ["completeness_gap", "foreground_share", "mask_share", "unexplained", "sensitivity"]
    summary = means(table, ["arm", "seed", "site", "method", "class", "null"], values)
    return ProbeResult(table, summary, target, _figures(out))


def _figures(out: Path) -> tuple[Path, ...]:
    from llm4seg_probe.reporting.figures import attribution
    from llm4seg_probe.reporting.saving import save_figure
    from llm4seg_probe.reporting.summaries import told_apart
    from llm4seg_probe.study.gallery import read_gallery

    source, stored = out / tables.ATTRIBUTE.name, out / "attribute.npz"
    table = told_apart(tables.read_table(source, tables.ATTRIBUTE))
    arrays = read_gallery(stored)
    condition = dict(zip(table["run"], table["arm"], strict=True))
    arrays["map_arm"] = np.array([condition[run] for run in arrays["map_run"].tolist()])
    drawn = {"attribution": (attribution.figure(table), source)}
    if len(arrays["image_names"]):
        drawn["attribution-maps"] = (attribution.maps_figure(arrays), stored)
    saved = [
        save_figure(figure, out / "figures", name, path) for name, (figure, path) in drawn.items()
    ]
    return tuple(path for paths in saved for path in paths.values())
