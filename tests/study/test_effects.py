from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from scipy.stats import t as student

from llm4seg_probe.errors import TableError
from llm4seg_probe.reporting.figures import interventions, swap
from llm4seg_probe.reporting.style import COLUMN, paper_style
from llm4seg_probe.study.single.effects import effects
from llm4seg_probe.study.single.swap import swap_effects
from llm4seg_probe.tables import INTERVENE_EFFECTS, SWAP_EFFECTS, conform

CHANGES = {
    ("bypass", ""): -0.2,
    ("head-off", "1"): 0.0,
    ("low-rank", "1"): -0.1,
    ("low-rank", "8"): -0.01,
}


def scores(arms, changes, keys, seeds=4, groups=12):
    """Two images per group, two classes; each condition shifts all scores, seeds differ a bit."""
    draw = np.random.default_rng(0)
    rows = []
    for arm, level in arms.items():
        for seed in range(seeds):
            for image in range(2 * groups):
                for part in ("bone", "disc"):
                    base = level + 0.01 * draw.normal()
                    for place, change in {keys[1]: 0.0, **changes[arm]}.items():
                        iou = base + change * (1 + 0.1 * seed)
                        rows.append(
                            {"run": f"{arm}-{seed}", "dataset": "made", "arm": arm, "seed": seed,
                             **dict(zip(keys[0], place, strict=True)), "image": f"i{image}",
                             "group": f"g{image // 2}", "class": part, "iou": iou, "dice": iou,
                             "iou_change": iou - base, "dice_change": iou - base}
                        )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def found():
    table = scores(
        {"cnn": 0.6, "llm": 0.7},
        {"cnn": {("low-rank", "1"): -0.05, ("low-rank", "8"): 0.0}, "llm": CHANGES},
        (("intervention", "setting"), ("none", "")),
    )
    found = effects(table, ["intervention", "setting"], ["none", ""])
    return conform(found, INTERVENE_EFFECTS)


def test_a_change_is_paired_by_run_and_has_the_t_interval_over_seeds(found):
    effect = found
    own = effect[(effect["arm"] == "llm") & (effect["score"] == "iou")]
    assert own.set_index(["intervention", "setting"]).index.tolist() == list(CHANGES)
    row = own.iloc[0]
    per_seed = np.array([-0.2, -0.22, -0.24, -0.26])
    half = student.ppf(0.975, 3) * per_seed.std(ddof=1) / 2
    assert row["change"] == pytest.approx(per_seed.mean())
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(
        (per_seed.mean() - half, per_seed.mean() + half)
    )
    assert row["case_low"] <= row["change"] <= row["case_high"]
    assert (row["n_seeds"], row["n_cases"], row["n_groups"]) == (4, 24, 12)
    assert set(effect.loc[effect["arm"] == "cnn", "intervention"]) == {"low-rank"}


def test_one_seed_and_few_groups_have_no_interval_and_say_so():
    table = scores(
        {"llm": 0.7}, {"llm": {("bypass", ""): -0.2}}, (("intervention", "setting"), ("none", "")),
        seeds=1, groups=3,
    )  # fmt: skip
    row = effects(table, ["intervention", "setting"], ["none", ""]).iloc[0]
    assert row["change"] == pytest.approx(-0.2)
    assert row[["ci_low", "boot_low", "case_low"]].isna().all()
    assert "3 groups are too few" in row["note"]
    assert "one seed cannot show this" in row["note"]


def test_without_any_change_there_are_no_effects():
    table = scores({"cnn": 0.6}, {"cnn": {}}, (("intervention", "setting"), ("none", "")))
    assert effects(table, ["intervention", "setting"], ["none", ""]).empty


def swapped(levels):
    change = {("after", "other-arm"): -0.05, ("after", "mean"): -0.3}
    table = scores(levels, dict.fromkeys(levels, change), (("site", "donor"), ("", "")))
    return conform(swap_effects(table.assign(explained=0.5)), SWAP_EFFECTS)


def test_a_share_of_the_gap_is_given_only_where_there_is_a_gap():
    apart = swapped({"cnn": 0.5, "llm": 0.7}).set_index(["arm", "donor", "score"])
    own = apart.loc[("llm", "other-arm", "iou")]
    assert own["gap"] == pytest.approx(-0.2, abs=0.005)
    assert own["gap_low"] < own["gap"] < own["gap_high"] < 0
    assert own["gap_share"] == pytest.approx(own["change"] / own["gap"])
    assert apart.loc[("cnn", "other-arm", "iou"), "gap"] == pytest.approx(-own["gap"])
    assert own["explained"] == 0.5
    level = swapped({"cnn": 0.6, "llm": 0.6})
    assert (level["gap_low"] < 0).all()
    assert (level["gap_high"] > 0).all()
    assert level["gap_share"].isna().all()


def drawn(figure):
    texts = {text.get_text() for text in figure.findobj(Text)}
    dots = [
        [
            tuple(each.get_offsets()[0])
            for each in axes.collections
            if isinstance(each, PathCollection)
        ]
        for axes in figure.axes
    ]
    return texts, dots


def is_legible(figure):
    assert figure.get_figwidth() == pytest.approx(COLUMN)
    with paper_style():
        figure.draw_without_rendering()
        for text in figure.findobj(Text):
            if text.get_visible() and text.get_text():
                assert text.get_fontsize() >= 7
                assert text.get_window_extent().x0 >= -1, text.get_text()


def test_the_interventions_figure_has_a_row_per_change_and_a_curve_over_ranks(found):
    figure = interventions.figure(found)
    texts, dots = drawn(figure)
    assert {"Layer bypassed", "Head 1 off", "Change in IoU", "LLM, frozen", "CNN"} <= texts
    assert [x for x, _ in dots[0]] == pytest.approx([-0.23, 0.0])
    lines = {line.get_color(): line for line in figure.axes[1].lines if len(line.get_xdata()) == 2}
    curves = [line for line in lines.values() if list(line.get_xdata()) == [1, 8]]
    assert sorted(curve.get_ydata()[0] for curve in curves) == pytest.approx([-0.115, -0.0575])
    is_legible(figure)
    with pytest.raises(TableError, match="no row on nsd"):
        interventions.figure(found, "nsd")


def test_the_swap_figure_has_a_panel_per_receiver_and_the_gap_in_it():
    figure = swap.figure(swapped({"cnn": 0.5, "llm": 0.7}))
    texts, dots = drawn(figure)
    assert {"Put into: CNN", "Put into: LLM, frozen", "the mean activation"} <= texts
    assert [x for x, _ in dots[1]] == pytest.approx([-0.0575, -0.345])
    gaps = [line.get_xdata()[0] for axes in figure.axes for line in axes.lines]
    assert pytest.approx(0.2, abs=0.005) in gaps
    assert pytest.approx(-0.2, abs=0.005) in gaps
    is_legible(figure)
    with pytest.raises(TableError, match="no row on nsd"):
        swap.figure(swapped({"cnn": 0.5, "llm": 0.7}), "nsd")
