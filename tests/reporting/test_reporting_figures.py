from __future__ import annotations

import numpy as np
import pytest
from figure_checks import settings
from matplotlib.collections import (
    FillBetweenPolyCollection,
    LineCollection,
    PathCollection,
)
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from llm4seg_probe.drawing.style import ARM_STYLES, COLUMN, PAGE, arm_style, paper_style
from llm4seg_probe.drawing.table_rows import by_seed, measured, middle, nulls, on_test_split
from llm4seg_probe.errors import TableError
from llm4seg_probe.probes.maps import figure as maps_figure
from llm4seg_probe.probes.maps import gallery_figure
from llm4seg_probe.probes.rank import figure as rank_figure
from llm4seg_probe.report.figures import forest, paired

ARMS = ["cnn", "llm", "transformer", "random-frozen", "adapters"]
LABELS = [ARM_STYLES[arm].label for arm in ARMS]
DRAWN = {
    "paired": lambda results: paired.figure(results.tables["scores.csv"]),
    "forest": lambda results: forest.figure(results.tables["comparison.csv"]),
    "densities": lambda results: rank_figure.figure(results.tables["rank.csv"]),
    "activation": lambda results: maps_figure.figure(
        results.tables["maps.csv"], results.tables["comparison.csv"]
    ),
    "gallery": lambda results: gallery_figure.figure(results.arrays, 0),
}


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def words(figure: Figure) -> set[str]:
    return {text.get_text() for text in texts(figure)}


def dots(axes) -> list[np.ndarray]:
    found = [one for one in axes.collections if isinstance(one, PathCollection)]
    return [np.asarray(one.get_offsets()) for one in found]


def row_labels(axes) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


@pytest.fixture(scope="module")
def figures(results):
    before = settings()
    drawn = {name: draw(results) for name, draw in DRAWN.items()}
    assert settings() == before
    return drawn


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_legible_at_its_width(figures, name):
    figure = figures[name]
    assert figure.get_figwidth() == pytest.approx(PAGE if name == "gallery" else COLUMN)
    assert min(text.get_fontsize() for text in texts(figure)) >= 7


@pytest.mark.parametrize("name", DRAWN)
def test_no_text_leaves_the_figure(figures, name):
    figure = figures[name]
    with paper_style():
        figure.draw_without_rendering()
        for text in set(texts(figure)) - undrawn_tick_labels(figure):
            box = text.get_window_extent()
            assert box.x0 >= figure.bbox.x0 - 1, text.get_text()
            assert box.x1 <= figure.bbox.x1 + 1, text.get_text()
            assert box.y0 >= figure.bbox.y0 - 1, text.get_text()
            assert box.y1 <= figure.bbox.y1 + 1, text.get_text()


def undrawn_tick_labels(figure: Figure) -> set[Text]:
    """Tick labels beyond the limits of their axis, or of an axis switched off."""
    undrawn = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not axes.axison or not low <= tick.get_loc() <= high:
                    undrawn |= {tick.label1, tick.label2}
    return undrawn


def test_paired_dots_are_the_means_of_the_runs(figures, results):
    (axes,) = figures["paired"].axes
    means = by_seed(on_test_split(results.tables["scores.csv"]), "iou")
    assert row_labels(axes) == LABELS
    for place, arm in enumerate(ARMS):
        (own,) = [found for found in dots(axes) if (found[:, 1] == place).all()]
        assert sorted(own[:, 0]) == pytest.approx(sorted(means[arm]))
    lines = {line.get_gid(): line.get_xdata() for line in axes.lines}
    assert set(lines) == {f"seed-{seed}" for seed in range(5)}
    for seed in range(5):
        assert list(lines[f"seed-{seed}"]) == pytest.approx(list(means.loc[seed]))
    assert f"{means['llm'].mean():.3f}" in words(figures["paired"])
    assert axes.get_xlabel() == "Test IoU (0 to 1), mean over cases"


def test_a_seed_that_an_arm_lacks_breaks_its_line(results):
    scores = results.tables["scores.csv"]
    without = scores[~((scores["arm"] == "llm") & (scores["seed"] == 2))]
    (axes,) = paired.figure(without).axes
    line = next(line for line in axes.lines if line.get_gid() == "seed-2")
    assert np.isnan(line.get_xdata()).tolist() == [False, True, False, False, False]


def test_the_same_arm_has_the_same_colour_everywhere(figures):
    for name in ("paired", "densities", "activation"):
        found = {
            to_hex(colour)
            for axes in figures[name].axes
            for collection in axes.collections
            for colour in collection.get_facecolor()
        }
        colours = found | {
            to_hex(patch.get_facecolor()) for axes in figures[name].axes for patch in axes.patches
        }
        assert {ARM_STYLES[arm].colour.lower() for arm in ARMS} <= colours, name


def test_the_forest_holds_differences_intervals_and_margin(figures, results):
    (axes,) = figures["forest"].axes
    comparison = results.tables["comparison.csv"]
    rows = comparison[comparison["table"].isna()].reset_index(drop=True)
    assert row_labels(axes)[0] == "LLM, frozen\n− CNN"
    assert len(row_labels(axes)) == len(rows) == 7
    segments = [
        segment
        for collection in axes.collections
        if hasattr(collection, "get_segments")
        for segment in collection.get_segments()
    ]
    drawn = {(round(place, 2), low, high) for (low, place), (high, _) in segments}
    for place, row in rows.iterrows():
        for low, high, offset, _ in forest.INTERVALS.values():
            assert (round(place + offset, 2), row[low], row[high]) in drawn
        assert any(
            (found == [row["difference"], place]).all() for found in dots(axes) if len(found) == 1
        )
    bands = {(patch.get_x(), patch.get_width()) for patch in axes.patches}
    assert bands == {(-0.005, 0.01)}
    assert axes.get_xlabel() == "Difference in IoU, a − b"


def test_intervals_that_the_table_lacks_are_not_drawn(results):
    empty = dict.fromkeys(("boot_low", "boot_high", "case_low", "case_high"), np.nan)
    figure = forest.figure(results.tables["comparison.csv"].assign(**empty))
    assert "another training run (t)" in words(figure)
    assert not {"both (bootstrap)", "another patient (bootstrap)"} & words(figure)


def test_a_score_that_was_not_compared(results):
    with pytest.raises(TableError, match=r"comparison\.csv has no row on dice of scores\.csv"):
        forest.figure(results.tables["comparison.csv"], "dice")


def test_densities_show_means_runs_and_null_bands(figures, results):
    axes = figures["densities"].axes
    assert [panel.get_title(loc="left") for panel in axes] == [
        "Before the layer",
        "",
        "After the layer",
        "",
    ]
    assert [panel.get_xlabel() for panel in axes[2:]] == [
        "Effective rank (directions)",
        "LSVR (nats)",
    ]
    rank = results.tables["rank.csv"]
    after = rank[rank["site"] == "after"]
    means = by_seed(measured(after), "effective_rank")
    panel = axes[2]
    assert row_labels(panel) == LABELS
    for arm in ARMS:
        runs = next(
            found for found in panel.collections if found.get_label() == arm_style(arm).label
        )
        assert sorted(runs.get_offsets()[:, 0]) == pytest.approx(sorted(means[arm]))
    numbers = {text.get_text() for text in panel.texts}
    assert numbers == {"mean", *(f"{means[arm].mean():.2f}" for arm in ARMS)}
    bands = {(round(patch.get_x(), 6), round(patch.get_width(), 6)) for patch in panel.patches}
    for (arm, null), rows in nulls(after).groupby(["arm", "null"]):
        low, high = middle(rows["effective_rank"])
        assert (round(low, 6), round(high - low, 6)) in bands, (arm, null)
    assert {
        "tokens exchanged between images",
        "Gaussian tokens",
        "network before training",
    } <= words(figures["densities"])


def test_densities_of_one_site_without_nulls(results):
    rank = results.tables["rank.csv"]
    figure = rank_figure.figure(rank[rank["null"] == ""], ("entropy",), ("after",))
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Entropy of the singular values (nats)"
    assert not figure.legends


def test_one_image_still_has_its_mean(results):
    rank = results.tables["rank.csv"]
    one = rank[rank["image"] == rank["image"].iloc[0]]
    axes = rank_figure.figure(one[(one["seed"] == 0) & (one["null"] == "")]).axes
    assert len(axes[0].texts) == len(ARMS) + 1  # and the heading above them


def test_a_density_needs_three_different_values(results):
    rank = measured(results.tables["rank.csv"])
    flat = rank.assign(effective_rank=rank["effective_rank"].where(rank["arm"] != "llm", 7.0))
    panel = rank_figure.figure(flat, ("effective_rank",), ("after",)).axes[0]
    violins = [one for one in panel.collections if isinstance(one, FillBetweenPolyCollection)]
    assert len(violins) == len(ARMS) - 1


def test_an_unknown_site_is_named(results):
    with pytest.raises(TableError, match=r"unknown site 'befor'. Did you mean 'before'\?"):
        rank_figure.figure(results.tables["rank.csv"], sites=("befor",))


def test_activation_dots_means_and_gains(figures, results):
    levels, gains = figures["activation"].axes
    maps = results.tables["maps.csv"]
    strokes = {
        round(float(segment[0, 0]), 6)
        for one in levels.collections
        if isinstance(one, LineCollection)
        for segment in one.get_segments()
    }
    for site, offset in (("before", -0.2), ("after", 0.2)):
        means = by_seed(measured(maps[maps["site"] == site]), "iou")
        assert {round(mean, 6) for mean in means.mean()} <= strokes
        for row, arm in enumerate(ARMS):
            (own,) = [found for found in dots(levels) if (found[:, 1] == row + offset).all()]
            assert sorted(own[:, 0]) == pytest.approx(sorted(means[arm]))
    assert row_labels(levels) == LABELS
    assert levels.get_xlabel() == "Activation IoU (0 to 1)"
    rows = maps_figure.gain_rows(results.tables["comparison.csv"], ARMS)
    drawn = sorted(tuple(found[0]) for found in dots(gains))
    assert drawn == sorted(
        (row["difference"], ARMS.index(row["arm"])) for _, row in rows.iterrows()
    )
    assert "another image's map" in words(figures["activation"])


def test_without_a_comparison_there_is_no_second_panel(results):
    assert len(maps_figure.figure(results.tables["maps.csv"]).axes) == 1


def test_the_gallery_shows_the_maps_of_the_table(figures, results):
    arrays = results.arrays
    pictures = [axes.images[0].get_array() for axes in figures["gallery"].axes if axes.images]
    assert len(pictures) == 4 * 2 * (1 + len(ARMS))
    for arm in ARMS:
        for site in ("before", "after"):
            place = arrays.map_place(arm, 0, site)
            for image in (0, 2, 3, 5):
                assert any(np.array_equal(found, arrays.maps[place, image]) for found in pictures)
    outlined = [axes for axes in figures["gallery"].axes if axes.collections and axes.images]
    assert len(outlined) == 4 * (1 + 2 * len(ARMS))
    assert set(LABELS) <= words(figures["gallery"])


def test_the_gallery_takes_names_as_they_are(figures):
    assert "<img src=x …or=alert(1)>" in words(figures["gallery"])
    assert "costs $5$ & {{ 7 * 7 }}" in words(figures["gallery"])


def test_the_gallery_leaves_out_what_was_not_stored(results):
    arrays = results.arrays
    kept = ~((arrays.map_arm == "llm") & (arrays.map_site == "before"))
    fewer = arrays.__class__(
        **{
            **vars(arrays),
            **{
                name: getattr(arrays, name)[kept]
                for name in ("maps", "map_run", "map_arm", "map_seed", "map_site")
            },
        }
    )
    figure = gallery_figure.figure(fewer, 0, images=(1,))
    assert sum(bool(axes.images) for axes in figure.axes) == 2 + 2 * len(ARMS) - 1
