"""The figures of the probe `decode`: dots, bands and curves are the numbers of its table."""

from __future__ import annotations

import pandas as pd
import pytest

from llm4seg_probe.drawing.style import COLUMN, arm_style
from llm4seg_probe.errors import TableError
from llm4seg_probe.probes.decode import figure as decode_figure

KINDS = [
    ("features", "", 0.30), ("features+position", "", 0.34), ("position", "position", 0.2),
    ("features", "other-image", 0.15), ("features", "untrained", 0.18),
]  # fmt: skip


@pytest.fixture(scope="module")
def drawn_table():
    return decode_rows()


def decode_rows():
    """Two arms, three seeds, two sites, three sizes; rows of images beside those of all tokens."""
    rows = [
        {
            "run": f"{arm}-{seed}", "arm": arm, "seed": seed, "site": site, "input": name,
            "null": null, "training_images": size, "image": image,
            "auroc": (0.6 if image == "" else 0.1) + gain + 0.01 * seed + 0.001 * size
            + 0.02 * (arm == "llm"),
        }
        for arm in ("cnn", "llm") for seed in range(3) for site in ("before", "after")
        for name, null, gain in KINDS for size in (1, 4, 30) for image in ("", "one", "two")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def points(axes, label):
    return [
        [round(float(x), 6) for x in found.get_offsets()[:, 0]]
        for found in axes.collections
        if found.get_label() == label
    ]


def test_dots_are_the_runs_over_all_tokens_from_all_training_images(drawn_table):
    figure = decode_figure.figure(drawn_table)
    assert figure.get_figwidth() == pytest.approx(COLUMN)
    before, after = figure.axes
    assert [axes.get_title("left") for axes in figure.axes] == [
        "Before the layer", "After the layer"
    ]  # fmt: skip
    assert after.get_xlabel() == "AUROC (0 to 1), all test tokens"
    for arm, extra in (("cnn", 0), ("llm", 0.02)):
        hollow, filled = points(before, arm_style(arm).label)
        assert filled == [round(0.6 + 0.3 + 0.03 + extra + 0.01 * seed, 6) for seed in range(3)]
        assert hollow == [round(x + 0.04, 6) for x in filled]
    bands = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in after.patches]
    assert len(bands) == 6
    assert bands[0] == pytest.approx((0.83, 0.85), abs=0.002)  # position, of the CNN
    assert "0.940" in [text.get_text() for text in before.texts]  # the mean of its runs
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["features", "features and position", *decode_figure.NULLS.values()]


def test_curves_are_means_by_number_of_training_images(drawn_table):
    figure = decode_figure.curves(drawn_table, sites=("after",))
    (axes,) = figure.axes
    by_label = {line.get_label(): line for line in axes.lines}
    llm = by_label[arm_style("llm").label]
    assert llm.get_color() == arm_style("llm").colour
    assert llm.get_xdata().tolist() == [1, 4, 30]
    assert llm.get_ydata().tolist() == pytest.approx([0.931, 0.934, 0.96])
    position = by_label["position alone"]
    assert position.get_ydata().tolist() == pytest.approx([0.821, 0.824, 0.85])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4", "30"]
    assert axes.get_xlabel() == "Training images"
    assert len(figure.legends[0].get_texts()) == 2 + 3


def test_a_null_that_is_not_there_is_not_drawn_and_an_unknown_site_is_said(drawn_table):
    figure = decode_figure.figure(drawn_table[drawn_table["null"].isin(["", "position"])])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[2:] == ["position alone"]
    with pytest.raises(TableError, match=r"decode\.csv: unknown site 'befor'\. Did you mean 'bef"):
        decode_figure.figure(drawn_table, sites=("befor",))
