"""Effective receptive fields of finished runs, with and without the layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.errors import DataError
from llm4seg_probe.storage import atomically
from llm4seg_probe.study.probes import untrained
from llm4seg_probe.study.single.result import ProbeResult, each_run, means, written

if TYPE_CHECKING:
    from llm4seg_probe.training.run import Run


def field_runs(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    sites: tuple[str, ...],
    split: str = "test",
    data: Path | None = None,
    images: int = 48,
) -> ProbeResult:
    """Receptive field of each run's centre, by site: ``field.csv``, arrays and figure."""
    from llm4seg_probe.probing.field import field_table

    arrays: list[dict[str, np.ndarray]] = []

    def measure(run: Run) -> pd.DataFrame:
        table, of_run = field_table(
            run, run.batches(split, data), sites, untrained=untrained(run), images=images
        )
        arrays.append(of_run)
        return table

    found = each_run(checkpoints, measure, doing="Field", data=data)
    table, target = written(found, out, tables.FIELD)
    with atomically(out / "field.npz") as partial:
        np.savez_compressed(partial, allow_pickle=False, **_joined(arrays))
    keys = ["arm", "seed", "site", "wrt", "layer", "null"]
    summary = means(table, keys, ["radius_50", "radius_90", "before", "after", "asymmetry"])
    return ProbeResult(table, summary, target, _figures(out))


def _joined(arrays: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    shapes = {one["fields"].shape[1:] for one in arrays}
    if len(shapes) > 1:
        raise DataError(
            f"the runs see images of different sizes ({', '.join(map(str, sorted(shapes)))}), so "
            "their fields cannot stand side by side; give runs of one image size"
        )
    return {name: np.concatenate([one[name] for one in arrays]) for name in arrays[0]}


def _figures(out: Path) -> tuple[Path, ...]:
    from llm4seg_probe.reporting.figures import field
    from llm4seg_probe.reporting.saving import save_figure
    from llm4seg_probe.reporting.summaries import told_apart
    from llm4seg_probe.study.gallery import read_gallery

    stored = out / "field.npz"
    table = told_apart(tables.read_table(out / tables.FIELD.name, tables.FIELD))
    arrays = read_gallery(stored)
    condition = dict(zip(table["run"], table["arm"], strict=True))
    arrays["field_arm"] = np.array([condition[run] for run in arrays["field_run"].tolist()])
    return tuple(save_figure(field.figure(arrays), out / "figures", "field", stored).values())
