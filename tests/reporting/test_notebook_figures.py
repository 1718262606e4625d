from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.errors import TableError
from llm4seg_probe.paper import figures


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and runs: llm at its usual layer 3 and at 1, two seeds, and one of another mask."""
    rows, runs = [], []
    for arm, layer, deviation, iou in (
        ("cnn", "", "", 0.5),
        ("llm", "3", "", 0.6),
        ("llm", "1", "layer=1", 0.4),
        ("llm", "3", "attention=bidirectional", 0.9),
    ):
        for seed in (0, 1):
            run = f"{arm}-{deviation}-{seed}"
            keys = {"run": run, "dataset": "toys", "arm": arm, "seed": seed}
            runs.append({**keys, "layer": layer, "deviation": deviation})
            rows += [
                {**keys, "split": split, "checkpoint": "best", "image": image, "group": "g",
                 "class": "foreground", "iou": iou + 0.02 * seed + shift + (split == "val")}
                for split in ("test", "val") for image, shift in (("a", -0.1), ("b", 0.1))
            ]  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(runs)


def test_runs_by_layer_are_those_that_deviate_in_nothing_else() -> None:
    found = figures.by_layer(*tables())
    llm = found[found["arm"] == "llm"]
    assert llm[["layer", "seed"]].to_numpy().tolist() == [[1, 0], [1, 1], [3, 0], [3, 1]]
    assert list(llm["iou"]) == pytest.approx([0.4, 0.42, 0.6, 0.62])
    assert found.loc[found["arm"] == "cnn", "layer"].isna().all()
    spread = figures.spread(found)
    assert spread.loc["llm", "between_layers"] == pytest.approx(0.2 / np.sqrt(2))
    assert spread.loc["llm", "between_seeds"] == pytest.approx(0.02 / np.sqrt(2))


def test_the_curve_goes_through_the_means_over_seeds() -> None:
    ours = figures.by_layer(*tables())
    upper, lower = figures.layers_figure(ours, ours[ours["seed"] == 0]).axes
    line = next(line for line in upper.lines if line.get_label() == "LLM, frozen")
    assert list(line.get_xdata()) == [1, 3]
    assert list(line.get_ydata()) == pytest.approx([0.41, 0.61])
    assert [len(dots.get_offsets()) for dots in upper.collections] == [4]
    assert lower.get_xlabel().startswith("Layer")
    with pytest.raises(TableError, match="nothing to draw by layer"):
        figures.layers_figure(ours[ours["arm"] == "cnn"], ours)


def test_ours_and_the_papers_bars_have_one_scale_and_the_same_rows() -> None:
    maps = pd.DataFrame(
        [
            {"run": f"{arm}-{seed}", "dataset": "toys", "arm": arm, "seed": seed, "site": site,
             "class": "foreground", "reduction": "mean_abs", "threshold": "otsu", "null": "",
             "image": "a", "group": "a", "iou": iou + 0.1 * seed}
            for arm in ("cnn", "adapters") for seed in (0, 1)
            for site, iou in (("before", 0.2), ("after", 0.3))
        ]
    )  # fmt: skip
    theirs = pd.DataFrame(
        {"dataset": ["BUSI"], "arm": ["llm"], "before": [0.264], "after": [0.452]}
    )
    ours, paper = figures.printed_figure(maps, theirs).axes
    labels = [text.get_text() for text in ours.get_yticklabels()]
    assert labels == ["CNN", "LLM, frozen", "Adapters only"]
    assert [bar.get_width() for bar in ours.patches] == pytest.approx([0.25, 0.25, 0.35, 0.35])
    assert [bar.get_width() for bar in paper.patches] == [0.264, 0.452]
    assert ours.get_xlim() == paper.get_xlim()
    assert [text.get_text() for text in paper.texts] == ["0.264", "0.452"]


def test_grids_share_a_scale_and_ring_the_token() -> None:
    values = {"causal": np.eye(3), "bidirectional": 2 * np.ones((3, 3))}
    first, second, _ = figures.grids(values, token=5, label="Change", signed=False).axes
    assert first.images[0].get_clim() == second.images[0].get_clim() == (0, 2)
    assert (first.lines[0].get_xdata()[0], first.lines[0].get_ydata()[0]) == (2, 1)
    plain, _ = figures.grids({"one": -np.eye(3)}, label="Cosine", signed=True).axes
    assert plain.images[0].get_clim() == (-1, 1)
    assert not plain.lines


def test_intensities_show_the_range_and_the_middle() -> None:
    numbers = np.linspace(-1, 1, 101)
    (axes,) = figures.intensities({"once": numbers, "twice": numbers / 255}, label="Input").axes
    assert axes.patches[0].get_x() == pytest.approx(-0.9)
    assert axes.patches[0].get_width() == pytest.approx(1.8)
    assert axes.collections[1].get_segments()[0][:, 0] == pytest.approx([-1 / 255, 1 / 255])


def test_parts_stand_one_after_another_and_frozen_ones_are_pale() -> None:
    costs = pd.DataFrame(
        [
            {"arm": "llm", "part": "decoder", "trainable": 4, "frozen": 0},
            {"arm": "llm", "part": "layer", "trainable": 0, "frozen": 3},
            {"arm": "llm", "part": "encoder", "trainable": 2, "frozen": 0},
        ]
    )
    (axes,) = figures.parts(costs).axes
    drawn = [(bar.get_x(), bar.get_width(), bar.get_alpha()) for bar in axes.patches]
    assert [bar for bar in drawn if bar[1]] == [(0, 2, 0.95), (2, 3, 0.35), (5, 4, 0.95)]
