from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from llm4seg_probe.measures.corruption import CORRUPTIONS
from llm4seg_probe.reporting.figures import attribution, field, robustness
from llm4seg_probe.reporting.style import ARM_STYLES, COLUMN, paper_style

ARMS = ("cnn", "llm")


def attribute_table() -> pd.DataFrame:
    rows = []
    for arm in ARMS:
        for seed in (0, 1):
            for null in ("", "untrained", "other-image"):
                for site, method in (("input", "occlusion"), ("after", "gradcam")):
                    for image in range(4):
                        share = 0.2 + 0.1 * image + 0.2 * (arm == "llm") - 0.1 * (null != "")
                        rows.append(
                            {
                                "run": f"{arm}-{seed}", "dataset": "d", "arm": arm, "seed": seed,
                                "site": site, "method": method, "class": "c", "null": null,
                                "image": f"i{image}", "group": "g", "foreground_share": share,
                                "mask_share": 0.1,
                            }
                        )  # fmt: skip
    return pd.DataFrame(rows)


def attribute_arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    keys = [(arm, method) for arm in ARMS for method in ("occlusion", "gradcam")]
    masks = np.zeros((2, 16, 16), np.uint8)
    masks[:, 4:9, 4:9] = 1
    return {
        "image_names": np.array(["a", "b"]),
        "images": draw.integers(0, 255, (2, 16, 16)).astype(np.uint8),
        "masks": masks,
        "maps": draw.normal(size=(4, 2, 16, 16)).astype(np.float32),
        "map_arm": np.array([arm for arm, _ in keys]),
        "map_method": np.array([method for _, method in keys]),
        "map_site": np.array(["input"] * 4),
        "map_class": np.array(["c"] * 4),
        "map_seed": np.zeros(4, int),
    }


def field_arrays() -> dict[str, np.ndarray]:
    keys = [
        ("cnn", "input", "none", ""), ("llm", "input", "with", ""),
        ("llm", "input", "bypassed", ""), ("llm", "before", "with", ""),
        ("llm", "input", "with", "untrained"), ("llm", "input", "bypassed", "untrained"),
    ]  # fmt: skip
    fields = np.full((6, 9, 9), 1 / 81, np.float32)
    fields[3] = np.nan
    fields[3, :3, :3] = [[0.25, 0.25, 0.25], [0.25, 0, 0], [0, 0, 0]]
    names = ("arm", "wrt", "layer", "null")
    found = {f"field_{name}": np.array([key[i] for key in keys]) for i, name in enumerate(names)}
    site = np.array(["after" if key[1] == "before" else "logits" for key in keys])
    size = np.array([[3, 3] if key[1] == "before" else [9, 9] for key in keys])
    profiles = np.geomspace(1, 1e-3, 7)[None] * np.arange(1, 7)[:, None]
    return {**found, "field_site": site, "field_size": size, "fields": fields, "profiles": profiles}


def robustness_table() -> pd.DataFrame:
    rows = []
    for arm in ARMS:
        for seed in (0, 1):
            for kind, row in CORRUPTIONS.items():
                for strength in range(6):
                    score = 0.8 - 0.1 * strength + 0.05 * seed - 0.02 * (arm == "cnn")
                    rows.append(
                        {
                            "run": f"{arm}-{seed}", "dataset": "d", "arm": arm, "seed": seed,
                            "corruption": kind, "strength": strength, "image": "i", "group": "g",
                            "class": "c", "iou": score, "dice": score, "unit": row.unit,
                            "parameter": row.parameters[strength - 1] if strength else None,
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


DRAWN = {
    "attribution": lambda: attribution.figure(attribute_table()),
    "attribution-maps": lambda: attribution.maps_figure(attribute_arrays()),
    "field": lambda: field.figure(field_arrays()),
    "robustness": lambda: robustness.figure(robustness_table()),
}


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    return {name: draw() for name, draw in DRAWN.items()}


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def labelled(figure: Figure) -> list[Text]:
    """Titles, axis labels, annotations and legends; ticks beyond the limits are never drawn."""
    ticks = {
        text
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for text in (*axis.get_ticklabels(), *axis.get_ticklabels(minor=True))
    }
    return [text for text in texts(figure) if text not in ticks]


@pytest.mark.parametrize("name", DRAWN)
def test_it_is_legible_at_a_columns_width_and_nothing_leaves_it(figures, name: str) -> None:
    figure = figures[name]
    assert figure.get_figwidth() == pytest.approx(COLUMN)
    assert min(text.get_fontsize() for text in texts(figure)) >= 7
    with paper_style():
        figure.draw_without_rendering()
        for text in labelled(figure):
            axes = text.axes
            if axes is not None and not axes.axison and text not in (axes.title, *axes.texts):
                continue
            box = text.get_window_extent()
            assert box.x0 >= figure.bbox.x0 - 1, text.get_text()
            assert box.x1 <= figure.bbox.x1 + 1, text.get_text()


def test_shares_are_the_means_of_the_runs_with_the_area_and_null_bands(figures) -> None:
    panels = figures["attribution"].axes
    assert [axes.get_title(loc="left") for axes in panels] == [
        "Occlusion, the image",
        "GradCAM, after the layer",
    ]
    for axes in panels:
        assert axes.lines[0].get_xdata() == [0.1, 0.1]
        dots = [found for found in axes.collections if len(found.get_offsets()) == 2]
        assert [found.get_offsets()[0, 0] for found in dots[:1]] == pytest.approx([0.35])
        assert {to_hex(found.get_facecolor()[0]) for found in dots} >= {
            ARM_STYLES[arm].colour.lower() for arm in ARMS
        }
        assert len(axes.patches) == 2 * 2  # a band per arm and null


def test_attribution_maps_are_signed_about_zero(figures) -> None:
    images = [image for axes in figures["attribution-maps"].axes for image in axes.images]
    signed = [image for image in images if image.get_cmap().name == "RdBu_r"]
    assert len(images) == 2 * 2 * 3
    assert len(signed) == 2 * 2 * 2
    for image in signed:
        low, high = image.get_clim()
        assert low == -high
        assert high == pytest.approx(np.abs(image.get_array()).max())


def test_fields_are_powers_of_ten_and_zero_is_black(figures) -> None:
    images = [image for axes in figures["field"].axes for image in axes.images]
    assert [image.get_array().shape for image in images] == [(9, 9)] * 3 + [(3, 3)]
    assert images[0].get_array().min() == images[0].get_array().max() == 0
    assert images[3].get_array().tolist()[1:] == [[0, -5, -5], [-5, -5, -5]]
    lines = {line.get_gid(): line for axes in figures["field"].axes for line in axes.lines}
    assert {"cnn-none-", "llm-with-", "llm-bypassed-", "llm-with-untrained"} <= set(lines)
    assert "llm-bypassed-untrained" not in lines
    assert lines["llm-with-"].get_ydata()[0] == pytest.approx(2)
    assert to_hex(lines["llm-with-"].get_color()) == ARM_STYLES["llm"].colour.lower()


def test_robustness_lines_are_means_of_the_runs_and_bands_their_range(figures) -> None:
    panels = figures["robustness"].axes[:5]
    for axes in panels:
        cnn, llm = axes.lines
        assert list(llm.get_ydata()) == pytest.approx([0.825 - 0.1 * step for step in range(6)])
        assert list(cnn.get_ydata()) == pytest.approx([0.805 - 0.1 * step for step in range(6)])
        band = axes.collections[1].get_paths()[0].vertices[:, 1]
        assert (band.max(), band.min()) == pytest.approx((0.85, 0.3))
    assert panels[0].get_title(loc="left") == "SD / range: 0.02 to 0.4"
    assert panels[0].get_ylabel() == "IoU (0 to 1)"
