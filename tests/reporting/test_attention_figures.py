from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.reporting.figures.attention import PANELS, figure, maps_figure
from llm4seg_probe.reporting.style import ARM_STYLES, CENTIMETRE, COLUMN, arm_style
from llm4seg_probe.tables import ATTENTION, conform

ARMS = ["llm", "transformer"]
NULLS = ["", "shuffled", "untrained", "other-image"]
HEADS = 3


def attention_table(arms=ARMS, places=(1,)) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    rows = [
        {
            "run": f"{arm}-{seed}", "dataset": "made", "arm": arm, "seed": seed, "place": place,
            "layer": 10 + place, "head": head, "null": null, "image": f"i{image}", "group": "g",
            **{name: draw.uniform(0.5, 2) for name in PANELS},
        }
        for arm in arms for seed in (0, 1) for place in places for null in NULLS
        for head in range(1, HEADS + 1) for image in range(4)
    ]  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=list(ATTENTION.columns))
    only_foreground = [name for name in PANELS if name != "foreground_share_ratio"]
    table.loc[table["null"] == "other-image", only_foreground] = np.nan
    return conform(table, ATTENTION)


def arrays(grid=(2, 3), arms=ARMS) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    maps = [(arm, head) for arm in arms for head in range(HEADS + 1)]
    values = draw.random((len(maps), 4, *grid)).astype(np.float32)
    return {
        "image_names": np.array([f"case-number-{image}/slice-7" for image in range(4)]),
        "images": draw.integers(0, 255, (4, 24, 36)).astype(np.uint8),
        "masks": np.pad(np.ones((4, 8, 8), np.uint8), ((0, 0), (4, 12), (4, 24))),
        "queries": np.array([[0] * (len(grid) - 2) + [9, 12]] * 4),
        "query_tokens": np.array([[1] * (len(grid) - 2) + [0, 1]] * 4),
        "map_arm": np.array([arm for arm, _ in maps]),
        "map_seed": np.zeros(len(maps), int),
        "map_place": np.ones(len(maps), int),
        "map_layer": np.full(len(maps), 15),
        "map_head": np.array([head for _, head in maps]),
        "maps": values / values.sum((-1, -2), keepdims=True),
    }


def test_a_dot_per_head_and_run_at_the_mean_over_images():
    table = attention_table()
    drawn = figure(table)
    assert drawn.get_size_inches()[0] == pytest.approx(COLUMN)
    panels = drawn.axes
    assert [axes.get_title(loc="left") for axes in panels] == list(PANELS.values())
    for axes, value in zip(panels, PANELS, strict=True):
        for arm in ARMS:
            (dots,) = [c for c in axes.collections if c.get_label() == arm_style(arm).label]
            own = table[(table["arm"] == arm) & (table["null"] == "")]
            expected = own.groupby(["run", "head"])[value].mean()
            assert sorted(dots.get_offsets()[:, 0]) == pytest.approx(sorted(expected))
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [
        "LLM, frozen", "Transformer",
    ]  # fmt: skip
    assert {axes.get_xlabel() for axes in panels[-2:]} == {"× uniform attention"}
    legend = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert legend[-1] == "another image's mask"
    assert len(legend) == 3


def test_bands_stand_only_where_the_null_was_measured():
    drawn = figure(attention_table())
    by_title = {axes.get_title(loc="left"): len(axes.patches) for axes in drawn.axes}
    assert by_title.pop("Foreground") == 3 * len(ARMS)
    assert set(by_title.values()) == {2 * len(ARMS)}


def test_layers_of_one_run_are_rows_of_their_own():
    drawn = figure(attention_table(["llm"], places=(1, 2)))
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [
        "LLM, frozen,\nlayer 11", "LLM, frozen,\nlayer 12",
    ]  # fmt: skip


def test_every_arm_has_its_row():
    arms = [str(arm) for arm in ARM_STYLES]
    drawn = figure(attention_table(arms))
    assert len(drawn.axes[0].get_yticks()) == len(arms)


def test_maps_are_drawn_over_the_images_with_the_query():
    given = arrays()
    drawn = maps_figure(given, 0)
    assert drawn.get_size_inches()[0] == pytest.approx(8.5 * CENTIMETRE)
    assert len(drawn.axes) == 3 * (1 + len(ARMS))
    assert drawn.axes[0].get_title() == "case-n…slice-7"
    first_map = drawn.axes[3]
    picture, overlay = first_map.get_images()
    assert picture.get_array().tolist() == given["images"][0].tolist()
    expected = given["maps"][0, 0] / given["maps"][0, 0].max()
    assert np.allclose(overlay.get_array(), expected)
    assert list(overlay.get_extent()) == [-0.5, 35.5, 23.5, -0.5]
    (cross,) = [line for line in first_map.lines if line.get_marker() == "x"]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (12, 9)
    assert first_map.texts[0].get_text() == f"{given['maps'][0, 0].max():.2f}"


def test_a_column_per_head_when_heads_are_asked_for():
    given = arrays()
    drawn = maps_figure(given, 0, [2], [1, 2, 3])
    assert [axes.get_title() for axes in drawn.axes[:3]] == ["head 1", "head 2", "head 3"]
    of_transformer = drawn.axes[6 + 1]
    place = list(zip(given["map_arm"], given["map_head"], strict=True)).index(("transformer", 2))
    expected = given["maps"][place, 2] / given["maps"][place, 2].max()
    assert np.allclose(of_transformer.get_images()[1].get_array(), expected)


def test_of_a_volume_the_querys_plane_is_drawn():
    given = arrays((3, 2, 3))
    drawn = maps_figure(given, 0, [0])
    plane = given["maps"][0, 0, 1]
    assert np.allclose(drawn.axes[1].get_images()[1].get_array(), plane / plane.max())
