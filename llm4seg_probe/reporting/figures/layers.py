"""IoU by layer of the language model, frozen and trained, ours beside the paper's."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llm4seg_probe.errors import TableError
from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.style import COLUMN, PAPER, arm_style, paper_style
from llm4seg_probe.reporting.summaries import by_seed, on_test_split

_FLAT: tuple[tuple[str, tuple[int, tuple[float, ...]]], ...] = (
    ("cnn", (0, ())),
    ("transformer", (0, (4.0, 2.0))),
)
_CURVES = ("llm", "llm-trainable")


def by_layer(scores: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Mean test IoU of each run whose only deviation is its layer: ``arm, layer, seed, iou``.

    scores, runs: ``scores.csv`` (arms as conditions or plain) and ``runs.csv``. Arms without a
    language model's layer have no number in ``layer``. Raises TableError where no run is left.
    """
    deviation = runs["deviation"].fillna("") if "deviation" in runs.columns else ""
    plain = runs.assign(deviation=deviation)
    plain = plain[plain["deviation"].str.fullmatch(r"(layer=\d+)?")]
    chosen = on_test_split(scores)
    chosen = chosen[chosen["run"].isin(plain["run"])]
    means = by_seed(chosen.assign(arm=chosen["run"], seed=0), "iou").iloc[0]
    found = plain[plain["run"].isin(means.index)][["run", "arm", "layer", "seed"]]
    found = found.assign(
        layer=pd.to_numeric(found["layer"], errors="coerce").astype("Int64"),
        iou=found["run"].map(means.to_dict()),
    )
    found.loc[~found["arm"].isin(_CURVES), "layer"] = pd.NA
    return found[["arm", "layer", "seed", "iou"]].sort_values(["arm", "layer", "seed"])


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """How scores of ``arm, layer, iou`` are spread, by arm: ``between_layers, between_seeds``.

    The standard deviation of the layers' means, and the mean over layers of the standard
    deviation of one layer's runs (NaN where there is one run of each).
    """
    layers = table.dropna(subset="layer").groupby(["arm", "layer"])["iou"]
    found = layers.agg(mean="mean", sd="std").groupby("arm")
    spreads = {"between_layers": found["mean"].std(), "between_seeds": found["sd"].mean()}
    return pd.DataFrame(spreads)


def figure(ours: pd.DataFrame, theirs: pd.DataFrame) -> Figure:
    """Draw two tables of ``arm, layer, iou``: ours with a dot per seed, the paper's without.

    Lines join the means over seeds. The arms without a layer are levels across the panel; ours
    have the range of their seeds as a band.
    """
    if not ours["layer"].notna().any():
        raise TableError("no run of ours says which layer it used: nothing to draw by layer")
    with paper_style():
        drawing = Figure(figsize=(COLUMN, 1.25 * COLUMN), layout="constrained")
        upper, lower = drawing.subplots(2, 1)
        _panel(upper, ours, "Here")
        _panel(lower, theirs, "Paper (LLaMA-3.2-1B, one run each)")
        lower.set_xlabel("Layer of the language model, from 1")
        entries = {
            name: handle
            for axes in (lower, upper)
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        drawing.legend(
            entries.values(), entries, loc="outside lower left", ncols=2, handlelength=2.4
        )
    return drawing


def _panel(axes: Axes, table: pd.DataFrame, title: str) -> None:
    axes.set_title(title, loc="left")
    axes.set_ylabel(labels.measure("iou").axis)
    axes.grid(axis="y")
    for arm, dashes in _FLAT:
        scores = table.loc[table["arm"] == arm, "iou"]
        if len(scores):
            style = arm_style(arm)
            axes.axhspan(scores.min(), scores.max(), color=style.colour, alpha=0.12, lw=0)
            axes.axhline(
                scores.mean(), color=style.colour, linewidth=1, ls=dashes, label=style.label
            )
    for arm in _CURVES:
        rows = table[(table["arm"] == arm) & table["layer"].notna()]
        if rows.empty:
            continue
        style = arm_style(arm)
        means = rows.groupby("layer")["iou"].mean()
        places = means.index.to_numpy(dtype=float)
        axes.plot(places, means, color=style.colour, linewidth=1.2, zorder=3, label=style.label)
        axes.scatter(
            rows["layer"].to_numpy(dtype=float),
            rows["iou"],
            s=12,
            color=style.colour,
            marker=style.marker,
            edgecolor=PAPER,
            linewidth=0.4,
            zorder=4,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
