"""What the figures say to those who cannot see them: the numbers that are drawn."""

from __future__ import annotations

import pandas as pd

from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.figures.gallery import SITES
from llm4seg_probe.reporting.results import Results
from llm4seg_probe.reporting.style import arm_style, in_order
from llm4seg_probe.reporting.summaries import (
    by_seed,
    compared,
    measured,
    on_test_split,
    one_kind_of_map,
    spread_out,
)


def paired(results: Results) -> str:
    """Mean and range over seeds of each arm."""
    score = results.main_score
    means = by_seed(on_test_split(results.tables["scores.csv"]), score)
    parts = [
        f"{arm_style(arm).label} {labels.number(means[arm].mean(), 3)} "
        f"({labels.number(means[arm].min(), 3)} to {labels.number(means[arm].max(), 3)})"
        for arm in in_order(means.columns)
    ]
    return (
        f"Dots for {len(means)} seeds, joined from arm to arm. Mean test "
        f"{labels.measure(score).name} and range over seeds: {'; '.join(parts)}."
    )


def forest(results: Results) -> str:
    """Difference and interval of each comparison."""
    rows = compared(results.tables["comparison.csv"], "scores", results.main_score)
    parts = [
        f"{arm_style(row['a']).label} minus {arm_style(row['b']).label} "
        f"{labels.effect(row['difference'], row['ci_low'], row['ci_high'])}"
        for _, row in rows.iterrows()
    ]
    margins = ", ".join(f"±{margin:g}" for margin in sorted(rows["margin"].dropna().unique()))
    name = labels.measure(results.main_score).name
    return (
        f"Differences in {name} with 95 % intervals over training runs, margin {margins}: "
        f"{'; '.join(parts)}."
    )


def densities(results: Results) -> str:
    """Means of effective rank and LSVR at each site."""
    table = measured(results.tables["rank.csv"])
    sentences = []
    for site in table["site"].unique():
        rows = table[table["site"] == site]
        rank, lsvr = by_seed(rows, "effective_rank").mean(), by_seed(rows, "lsvr").mean()
        parts = [
            f"{arm_style(arm).label} {labels.number(rank[arm], 2)} and "
            f"{labels.number(lsvr[arm], 2)}"
            for arm in rank.index
        ]
        sentences.append(f"{labels.site(str(site))}: {'; '.join(parts)}.")
    return f"Densities over images. Mean effective rank and LSVR. {' '.join(sentences)}"


def activation(results: Results) -> str:
    """Means before and after the layer of each arm."""
    table = measured(one_kind_of_map(results.tables["maps.csv"]))
    sites = [site for site in SITES if (table["site"] == site).any()]
    means = {site: by_seed(table[table["site"] == site], "iou").mean() for site in sites}
    parts = [
        f"{arm_style(arm).label} "
        + ", ".join(f"{labels.number(means[site][arm], 3)} {site}" for site in sites)
        for arm in means[sites[0]].index
    ]
    return f"Bars of mean activation IoU: {'; '.join(parts)}."


def gallery(results: Results) -> str:
    """Which images and arms are shown, with their activation IoU before and after."""
    arrays = results.arrays
    assert arrays is not None
    seed = arrays.first_seed
    chosen = [str(arrays.image_names[place]) for place in spread_out(len(arrays.image_names), 4)]
    arms = in_order(arrays.map_arm[arrays.map_seed == seed])
    text = (
        f"Activation maps of {len(chosen)} images ({', '.join(chosen)}), seed {seed}, before and "
        f"after the layer, for {', '.join(arm_style(arm).label for arm in arms)}."
    )
    if not results.has("maps.csv"):
        return text
    rows = measured(one_kind_of_map(results.tables["maps.csv"]))
    rows = rows[(rows["seed"] == seed) & rows["image"].isin(chosen)]
    means = rows.groupby(["arm", "site"])["iou"].mean()
    parts = [
        f"{arm_style(arm).label} "
        + " to ".join(_mean(means, arm, site) for site in SITES if (arm, site) in means.index)
        for arm in arms
    ]
    return f"{text} Their mean activation IoU before to after: {'; '.join(parts)}."


def _mean(means: pd.Series, arm: str, site: str) -> str:
    return labels.number(means[(arm, site)], 3)
